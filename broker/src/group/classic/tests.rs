//! The group as Kafka's clients know it, rule by rule, and a model with random members.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use proptest::prelude::*;

use super::*;

mod model;

const RULES: Rules = Rules { initial_delay_ms: 3000, size_max: 10 };

/// A group with what it has answered.
struct Scene {
    group: ClassicGroup,
    now_ms: i64,
    next_ticket: Ticket,
    joined: BTreeMap<Ticket, JoinAnswer>,
    synced: BTreeMap<Ticket, SyncAnswer>,
    stores: usize,
    rules: Rules,
}

impl Scene {
    fn new(rules: Rules) -> Scene {
        Scene {
            group: ClassicGroup::new(),
            now_ms: 0,
            next_ticket: 0,
            joined: BTreeMap::new(),
            synced: BTreeMap::new(),
            stores: 0,
            rules,
        }
    }

    fn settle(&mut self) {
        self.group.check_invariants();
        for effect in self.group.take_effects() {
            match effect {
                Effect::Joined(ticket, answer) => {
                    assert!(self.joined.insert(ticket, answer).is_none(), "answered twice");
                }
                Effect::Synced(ticket, answer) => {
                    assert!(self.synced.insert(ticket, answer).is_none(), "answered twice");
                }
                Effect::Store => self.stores += 1,
            }
        }
    }

    fn join(&mut self, request: JoinRequest) -> Ticket {
        self.next_ticket += 1;
        self.group.join(self.now_ms, &self.rules, request, self.next_ticket);
        self.settle();
        self.next_ticket
    }

    fn sync(&mut self, member: &str, generation: i32, work: &[(&str, &str)]) -> Ticket {
        self.next_ticket += 1;
        let assignments = work
            .iter()
            .map(|(to, what)| ((*to).to_owned(), Bytes::copy_from_slice(what.as_bytes())));
        let request = SyncRequest {
            member_id: member.to_owned(),
            instance_id: None,
            generation,
            protocol_type: None,
            protocol: None,
            assignments: assignments.collect(),
        };
        self.group.sync(self.now_ms, request, self.next_ticket);
        self.settle();
        self.next_ticket
    }

    fn store(&mut self) {
        let generation = self.group.generation();
        self.group.stored(self.now_ms, &self.rules, generation, None);
        self.settle();
    }

    fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
        self.group.tick(self.now_ms, &self.rules);
        self.settle();
    }

    fn leave(&mut self, member: &str, instance: Option<&str>) -> Result<(), ResponseError> {
        let left = self.group.leave(self.now_ms, &self.rules, member, instance);
        self.settle();
        left
    }

    fn beat(&mut self, member: &str, generation: i32) -> Option<ResponseError> {
        self.group.heartbeat(self.now_ms, member, None, generation).err()
    }

    /// A stable group of these members, the first of which leads.
    fn stable(members: &[&str]) -> Scene {
        let mut scene = Scene::new(RULES);
        for member in members {
            scene.join(newcomer(member));
        }
        scene.pass(3000);
        if members.len() > 1 {
            scene.pass(3000);
        }
        let work: Vec<(&str, &str)> = members.iter().map(|member| (*member, *member)).collect();
        for member in members {
            scene.sync(member, 1, &work);
        }
        scene.store();
        assert_eq!(scene.group.state(), State::Stable);
        scene
    }
}

/// Somebody who joins under this id straight away, as in versions 0 to 3.
fn newcomer(name: &str) -> JoinRequest {
    JoinRequest {
        member_id: String::new(),
        new_member_id: name.to_owned(),
        instance_id: None,
        client_id: "c".into(),
        client_host: "/h".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), Bytes::from_static(b"t"))],
        requires_known_id: false,
        can_skip_assignment: false,
    }
}

fn again(member: &str) -> JoinRequest {
    JoinRequest { member_id: member.to_owned(), ..newcomer("unused") }
}

fn of_instance(instance: &str, new_id: &str) -> JoinRequest {
    JoinRequest { instance_id: Some(instance.to_owned()), ..newcomer(new_id) }
}

#[test]
fn the_first_generation_waits_for_more_as_long_as_they_come() {
    let mut scene = Scene::new(RULES);
    let first = scene.join(newcomer("a"));
    scene.pass(2999);
    let second = scene.join(newcomer("b"));
    scene.pass(1);
    assert!(scene.joined.is_empty(), "a new member extends the wait");
    scene.pass(3000);
    assert_eq!(scene.joined[&first].generation, 1);
    assert_eq!(scene.joined[&first].leader, "a");
    let ids = |answer: &JoinAnswer| answer.members.iter().map(|it| it.member_id.clone()).collect();
    let told: Vec<String> = ids(&scene.joined[&first]);
    assert_eq!(told, ["a", "b"]);
    assert!(scene.joined[&second].members.is_empty(), "only the leader is told who is there");
}

