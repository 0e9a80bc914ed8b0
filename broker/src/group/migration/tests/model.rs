//! Members of both protocols come, go, change their protocol and are killed, while the group changes
//! its kind under them and the broker restarts. A partition is never believed to be owned by two; what
//! is read back is the group that was; and in the end each partition has one owner.
//!
//! A client believes what a correct one does. One of the consumer protocol owns what it was told last.
//! A classic one, if it is eager, lets go of all before it joins, and owns what SyncGroup says; if it is
//! cooperative it keeps what it has while it joins, says so, and joins again once it has let go of
//! something. Whoever hears nothing for ten seconds, or is refused, drops all.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::group::StoredGroups;
use crate::group::classic::{JoinedMember, SyncAnswer, Ticket};
use crate::group::group_records;
use crate::group::internal::KeyValue;
use crate::group::testing::{assert_one_owner, compacted, ways};

const CLIENTS: usize = 4;
const NAMES: [&str; 2] = ["t0", "t1"];
const GROUP: &str = "g";
const PATIENCE_MS: i64 = 10_000;

#[derive(Clone, Debug)]
enum Act {
    /// A client does what it has to do next; `is_lost`: it never sees the answer.
    Turn { client: usize, is_lost: bool },
    /// A client leaves and forgets all; another one takes its place, with either protocol.
    Leave { client: usize, is_classic: bool },
    /// A client is killed: nobody is told.
    Die { client: usize, is_classic: bool },
    /// A client subscribes to one topic or both.
    Subscribe { client: usize, count: usize },
    /// A topic gets a partition, or comes into being.
    Grow { topic: usize },
    /// Time goes by.
    Wait { ms: i64 },
    /// What a classic group has stored is durable.
    Stored,
    /// The broker restarts and reads its records.
    Restart,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let client = 0..CLIENTS;
    let turn = (client.clone(), prop::bool::weighted(0.1));
    // Groups without members of the consumer protocol are seldom enough.
    let ends = (client.clone(), prop::bool::weighted(0.75));
    let act = prop_oneof![
        30 => turn.prop_map(|(client, is_lost)| Act::Turn { client, is_lost }),
        4 => ends.clone().prop_map(|(client, is_classic)| Act::Leave { client, is_classic }),
        1 => ends.prop_map(|(client, is_classic)| Act::Die { client, is_classic }),
        1 => (client, 1..=2usize).prop_map(|(client, count)| Act::Subscribe { client, count }),
        1 => (0..2usize).prop_map(|topic| Act::Grow { topic }),
        2 => (1..12_000i64).prop_map(|ms| Act::Wait { ms }),
        4 => Just(Act::Stored),
        1 => Just(Act::Restart),
    ];
    prop::collection::vec(act, 1..150)
}

#[derive(Clone, Debug)]
enum Group {
    Classic(ClassicGroup),
    Consumer(ConsumerGroup),
}

#[derive(Clone, Debug, Default)]
struct Client {
    is_classic: bool,
    id: String,
    instance: Option<String>,
    /// Its epoch, or generation.
    epoch: i32,
    owned: Partitions,
    heard_ms: i64,
    topic_count: usize,
    /// It will say all of itself anew; one of the consumer protocol may say what it owns only.
    says_all: bool,
    has_news: bool,
    /// A classic member must join; has joined and must ask for its work; waits for an answer.
    must_join: bool,
    must_sync: bool,
    waiting: Option<Ticket>,
    /// As the leader: whom it shares out among.
    led: Vec<JoinedMember>,
    leads_with: Option<u64>,
}

impl Client {
    fn drop_all(&mut self) {
        let Client { is_classic, id, instance, heard_ms, topic_count, .. } = std::mem::take(self);
        *self = Client { is_classic, id, instance, heard_ms, topic_count, ..Client::default() };
        self.must_join = true;
    }

    fn names(&self) -> &'static [&'static str] {
        &NAMES[..self.topic_count]
    }
}

