//! What the events say together: each send with its end, each transaction, the last read.

use std::collections::{BTreeMap, HashMap};

use crate::history::event::{Event, Events, Isolation, Mode, Name, Op, Phase, Value};

/// How a call ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok { t: u64, offset: i64 },
    Failed,
    Unknown,
}

/// A record that somebody sent.
pub struct Sent {
    pub value: Value,
    pub tp: Name,
    pub producer: Name,
    pub mode: Mode,
    pub is_acked_by_all: bool,
    pub txn: Name,
    pub from: Option<Value>,
    pub invoked: u64,
    pub outcome: Outcome,
}

/// How a transaction ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Committed,
    /// Also: nobody ever asked for its commit.
    Aborted,
    Unknown,
}

/// A transaction.
pub struct Transaction {
    pub fate: Fate,
    /// When its commit was asked for.
    pub commit_invoked: Option<u64>,
}

/// The last read of a partition.
#[derive(Default)]
pub struct LastRead {
    pub start: i64,
    pub end: i64,
    /// Offset and value, ascending.
    pub records: Vec<(i64, Option<Value>)>,
}

impl LastRead {
    /// The value at an offset: `None` if there is no record.
    pub fn at(&self, offset: i64) -> Option<Option<Value>> {
        let place = self.records.binary_search_by_key(&offset, |record| record.0).ok()?;
        Some(self.records[place].1)
    }

    /// The first record of the offsets from `start` and before `end`.
    pub fn first_in(&self, start: i64, end: i64) -> Option<i64> {
        let place = self.records.partition_point(|record| record.0 < start);
        self.records.get(place).map(|record| record.0).filter(|offset| *offset < end)
    }
}

/// All that is known when the run is over.
pub struct Known<'a> {
    pub events: &'a Events,
    /// In the order in which they were invoked.
    pub sent: Vec<Sent>,
    pub by_value: HashMap<Value, usize>,
    pub transactions: HashMap<Name, Transaction>,
    pub last: BTreeMap<(Name, Isolation), LastRead>,
}

impl<'a> Known<'a> {
    /// Puts the sorted events together.
    pub fn of(events: &'a Events) -> Known<'a> {
        let mut known = Known {
            events,
            sent: Vec::new(),
            by_value: HashMap::new(),
            transactions: HashMap::new(),
            last: BTreeMap::new(),
        };
        for event in &events.list {
            match event.op {
                Op::Send => known.send(event),
                Op::TxnEnd => known.end(event),
                Op::Final => {
                    let last = known.last.entry((event.tp, event.isolation)).or_default();
                    last.start = event.start.unwrap_or_default();
                    last.end = event.end.unwrap_or_default();
                    last.records.extend_from_slice(&event.values);
                }
                _ => {}
            }
        }
        known
    }

    /// The send of a value.
    pub fn send_of(&self, value: Value) -> Option<&Sent> {
        self.by_value.get(&value).map(|index| &self.sent[*index])
    }

    /// The fate of the transaction of a send, which has one.
    pub fn fate(&self, txn: Name) -> Fate {
        self.transactions.get(&txn).map_or(Fate::Aborted, |transaction| transaction.fate)
    }

    /// Reads by clients, and after them the last one.
    pub fn reads(&self) -> impl Iterator<Item = &'a Event> {
        self.events.list.iter().filter(|event| matches!(event.op, Op::Poll | Op::Final))
    }

    fn send(&mut self, event: &Event) {
        let Some(value) = event.value else { return };
        if event.phase == Phase::Invoke {
            self.by_value.insert(value, self.sent.len());
            self.sent.push(Sent {
                value,
                tp: event.tp,
                producer: event.producer,
                mode: event.mode,
                is_acked_by_all: event.is_acked_by_all,
                txn: event.txn,
                from: event.from,
                invoked: event.t,
                outcome: Outcome::Unknown,
            });
            return;
        }
        let Some(index) = self.by_value.get(&value) else { return };
        self.sent[*index].outcome = match (event.phase, event.offset) {
            (Phase::Ok, Some(offset)) => Outcome::Ok { t: event.t, offset },
            (Phase::Fail, _) => Outcome::Failed,
            _ => Outcome::Unknown,
        };
    }

    fn end(&mut self, event: &Event) {
        let none = Transaction { fate: Fate::Aborted, commit_invoked: None };
        let transaction = self.transactions.entry(event.txn).or_insert(none);
        match (event.phase, event.commits) {
            (Phase::Invoke, true) => {
                transaction.fate = Fate::Unknown;
                transaction.commit_invoked = Some(event.t);
            }
            (Phase::Ok, true) => transaction.fate = Fate::Committed,
            // A commit that is refused, or an abort that is done, ends all doubt.
            (Phase::Fail, true) | (Phase::Ok, false) => transaction.fate = Fate::Aborted,
            _ => {}
        }
    }
}