#[test]
fn the_wait_ends_with_the_rebalance_timeout() {
    let mut scene = Scene::new(RULES);
    scene.join(newcomer("m0"));
    for number in 1..=30 {
        if number >= 10 {
            // A member that goes and another that comes keep it waiting too.
            scene.leave(&format!("m{}", number - 1), None).unwrap();
        }
        scene.join(newcomer(&format!("m{number}")));
        scene.pass(3000);
        if scene.group.state() != State::PreparingRebalance {
            // The rebalance timeout of the members.
            assert_eq!(scene.now_ms, 60_000);
            return;
        }
    }
    panic!("it waits for ever");
}

#[test]
fn a_new_member_must_come_back_with_the_id_it_is_given() {
    let mut scene = Scene::new(RULES);
    let asked = scene.join(JoinRequest { requires_known_id: true, ..newcomer("a") });
    assert_eq!(scene.joined[&asked].error, Some(ResponseError::MemberIdRequired));
    assert_eq!(scene.joined[&asked].member_id, "a");
    let back = scene.join(again("a"));
    scene.pass(3000);
    assert_eq!(scene.joined[&back].error, None);
    // One that does not come back is forgotten with its session.
    scene.join(JoinRequest { requires_known_id: true, ..newcomer("b") });
    scene.pass(10_000);
    let late = scene.join(again("b"));
    assert_eq!(scene.joined[&late].error, Some(ResponseError::UnknownMemberId));
}

#[test]
fn followers_get_their_work_when_it_is_stored_and_not_before() {
    let mut scene = Scene::new(RULES);
    scene.join(newcomer("a"));
    scene.join(newcomer("b"));
    scene.pass(3000);
    scene.pass(3000);
    let follower = scene.sync("b", 1, &[]);
    assert!(scene.synced.is_empty());
    let leader = scene.sync("a", 1, &[("a", "work of a")]);
    assert!(scene.synced.is_empty(), "not stored yet");
    assert_eq!(scene.stores, 1);
    scene.store();
    assert_eq!(&scene.synced[&leader].assignment[..], b"work of a");
    assert!(scene.synced[&follower].assignment.is_empty(), "the leader gave it nothing");
    // The answer was lost: the same again.
    let again = scene.sync("a", 1, &[]);
    assert_eq!(&scene.synced[&again].assignment[..], b"work of a");
}

#[test]
fn what_cannot_be_stored_is_not_handed_out() {
    let mut scene = Scene::new(RULES);
    scene.join(newcomer("a"));
    scene.pass(3000);
    let leader = scene.sync("a", 1, &[("a", "work")]);
    scene.group.stored(scene.now_ms, &RULES, 1, Some(ResponseError::CoordinatorNotAvailable));
    scene.settle();
    assert_eq!(scene.synced[&leader].error, Some(ResponseError::CoordinatorNotAvailable));
    assert_eq!(scene.group.state(), State::PreparingRebalance);
}

#[test]
fn members_and_generations_are_fenced() {
    let mut scene = Scene::stable(&["a", "b"]);
    assert_eq!(scene.beat("a", 1), None);
    assert_eq!(scene.beat("a", 2), Some(ResponseError::IllegalGeneration));
    assert_eq!(scene.beat("x", 1), Some(ResponseError::UnknownMemberId));
    let mut commit = |member: &str, generation| {
        scene.group.check_commit(scene.now_ms, member, None, generation, false).err()
    };
    assert_eq!(commit("a", 1), None);
    assert_eq!(commit("a", 0), Some(ResponseError::IllegalGeneration));
    assert_eq!(commit("", -1), Some(ResponseError::UnknownMemberId));
    assert_eq!(commit("x", 1), Some(ResponseError::UnknownMemberId));
    scene.join(newcomer("c"));
    assert_eq!(scene.beat("a", 1), Some(ResponseError::RebalanceInProgress));
    // Who works on its last records may still commit them.
    assert_eq!(scene.group.check_commit(scene.now_ms, "a", None, 1, false), Ok(()));
    for member in ["a", "b"] {
        scene.join(again(member));
    }
    assert_eq!(scene.group.state(), State::CompletingRebalance);
    let commit = scene.group.check_commit(scene.now_ms, "a", None, 2, false);
    assert_eq!(commit, Err(ResponseError::RebalanceInProgress));
}

