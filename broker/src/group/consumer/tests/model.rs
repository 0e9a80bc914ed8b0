//! Random members against a reference: a partition is never believed to be owned by two, and in the
//! end each has one owner.
//!
//! A client here believes what a correct one does: it owns what the last answer that it has seen
//! says, once it has let go of the rest; it says what it owns when it has let go, when it joins, and
//! after an answer was lost. A client that is refused, or hears nothing for its session, drops all.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::group::consumer::records::Record;
use crate::group::testing::{assert_one_owner, compacted, ways};

#[derive(Clone, Debug)]
enum Act {
    /// A client sends a heartbeat; `is_lost`: it never sees the answer. `is_sent_twice`: nor does it
    /// see the answer of its second try of the same bytes.
    Beat { client: usize, is_lost: bool, is_sent_twice: bool },
    /// A client leaves and forgets all.
    Leave { client: usize },
    /// A static client goes away and will come back as another member.
    Away { client: usize },
    /// A client is killed: nobody is told. Another one takes its place.
    Die { client: usize },
    /// A client subscribes anew.
    Subscribe { client: usize, choice: usize },
    /// A topic gets a partition, or comes into being.
    Grow { topic: usize },
    /// A topic is deleted and made again.
    Renew { topic: usize },
    /// Time goes by.
    Wait { ms: i64 },
    /// The broker restarts and reads its records.
    Restart,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let client = 0..CLIENTS;
    let beat = (client.clone(), prop::bool::weighted(0.15), prop::bool::weighted(0.1));
    let act = prop_oneof![
        20 => beat.prop_map(|(client, is_lost, is_sent_twice)| {
            Act::Beat { client, is_lost, is_sent_twice }
        }),
        1 => client.clone().prop_map(|client| Act::Leave { client }),
        1 => client.clone().prop_map(|client| Act::Away { client }),
        1 => client.clone().prop_map(|client| Act::Die { client }),
        2 => (client, 0..SUBSCRIPTIONS.len()).prop_map(|(client, choice)| {
            Act::Subscribe { client, choice }
        }),
        1 => (0..2usize).prop_map(|topic| Act::Grow { topic }),
        1 => (0..2usize).prop_map(|topic| Act::Renew { topic }),
        2 => (1..20_000i64).prop_map(|ms| Act::Wait { ms }),
        1 => Just(Act::Restart),
    ];
    prop::collection::vec(act, 1..120)
}

const CLIENTS: usize = 4;
const NAMES: [&str; 2] = ["t0", "t1"];
/// Names and an expression.
const SUBSCRIPTIONS: [(&[&str], &str); 5] =
    [(&["t0"], ""), (&["t0", "t1"], ""), (&["t1"], ""), (&[], "t.*"), (&["t0"], "t1")];

/// Room for those who are dead and not dropped yet.
fn roomy() -> Rules {
    Rules { members_max: 1000, ..rules() }
}

#[derive(Clone, Debug, Default)]
struct Client {
    member: String,
    instance: Option<String>,
    epoch: i32,
    owned: Partitions,
    /// What it will say at the next heartbeat.
    says_all: bool,
    has_news: bool,
    choice: usize,
    heard_ms: i64,
}

impl Client {
    fn beat(&self) -> Heartbeat {
        let is_full = self.epoch == 0 || self.says_all;
        let (topics, regex) = SUBSCRIPTIONS[self.choice];
        Heartbeat {
            member_id: self.member.clone(),
            epoch: self.epoch,
            instance_id: self.instance.clone(),
            rebalance_timeout_ms: is_full.then_some(10_000),
            topic_names: is_full.then(|| names(topics)).flatten(),
            topic_regex: is_full.then(|| regex.to_owned()),
            owned: (is_full || self.has_news).then(|| self.owned.clone()),
            ..Heartbeat::default()
        }
    }

    fn drop_all(&mut self) {
        self.epoch = 0;
        self.owned.clear();
    }
}

#[derive(Default)]
struct World {
    group: ConsumerGroup,
    log: Vec<Record>,
    clients: Vec<Client>,
    topics: Topics,
    shapes: BTreeMap<usize, (u128, i32)>,
    version: u64,
    now_ms: i64,
    born: usize,
}

impl World {
    fn new() -> Self {
        let mut world = Self { version: 1, ..Self::default() };
        for number in 0..CLIENTS {
            let instance = (number % 2 == 0).then(|| format!("i{number}"));
            world.clients.push(Client { instance, ..Client::default() });
            world.name_anew(number);
        }
        world
    }

    fn name_anew(&mut self, client: usize) {
        self.born += 1;
        let heard_ms = self.now_ms;
        let client = &mut self.clients[client];
        client.member = format!("m{}", self.born);
        client.heard_ms = heard_ms;
        client.drop_all();
    }

    fn look_at_topics(&mut self) {
        self.version += 1;
        let all: Vec<(&str, u128, i32)> =
            self.shapes.iter().map(|(at, (id, count))| (NAMES[*at], *id, *count)).collect();
        self.topics = topics(self.version, &all);
    }

