//! Groups that change their kind, step by step; and a model of members of both protocols.

mod model;

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use uuid::Uuid;

use super::*;
use crate::group::classic::{
    Effect, JoinAnswer, JoinRequest, Rules as ClassicRules, State as ClassicState, SyncRequest,
};
use crate::group::consumer::assignor::Assignor;
use crate::group::consumer::heartbeat::{Heartbeat, Rules};
use crate::group::consumer::topics::{Shape, TopicPartition};
use crate::group::offset_records::put_string;

fn rules() -> Rules {
    Rules {
        session_timeout_ms: 45_000,
        heartbeat_interval_ms: 5_000,
        members_max: 1000,
        assignors: vec![Assignor::Uniform, Assignor::Range],
    }
}

const CLASSIC_RULES: ClassicRules = ClassicRules { initial_delay_ms: 0, size_max: 1000 };

fn topics(version: u64, counts: &[(&str, u128, i32)]) -> Topics {
    let shape = |id, partition_count| Shape {
        id: Uuid::from_u128(id),
        partition_count,
        is_internal: false,
    };
    let topics = counts.iter().map(|(name, id, count)| ((*name).to_owned(), shape(*id, *count)));
    Topics::new(version, topics)
}

fn of(indexes: &[i32]) -> Partitions {
    indexes.iter().map(|index| TopicPartition::new(Uuid::from_u128(1), *index)).collect()
}

/// The bytes of a subscription of version 1.
fn subscription(names: &[&str], owned: &BTreeMap<String, Vec<i32>>) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(1);
    bytes.put_i32(names.len() as i32);
    names.iter().for_each(|name| put_string(&mut bytes, name));
    bytes.put_i32(-1);
    // What follows is written as in an assignment.
    let owned = Assignment::encode(1, owned.iter());
    bytes.put_slice(&owned[2..owned.len() - 4]);
    bytes.freeze()
}

fn wish(member: &str, owned: &Partitions, topics: &Topics) -> JoinRequest {
    let said = subscription(&["t"], &ConsumerGroup::named(owned, topics));
    JoinRequest {
        member_id: member.into(),
        new_member_id: format!("new-{member}"),
        instance_id: None,
        client_id: "c".into(),
        client_host: "/h".into(),
        session_timeout_ms: 45_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: CONSUMER.into(),
        protocols: vec![("range".into(), said)],
        requires_known_id: false,
        can_skip_assignment: false,
    }
}

fn beat(member: &str, epoch: i32) -> Heartbeat {
    let is_join = epoch == 0;
    Heartbeat {
        member_id: member.into(),
        epoch,
        rebalance_timeout_ms: is_join.then_some(10_000),
        topic_names: is_join.then(|| BTreeSet::from(["t".to_owned()])),
        owned: is_join.then(Partitions::new),
        ..Heartbeat::default()
    }
}

fn sync(
    member: &str,
    generation: i32,
    shares: &[(&str, &Partitions)],
    all: &Topics,
) -> SyncRequest {
    let write = |share| Assignment::encode(1, ConsumerGroup::named(share, all).iter());
    let assignments = shares.iter().map(|(to, share)| ((*to).to_owned(), write(share)));
    SyncRequest {
        member_id: member.into(),
        instance_id: None,
        generation,
        protocol_type: Some(CONSUMER.into()),
        protocol: Some("range".into()),
        assignments: assignments.collect(),
    }
}

fn told(bytes: &[u8], topics: &Topics) -> Partitions {
    topics.partitions_of(&Assignment::parse(bytes).expect("an assignment").partitions)
}

/// A topic of four partitions, and a classic group of Ada and Bob, who have two each, in
/// generation 1.
fn ada_and_bob() -> (ClassicGroup, Topics) {
    let topics = topics(1, &[("t", 1, 4)]);
    let mut group = ClassicGroup::new();
    let waits = ClassicRules { initial_delay_ms: 10, ..CLASSIC_RULES };
    let nothing = Partitions::new();
    for (ticket, name) in ["ada", "bob"].into_iter().enumerate() {
        let request = JoinRequest { new_member_id: name.into(), ..wish("", &nothing, &topics) };
        group.join(0, &waits, request, ticket as u64);
    }
    // Two steps: somebody came during the first one.
    group.tick(10, &waits);
    group.tick(20, &waits);
    let shares = [("ada", &of(&[0, 1])), ("bob", &of(&[2, 3]))];
    group.sync(20, sync("bob", 1, &[], &topics), 3);
    group.sync(20, sync("ada", 1, &shares, &topics), 4);
    group.stored(20, &waits, 1, None);
    assert_eq!((group.state(), group.leader()), (ClassicState::Stable, Some("ada")));
    (group, topics)
}

