//! A model: random clients join, sync, beat, leave, die and come back, while time passes and the
//! store is slow or fails. Whatever happens, each answer comes once, a generation is one, and
//! nobody who was left behind is taken for a member.

use super::*;

/// What happens next; numbers name clients.
#[derive(Clone, Debug)]
enum Step {
    Join(usize, bool),
    Sync(usize),
    Beat(usize),
    Leave(usize),
    /// The client forgets its id, as after a crash.
    Die(usize),
    Pass(i64),
    Stored(bool),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = 0..5usize;
    let step = prop_oneof![
        5 => (client.clone(), any::<bool>()).prop_map(|(who, changed)| Step::Join(who, changed)),
        5 => client.clone().prop_map(Step::Sync),
        3 => client.clone().prop_map(Step::Beat),
        1 => client.clone().prop_map(Step::Leave),
        1 => client.prop_map(Step::Die),
        4 => prop_oneof![Just(1), Just(3000), Just(9000), Just(60_000)].prop_map(Step::Pass),
        4 => prop_oneof![4 => Just(true), 1 => Just(false)].prop_map(Step::Stored),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..120)
}

/// What a client believes.
#[derive(Clone, Debug, Default)]
struct Client {
    id: String,
    generation: i32,
    joining: Option<Ticket>,
    syncing: Option<Ticket>,
    is_leader: bool,
    is_static: bool,
    /// What it works on, and since which generation.
    work: Option<(i32, Bytes)>,
}

struct World {
    scene: Scene,
    clients: Vec<Client>,
    next_id: usize,
    /// By generation: what each member was told.
    generations: BTreeMap<i32, (String, String)>,
    /// The group as it was last stored, with what a store under way would store.
    stored: ClassicGroup,
}

impl World {
    fn new() -> World {
        let mut clients = vec![Client::default(); 5];
        clients[3].is_static = true;
        clients[4].is_static = true;
        World {
            scene: Scene::new(Rules { size_max: 1000, ..RULES }),
            clients,
            next_id: 0,
            generations: BTreeMap::new(),
            stored: ClassicGroup::new(),
        }
    }

    fn step(&mut self, step: Step) {
        let before = self.scene.group.generation();
        match step {
            Step::Join(who, changed) => self.join(who, changed),
            Step::Sync(who) => self.sync(who),
            Step::Beat(who) => self.beat(who),
            Step::Leave(who) => self.leave(who),
            Step::Die(who) => {
                let is_static = self.clients[who].is_static;
                self.clients[who] = Client { is_static, ..Client::default() };
            }
            Step::Pass(ms) => self.scene.pass(ms),
            Step::Stored(true) => {
                self.stored = self.scene.group.clone();
                self.scene.store();
            }
            Step::Stored(false) => {
                let error = Some(ResponseError::CoordinatorNotAvailable);
                let generation = self.scene.group.generation();
                self.scene.group.stored(self.scene.now_ms, &RULES, generation, error);
                self.scene.settle();
            }
            Step::Restart => self.restart(),
        }
        assert!(self.scene.group.generation() >= before || matches!(step, Step::Restart));
        self.read_answers();
    }

    fn join(&mut self, who: usize, changed: bool) {
        self.next_id += 1;
        let client = &mut self.clients[who];
        let mut request = newcomer(&format!("m{}", self.next_id));
        request.member_id.clone_from(&client.id);
        request.requires_known_id = who.is_multiple_of(2);
        request.instance_id = client.is_static.then(|| format!("i{who}"));
        if changed {
            request.protocols[0].1 = Bytes::from(format!("topics {}", self.next_id));
        }
        client.joining = Some(self.scene.join(request));
        client.syncing = None;
    }

    fn sync(&mut self, who: usize) {
        let client = &self.clients[who];
        let work: Vec<(String, Bytes)> = if client.is_leader {
            let ids = self.scene.group.members().keys();
            ids.map(|id| (id.clone(), Bytes::from(format!("{id} in {}", client.generation))))
                .collect()
        } else {
            Vec::new()
        };
        self.scene.next_ticket += 1;
        let ticket = self.scene.next_ticket;
        let request = SyncRequest {
            member_id: client.id.clone(),
            instance_id: client.is_static.then(|| format!("i{who}")),
            generation: client.generation,
            protocol_type: None,
            protocol: None,
            assignments: work,
        };
        self.scene.group.sync(self.scene.now_ms, request, ticket);
        self.scene.settle();
        self.clients[who].syncing = Some(ticket);
    }

    fn beat(&mut self, who: usize) {
        let client = &mut self.clients[who];
        let instance = client.is_static.then(|| format!("i{who}"));
        let group = &mut self.scene.group;
        let beaten =
            group.heartbeat(self.scene.now_ms, &client.id, instance.as_deref(), client.generation);
        if beaten.is_ok() {
            assert!(group.members().contains_key(&client.id), "a stranger was taken for a member");
            assert_eq!(group.generation(), client.generation);
        }
        let is_out = [ResponseError::UnknownMemberId, ResponseError::FencedInstanceId]
            .map(Err)
            .contains(&beaten);
        if is_out {
            client.id.clear();
        }
    }