    fn beat(&mut self, at: usize, is_lost: bool, is_sent_twice: bool) {
        let beat = self.clients[at].beat();
        let epoch = self.group.epoch();
        let mut result = self.group.heartbeat(self.now_ms, &beat, &self.topics, &roomy());
        if is_sent_twice && let Ok((_, records)) = &mut result {
            let first = std::mem::take(records);
            self.log.extend(first);
            result = self.group.heartbeat(self.now_ms, &beat, &self.topics, &roomy());
        }
        assert!(self.group.epoch() >= epoch, "the group's epoch shrank");
        let client = &mut self.clients[at];
        if let Ok((_, records)) = &result {
            self.log.extend(records.iter().cloned());
        }
        if is_lost || is_sent_twice {
            client.says_all = true;
            return;
        }
        match result {
            Ok((answer, _)) => {
                assert!(answer.epoch >= client.epoch, "a member's epoch shrank");
                client.heard_ms = self.now_ms;
                client.epoch = answer.epoch;
                client.says_all = false;
                client.has_news = answer.assignment.is_some();
                if let Some(owned) = answer.assignment {
                    client.owned = owned;
                }
            }
            Err(refused) => {
                use ResponseError::{FencedMemberEpoch, UnknownMemberId, UnreleasedInstanceId};
                let error = refused.error;
                let is_known =
                    matches!(error, FencedMemberEpoch | UnknownMemberId | UnreleasedInstanceId);
                assert!(is_known, "{error:?}");
                client.drop_all();
            }
        }
    }

    fn leave(&mut self, at: usize, epoch: i32) {
        if self.clients[at].epoch > 0 {
            let mut beat = beats(&self.clients[at].member, epoch);
            beat.instance_id = self.clients[at].instance.clone();
            if let Ok((_, records)) =
                self.group.heartbeat(self.now_ms, &beat, &self.topics, &roomy())
            {
                self.log.extend(records);
            }
        }
        self.name_anew(at);
    }

    fn wait(&mut self, ms: i64) {
        self.now_ms += ms;
        let (_, records) = self.group.tick(self.now_ms, &self.topics);
        self.log.extend(records);
        for client in &mut self.clients {
            // A client that hears nothing for its session, or does not let go in time, gives up
            // before the broker does: its clock began to run earlier.
            if self.now_ms - client.heard_ms >= 10_000 {
                client.drop_all();
            }
        }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Beat { client, is_lost, is_sent_twice } => {
                self.beat(client, is_lost, is_sent_twice)
            }
            Act::Leave { client } => self.leave(client, -1),
            Act::Away { client } => {
                let epoch = if self.clients[client].instance.is_some() { -2 } else { -1 };
                self.leave(client, epoch);
            }
            Act::Die { client } => self.name_anew(client),
            Act::Subscribe { client, choice } => {
                self.clients[client].choice = choice;
                self.clients[client].says_all = true;
            }
            Act::Grow { topic } => {
                self.shapes.entry(topic).or_insert((topic as u128 + 1, 0)).1 += 1;
                self.look_at_topics();
            }
            Act::Renew { topic } => {
                if let Some((id, count)) = self.shapes.get_mut(&topic) {
                    (*id, *count) = (*id + 10, 1);
                    self.look_at_topics();
                }
            }
            Act::Wait { ms } => self.wait(ms),
            Act::Restart => {
                self.group = ConsumerGroup::replay(&self.log);
                self.group.restart(self.now_ms, &roomy());
            }
        }
    }

    fn check(&self) {
        assert_one_owner(self.clients.iter().map(|client| (&*client.member, &client.owned)));
    }

    fn check_records(&self) {
        let read = ConsumerGroup::replay(&self.log);
        assert_eq!(read.records(), self.group.records(), "read back it is another group");
        for (clean, keeps_tombstones) in ways(self.log.len()) {
            let left = compacted(&self.log, clean, keeps_tombstones, |record| {
                let (key, value) = record.encode("g");
                (key, value.is_none())
            });
            let read = ConsumerGroup::replay(&left);
            assert_eq!(read.records(), self.group.records(), "cleaned it is another group");
        }
        let short = ConsumerGroup::replay(&self.group.records());
        assert_eq!(short.records(), self.group.records(), "compacted it is another group");
    }

    /// Everybody subscribes to all and sends heartbeats for long enough.
    fn come_to_rest(&mut self) {
        for at in 0..CLIENTS {
            self.act(&Act::Subscribe { client: at, choice: 1 + 2 * (at % 2) });
        }
        for _ in 0..40 {
            self.wait(2_500);
            for at in 0..CLIENTS {
                self.beat(at, false, false);
                self.check();
            }
        }
        self.check_records();
        assert_eq!(self.group.state(), GroupState::Stable);
        let sizes: Vec<usize> = self.clients.iter().map(|client| client.owned.len()).collect();
        let count: i32 = self.shapes.values().map(|(_, count)| count).sum();
        assert_eq!(sizes.iter().sum::<usize>(), count as usize, "partitions without an owner");
        let most = sizes.iter().max().expect("clients");
        assert!(most - sizes.iter().min().expect("clients") <= 1, "uneven: {sizes:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn never_two_owners_and_in_the_end_one(acts in acts()) {
        let mut world = World::new();
        for (at, act) in acts.iter().enumerate() {
            world.act(act);
            world.check();
            if at % 16 == 0 {
                world.check_records();
            }
        }
        world.check_records();
        world.come_to_rest();
    }
}
