//! F1 to F10: what became of each record, for whoever sent it and whoever read it.

use std::collections::{HashMap, HashSet};

use crate::history::event::{Isolation, Mode, Name, Op, Phase, Value};
use crate::history::known::{Fate, Known, Outcome, Sent};
use crate::history::verdict::Verdict;

/// F1 lost-acked, F6 ack-offset: an acknowledged record is where it was said to be.
pub fn acknowledged(known: &Known<'_>, verdict: &mut Verdict) {
    let mut places: HashMap<Value, i64> = HashMap::new();
    for ((_, isolation), last) in &known.last {
        if *isolation == Isolation::Uncommitted {
            let values = last.records.iter();
            places.extend(values.filter_map(|(offset, value)| Some(((*value)?, *offset))));
        }
    }
    for sent in &known.sent {
        let Outcome::Ok { offset, .. } = sent.outcome else { continue };
        let tp = known.events.name(sent.tp);
        let Some(last) = known.last.get(&(sent.tp, Isolation::Uncommitted)) else {
            verdict.raise("F0", || format!("{tp} has acknowledged records and no last read"));
            continue;
        };
        let is_there = last.at(offset) == Some(Some(sent.value));
        if is_there || offset < last.start || !sent.is_acked_by_all {
            continue;
        }
        match places.get(&sent.value) {
            Some(place) => verdict.raise("F6", || {
                format!("{:x} was acknowledged at {tp} {offset} and is at {place}", sent.value)
            }),
            None => verdict.raise("F1", || {
                format!("{:x}, acknowledged at {tp} {offset}, is lost", sent.value)
            }),
        }
    }
}

/// F2 phantom, F3 aborted-read: what is read was sent, is whole, and was not taken back.
pub fn origins(known: &Known<'_>, verdict: &mut Verdict) {
    for event in known.reads() {
        let tp = known.events.name(event.tp);
        for (offset, value) in &event.values {
            let Some(value) = value else {
                verdict.raise("F2", || format!("{tp} {offset}: the payload is damaged"));
                continue;
            };
            let Some(sent) = known.send_of(*value) else {
                verdict.raise("F2", || format!("{tp} {offset}: nobody sent {value:x}"));
                continue;
            };
            if sent.invoked > event.t || sent.tp != event.tp {
                verdict.raise("F2", || {
                    format!("{tp} {offset}: {value:x} was sent later or to another partition")
                });
            }
            let is_taken_back = sent.txn != 0
                && event.isolation == Isolation::Committed
                && known.fate(sent.txn) == Fate::Aborted;
            if is_taken_back || sent.txn == 0 && sent.outcome == Outcome::Failed {
                verdict.raise("F3", || format!("{tp} {offset}: {value:x} failed or was aborted"));
            }
        }
    }
}

/// F4 duplicate, F5 inconsistent-offset: one place for a value, one value for a place.
pub fn places(known: &Known<'_>, verdict: &mut Verdict) {
    let mut value_at: HashMap<(Name, i64), Value> = HashMap::new();
    let mut place_of: HashMap<Value, (Name, i64)> = HashMap::new();
    for event in known.reads() {
        for (offset, value) in &event.values {
            let Some(value) = *value else { continue };
            let place = (event.tp, *offset);
            let tp = known.events.name(event.tp);
            let other = *value_at.entry(place).or_insert(value);
            if other != value {
                verdict.raise("F5", || format!("{tp} {offset} held {other:x}, then {value:x}"));
            }
            let elsewhere = *place_of.entry(value).or_insert(place);
            if elsewhere != place && !may_double(known.send_of(value)) {
                let first = (known.events.name(elsewhere.0), elsewhere.1);
                verdict.raise("F4", || format!("{value:x} is at {tp} {offset} and at {first:?}"));
            }
        }
    }
    let mut acked: HashMap<(Name, i64), Value> = HashMap::new();
    for sent in &known.sent {
        let Outcome::Ok { offset, .. } = sent.outcome else { continue };
        let other = *acked.entry((sent.tp, offset)).or_insert(sent.value);
        if other != sent.value {
            verdict.raise("F5", || {
                let tp = known.events.name(sent.tp);
                format!("{tp} {offset} was given to {other:x} and to {:x}", sent.value)
            });
        }
    }
}

