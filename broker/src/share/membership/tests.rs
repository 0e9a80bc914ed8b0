//! Members that come, go, are late and lie, against a list of who is there.
use proptest::prelude::*;

use super::*;
use crate::group::testing::{compacted, ways};

const SESSION_MS: i64 = 100;

fn find(name: &str) -> Option<(Uuid, i32)> {
    match name {
        "a" => Some((Uuid::from_u128(1), 3)),
        "b" => Some((Uuid::from_u128(2), 1)),
        _ => None,
    }
}

fn beat(member: &str, epoch: i32, topics: Option<&[&str]>) -> Heartbeat {
    let topics = topics.map(|names| names.iter().map(|&name| name.to_owned()).collect());
    Heartbeat { member: member.into(), epoch, topics, ..Heartbeat::default() }
}

fn hear(group: &mut ShareGroup, heartbeat: &Heartbeat) -> Result<Told, ResponseError> {
    group.heartbeat(heartbeat, &find, 3, SESSION_MS).map(|(told, _)| told)
}

#[test]
fn a_member_joins_works_and_leaves() {
    let mut group = ShareGroup::default();
    let told = hear(&mut group, &beat("ada", 0, Some(&["a"]))).unwrap();
    assert_eq!((told.epoch, told.places.unwrap().len()), (1, 3));
    assert_eq!(hear(&mut group, &beat("ada", 1, None)), Ok(Told { epoch: 1, places: None }));
    let told = hear(&mut group, &beat("bob", 0, Some(&["a", "b", "missing"]))).unwrap();
    assert_eq!(told.epoch, 2);
    let moved = hear(&mut group, &beat("ada", 1, None)).unwrap();
    assert_eq!(moved.epoch, 2);
    // The answer was lost: the epoch before is good once more.
    assert_eq!(hear(&mut group, &beat("ada", 1, None)), Ok(Told { epoch: 2, places: None }));
    assert_eq!(hear(&mut group, &beat("ada", -1, None)), Ok(Told { epoch: -1, places: None }));
    assert_eq!((group.state(), group.epoch()), ("Stable", 3));
    let told = hear(&mut group, &beat("bob", 2, None)).unwrap();
    assert_eq!((told.epoch, told.places.unwrap().len()), (3, 4));
    hear(&mut group, &beat("bob", -1, None)).unwrap();
    assert_eq!(group.state(), "Empty");
    assert_eq!(group.topics().count(), 0);
}

#[test]
fn who_does_not_belong_here_is_told_so() {
    let mut group = ShareGroup::default();
    let odd = [
        (beat("ada", 5, None), ResponseError::UnknownMemberId),
        (beat("ada", -1, None), ResponseError::UnknownMemberId),
        (beat("ada", -2, None), ResponseError::InvalidRequest),
        (beat("ada", 0, None), ResponseError::InvalidRequest),
    ];
    for (heartbeat, error) in odd {
        assert_eq!(hear(&mut group, &heartbeat), Err(error));
    }
    for member in ["ada", "bob", "eve"] {
        hear(&mut group, &beat(member, 0, Some(&["a"]))).unwrap();
    }
    let full = hear(&mut group, &beat("zoe", 0, Some(&["a"])));
    assert_eq!(full, Err(ResponseError::GroupMaxSizeReached));
    hear(&mut group, &beat("ada", 0, Some(&["a"]))).expect("it has its place");
    let ahead = hear(&mut group, &beat("ada", 99, None));
    assert_eq!(ahead, Err(ResponseError::FencedMemberEpoch));
}

#[test]
fn a_member_that_is_silent_for_a_session_is_gone() {
    let mut group = ShareGroup::default();
    hear(&mut group, &beat("ada", 0, Some(&["a"]))).unwrap();
    assert_eq!(group.tick(SESSION_MS - 1), (vec![], vec![]));
    let (gone, records) = group.tick(SESSION_MS);
    assert_eq!((gone, records.len()), (vec!["ada".to_owned()], 4));
    assert_eq!(group.state(), "Empty");
    assert_eq!(group.farewell().len(), 2);
}

