//! PURE. Fetch sessions (KIP-227): what a client reads again and again is kept here, so that it asks
//! only for what is new and is told only what has changed.
//!
//! full request (id 0, epoch 0) -> session, next epoch 1 -> 2 -> … -> `i32::MAX` -> 1 -> …
//!
//! - A client may always be told "no session" (id 0), and a session may always be forgotten: the
//!   client then begins again with a full request. So both bounds, of sessions and of partitions in
//!   all of them, are kept by refusing or forgetting.
//! - A partition that gave records goes behind all others, so that a busy one starves nobody.
//! - A session's topics are named the way of its first request: by names, or by ids.

use std::collections::{BTreeMap, HashMap};

use kafka_protocol::error::ResponseError;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;
use weir_protocol::fetch::{
    FetchAnswer, FetchPartition, FetchPartitionAnswer, FetchRequest, FetchTopic,
};

/// A session that was not used for so long makes way for a new one, as does a smaller one that has
/// lived for so long. Kafka's constant.
const EVICTABLE_AFTER_MS: i64 = 120_000;
/// Most partitions in all sessions, about 200 bytes each. More are answered, but not kept.
const PARTITIONS_MAX: usize = 500_000;

/// What an answer belongs to.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Context {
    /// No session, and none is wanted.
    Sessionless,
    /// All was asked; a session may begin.
    Full,
    /// The session goes on, and this is the epoch of its next request.
    Incremental {
        /// The session.
        id: i32,
        /// What its next request must say.
        next_epoch: i32,
    },
}

/// A partition in a session: its topic's name and id (one of the two is empty), and its number.
type Key = (StrBytes, Uuid, i32);

#[derive(Debug)]
struct Entry {
    turn: u64,
    asked: FetchPartition,
    /// High watermark, last stable offset and log start, as the client was last told; -1: it was not.
    told: [i64; 3],
}

#[derive(Debug)]
struct Session {
    next_epoch: i32,
    is_by_id: bool,
    created_ms: i64,
    used_ms: i64,
    entries: HashMap<Key, Entry>,
    /// The order of reading.
    turns: BTreeMap<u64, Key>,
    next_turn: u64,
}

/// All sessions of a broker.
#[derive(Debug)]
pub struct FetchSessions {
    sessions: HashMap<i32, Session>,
    slots_max: usize,
    partitions_max: usize,
    partition_count: usize,
    eviction_count: u64,
}

impl FetchSessions {
    /// None yet, and never more than `slots_max`.
    #[must_use]
    pub fn new(slots_max: usize) -> FetchSessions {
        FetchSessions {
            sessions: HashMap::new(),
            slots_max,
            partitions_max: PARTITIONS_MAX,
            partition_count: 0,
            eviction_count: 0,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Partitions in all of them.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// How many had to make way for others.
    #[must_use]
    pub fn eviction_count(&self) -> u64 {
        self.eviction_count
    }

    /// Begins a request. In a session, what is to be read replaces what the request names.
    ///
    /// # Errors
    /// When the session is unknown, is at another epoch, or names its topics the other way. The
    /// answer is that error and nothing else.
    pub fn open(
        &mut self,
        request: &mut FetchRequest,
        is_by_id: bool,
        now_ms: i64,
    ) -> Result<Context, ResponseError> {
        let id = request.session_id;
        if matches!(request.session_epoch, 0 | -1) {
            self.remove(id);
            let is_full = request.session_epoch == 0;
            return Ok(if is_full { Context::Full } else { Context::Sessionless });
        }
        let session = self.sessions.get_mut(&id).ok_or(ResponseError::FetchSessionIdNotFound)?;
        if session.next_epoch != request.session_epoch {
            return Err(ResponseError::InvalidFetchSessionEpoch);
        }
        if session.is_by_id != is_by_id {
            return Err(ResponseError::FetchSessionTopicIdError);
        }
        let count_before = session.entries.len();
        session.update(request);
        session.used_ms = now_ms;
        session.next_epoch = epoch_after(session.next_epoch);
        let next_epoch = session.next_epoch;
        request.topics = session.topics();
        let count = session.entries.len();
        self.partition_count = self.partition_count - count_before + count;
        if count == 0 {
            self.remove(id);
            return Ok(Context::Sessionless);
        }
        if self.partition_count > self.partitions_max {
            self.remove(id);
            return Err(ResponseError::FetchSessionIdNotFound);
        }
        Ok(Context::Incremental { id, next_epoch })
    }

    /// Ends a request: begins the session that it asked for, under an id that `draw` gives (drawn
    /// anew while it is taken), or leaves in the answer only what the client does not know.
    pub fn close(
        &mut self,
        context: Context,
        request: &FetchRequest,
        answer: &mut FetchAnswer,
        (is_by_id, now_ms): (bool, i64),
        mut draw: impl FnMut() -> i32,
    ) {
        match context {
            Context::Sessionless => {}
            Context::Full => {
                let mut session = Session::new(is_by_id, now_ms);
                session.update(request);
                if !self.makes_room(session.entries.len(), now_ms) {
                    return;
                }
                session.tell(answer);
                let mut id = draw();
                while id <= 0 || self.sessions.contains_key(&id) {
                    id = draw();
                }
                self.partition_count += session.entries.len();
                self.sessions.insert(id, session);
                answer.session_id = id;
            }
            Context::Incremental { id, next_epoch } => {
                let session = self.sessions.get_mut(&id);
                let error = match session {
                    Some(session) if session.next_epoch == next_epoch => {
                        session.tell(answer);
                        answer.session_id = id;
                        return;
                    }
                    Some(_) => ResponseError::InvalidFetchSessionEpoch,
                    None => ResponseError::FetchSessionIdNotFound,
                };
                *answer = FetchAnswer { error_code: error.code(), ..FetchAnswer::default() };
            }
        }
    }

    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.partition_count -= session.entries.len();
        }
    }

