//! What clients and the broker say to each other, step by step; and a model of both.

mod model;

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;
use uuid::Uuid;

use super::assignor::Assignor;
use super::group::{ConsumerGroup, GroupState};
use super::heartbeat::{Answer, Heartbeat, Rules};
use super::topics::{Partitions, Shape, TopicPartition, Topics};

fn rules() -> Rules {
    Rules {
        session_timeout_ms: 45_000,
        heartbeat_interval_ms: 5_000,
        members_max: 8,
        assignors: vec![Assignor::Uniform, Assignor::Range],
    }
}

fn topics(version: u64, counts: &[(&str, u128, i32)]) -> Topics {
    let shape = |id, partition_count| Shape {
        id: Uuid::from_u128(id),
        partition_count,
        is_internal: false,
    };
    Topics::new(
        version,
        counts.iter().map(|(name, id, count)| ((*name).to_owned(), shape(*id, *count))),
    )
}

fn names(names: &[&str]) -> Option<BTreeSet<String>> {
    Some(names.iter().map(|name| (*name).to_owned()).collect())
}

fn joins(member: &str) -> Heartbeat {
    Heartbeat {
        member_id: member.into(),
        rebalance_timeout_ms: Some(10_000),
        topic_names: names(&["t"]),
        owned: Some(Partitions::new()),
        ..Heartbeat::default()
    }
}

fn beats(member: &str, epoch: i32) -> Heartbeat {
    Heartbeat { member_id: member.into(), epoch, ..Heartbeat::default() }
}

fn of(topic: u128, indexes: &[i32]) -> Partitions {
    indexes.iter().map(|index| TopicPartition::new(Uuid::from_u128(topic), *index)).collect()
}

/// A group, its topics and a clock.
struct Plot {
    group: ConsumerGroup,
    topics: Topics,
    now_ms: i64,
}

impl Plot {
    fn new(counts: &[(&str, u128, i32)]) -> Self {
        Self { group: ConsumerGroup::default(), topics: topics(1, counts), now_ms: 0 }
    }

    fn beat(&mut self, beat: &Heartbeat) -> Result<Answer, ResponseError> {
        let answer = self.group.heartbeat(self.now_ms, beat, &self.topics, &rules());
        answer.map(|(answer, _)| answer).map_err(|refused| refused.error)
    }

    fn told(&mut self, beat: &Heartbeat) -> (i32, Option<Partitions>) {
        let answer = self.beat(beat).expect("the member is not refused");
        (answer.epoch, answer.assignment)
    }
}

#[test]
fn a_partition_changes_hands_in_two_steps() {
    let mut plot = Plot::new(&[("t", 1, 2)]);
    assert_eq!(plot.told(&joins("ada")), (1, Some(of(1, &[0, 1]))));
    assert_eq!(plot.group.state(), GroupState::Stable);
    // Bob has none until Ada has let go.
    assert_eq!(plot.told(&joins("bob")), (2, Some(of(1, &[]))));
    assert_eq!(plot.told(&beats("ada", 1)), (1, Some(of(1, &[0]))));
    assert_eq!(plot.told(&beats("bob", 2)), (2, None));
    assert_eq!(plot.group.state(), GroupState::Reconciling);
    let done = Heartbeat { owned: Some(of(1, &[0])), ..beats("ada", 1) };
    assert_eq!(plot.told(&done), (2, None));
    assert_eq!(plot.told(&beats("bob", 2)), (2, Some(of(1, &[1]))));
    assert_eq!(plot.group.state(), GroupState::Stable);
    // Ada leaves: all is Bob's at once.
    assert_eq!(plot.told(&beats("ada", -1)), (-1, None));
    assert_eq!(plot.told(&beats("bob", 2)), (3, Some(of(1, &[0, 1]))));
}