/// A classic member joins and asks what it owns: its generation, and its partitions.
fn works(
    group: &mut ConsumerGroup,
    id: &str,
    owned: &Partitions,
    all: &Topics,
) -> (i32, Partitions) {
    let request = wish(id, owned, all);
    let admission = group.admit_classic(&request, &rules()).expect("it is let in");
    let (JoinAnswer { generation, leader, members, .. }, _) =
        group.join_classic(0, &request, admission, all, &rules());
    assert_eq!((leader.as_str(), members.len()), ("", 0), "it shares out nothing");
    let answer = group.sync_classic(0, &sync(id, generation, &[], all), all).expect("an answer");
    (generation, told(&answer.assignment, all))
}

#[test]
fn classic_members_keep_what_they_have_and_are_called_to_share_it() {
    let (classic, all) = ada_and_bob();
    let mut group = upgrade(&classic, &all, 10).expect("a consumer group");
    assert_eq!((group.epoch(), group.target_epoch(), group.members().len()), (1, 1, 2));
    assert_eq!(group.members()["ada"].standing.owned(), of(&[0, 1]));
    // Eve comes with the other protocol, and waits.
    let (eve, _) = group.heartbeat(0, &beat("eve", 0), &all, &rules()).expect("let in");
    assert_eq!((eve.epoch, eve.assignment), (2, Some(of(&[]))));
    let called = Err(ResponseError::RebalanceInProgress);
    assert_eq!(group.beat_classic(0, "ada", None, 1, &all).0, called);
    assert_eq!(group.check_offsets("ada", 1, None), Ok(()), "she commits before she lets go");
    // Bob, who lets go of all before he joins, has his share at once.
    let target = group.target("bob").expect("a target").clone();
    assert_eq!(works(&mut group, "bob", &of(&[]), &all), (2, target));
    // Ada, who keeps what she has while she joins, lets go of one first, if she must.
    let owned = of(&[0, 1]);
    let target = group.target("ada").expect("a target").clone();
    let kept: Partitions = owned.intersection(&target).copied().collect();
    let (epoch, told) = works(&mut group, "ada", &owned, &all);
    assert_eq!((epoch, &told), (if kept == owned { 2 } else { 1 }, &kept));
    assert_eq!(works(&mut group, "ada", &kept, &all), (2, target));
    let (eve, _) = group.heartbeat(0, &beat("eve", 2), &all, &rules()).expect("a member");
    assert_eq!(eve.assignment.map(|share| share.len()), Some(1));
    for id in ["ada", "bob"] {
        assert_eq!(group.beat_classic(0, id, None, 2, &all).0, Ok(()), "{id}");
    }
    assert_eq!(
        group.beat_classic(0, "ada", None, 1, &all).0,
        Err(ResponseError::IllegalGeneration)
    );
    assert_eq!(group.check_offsets("ada", 1, None), Err(ResponseError::IllegalGeneration));
    assert_eq!(group.beat_classic(0, "eve", None, 2, &all).0, Err(ResponseError::UnknownMemberId));
}