struct World {
    is_cooperative: bool,
    group: Group,
    log: Vec<KeyValue>,
    /// Generations whose stores are under way.
    storing: Vec<i32>,
    joined: HashMap<Ticket, JoinAnswer>,
    synced: HashMap<Ticket, SyncAnswer>,
    clients: Vec<Client>,
    topics: Topics,
    counts: [i32; 2],
    now_ms: i64,
    last: u64,
}

impl World {
    fn new(is_cooperative: bool) -> Self {
        let client = |number: usize| Client {
            is_classic: number < 3,
            instance: number.is_multiple_of(2).then(|| format!("i{number}")),
            topic_count: 2,
            ..Client::default()
        };
        let mut world = World {
            is_cooperative,
            group: Group::Classic(ClassicGroup::new()),
            log: Vec::new(),
            storing: Vec::new(),
            joined: HashMap::new(),
            synced: HashMap::new(),
            clients: (0..CLIENTS).map(client).collect(),
            topics: Topics::default(),
            counts: [0, 0],
            now_ms: 0,
            last: 0,
        };
        for at in 0..CLIENTS {
            world.begin_anew(at, world.clients[at].is_classic);
        }
        world
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Another client in the place of this one.
    fn begin_anew(&mut self, at: usize, is_classic: bool) {
        let number = self.next();
        let client = &mut self.clients[at];
        client.drop_all();
        client.is_classic = is_classic;
        client.id = if is_classic { String::new() } else { format!("m{number}") };
        client.heard_ms = self.now_ms;
    }

    fn write(&mut self, records: &[Record]) {
        self.log.extend(records.iter().map(|record| record.encode(GROUP)));
    }

    /// What a classic group wishes is done: stores are appended at once.
    fn settle(&mut self) {
        let Group::Classic(group) = &mut self.group else { return };
        let effects = group.take_effects();
        group.check_invariants();
        for effect in effects {
            match effect {
                Effect::Joined(ticket, answer) => drop(self.joined.insert(ticket, answer)),
                Effect::Synced(ticket, answer) => drop(self.synced.insert(ticket, answer)),
                Effect::Store => {
                    let Group::Classic(group) = &self.group else { return };
                    let value = group_records::encode(group, 0);
                    self.storing.push(group.generation());
                    self.log.push((group_records::encode_key(GROUP), Some(value)));
                }
            }
        }
    }

    /// As the coordinator does after members have gone.
    fn downgrade(&mut self) -> bool {
        let Group::Consumer(group) = &self.group else { return false };
        let Some(classic) = downgrade(group, &self.topics, 1000, self.now_ms) else { return false };
        let tombstones = group.tombstones();
        self.write(&tombstones);
        self.log.push((group_records::encode_key(GROUP), Some(group_records::encode(&classic, 0))));
        self.group = Group::Classic(classic);
        true
    }

    fn yield_to_classic(&mut self) {
        let Group::Consumer(group) = &self.group else { return };
        let tombstones = group.tombstones();
        self.write(&tombstones);
        self.group = Group::Classic(ClassicGroup::new());
    }

    fn join(&mut self, request: JoinRequest, ticket: Ticket) {
        if let Group::Consumer(group) = &mut self.group
            && let Ok(admission) = group.admit_classic(&request, &rules())
            && group.is_classic_without(admission.successor_of())
        {
            let old = admission.successor_of().to_owned();
            if group.members().get(&old).is_some_and(|member| !member.is_classic()) {
                let records = group.dismiss(old, &self.topics);
                self.write(&records);
            }
            self.downgrade();
        }
        if matches!(&self.group, Group::Consumer(group) if group.members().is_empty()) {
            self.yield_to_classic();
        }
        match &mut self.group {
            Group::Classic(group) => group.join(self.now_ms, &CLASSIC_RULES, request, ticket),
            Group::Consumer(group) => match group.admit_classic(&request, &rules()) {
                Ok(admission) => {
                    let (answer, records) = group.join_classic(
                        self.now_ms,
                        &request,
                        admission,
                        &self.topics,
                        &rules(),
                    );
                    self.joined.insert(ticket, answer);
                    self.write(&records);
                }
                Err(refused) => drop(self.joined.insert(ticket, *refused)),
            },
        }
    }

    fn sync(&mut self, request: SyncRequest, ticket: Ticket) {
        match &mut self.group {
            Group::Classic(group) => group.sync(self.now_ms, request, ticket),
            Group::Consumer(group) => {
                let answer = group.sync_classic(self.now_ms, &request, &self.topics);
                self.synced.insert(ticket, answer.unwrap_or_else(SyncAnswer::refused));
            }
        }
    }

    fn heartbeat(&mut self, beat: &Heartbeat) -> Option<(i32, Option<Partitions>)> {
        let opened = match &self.group {
            Group::Consumer(_) => None,
            Group::Classic(_) if beat.epoch != 0 => return None,
            Group::Classic(group) if group.state() == ClassicState::Empty => {
                Some(ConsumerGroup::default())
            }
            Group::Classic(group) => {
                let mut opened = upgrade(group, &self.topics, 1000).expect("all are consumers");
                opened.restart(self.now_ms, &rules());
                Some(opened)
            }
        };
        if let Some(opened) = opened {
            self.log.push((group_records::encode_key(GROUP), None));
            self.write(&opened.records());
            let before = std::mem::replace(&mut self.group, Group::Consumer(opened));
            let Group::Classic(classic) = before else { return None };
            self.storing.clear();
            for effect in classic.dissolve(ResponseError::RebalanceInProgress) {
                match effect {
                    Effect::Joined(ticket, answer) => drop(self.joined.insert(ticket, answer)),
                    Effect::Synced(ticket, answer) => drop(self.synced.insert(ticket, answer)),
                    Effect::Store => {}
                }
            }
        }
        let Group::Consumer(group) = &mut self.group else { return None };
        let result = group.heartbeat(self.now_ms, beat, &self.topics, &rules());
        let (answer, records) = result.ok()?;
        self.write(&records);
        self.downgrade();
        Some((answer.epoch, answer.assignment))
    }

    fn turn(&mut self, at: usize, is_lost: bool) {
        if self.clients[at].is_classic {
            self.classic_turn(at, is_lost);
        } else {
            self.consumer_turn(at, is_lost);
        }
        self.settle();
        self.read_answers();
    }

    fn consumer_turn(&mut self, at: usize, is_lost: bool) {
        let client = &self.clients[at];
        let is_full = client.epoch == 0 || client.says_all;
        let names = client.names().iter().map(|name| (*name).to_owned());
        let beat = Heartbeat {
            instance_id: client.instance.clone(),
            rebalance_timeout_ms: is_full.then_some(10_000),
            topic_names: is_full.then(|| names.collect()),
            owned: (is_full || client.has_news).then(|| client.owned.clone()),
            ..beat(&client.id, client.epoch)
        };
        let answer = self.heartbeat(&beat);
        let client = &mut self.clients[at];
        if is_lost {
            client.says_all = true;
            return;
        }
        client.heard_ms = self.now_ms;
        let Some((epoch, assignment)) = answer else { return client.drop_all() };
        client.epoch = epoch;
        client.says_all = false;
        client.has_news = assignment.is_some();
        if let Some(owned) = assignment {
            client.owned = owned;
        }
    }

    fn classic_turn(&mut self, at: usize, is_lost: bool) {
        let ticket = self.next();
        let version = self.topics.version();
        let client = &mut self.clients[at];
        if client.waiting.is_some() {
            if is_lost {
                client.waiting = None;
                client.must_join = true;
            }
            return;
        }
        if client.leads_with.is_some_and(|seen| seen != version) {
            client.must_join = true;
        }
        if client.must_join {
            if !self.is_cooperative {
                client.owned.clear();
            }
            (client.must_sync, client.says_all) = (false, false);
            client.waiting = Some(ticket).filter(|_| !is_lost);
            let owned = ConsumerGroup::named(&client.owned, &self.topics);
            let said = subscription(client.names(), &owned);
            let request = JoinRequest {
                instance_id: client.instance.clone(),
                new_member_id: format!("c{ticket}"),
                requires_known_id: true,
                can_skip_assignment: true,
                protocols: vec![("a".into(), said.clone()), ("b".into(), said)],
                ..wish(&client.id, &Partitions::new(), &self.topics)
            };
            return self.join(request, ticket);
        }
        if client.must_sync {
            client.must_sync = false;
            client.must_join = is_lost;
            client.waiting = Some(ticket).filter(|_| !is_lost);
            let shares = share_out(&client.led, self.is_cooperative, &self.topics);
            let shares: Vec<_> = shares.iter().map(|(id, share)| (id.as_str(), share)).collect();
            let request = SyncRequest {
                instance_id: client.instance.clone(),
                protocol: None,
                ..sync(&client.id, client.epoch, &shares, &self.topics)
            };
            return self.sync(request, ticket);
        }
        self.classic_beat(at, is_lost);
    }

    fn classic_beat(&mut self, at: usize, is_lost: bool) {
        let Client { id, instance, epoch, .. } = self.clients[at].clone();
        let beaten = match &mut self.group {
            Group::Classic(group) => group.heartbeat(self.now_ms, &id, instance.as_deref(), epoch),
            Group::Consumer(group) => {
                let (beaten, records) =
                    group.beat_classic(self.now_ms, &id, instance.as_deref(), epoch, &self.topics);
                self.write(&records);
                beaten
            }
        };
        if !is_lost {
            self.refused(at, beaten.err());
        }
    }

    /// A classic client has an answer: whether it goes on.
    fn refused(&mut self, at: usize, error: Option<ResponseError>) {
        let client = &mut self.clients[at];
        client.heard_ms = self.now_ms;
        match error {
            None => {}
            Some(ResponseError::RebalanceInProgress) => client.must_join = true,
            Some(ResponseError::IllegalGeneration) => client.drop_all(),
            Some(ResponseError::UnknownMemberId | ResponseError::FencedInstanceId) => {
                client.drop_all();
                client.id.clear();
            }
            Some(error) => panic!("unexpected: {error}"),
        }
    }

    fn read_answers(&mut self) {
        for at in 0..CLIENTS {
            let Some(ticket) = self.clients[at].waiting else { continue };
            if let Some(answer) = self.joined.remove(&ticket) {
                self.clients[at].waiting = None;
                self.take_joined(at, answer);
            } else if let Some(answer) = self.synced.remove(&ticket) {
                self.clients[at].waiting = None;
                self.take_synced(at, &answer);
            }
        }
    }

    fn take_joined(&mut self, at: usize, answer: JoinAnswer) {
        let version = self.topics.version();
        if answer.error == Some(ResponseError::MemberIdRequired) {
            self.clients[at].heard_ms = self.now_ms;
            self.clients[at].id = answer.member_id;
            return;
        }
        self.refused(at, answer.error);
        if answer.error.is_none() {
            let client = &mut self.clients[at];
            client.id = answer.member_id;
            client.epoch = answer.generation;
            (client.must_join, client.must_sync) = (false, true);
            // A leader that shares out nothing does not know which topics there were.
            let seen = if answer.skip_assignment { 0 } else { version };
            client.leads_with = (answer.leader == client.id).then_some(seen);
            client.led = answer.members;
        }
    }

    fn take_synced(&mut self, at: usize, answer: &SyncAnswer) {
        self.refused(at, answer.error);
        if answer.error.is_none() {
            let client = &mut self.clients[at];
            let owned = told(&answer.assignment, &self.topics);
            let must_let_go = self.is_cooperative && !client.owned.is_subset(&owned);
            client.must_join = client.says_all || must_let_go;
            client.owned = owned;
        }
    }

    fn leave(&mut self, at: usize) {
        let Client { is_classic, id, instance, epoch, .. } = self.clients[at].clone();
        if !is_classic {
            if epoch > 0 {
                let away = if instance.is_some() { -2 } else { -1 };
                self.heartbeat(&Heartbeat { instance_id: instance, ..beat(&id, away) });
            }
        } else if instance.is_none() && !id.is_empty() {
            let now_ms = self.now_ms;
            match &mut self.group {
                Group::Classic(group) => drop(group.leave(now_ms, &CLASSIC_RULES, &id, None)),
                Group::Consumer(group) => {
                    if let Ok(records) = group.leave_classic(&id, None, &self.topics) {
                        self.write(&records);
                        self.downgrade();
                    }
                }
            }
        }
        self.settle();
    }

    fn wait(&mut self, ms: i64) {
        self.now_ms += ms;
        let now_ms = self.now_ms;
        match &mut self.group {
            Group::Classic(group) => group.tick(now_ms, &CLASSIC_RULES),
            Group::Consumer(group) => {
                let (dropped, records) = group.tick(now_ms, &self.topics);
                self.write(&records);
                if !dropped.is_empty() {
                    self.downgrade();
                }
            }
        }
        self.settle();
        self.read_answers();
        for client in &mut self.clients {
            if client.waiting.is_some() {
                client.heard_ms = now_ms;
            } else if now_ms - client.heard_ms >= PATIENCE_MS {
                client.drop_all();
            }
        }
    }

    fn stored(&mut self) {
        let now_ms = self.now_ms;
        for generation in std::mem::take(&mut self.storing) {
            if let Group::Classic(group) = &mut self.group {
                group.stored(now_ms, &CLASSIC_RULES, generation, None);
            }
            self.settle();
        }
        self.read_answers();
    }

    fn read_back(&self) -> StoredGroups {
        Self::read(&self.log)
    }

    fn read(log: &[KeyValue]) -> StoredGroups {
        let mut stored = StoredGroups::default();
        for (key, value) in log {
            assert!(stored.take(key, value.as_deref()), "a record of nothing");
        }
        stored.settle();
        stored
    }

    fn restart(&mut self) {
        let StoredGroups { mut classic, mut consumer } = self.read_back();
        self.group = match (classic.remove(GROUP), consumer.remove(GROUP)) {
            (Some(_), Some(_)) => panic!("the group is of both kinds"),
            (Some(stored), None) => Group::Classic(stored.revive(self.now_ms)),
            (None, Some(mut group)) => {
                group.restart(self.now_ms, &rules());
                Group::Consumer(group)
            }
            (None, None) => Group::Classic(ClassicGroup::new()),
        };
        self.storing.clear();
        for client in &mut self.clients {
            client.must_join |= client.waiting.take().is_some();
        }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Turn { client, is_lost } => self.turn(client, is_lost),
            Act::Leave { client, is_classic } => {
                self.leave(client);
                self.begin_anew(client, is_classic);
            }
            Act::Die { client, is_classic } => self.begin_anew(client, is_classic),
            Act::Subscribe { client, count } => {
                let client = &mut self.clients[client];
                client.topic_count = count;
                client.says_all = true;
                client.must_join = true;
            }
            Act::Grow { topic } => {
                self.counts[topic] += 1;
                let version = self.topics.version() + 1;
                let all: Vec<_> =
                    (0..2).map(|at| (NAMES[at], 1 + at as u128, self.counts[at])).collect();
                self.topics = topics(version, &all);
            }
            Act::Wait { ms } => self.wait(ms),
            Act::Stored => self.stored(),
            Act::Restart => self.restart(),
        }
    }