    fn leave(&mut self, who: usize) {
        let id = std::mem::take(&mut self.clients[who].id);
        let left = self.scene.leave(&id, None);
        assert!(!self.scene.group.members().contains_key(&id));
        assert!(left.is_ok() || left == Err(ResponseError::UnknownMemberId), "{left:?}");
    }

    /// The broker goes down: what was stored is what there is.
    fn restart(&mut self) {
        let group = &self.stored;
        let text = |text: Option<&str>| text.map(str::to_owned);
        let is_settled = group.state() == State::Stable || group.members().is_empty();
        self.scene.group = if is_settled {
            let members = group.members().clone().into_iter().map(|(id, member)| {
                let chosen = group.protocol().unwrap_or_default();
                let protocols = vec![(chosen.to_owned(), member.metadata(chosen))];
                let clients = (member.client_id, member.client_host);
                let timeouts = (member.session_timeout_ms, member.rebalance_timeout_ms);
                let assignment = member.assignment;
                (id, Member::restored(member.instance_id, clients, timeouts, protocols, assignment))
            });
            ClassicGroup::restored(
                group.generation(),
                text(group.protocol_type()),
                text(group.protocol()),
                text(group.leader()),
                members.collect(),
                self.scene.now_ms,
            )
        } else {
            ClassicGroup::new()
        };
        self.scene.group.check_invariants();
        // Connections are lost: nobody waits any more.
        for client in &mut self.clients {
            client.joining = None;
            client.syncing = None;
        }
        // Generations that were never stored may be counted again.
        self.generations.clear();
    }

    fn read_answers(&mut self) {
        for client in &mut self.clients {
            if let Some(answer) = client.joining.and_then(|it| self.scene.joined.get(&it)) {
                client.joining = None;
                match answer.error {
                    None => {
                        client.id.clone_from(&answer.member_id);
                        client.generation = answer.generation;
                        client.is_leader = !answer.skip_assignment && !answer.members.is_empty();
                        let protocol = answer.protocol.clone().unwrap();
                        // One generation has one protocol, and one leader at a time.
                        let told = (protocol, String::new());
                        let known =
                            self.generations.entry(answer.generation).or_insert(told.clone());
                        assert_eq!(*known, told);
                    }
                    Some(ResponseError::MemberIdRequired) => {
                        client.id.clone_from(&answer.member_id)
                    }
                    Some(ResponseError::UnknownMemberId | ResponseError::FencedInstanceId) => {
                        client.id.clear();
                    }
                    Some(ResponseError::RebalanceInProgress) => {}
                    Some(error) => panic!("unexpected: {error}"),
                }
            }
            if let Some(answer) = client.syncing.and_then(|it| self.scene.synced.get(&it)) {
                client.syncing = None;
                if answer.error.is_none() {
                    client.work = Some((client.generation, answer.assignment.clone()));
                }
            }
        }
        self.check_work();
    }

    /// Whoever was given work in the current generation was given its own, and no two the same.
    fn check_work(&self) {
        let group = &self.scene.group;
        if group.state() != State::Stable {
            return;
        }
        let mut seen = BTreeSet::new();
        for client in &self.clients {
            let Some((generation, work)) = &client.work else { continue };
            let is_member = group.members().contains_key(&client.id);
            if *generation == group.generation() && is_member && !work.is_empty() {
                assert!(seen.insert(work.clone()), "two members do the same work");
            }
        }
    }

    /// In the end, when everybody behaves, all work in one generation.
    fn heal(&mut self) {
        for client in &mut self.clients {
            let is_static = client.is_static;
            *client = Client { is_static, ..Client::default() };
        }
        for round in 0..400 {
            let step = match round % 8 {
                0..5 => {
                    let who = round % 8;
                    let client = &self.clients[who];
                    let beaten = self.scene.group.heartbeat(
                        self.scene.now_ms,
                        &client.id,
                        client.is_static.then(|| format!("i{who}")).as_deref(),
                        client.generation,
                    );
                    if client.joining.is_some() || client.syncing.is_some() {
                        continue;
                    }
                    match beaten {
                        Ok(())
                            if client.work.as_ref().map(|it| it.0) != Some(client.generation) =>
                        {
                            Step::Sync(who)
                        }
                        Ok(()) => Step::Beat(who),
                        Err(_) => Step::Join(who, false),
                    }
                }
                5 => Step::Stored(true),
                _ => Step::Pass(1500),
            };
            self.step(step);
        }
        let group = &self.scene.group;
        assert_eq!(group.state(), State::Stable, "{group:?}");
        assert_eq!(group.members().len(), 5);
        assert!(self.clients.iter().all(|it| it.generation == group.generation()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn whatever_members_do_the_group_stays_one(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.heal();
    }
}