    /// Whether one more session of that size may be kept; another one may go for it.
    fn makes_room(&mut self, size: usize, now_ms: i64) -> bool {
        if size > self.partitions_max || self.slots_max == 0 {
            return false;
        }
        let is_full = self.sessions.len() >= self.slots_max
            || self.partition_count > self.partitions_max - size;
        if !is_full {
            return true;
        }
        let idle = self.sessions.iter().min_by_key(|(_, session)| session.used_ms);
        let idle = idle.filter(|(_, one)| now_ms.saturating_sub(one.used_ms) > EVICTABLE_AFTER_MS);
        let old = self.sessions.iter().filter(|(_, one)| {
            now_ms.saturating_sub(one.created_ms) > EVICTABLE_AFTER_MS && one.entries.len() < size
        });
        let smallest = || old.min_by_key(|(_, session)| session.entries.len());
        let Some((&evicted, _)) = idle.or_else(smallest) else { return false };
        self.remove(evicted);
        self.eviction_count += 1;
        self.partition_count <= self.partitions_max - size
    }
}

impl Session {
    fn new(is_by_id: bool, now_ms: i64) -> Session {
        Session {
            next_epoch: 1,
            is_by_id,
            created_ms: now_ms,
            used_ms: now_ms,
            entries: HashMap::new(),
            turns: BTreeMap::new(),
            next_turn: 0,
        }
    }

    /// Takes what a request adds, changes and forgets.
    fn update(&mut self, request: &FetchRequest) {
        for topic in &request.topics {
            // A copy: the request's own name would keep all of the request in memory.
            let name = StrBytes::from_string(topic.name.to_string());
            for asked in &topic.partitions {
                let key = (name.clone(), topic.topic_id, asked.index);
                if let Some(entry) = self.entries.get_mut(&key) {
                    entry.asked = *asked;
                    continue;
                }
                let turn = self.next_turn;
                self.next_turn += 1;
                self.turns.insert(turn, key.clone());
                self.entries.insert(key, Entry { turn, asked: *asked, told: [-1; 3] });
            }
        }
        for topic in &request.forgotten_topics {
            for index in &topic.partitions {
                let key = (topic.name.clone(), topic.topic_id, *index);
                if let Some(entry) = self.entries.remove(&key) {
                    self.turns.remove(&entry.turn);
                }
            }
        }
    }

    /// All partitions in the order of reading. A topic comes again where another one lies between.
    fn topics(&self) -> Vec<FetchTopic> {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for key in self.turns.values() {
            let (name, topic_id, _) = key;
            let asked = self.entries[key].asked;
            match topics.last_mut() {
                Some(last) if last.name == *name && last.topic_id == *topic_id => {
                    last.partitions.push(asked);
                }
                _ => topics.push(FetchTopic {
                    name: name.clone(),
                    topic_id: *topic_id,
                    partitions: vec![asked],
                }),
            }
        }
        topics
    }

    /// Keeps of the answer what the client does not know yet, and remembers that it knows it. Of a
    /// first answer that is everything, for the client was told nothing.
    fn tell(&mut self, answer: &mut FetchAnswer) {
        for topic in &mut answer.topics {
            let (name, topic_id) = (topic.name.clone(), topic.topic_id);
            topic.partitions.retain(|one| {
                let key = (name.clone(), topic_id, one.index);
                let Some(entry) = self.entries.get_mut(&key) else { return true };
                let is_news = entry.tell(one);
                if !one.records.is_empty() {
                    self.turns.remove(&entry.turn);
                    entry.turn = self.next_turn;
                    self.next_turn += 1;
                    // The session's own name, not one that might hold a request's bytes.
                    if let Some((key, _)) = self.entries.get_key_value(&key) {
                        self.turns.insert(self.entries[key].turn, key.clone());
                    }
                }
                is_news
            });
        }
        answer.topics.retain(|topic| !topic.partitions.is_empty());
    }
}

impl Entry {
    /// Whether `answer` says anything new; from now on the client knows it.
    fn tell(&mut self, answer: &FetchPartitionAnswer) -> bool {
        let ends = [answer.high_watermark, answer.last_stable_offset, answer.log_start_offset];
        let is_error = answer.error_code != 0;
        let is_news = is_error
            || self.told != ends
            || !answer.records.is_empty()
            || answer.diverging_epoch.is_some()
            || answer.preferred_read_replica >= 0;
        // After an error the end is told again, even where it has not moved.
        self.told = if is_error { [-1; 3] } else { ends };
        is_news
    }
}

/// The epoch after `epoch`: after the last comes 1, for 0 begins a session.
fn epoch_after(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

#[cfg(test)]
mod tests;