    fn check(&self) {
        assert_one_owner(self.clients.iter().map(|client| (&*client.id, &client.owned)));
    }

    /// Read back it is the same group.
    fn check_records(&self) {
        self.check_read(self.read_back());
        for (clean, keeps_tombstones) in ways(self.log.len()) {
            let left = compacted(&self.log, clean, keeps_tombstones, |(key, value)| {
                (key.clone(), value.is_none())
            });
            self.check_read(Self::read(&left));
        }
    }

    fn check_read(&self, read: StoredGroups) {
        let StoredGroups { mut classic, mut consumer } = read;
        match &self.group {
            Group::Consumer(group) => {
                assert!(classic.is_empty(), "a classic group is left");
                let read = consumer.remove(GROUP).expect("it is stored");
                assert_eq!(read.records(), group.records());
            }
            Group::Classic(group) => {
                assert!(consumer.is_empty(), "a consumer group is left");
                if self.storing.is_empty() && group.state() == ClassicState::Stable {
                    let live = group_records::decode(&group_records::encode(group, 0));
                    assert_eq!(classic.remove(GROUP), live);
                }
            }
        }
    }

    /// All read both topics, and do what they must for long enough.
    fn come_to_rest(&mut self) {
        for at in 0..CLIENTS {
            self.act(&Act::Subscribe { client: at, count: 2 });
        }
        for _ in 0..200 {
            self.wait(2_500);
            for at in 0..CLIENTS {
                self.turn(at, false);
                self.stored();
                self.check();
            }
        }
        self.check_records();
        let is_mixed = self.clients.iter().any(|client| !client.is_classic);
        assert_eq!(matches!(self.group, Group::Consumer(_)), is_mixed, "the kind of the group");
        let sizes: Vec<usize> = self.clients.iter().map(|client| client.owned.len()).collect();
        let count: i32 = self.counts.iter().sum();
        assert_eq!(sizes.iter().sum::<usize>(), count as usize, "without an owner: {sizes:?}");
        let most = sizes.iter().max().expect("clients");
        assert!(most - sizes.iter().min().expect("clients") <= 2, "uneven: {sizes:?}");
    }
}

