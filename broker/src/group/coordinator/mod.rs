//! The coordinator of all groups: gives events to the pure machines and does what follows.
//!
//! One lock holds all groups: what happens under it is a few look-ups and at most one append. Who
//! waits (JoinGroup, SyncGroup) waits outside, on an answer by ticket. A group is stored by an
//! append under the lock, so that the log has the order of the events, and counts as stored when
//! it is durable. One task sleeps until the earliest deadline of any group.

mod consumer;
mod members;
mod migrating;
mod storing;

pub use consumer::ConsumerView;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::Config;
use crate::group::classic::{ClassicGroup, Effect, JoinAnswer, Rules, State, SyncAnswer, Ticket};
use crate::group::coordinator::consumer::Consumers;
use crate::group::group_records::StoredGroup;
use crate::group::migration::Policy;

/// Who commits offsets, as the request says.
#[derive(Copy, Clone, Debug)]
pub struct Committer<'a> {
    /// Its member id; empty: nobody in particular.
    pub member_id: &'a str,
    /// Its name as a static member.
    pub instance_id: Option<&'a str>,
    /// Its generation, or the epoch of a member; -1: none.
    pub generation: i32,
    /// Whether the commit is part of a transaction.
    pub is_transactional: bool,
}

/// A group as others may see it.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// The group.
    pub group: ClassicGroup,
    /// Since when it is in this state, by the clock on the wall; -1: not known.
    pub state_since_ms: i64,
}

/// All groups.
#[derive(Debug)]
pub struct Groups {
    inner: Mutex<Inner>,
    /// Rung when a deadline comes that is earlier than all others.
    earlier: Notify,
    began: Instant,
    rules: Rules,
    policy: Policy,
    groups_max: usize,
    catalog: Arc<Catalog>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Inner {
    groups: HashMap<String, Entry>,
    last_ticket: Ticket,
    joins: HashMap<Ticket, oneshot::Sender<JoinAnswer>>,
    syncs: HashMap<Ticket, oneshot::Sender<SyncAnswer>>,
    /// When which group wants to be looked at; each group at most once.
    due: BTreeSet<(i64, String)>,
    rebalances: u64,
    consumers: Consumers,
}

#[derive(Debug)]
struct Entry {
    group: ClassicGroup,
    state_since_ms: i64,
    /// Its place in [`Inner::due`]: not later than its deadline.
    due_ms: Option<i64>,
    /// Whether the log has a record of it.
    is_stored: bool,
}

impl Groups {
    /// The groups as they were stored.
    pub fn new(
        config: &Config,
        catalog: Arc<Catalog>,
        clock: Arc<dyn Clock>,
        stored: BTreeMap<String, StoredGroup>,
    ) -> Groups {
        let rules = Rules {
            initial_delay_ms: i64::from(config.group_initial_rebalance_delay_ms),
            size_max: usize::try_from(config.group_max_size).unwrap_or(1),
        };
        let mut inner = Inner {
            groups: HashMap::new(),
            last_ticket: 0,
            joins: HashMap::new(),
            syncs: HashMap::new(),
            due: BTreeSet::new(),
            rebalances: 0,
            consumers: Consumers::new(config),
        };
        for (name, stored) in stored {
            let state_since_ms = stored.state_since_ms;
            let group = stored.revive(0);
            let mut entry = Entry { group, state_since_ms, due_ms: None, is_stored: true };
            entry.due_ms = entry.group.deadline_ms();
            inner.due.extend(entry.due_ms.map(|due_ms| (due_ms, name.clone())));
            inner.groups.insert(name, entry);
        }
        Groups {
            inner: Mutex::new(inner),
            earlier: Notify::new(),
            began: Instant::now(),
            rules,
            policy: Policy::named(&config.group_consumer_migration_policy),
            groups_max: usize::try_from(config.group_max_count).unwrap_or(1),
            catalog,
            clock,
        }
    }

    /// One group as it is now.
    #[must_use]
    pub fn view(&self, group: &str) -> Option<GroupView> {
        let inner = self.lock();
        let entry = inner.groups.get(group)?;
        Some(GroupView { group: entry.group.clone(), state_since_ms: entry.state_since_ms })
    }

    /// All groups that members have joined: name, state, protocol type, number of members.
    #[must_use]
    pub fn list(&self) -> Vec<(String, State, String, usize)> {
        let inner = self.lock();
        let listed = inner.groups.iter().map(|(name, entry)| {
            let group = &entry.group;
            let protocol_type = group.protocol_type().unwrap_or_default().to_owned();
            (name.clone(), group.state(), protocol_type, group.members().len())
        });
        listed.collect()
    }