#[test]
fn only_a_group_without_members_takes_what_nobody_in_particular_commits() {
    let mut group = ClassicGroup::new();
    assert_eq!(group.check_commit(0, "", None, -1, false), Ok(()));
    let mut scene = Scene::stable(&["a"]);
    let commit = |scene: &mut Scene, is_transactional| {
        scene.group.check_commit(0, "", None, -1, is_transactional)
    };
    assert_eq!(commit(&mut scene, false), Err(ResponseError::UnknownMemberId));
    assert_eq!(commit(&mut scene, true), Ok(()), "a transaction of a simple consumer (KIP-447)");
}

#[test]
fn those_that_do_not_come_back_are_dropped() {
    let mut scene = Scene::stable(&["a", "b"]);
    scene.pass(4000);
    scene.join(newcomer("c"));
    let b = scene.join(again("b"));
    // a lives, but does not join again.
    for _ in 0..11 {
        scene.pass(5000);
        assert_eq!(scene.beat("a", 1), Some(ResponseError::RebalanceInProgress));
    }
    assert!(!scene.joined.contains_key(&b));
    scene.pass(5000);
    assert_eq!(scene.joined[&b].generation, 2);
    assert_eq!(scene.joined[&b].leader, "b", "the leader went");
    assert_eq!(scene.beat("a", 2), Some(ResponseError::UnknownMemberId));
}

#[test]
fn a_silent_member_loses_its_session_and_a_waiting_one_does_not() {
    let mut scene = Scene::stable(&["a", "b"]);
    scene.pass(9999);
    assert_eq!(scene.beat("a", 1), None);
    scene.pass(1);
    assert_eq!(scene.group.state(), State::PreparingRebalance, "b is gone");
    let a = scene.join(again("a"));
    assert_eq!(scene.joined[&a].generation, 2);
    let sync = scene.sync("a", 2, &[("a", "all")]);
    scene.pass(30_000);
    assert!(scene.group.members().contains_key("a"), "it waits for an answer of ours");
    scene.store();
    assert_eq!(scene.synced[&sync].error, None);
    scene.pass(10_000);
    assert_eq!(scene.group.state(), State::Empty);
    assert_eq!(scene.group.generation(), 3);
}

#[test]
fn who_does_not_fetch_its_work_is_dropped() {
    let mut scene = Scene::new(RULES);
    for member in ["a", "b"] {
        scene.join(JoinRequest { session_timeout_ms: 600_000, ..newcomer(member) });
    }
    scene.pass(3000);
    scene.pass(3000);
    scene.sync("a", 1, &[]);
    scene.store();
    assert_eq!(scene.group.state(), State::Stable);
    scene.pass(60_000);
    assert_eq!(scene.group.state(), State::PreparingRebalance);
    assert!(!scene.group.members().contains_key("b"));
}

#[test]
fn a_follower_that_asks_again_unchanged_disturbs_nobody() {
    let mut scene = Scene::stable(&["a", "b"]);
    let same = scene.join(again("b"));
    assert_eq!(scene.joined[&same].generation, 1);
    assert_eq!(scene.group.state(), State::Stable);
    let other = vec![("range".to_owned(), Bytes::from_static(b"other topics"))];
    scene.join(JoinRequest { protocols: other, ..again("b") });
    assert_eq!(scene.group.state(), State::PreparingRebalance);
    let mut scene = Scene::stable(&["a", "b"]);
    scene.join(again("a"));
    assert_eq!(scene.group.state(), State::PreparingRebalance, "a leader wants to share out anew");
}

#[test]
fn protocols_must_have_one_in_common_and_most_votes_win() {
    let protocols = |names: &[&str]| -> Vec<(String, Bytes)> {
        names.iter().map(|name| ((*name).to_owned(), Bytes::new())).collect()
    };
    let mut scene = Scene::new(RULES);
    scene.join(JoinRequest { protocols: protocols(&["x", "y", "z"]), ..newcomer("a") });
    scene.join(JoinRequest { protocols: protocols(&["y", "x"]), ..newcomer("b") });
    let c = scene.join(JoinRequest { protocols: protocols(&["y", "x"]), ..newcomer("c") });
    let wrong = scene.join(JoinRequest { protocols: protocols(&["z"]), ..newcomer("d") });
    assert_eq!(scene.joined[&wrong].error, Some(ResponseError::InconsistentGroupProtocol));
    let other = JoinRequest { protocol_type: "connect".into(), ..newcomer("e") };
    let wrong = scene.join(other);
    assert_eq!(scene.joined[&wrong].error, Some(ResponseError::InconsistentGroupProtocol));
    let none = scene.join(JoinRequest { protocols: Vec::new(), ..newcomer("f") });
    assert_eq!(scene.joined[&none].error, Some(ResponseError::InconsistentGroupProtocol));
    scene.pass(3000);
    scene.pass(3000);
    assert_eq!(scene.joined[&c].protocol.as_deref(), Some("y"));
}