#[test]
fn the_last_one_of_the_new_protocol_leaves_a_classic_group_behind() {
    let (classic, all) = ada_and_bob();
    let mut group = upgrade(&classic, &all, 10).expect("a consumer group");
    group.heartbeat(0, &beat("eve", 0), &all, &rules()).expect("let in");
    assert!(downgrade(&group, &all, 10, 0).is_none(), "Eve is there");
    assert_eq!(works(&mut group, "bob", &of(&[]), &all).0, 2);
    group.heartbeat(0, &beat("eve", -1), &all, &rules()).expect("she goes");
    assert!(downgrade(&group, &all, 1, 0).is_none(), "too many for a classic group");
    let back = downgrade(&group, &all, 10, 0).expect("a classic group");
    assert_eq!((back.state(), back.generation()), (ClassicState::PreparingRebalance, 2));
    assert_eq!((back.protocol(), back.leader()), (Some("range"), None));
    let held = |id: &str| told(&back.members()[id].assignment, &all);
    assert_eq!(held("ada"), of(&[0, 1]), "she has not been asked yet");
    let mut group = back.clone();
    let called = Err(ResponseError::RebalanceInProgress);
    assert_eq!(group.heartbeat(0, "bob", None, 2), called);
    assert_eq!(group.heartbeat(0, "ada", None, 1), Err(ResponseError::IllegalGeneration));
    for (ticket, id) in ["ada", "bob"].into_iter().enumerate() {
        group.join(0, &CLASSIC_RULES, wish(id, &of(&[]), &all), ticket as u64);
    }
    assert_eq!((group.state(), group.generation()), (ClassicState::CompletingRebalance, 3));
}

#[test]
fn a_classic_member_that_does_not_come_when_called_is_dropped() {
    let (classic, all) = ada_and_bob();
    let mut group = upgrade(&classic, &all, 10).expect("a consumer group");
    group.restart(0, &rules());
    assert_eq!(group.deadline_ms(), Some(45_000), "a whole session");
    group.heartbeat(0, &beat("eve", 0), &all, &rules()).expect("let in");
    for now_ms in [30_000, 60_000, 85_000] {
        assert!(group.beat_classic(now_ms, "ada", None, 1, &all).0.is_err(), "called");
        assert!(group.beat_classic(now_ms, "bob", None, 1, &all).0.is_err(), "called");
        group.heartbeat(now_ms, &beat("eve", 2), &all, &rules()).expect("a member");
    }
    // She joins, and has as long again to ask for her work.
    works(&mut group, "bob", &of(&[]), &all);
    let request = wish("ada", &of(&[]), &all);
    let admission = group.admit_classic(&request, &rules()).expect("it is let in");
    group.join_classic(85_000, &request, admission, &all, &rules());
    assert_eq!(group.tick(89_999, &all).0, ["bob"], "his session, as of when he asked");
    let mut eve = 2;
    for now_ms in [100_000, 130_000, 144_999] {
        assert!(group.beat_classic(now_ms, "ada", None, 2, &all).0.is_err(), "Bob has gone");
        let beat = beat("eve", eve);
        eve = group.heartbeat(now_ms, &beat, &all, &rules()).expect("a member").0.epoch;
    }
    assert_eq!(group.tick(144_999, &all).0, [""; 0]);
    assert_eq!(group.tick(145_000, &all).0, ["ada"], "no SyncGroup in 60 s");
}

#[test]
fn what_would_be_lost_hinders_the_change() {
    let (classic, all) = ada_and_bob();
    let (members, members_max) = (2, 1);
    let refused = upgrade(&classic, &all, members_max).expect_err("too many");
    assert_eq!(refused, Hindrance::TooLarge { members, members_max });
    let with = |kind: &str, said: &[u8], work: &[u8]| {
        let member = ClassicMember::restored(
            None,
            (String::new(), String::new()),
            (1, 1),
            vec![("range".into(), Bytes::copy_from_slice(said))],
            Bytes::copy_from_slice(work),
        );
        let members = BTreeMap::from([("m".to_owned(), member)]);
        let (protocol, leader) = (Some("range".into()), Some("m".into()));
        let group = ClassicGroup::restored(1, Some(kind.into()), protocol, leader, members, 0);
        upgrade(&group, &all, 10).err()
    };
    let said = subscription(&["t"], &BTreeMap::new());
    assert_eq!(with(CONSUMER, &said, b""), None);
    assert_eq!(with("connect", &said, b""), Some(Hindrance::NoConsumers));
    let unreadable = Some(Hindrance::Unreadable { member: "m".into() });
    assert_eq!(with(CONSUMER, b"topics", b""), unreadable);
    assert_eq!(with(CONSUMER, &said, b"work"), unreadable);
    let own = b"\0\0\0\0\0\0\0\0\0\x02hi";
    assert_eq!(with(CONSUMER, &said, own), Some(Hindrance::CustomAssignor));
}