    /// Generations that were begun since the start.
    #[must_use]
    pub fn rebalance_count(&self) -> u64 {
        self.lock().rebalances
    }

    /// Looks after the deadlines; runs until it is dropped.
    pub async fn run(self: Arc<Self>) {
        loop {
            let next_ms = self.lock().due.first().map(|(due_ms, _)| *due_ms);
            let now_ms = self.now_ms();
            match next_ms {
                Some(due_ms) if due_ms <= now_ms => self.tick(now_ms),
                Some(due_ms) => {
                    let wait = Duration::from_millis(u64::try_from(due_ms - now_ms).unwrap_or(1));
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = self.earlier.notified() => {}
                    }
                }
                None => self.earlier.notified().await,
            }
        }
    }

    fn tick(self: &Arc<Self>, now_ms: i64) {
        let rules = self.rules;
        let mut inner = self.lock();
        while let Some((due_ms, name)) = inner.due.first().cloned() {
            if due_ms > now_ms {
                return;
            }
            inner.due.pop_first();
            if self.tick_consumer(&mut inner, &name, now_ms) {
                continue;
            }
            if let Some(entry) = inner.groups.get_mut(&name) {
                entry.due_ms = None;
            }
            self.event(&mut inner, &name, |group, now_ms| group.tick(now_ms, &rules));
        }
    }

    /// Lets a group go through an event and does what follows. `None`: there is no such group.
    fn event<R>(
        self: &Arc<Self>,
        inner: &mut Inner,
        name: &str,
        event: impl FnOnce(&mut ClassicGroup, i64) -> R,
    ) -> Option<R> {
        let entry = inner.groups.get_mut(name)?;
        let (state, generation) = (entry.group.state(), entry.group.generation());
        let result = event(&mut entry.group, self.now_ms());
        if entry.group.state() != state {
            entry.state_since_ms = self.clock.now_ms();
        }
        if entry.group.generation() != generation {
            inner.rebalances += 1;
            tracing::info!(
                group = name,
                generation = entry.group.generation(),
                members = entry.group.members().len(),
                "a new generation"
            );
        }
        let effects = entry.group.take_effects();
        self.schedule(inner, name);
        for effect in effects {
            if effect == Effect::Store {
                self.store(inner, name);
            } else {
                inner.answer(effect);
            }
        }
        // Somebody asked and went away again: nothing of it is worth a place.
        let is_nothing = |entry: &Entry| entry.group.is_idle() && !entry.is_stored;
        if inner.groups.get(name).is_some_and(is_nothing) {
            inner.take_out(name);
        }
        Some(result)
    }

    /// Puts a group where its deadline is found. A later deadline than the one it is found by
    /// needs nothing: it is looked at in vain once, and heartbeats cost no sorting.
    fn schedule(&self, inner: &mut Inner, name: &str) {
        let Some(entry) = inner.groups.get_mut(name) else { return };
        let Some(deadline_ms) = entry.group.deadline_ms() else { return };
        if entry.due_ms.is_some_and(|due_ms| due_ms <= deadline_ms) {
            return;
        }
        let before = entry.due_ms.replace(deadline_ms);
        if let Some(before_ms) = before {
            inner.due.remove(&(before_ms, name.to_owned()));
        }
        inner.due.insert((deadline_ms, name.to_owned()));
        if inner.due.first().is_some_and(|(_, first)| first == name) {
            self.earlier.notify_one();
        }
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Gives an answer to whoever waits for it. Whoever has gone does not read it: the session will
    /// tell.
    fn answer(&mut self, effect: Effect) {
        match effect {
            Effect::Joined(ticket, answer) => {
                if let Some(waiter) = self.joins.remove(&ticket) {
                    let _ = waiter.send(answer);
                }
            }
            Effect::Synced(ticket, answer) => {
                if let Some(waiter) = self.syncs.remove(&ticket) {
                    let _ = waiter.send(answer);
                }
            }
            Effect::Store => {}
        }
    }

    /// Takes a classic group out of memory.
    fn take_out(&mut self, name: &str) -> Option<Entry> {
        let entry = self.groups.remove(name)?;
        if let Some(due_ms) = entry.due_ms {
            self.due.remove(&(due_ms, name.to_owned()));
        }
        Some(entry)
    }

    /// A new ticket, and where its answer will come.
    fn ticket_for<A>(
        &mut self,
        waiters: impl FnOnce(&mut Inner) -> &mut HashMap<Ticket, oneshot::Sender<A>>,
    ) -> (Ticket, oneshot::Receiver<A>) {
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let (sender, receiver) = oneshot::channel();
        waiters(self).insert(ticket, sender);
        (ticket, receiver)
    }
}
