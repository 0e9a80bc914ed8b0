//! Shares are complete, even, and change little.

use proptest::collection::{btree_map, btree_set};
use proptest::prelude::*;

use super::*;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn topics(counts: &[(u128, i32)]) -> BTreeMap<Uuid, i32> {
    counts.iter().map(|(topic, count)| (id(*topic), *count)).collect()
}

fn member(topics: &[u128]) -> Candidate {
    let topics = topics.iter().map(|topic| id(*topic)).collect();
    Candidate { topics, ..Candidate::default() }
}

fn group(members: &[(&str, &[u128])]) -> BTreeMap<String, Candidate> {
    members.iter().map(|(name, topics)| (name.to_string(), member(topics))).collect()
}

fn share(shares: &BTreeMap<String, Partitions>, name: &str) -> Vec<(u128, i32)> {
    shares[name].iter().map(|partition| (partition.topic.as_u128(), partition.index)).collect()
}

#[test]
fn range_cuts_topics_alike() {
    let members = group(&[("m0", &[1, 2]), ("m1", &[1, 2])]);
    let shares = assign(Assignor::Range, &members, &topics(&[(1, 3), (2, 3)]));
    assert_eq!(share(&shares, "m0"), [(1, 0), (1, 1), (2, 0), (2, 1)]);
    assert_eq!(share(&shares, "m1"), [(1, 2), (2, 2)]);
}

#[test]
fn range_takes_static_members_first_by_their_instance_ids() {
    let mut members = group(&[("a", &[1]), ("b", &[1]), ("c", &[1])]);
    members.get_mut("c").expect("c").instance_id = Some("i0".into());
    members.get_mut("b").expect("b").instance_id = Some("i1".into());
    let shares = assign(Assignor::Range, &members, &topics(&[(1, 4)]));
    assert_eq!(share(&shares, "c"), [(1, 0), (1, 1)]);
    assert_eq!(share(&shares, "b"), [(1, 2)]);
    assert_eq!(share(&shares, "a"), [(1, 3)]);
}

#[test]
fn uniform_moves_only_what_it_must() {
    let mut members = group(&[("a", &[1]), ("b", &[1])]);
    let counts = topics(&[(1, 6)]);
    let before = assign(Assignor::Uniform, &members, &counts);
    for (name, share) in &before {
        members.get_mut(name).expect("a member").previous = share.clone();
    }
    members.insert("c".into(), member(&[1]));
    let after = assign(Assignor::Uniform, &members, &counts);
    for (name, share) in &after {
        assert_eq!(share.len(), 2, "{name}");
    }
    assert!(after["a"].is_subset(&before["a"]) && after["b"].is_subset(&before["b"]));
}

#[test]
fn uniform_hands_over_along_a_row_of_members() {
    // a cannot give to c, but b can when a has given to b.
    let mut members = group(&[("a", &[1]), ("b", &[1, 2]), ("c", &[2])]);
    let owned = |topic, indexes: std::ops::Range<i32>| -> Partitions {
        indexes.map(|index| TopicPartition::new(id(topic), index)).collect()
    };
    members.get_mut("a").expect("a").previous = owned(1, 0..3);
    members.get_mut("b").expect("b").previous = owned(2, 0..2);
    members.get_mut("c").expect("c").previous = owned(2, 2..3);
    let shares = assign(Assignor::Uniform, &members, &topics(&[(1, 3), (2, 3)]));
    assert_eq!(shares.values().map(Partitions::len).collect::<Vec<_>>(), [2, 2, 2]);
}

/// Members with subscriptions out of five topics, and topics with up to nine partitions.
fn groups() -> impl Strategy<Value = (BTreeMap<String, Candidate>, BTreeMap<Uuid, i32>)> {
    let subscription = btree_set(1..6u128, 0..5);
    let alike =
        (btree_set("[a-z]{1,3}", 1..9), subscription.clone()).prop_map(|(names, topics)| {
            names.into_iter().map(|name| (name, topics.clone())).collect::<BTreeMap<_, _>>()
        });
    let unlike = btree_map("[a-z]{1,3}", subscription, 1..9);
    let counts = btree_map(1..6u128, 0..10i32, 0..6);
    (prop_oneof![alike, unlike], counts).prop_map(|(members, counts)| {
        let counts: BTreeMap<Uuid, i32> =
            counts.into_iter().map(|(topic, count)| (id(topic), count)).collect();
        let members = members.into_iter().map(|(name, topics)| {
            let topics = topics.into_iter().map(id).filter(|topic| counts.contains_key(topic));
            (name, Candidate { topics: topics.collect(), ..Candidate::default() })
        });
        (members.collect(), counts)
    })
}

fn check(
    assignor: Assignor,
    members: &BTreeMap<String, Candidate>,
    counts: &BTreeMap<Uuid, i32>,
    shares: &BTreeMap<String, Partitions>,
) {
    let mut all = Partitions::new();
    for (name, share) in shares {
        for partition in share {
            assert!(members[name].topics.contains(&partition.topic), "{name} did not subscribe");
            assert!(all.insert(*partition), "{partition:?} has two owners");
        }
    }
    for (topic, count) in counts {
        if members.values().any(|member| member.topics.contains(topic)) {
            let given = all.iter().filter(|partition| partition.topic == *topic).count();
            assert_eq!(given as i32, *count, "partitions without an owner");
        }
    }
    let sizes = shares.values().map(Partitions::len);
    let mut kinds = members.values().map(|member| &member.topics);
    let first = kinds.next();
    if assignor == Assignor::Uniform && kinds.all(|topics| Some(topics) == first) {
        let most = sizes.clone().max().unwrap_or(0);
        assert!(most - sizes.min().unwrap_or(0) <= 1, "uneven: {shares:?}");
    } else if assignor == Assignor::Uniform {
        for (from, share) in shares {
            for (to, other) in shares {
                let could = share.iter().any(|given| members[to].topics.contains(&given.topic));
                assert!(!could || share.len() <= other.len() + 1, "{from} could give to {to}");
            }
        }
    }
}

proptest! {
    #[test]
    fn shares_are_complete_and_even(
        (mut members, counts) in groups(),
        leaver in any::<prop::sample::Index>(),
    ) {
        for assignor in [Assignor::Uniform, Assignor::Range] {
            let shares = assign(assignor, &members, &counts);
            check(assignor, &members, &counts, &shares);
        }
        // Again with what everybody has: nothing moves. Without one member: only its share does,
        // and what that takes to be even.
        let shares = assign(Assignor::Uniform, &members, &counts);
        for (name, member) in &mut members {
            member.previous = shares[name].clone();
        }
        prop_assert_eq!(&assign(Assignor::Uniform, &members, &counts), &shares);
        let name = members.keys().nth(leaver.index(members.len())).expect("a member").clone();
        members.remove(&name);
        if !members.is_empty() {
            let after = assign(Assignor::Uniform, &members, &counts);
            check(Assignor::Uniform, &members, &counts, &after);
        }
    }
}