#[test]
fn a_full_group_takes_nobody_in() {
    let mut scene = Scene::new(Rules { size_max: 1, ..RULES });
    scene.join(newcomer("a"));
    let full = scene.join(newcomer("b"));
    assert_eq!(scene.joined[&full].error, Some(ResponseError::GroupMaxSizeReached));
    scene.pass(3000);
    let full = scene.join(newcomer("b"));
    assert_eq!(scene.joined[&full].error, Some(ResponseError::GroupMaxSizeReached));
}

#[test]
fn a_static_member_that_is_back_takes_its_old_place() {
    let mut scene = Scene::new(RULES);
    scene.join(of_instance("i1", "a"));
    scene.join(of_instance("i2", "b"));
    scene.pass(3000);
    scene.pass(3000);
    let leader = scene.group.leader().unwrap().to_owned();
    assert_eq!(leader, "a");
    scene.next_ticket += 1;
    let sync = |member: &str, instance: &str| SyncRequest {
        member_id: member.to_owned(),
        instance_id: Some(instance.to_owned()),
        generation: 1,
        protocol_type: Some("consumer".into()),
        protocol: Some("range".into()),
        assignments: vec![
            ("a".into(), Bytes::from_static(b"A")),
            ("b".into(), Bytes::from_static(b"B")),
        ],
    };
    scene.group.sync(scene.now_ms, sync("a", "i1"), 100);
    scene.group.sync(scene.now_ms, sync("b", "i2"), 101);
    scene.settle();
    scene.store();

    let back = scene.join(of_instance("i2", "b2"));
    assert_eq!((scene.joined[&back].error, scene.joined[&back].generation), (None, 1));
    assert_eq!(scene.group.state(), State::Stable, "nobody is disturbed");
    scene.group.sync(scene.now_ms, sync("b2", "i2"), 102);
    scene.settle();
    assert_eq!(&scene.synced[&102].assignment[..], b"B");
    let old = scene.group.heartbeat(scene.now_ms, "b", Some("i2"), 1);
    assert_eq!(old, Err(ResponseError::FencedInstanceId));

    // The leader: told to leave all as it is if it understands that, else told that another leads.
    let back = scene.join(JoinRequest { can_skip_assignment: true, ..of_instance("i1", "a2") });
    assert!(scene.joined[&back].skip_assignment);
    assert_eq!((scene.joined[&back].leader.as_str(), scene.joined[&back].members.len()), ("a2", 2));
    let back = scene.join(of_instance("i1", "a3"));
    assert_eq!((scene.joined[&back].leader.as_str(), scene.joined[&back].members.len()), ("a2", 0));

    // It leaves by its instance id alone, when an operator says so.
    assert_eq!(scene.leave("", Some("i3")), Err(ResponseError::UnknownMemberId));
    assert_eq!(scene.leave("a2", Some("i1")), Err(ResponseError::FencedInstanceId));
    assert_eq!(scene.leave("", Some("i1")), Ok(()));
    assert_eq!(scene.group.state(), State::PreparingRebalance);
}

#[test]
fn static_members_that_are_away_stay_until_their_session_ends() {
    let mut scene = Scene::new(RULES);
    scene.join(JoinRequest { session_timeout_ms: 120_000, ..of_instance("i", "a") });
    scene.join(newcomer("b"));
    scene.pass(3000);
    scene.pass(3000);
    let other = vec![("range".to_owned(), Bytes::from_static(b"other topics"))];
    scene.join(JoinRequest { protocols: other, ..again("b") });
    assert_eq!(scene.group.state(), State::PreparingRebalance);
    scene.pass(60_000);
    assert_eq!(scene.group.state(), State::CompletingRebalance);
    assert!(scene.group.members().contains_key("a"));
}

#[test]
fn a_group_that_was_stored_goes_on_without_a_rebalance() {
    let scene = Scene::stable(&["a", "b"]);
    let group = &scene.group;
    let text = |text: Option<&str>| text.map(str::to_owned);
    let mut restored = ClassicGroup::restored(
        group.generation(),
        text(group.protocol_type()),
        text(group.protocol()),
        text(group.leader()),
        group.members().clone(),
        5,
    );
    restored.check_invariants();
    assert_eq!(restored.heartbeat(10_004, "a", None, 1), Ok(()));
    restored.tick(10_005, &RULES);
    assert_eq!(restored.state(), State::PreparingRebalance, "b was not heard of for a session");
}