#[test]
fn a_lost_answer_is_forgiven_and_other_epochs_are_fenced() {
    let mut plot = Plot::new(&[("t", 1, 1)]);
    plot.told(&joins("ada"));
    assert_eq!(plot.told(&joins("ada")), (1, Some(of(1, &[0]))), "joined again with epoch 0");
    plot.told(&beats("ada", 1));
    let fenced = Err(ResponseError::FencedMemberEpoch);
    assert_eq!(plot.beat(&beats("ada", 2)), fenced);
    assert_eq!(plot.beat(&Heartbeat { owned: Some(of(1, &[7])), ..beats("ada", 0) }), fenced);
    assert_eq!(plot.beat(&beats("bob", 1)), Err(ResponseError::UnknownMemberId));
    let strange = Heartbeat { assignor: Some("mine".into()), ..joins("bob") };
    assert_eq!(plot.beat(&strange), Err(ResponseError::UnsupportedAssignor));
    let strange = Heartbeat { topic_regex: Some("(".into()), ..joins("bob") };
    assert_eq!(plot.beat(&strange), Err(ResponseError::InvalidRegularExpression));
    assert_eq!(plot.group.members().len(), 1, "who is refused is not in the group");
}

#[test]
fn a_group_takes_no_more_members_than_it_may() {
    let mut plot = Plot::new(&[("t", 1, 1)]);
    for number in 0..rules().members_max {
        plot.told(&joins(&format!("m{number}")));
    }
    assert_eq!(plot.beat(&joins("late")), Err(ResponseError::GroupMaxSizeReached));
    plot.told(&joins("m0"));
}

#[test]
fn topics_that_come_grow_and_go_make_a_new_epoch() {
    let mut plot = Plot::new(&[]);
    assert_eq!(plot.told(&joins("ada")), (1, Some(of(1, &[]))));
    plot.topics = topics(2, &[("t", 1, 1)]);
    assert_eq!(plot.told(&beats("ada", 1)), (2, Some(of(1, &[0]))));
    plot.topics = topics(3, &[("t", 1, 1), ("other", 2, 5)]);
    assert_eq!(plot.told(&beats("ada", 2)), (2, None), "not hers");
    plot.topics = topics(4, &[("t", 1, 2)]);
    assert_eq!(plot.told(&beats("ada", 2)), (3, Some(of(1, &[0, 1]))));
    plot.topics = topics(5, &[("t", 9, 1)]);
    assert_eq!(plot.told(&beats("ada", 3)), (3, Some(of(1, &[]))), "let go of the old one");
    let done = Heartbeat { owned: Some(of(1, &[])), ..beats("ada", 3) };
    assert_eq!(plot.told(&done), (4, Some(of(9, &[0]))));
}

