//! F11, F14, F15 and W1: groups, watermarks, owners, and how long nothing went on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use crate::history::event::{Event, Isolation, Name, Op, Phase, Value};
use crate::history::known::{Fate, Known, Outcome};
use crate::history::verdict::Verdict;

/// F11 unseen: when all is whole again, a group sees every record that was acknowledged.
pub fn unseen(known: &Known<'_>, verdict: &mut Verdict) {
    let events = &known.events.list;
    for drained in events.iter().filter(|event| event.op == Op::Drained) {
        let of_group = |event: &&Event| {
            event.op == Op::Poll && event.group == drained.group && event.tp == drained.tp
        };
        let polls: Vec<&Event> = events.iter().filter(of_group).collect();
        let reads_all = polls.iter().all(|poll| poll.isolation == Isolation::Uncommitted);
        let polled: HashSet<Value> = polls
            .iter()
            .flat_map(|poll| poll.values.iter().filter_map(|record| record.1))
            .collect();
        for sent in known.sent.iter().filter(|sent| sent.tp == drained.tp) {
            let Outcome::Ok { offset, .. } = sent.outcome else { continue };
            let is_visible = sent.txn == 0 || reads_all || known.fate(sent.txn) == Fate::Committed;
            if is_visible && !polled.contains(&sent.value) {
                verdict.raise("F11", || {
                    let (group, tp) =
                        (known.events.name(drained.group), known.events.name(drained.tp));
                    format!("group {group} never saw {:x} at {tp} {offset}", sent.value)
                });
            }
        }
    }
}

/// Bounds that events before `t` set, and events that began after it must keep.
#[derive(Default)]
struct Marks {
    start: i64,
    lso: i64,
    high_watermark: i64,
    acknowledged: i64,
}