/// As a leader does: all partitions of a topic in turn to those who read it. If they are cooperative
/// nobody is given what another one has not let go of.
fn share_out(
    members: &[JoinedMember],
    is_cooperative: bool,
    topics: &Topics,
) -> Vec<(String, Partitions)> {
    let said = |member: &JoinedMember| Subscription::parse(&member.metadata).expect("it is ours");
    let said: Vec<Subscription> = members.iter().map(said).collect();
    let owned: Vec<Partitions> = said.iter().map(|it| topics.partitions_of(&it.owned)).collect();
    let mut shares = vec![Partitions::new(); members.len()];
    let mut turn = 0;
    for name in topics.names() {
        let takers: Vec<usize> =
            (0..members.len()).filter(|at| said[*at].topics.contains(name)).collect();
        let Some(shape) = topics.named(name).filter(|_| !takers.is_empty()) else { continue };
        for index in 0..shape.partition_count {
            let partition = TopicPartition::new(shape.id, index);
            let taker = takers[turn % takers.len()];
            turn += 1;
            let is_held =
                |(at, owned): (usize, &Partitions)| at != taker && owned.contains(&partition);
            if !(is_cooperative && owned.iter().enumerate().any(is_held)) {
                shares[taker].insert(partition);
            }
        }
    }
    members.iter().map(|member| member.member_id.clone()).zip(shares).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn never_two_owners_and_in_the_end_one(
        acts in acts(),
        is_cooperative in any::<bool>(),
        ends in prop::collection::vec(prop::option::of(any::<bool>()), CLIENTS),
    ) {
        let mut world = World::new(is_cooperative);
        for (at, act) in acts.iter().enumerate() {
            world.act(act);
            world.check();
            if at % 16 == 0 {
                world.check_records();
            }
        }
        world.check_records();
        world.come_to_rest();
        // Some change their protocol, one after the other, while the others work.
        for (client, end) in ends.into_iter().enumerate() {
            if let Some(is_classic) = end {
                world.act(&Act::Leave { client, is_classic });
            }
            for at in 0..CLIENTS {
                world.turn(at, false);
                world.stored();
                world.check();
            }
        }
        world.come_to_rest();
    }
}