#[test]
fn an_expression_follows_the_topics() {
    let mut plot = Plot::new(&[("orders", 1, 1)]);
    let expression = |text: &str| Heartbeat {
        topic_names: None,
        topic_regex: Some(text.into()),
        ..joins("ada")
    };
    assert_eq!(plot.told(&expression("ord.*")), (1, Some(of(1, &[0]))));
    plot.topics = topics(2, &[("orders", 1, 1), ("order", 2, 1), ("my-order", 3, 1)]);
    let (epoch, assignment) = plot.told(&beats("ada", 1));
    assert_eq!((epoch, assignment.map(|all| all.len())), (2, Some(2)));
    assert_eq!(plot.group.subscribed_topics(), names(&["order", "orders"]).expect("names"));
    let none = Heartbeat { topic_regex: Some(String::new()), ..beats("ada", 2) };
    assert_eq!(plot.told(&none), (2, Some(of(1, &[]))));
    assert!(plot.group.expressions.is_empty(), "nobody uses it any more");
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let mut plot = Plot::new(&[("t", 1, 4)]);
    let named = |member: &str, epoch| Heartbeat {
        instance_id: Some("i".into()),
        ..if epoch == 0 { joins(member) } else { beats(member, epoch) }
    };
    plot.told(&named("one", 0));
    let in_use = plot.beat(&named("two", 0));
    assert_eq!(in_use, Err(ResponseError::UnreleasedInstanceId));
    assert_eq!(plot.beat(&named("two", 1)), Err(ResponseError::FencedInstanceId));
    assert_eq!(plot.told(&named("one", -2)), (-2, None));
    assert_eq!(plot.beat(&beats("one", 1)), Err(ResponseError::FencedMemberEpoch));
    // Meanwhile another member comes, and gets none of what waits for the static one.
    assert_eq!(plot.told(&joins("ada")), (2, Some(of(1, &[]))));
    assert_eq!(plot.told(&named("two", 0)), (2, Some(of(1, &[0, 1]))));
    assert_eq!(plot.told(&beats("ada", 2)), (2, Some(of(1, &[2, 3]))));
    assert_eq!(plot.beat(&named("one", 1)), Err(ResponseError::FencedInstanceId));
    // Away for longer than its session: it is dropped.
    plot.told(&named("two", -2));
    plot.now_ms += 44_000;
    plot.told(&beats("ada", 2));
    plot.now_ms += 1_000;
    assert_eq!(plot.group.tick(plot.now_ms, &plot.topics).0, ["two"]);
    assert_eq!(plot.told(&beats("ada", 2)), (3, Some(of(1, &[0, 1, 2, 3]))));
}

#[test]
fn who_does_not_let_go_in_time_is_dropped() {
    let mut plot = Plot::new(&[("t", 1, 2)]);
    plot.told(&joins("ada"));
    plot.told(&joins("bob"));
    assert_eq!(plot.group.deadline_ms(), Some(45_000));
    plot.told(&beats("ada", 1));
    assert_eq!(plot.group.deadline_ms(), Some(10_000), "Ada's rebalance timeout");
    assert_eq!(plot.group.tick(9_999, &plot.topics).0, [""; 0]);
    assert_eq!(plot.group.tick(10_000, &plot.topics).0, ["ada"]);
    assert_eq!(plot.told(&beats("bob", 2)), (3, Some(of(1, &[0, 1]))));
    assert_eq!(plot.beat(&beats("ada", 1)), Err(ResponseError::UnknownMemberId));
}

#[test]
fn offsets_are_taken_by_the_epoch_and_by_what_is_owned_since() {
    let mut plot = Plot::new(&[("t", 1, 2)]);
    plot.told(&joins("ada"));
    plot.told(&joins("bob"));
    plot.told(&beats("ada", 1));
    plot.told(&Heartbeat { owned: Some(of(1, &[0])), ..beats("ada", 1) });
    let at = |index| TopicPartition::new(Uuid::from_u128(1), index);
    let stale = Err(ResponseError::StaleMemberEpoch);
    assert_eq!(plot.group.check_offsets("ada", 2, None), Ok(()));
    assert_eq!(plot.group.check_offsets("ada", 1, None), stale);
    assert_eq!(plot.group.check_offsets("ada", 1, Some(&at(0))), Ok(()), "hers since epoch 1");
    assert_eq!(plot.group.check_offsets("ada", 1, Some(&at(1))), stale);
    assert_eq!(plot.group.check_offsets("ada", 3, Some(&at(0))), stale);
    let unknown = Err(ResponseError::UnknownMemberId);
    assert_eq!(plot.group.check_offsets("eve", 2, None), unknown);
}

#[test]
fn most_wishes_choose_the_assignor() {
    let mut plot = Plot::new(&[("t", 1, 3), ("u", 2, 3)]);
    let wishing = |member: &str| Heartbeat {
        assignor: Some("range".into()),
        topic_names: names(&["t", "u"]),
        ..joins(member)
    };
    plot.told(&wishing("ada"));
    plot.told(&wishing("bob"));
    let target = plot.group.target("ada").expect("a target");
    assert_eq!(*target, of(1, &[0, 1]).union(&of(2, &[0, 1])).copied().collect());
}