#[test]
fn a_topic_that_grows_is_assigned_anew() {
    let mut group = ShareGroup::default();
    hear(&mut group, &beat("ada", 0, Some(&["a"]))).unwrap();
    let grown = |_: &str| Some((Uuid::from_u128(1), 5));
    let (told, _) = group.heartbeat(&beat("ada", 1, None), &grown, 3, SESSION_MS).unwrap();
    assert_eq!((told.epoch, told.places.unwrap().len()), (2, 5));
}

proptest! {
    #[test]
    fn a_group_is_what_its_records_say_and_all_partitions_are_worked_on(
        acts in prop::collection::vec((0usize..4, 0u8..6, 0usize..4, 0i64..80), 1..60),
    ) {
        let mut group = ShareGroup::default();
        let mut log: Vec<GroupRecord> = Vec::new();
        let mut now_ms = 0;
        let mut heard: BTreeMap<&str, i64> = BTreeMap::new();
        let mut epoch = 0;
        for (who, act, what, ms) in acts {
            let member = ["ada", "bob", "eve", "zoe"][who];
            let topics: &[&str] = [&["a"][..], &["a", "b"], &["b", "missing"], &[]][what];
            let known = group.members().get(member).map(|member| member.current.epoch);
            let heartbeat = match act {
                0 => beat(member, 0, Some(topics)),
                1 => beat(member, -1, None),
                2 => beat(member, known.unwrap_or(7), Some(topics)),
                _ => beat(member, known.unwrap_or(7), None),
            };
            let records = match group.heartbeat(&heartbeat, &find, 3, now_ms + SESSION_MS) {
                Ok((told, records)) => {
                    if act == 1 {
                        prop_assert!(heard.remove(member).is_some());
                    } else {
                        heard.insert(member, now_ms);
                        prop_assert_eq!(told.epoch, group.epoch());
                    }
                    records
                }
                Err(ResponseError::UnknownMemberId) => {
                    prop_assert!(act != 0 && !heard.contains_key(member));
                    vec![]
                }
                Err(ResponseError::GroupMaxSizeReached) => {
                    prop_assert!(act == 0 && heard.len() == 3);
                    vec![]
                }
                Err(error) => return Err(TestCaseError::fail(format!("{error:?}"))),
            };
            now_ms += ms;
            let (gone, more) = group.tick(now_ms);
            for member in gone {
                prop_assert!(heard.remove(&*member).is_some_and(|at| at + SESSION_MS <= now_ms));
            }
            log.extend(records.into_iter().chain(more));
            let mut read_back = ShareGroup::default();
            log.iter().for_each(|record| read_back.apply(record.clone()));
            prop_assert!(heard.keys().copied().eq(group.members().keys().map(String::as_str)));
            prop_assert!(group.epoch() >= epoch, "the epoch went back");
            epoch = group.epoch();
            let mut whole = ShareGroup::default();
            group.records().into_iter().for_each(|record| whole.apply(record));
            let mut cleaned: Vec<ShareGroup> = Vec::new();
            for (clean, keeps_tombstones) in ways(log.len()) {
                let left = compacted(&log, clean, keeps_tombstones, |record: &GroupRecord| {
                    let (key, value) = record.encode("g");
                    (key, value.is_none())
                });
                let mut read = ShareGroup::default();
                left.into_iter().for_each(|record| read.apply(record));
                cleaned.push(read);
            }
            for copy in cleaned.iter_mut().chain([&mut read_back, &mut whole]) {
                let mut expected = group.clone();
                expected.begin_sessions(0);
                copy.begin_sessions(0);
                prop_assert_eq!(&*copy, &expected);
            }
        }
        // Everybody is heard once more: then every subscribed partition is worked on.
        let members: Vec<String> = group.members().keys().cloned().collect();
        for member in members.iter().chain(&members) {
            let epoch = group.members()[member].current.epoch;
            hear(&mut group, &beat(member, epoch, None)).unwrap();
        }
        let worked: BTreeSet<Place> =
            group.members().values().flat_map(|member| member.current.places.clone()).collect();
        let count: i32 = group.topics().filter_map(find).map(|(_, count)| count).sum();
        prop_assert_eq!(worked.len() as i32, count);
    }
}