#[test]
fn a_leader_that_gives_one_partition_to_two_members_is_not_believed() {
    let claims = Claims {
        given: vec![of(&[0, 1]), of(&[1, 2]), of(&[])],
        owned: vec![of(&[0, 3]), of(&[0, 3]), of(&[4])],
    };
    assert_eq!(claims.settle(), [of(&[0, 1, 3]), of(&[2]), of(&[4])]);
}

#[test]
fn who_waits_in_the_classic_group_is_told_to_ask_again() {
    let (mut classic, all) = ada_and_bob();
    classic.join(0, &CLASSIC_RULES, wish("ada", &of(&[0]), &all), 7);
    let request = JoinRequest { new_member_id: "new".into(), ..wish("", &of(&[]), &all) };
    classic.join(0, &CLASSIC_RULES, request, 8);
    classic.take_effects();
    let group = upgrade(&classic, &all, 10).expect("a consumer group");
    assert_eq!(group.members().len(), 2, "the new one has not been told of any group");
    let mut told: Vec<u64> = Vec::new();
    for effect in classic.dissolve(ResponseError::RebalanceInProgress) {
        let Effect::Joined(ticket, answer) = effect else { panic!("{effect:?}") };
        assert_eq!(answer.error, Some(ResponseError::RebalanceInProgress));
        told.push(ticket);
    }
    assert_eq!(told, [7, 8]);
}

#[test]
fn a_static_member_moves_between_the_protocols() {
    let all = topics(1, &[("t", 1, 2)]);
    let mut group = ConsumerGroup::default();
    let named = |request: JoinRequest| JoinRequest { instance_id: Some("i".into()), ..request };
    let modern = |id: &str| Heartbeat { instance_id: Some("i".into()), ..beat(id, 0) };
    group.heartbeat(0, &modern("one"), &all, &rules()).expect("let in");
    group.heartbeat(0, &beat("eve", 0), &all, &rules()).expect("let in");
    // It is back with the classic protocol: the other one is fenced, and what it had is its own.
    let request = named(wish("", &of(&[]), &all));
    let admission = group.admit_classic(&request, &rules()).expect("let in");
    assert_eq!(admission.successor_of(), "one");
    let (answer, _) = group.join_classic(0, &request, admission, &all, &rules());
    assert_eq!((answer.generation, answer.member_id.as_str()), (2, "new-"));
    assert_eq!(group.members()["new-"].standing.owned().len(), 1);
    let old = named(wish("one", &of(&[]), &all));
    let refused = group.admit_classic(&old, &rules()).expect_err("fenced");
    assert_eq!(refused.error, Some(ResponseError::FencedInstanceId));
    assert_eq!(group.leave_classic("one", Some("i"), &all), Err(ResponseError::FencedInstanceId));
    // And back.
    let (two, _) = group.heartbeat(0, &modern("two"), &all, &rules()).expect("let in");
    assert_eq!(two.assignment.map(|share| share.len()), Some(1));
    assert!(!group.members().contains_key("new-"));
    assert!(group.leave_classic("", Some("i"), &all).is_ok(), "an operator names it");
    assert_eq!(group.members().len(), 1);
}

#[test]
fn who_could_not_be_in_a_classic_group_with_the_others_is_refused() {
    let (classic, all) = ada_and_bob();
    let group = upgrade(&classic, &all, 10).expect("a consumer group");
    let refused = |request: &JoinRequest| {
        group.admit_classic(request, &rules()).err().and_then(|answer| answer.error)
    };
    let inconsistent = Some(ResponseError::InconsistentGroupProtocol);
    let mut request = wish("", &of(&[]), &all);
    assert_eq!(refused(&request), None);
    request.requires_known_id = true;
    assert_eq!(refused(&request), Some(ResponseError::MemberIdRequired));
    request.protocols[0].0 = "mine".into();
    assert_eq!(refused(&request), inconsistent);
    request = JoinRequest { protocol_type: "connect".into(), ..wish("", &of(&[]), &all) };
    assert_eq!(refused(&request), inconsistent);
    request = wish("", &of(&[]), &all);
    request.protocols[0].1 = Bytes::from_static(b"?");
    assert_eq!(refused(&request), inconsistent);
    request = wish(&"m".repeat(NAME_BYTES_MAX + 1), &of(&[]), &all);
    assert_eq!(refused(&request), Some(ResponseError::InvalidRequest));
}