fn may_double(sent: Option<&Sent>) -> bool {
    sent.is_none_or(|sent| match sent.mode {
        Mode::Retrying => true,
        Mode::Once => sent.outcome == Outcome::Unknown,
        Mode::Idempotent => false,
    })
}

/// F7 send-order, F8 realtime: offsets rise with the order of sending, and with time.
pub fn order(known: &Known<'_>, verdict: &mut Verdict) {
    let mut last_of: HashMap<(Name, Name), i64> = HashMap::new();
    for sent in &known.sent {
        let Outcome::Ok { offset, .. } = sent.outcome else { continue };
        if sent.mode == Mode::Retrying {
            continue;
        }
        let last = last_of.entry((sent.producer, sent.tp)).or_insert(-1);
        if offset <= *last {
            verdict.raise("F7", || {
                let (who, tp) = (known.events.name(sent.producer), known.events.name(sent.tp));
                format!(
                    "{who} sent {:x} later, and {tp} has it at {offset}, not after {last}",
                    sent.value
                )
            });
        }
        *last = offset.max(*last);
    }
    let mut highest: HashMap<Name, i64> = HashMap::new();
    let mut floor: HashMap<Value, i64> = HashMap::new();
    for event in known.events.list.iter().filter(|event| event.op == Op::Send) {
        let Some(value) = event.value else { continue };
        let tp = known.send_of(value).map_or(event.tp, |sent| sent.tp);
        match (event.phase, event.offset) {
            (Phase::Invoke, _) => {
                floor.insert(value, highest.get(&tp).copied().unwrap_or(-1));
            }
            (Phase::Ok, Some(offset)) => {
                let floor = floor.remove(&value).unwrap_or(-1);
                if offset <= floor {
                    verdict.raise("F8", || {
                        let tp = known.events.name(tp);
                        format!("{value:x} came to {tp} {offset} after {floor} was acknowledged")
                    });
                }
                let highest = highest.entry(tp).or_insert(-1);
                *highest = offset.max(*highest);
            }
            _ => {}
        }
    }
}

/// F9 read-then-lost: what somebody saw is in the last read, at both isolation levels.
pub fn seen(known: &Known<'_>, verdict: &mut Verdict) {
    let mut looked: HashSet<(Name, i64, bool)> = HashSet::new();
    for event in known.reads().filter(|event| event.op == Op::Poll) {
        let levels: &[Isolation] = match event.isolation {
            Isolation::Uncommitted => &[Isolation::Uncommitted],
            Isolation::Committed => &[Isolation::Uncommitted, Isolation::Committed],
        };
        for level in levels {
            let Some(last) = known.last.get(&(event.tp, *level)) else { continue };
            for (offset, _) in &event.values {
                let is_new = looked.insert((event.tp, *offset, *level == Isolation::Committed));
                if is_new && *offset >= last.start && last.at(*offset).is_none() {
                    verdict.raise("F9", || {
                        let (who, tp) =
                            (known.events.name(event.process), known.events.name(event.tp));
                        format!("{who} saw {tp} {offset}, which the last read ({level:?}) lacks")
                    });
                }
            }
        }
    }
}

/// F10 poll order: within one assignment offsets rise, and no visible record is left out.
pub fn polls(known: &Known<'_>, verdict: &mut Verdict) {
    let mut next: HashMap<(Name, Name, Name), i64> = HashMap::new();
    for event in &known.events.list {
        let reader = (event.process, event.assignment, event.tp);
        if event.op == Op::Assign
            && let Some(offset) = event.offset
        {
            next.insert(reader, offset);
        }
        if event.op != Op::Poll {
            continue;
        }
        let last = known.last.get(&(event.tp, event.isolation));
        for (offset, _) in &event.values {
            let expected = next.get(&reader).copied().unwrap_or(*offset);
            let who = || (known.events.name(event.process), known.events.name(event.tp));
            if *offset < expected {
                verdict.raise("F10", || format!("{:?}: {offset} came after {expected}", who()));
            } else if let Some(skipped) = last.and_then(|last| last.first_in(expected, *offset)) {
                verdict.raise("F10", || format!("{:?}: {offset} came and not {skipped}", who()));
            }
            next.insert(reader, offset + 1);
        }
    }
}