/// F14 watermark: what a partition says of its ends never goes back.
pub fn watermarks(known: &Known<'_>, verdict: &mut Verdict) {
    let lists = known.events.list.iter();
    let lists: Vec<&Event> =
        lists.filter(|event| event.op == Op::ListOffsets && event.phase == Phase::Ok).collect();
    // What is said at `t` binds whoever asks later: a sweep over both times at once.
    let mut moments: Vec<(u64, bool, Moment<'_>)> = Vec::new();
    for list in lists {
        moments.push((list.began, false, Moment::Asked(list)));
        moments.push((list.t, true, Moment::Told(list)));
    }
    for sent in &known.sent {
        if let Outcome::Ok { t, offset } = sent.outcome {
            moments.push((t, true, Moment::Acknowledged(sent.tp, offset)));
        }
    }
    moments.sort_by_key(|moment| (moment.0, moment.1));
    let mut marks: HashMap<Name, Marks> = HashMap::new();
    for (_, _, moment) in moments {
        match moment {
            Moment::Acknowledged(tp, offset) => {
                let marks = marks.entry(tp).or_default();
                marks.acknowledged = marks.acknowledged.max(offset + 1);
            }
            Moment::Told(list) => {
                let marks = marks.entry(list.tp).or_default();
                marks.start = marks.start.max(list.start.unwrap_or_default());
                marks.lso = marks.lso.max(list.lso.unwrap_or_default());
                marks.high_watermark =
                    marks.high_watermark.max(list.high_watermark.unwrap_or_default());
            }
            Moment::Asked(list) => {
                let marks = marks.entry(list.tp).or_default();
                let bounds = [
                    (list.start, marks.start, "log start went back"),
                    (list.lso, marks.lso, "last stable offset went back"),
                    (list.high_watermark, marks.high_watermark, "high watermark went back"),
                    (list.high_watermark, marks.lso, "high watermark below the last stable offset"),
                    (
                        list.high_watermark,
                        marks.acknowledged,
                        "high watermark below what was acknowledged",
                    ),
                ];
                for (told, bound, fault) in bounds {
                    if told.is_some_and(|told| told < bound) {
                        let tp = known.events.name(list.tp);
                        verdict.raise("F14", || format!("{tp}: {fault}: {told:?} after {bound}"));
                    }
                }
                if list.lso.zip(list.high_watermark).is_some_and(|(lso, high)| lso > high) {
                    let tp = known.events.name(list.tp);
                    verdict.raise("F14", || format!("{tp}: stable beyond the high watermark"));
                }
            }
        }
    }
}

enum Moment<'a> {
    Asked(&'a Event),
    Told(&'a Event),
    Acknowledged(Name, i64),
}

/// F15 fencing: an old owner of a transactional id, a partition or an offset does nothing more.
pub fn fencing(known: &Known<'_>, verdict: &mut Verdict) {
    let mut epochs: HashMap<Name, i64> = HashMap::new();
    let mut began: HashMap<(Name, Name), i64> = HashMap::new();
    let mut owners: HashMap<(Name, i64, Name), (Name, Name)> = HashMap::new();
    let mut committed: HashMap<(Name, Name), i64> = HashMap::new();
    let mut floors: HashMap<(Name, Name, Name), i64> = HashMap::new();
    for event in &known.events.list {
        let place = (event.group, event.tp);
        match (event.op, event.phase, event.epoch) {
            (Op::TxnEnd, Phase::Invoke, _) => {
                began.insert(
                    (event.process, event.txn),
                    epochs.get(&event.tid).copied().unwrap_or_default(),
                );
            }
            (Op::Init | Op::TxnEnd, Phase::Ok, Some(epoch)) => {
                let known_then = began.remove(&(event.process, event.txn)).unwrap_or_default();
                if event.op == Op::TxnEnd && epoch < known_then {
                    verdict.raise("F15", || {
                        let tid = known.events.name(event.tid);
                        format!("{tid}: epoch {epoch} went on after epoch {known_then}")
                    });
                }
                let highest = epochs.entry(event.tid).or_insert(epoch);
                *highest = epoch.max(*highest);
            }
            (Op::Assign, Phase::Ok, _) => {
                let Some(generation) = event.generation else { continue };
                let owner = (event.process, event.assignment);
                let held = owners.insert((event.group, generation, event.tp), owner);
                if held.is_some_and(|held| held.0 != event.process) {
                    verdict.raise("F15", || {
                        let tp = known.events.name(event.tp);
                        format!("two members own {tp} in generation {generation}")
                    });
                }
            }
            (Op::Revoke, _, _) => {
                owners.retain(|key, owner| {
                    key.2 != event.tp || *owner != (event.process, event.assignment)
                });
            }
            (Op::Commit, Phase::Invoke, _) => {
                let floor = if event.is_reset {
                    0
                } else {
                    committed.get(&place).copied().unwrap_or_default()
                };
                floors.insert((event.process, event.group, event.tp), floor);
            }
            (Op::Commit | Op::Committed, Phase::Ok, _) => {
                let Some(offset) = event.offset else { continue };
                let floor = floors.remove(&(event.process, event.group, event.tp));
                if offset < floor.unwrap_or_default() {
                    verdict.raise("F15", || {
                        let (group, tp) =
                            (known.events.name(event.group), known.events.name(event.tp));
                        format!("{group} had committed {floor:?} of {tp}, then {offset}")
                    });
                }
                let highest = committed.entry(place).or_insert(offset);
                *highest = if event.is_reset { offset } else { offset.max(*highest) };
            }
            (Op::Committed, Phase::Invoke, _) => {
                let floor = committed.get(&place).copied().unwrap_or_default();
                floors.insert((event.process, event.group, event.tp), floor);
            }
            _ => {}
        }
    }
}

/// W1: what went on, and the longest time without an acknowledgement; faults none of it.
pub fn report(known: &Known<'_>) -> String {
    let mut last_ok: BTreeMap<Name, (u64, u64)> = BTreeMap::new();
    let (mut ok, mut failed, mut unknown, mut read) = (0u64, 0u64, 0u64, 0usize);
    let (mut faults, mut longest_recovery, mut down_since) = (0u64, 0u64, None);
    for event in &known.events.list {
        match (event.op, event.phase) {
            (Op::Send, Phase::Ok) => {
                let (last, longest) = last_ok.entry(event.tp).or_insert((event.t, 0));
                *longest = (event.t - *last).max(*longest);
                *last = event.t;
                if let Some(since) = down_since.take() {
                    longest_recovery = longest_recovery.max(event.t - since);
                }
            }
            (Op::Poll, _) => read += event.values.len(),
            (Op::Kill | Op::Pause | Op::Restart, _) => {
                faults += 1;
                down_since = Some(event.t);
            }
            _ => {}
        }
    }
    for sent in &known.sent {
        match sent.outcome {
            Outcome::Ok { .. } => ok += 1,
            Outcome::Failed => failed += 1,
            Outcome::Unknown => unknown += 1,
        }
    }
    let ms = |ns: u64| ns / 1_000_000;
    let silence = last_ok.values().map(|(_, longest)| *longest).max().unwrap_or_default();
    let mut told = String::new();
    let _ = write!(
        told,
        "{faults} faults; {ok} records acknowledged, {failed} failed, {unknown} unknown; {read} polled; \
         {} transactions; longest time without an acknowledgement {} ms, from a fault to the next one {} ms",
        known.transactions.len(),
        ms(silence),
        ms(longest_recovery),
    );
    told
}
