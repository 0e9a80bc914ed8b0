//! Good histories drawn by chance, each then changed in one record: every change must be found.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::history::bad::events;
use crate::history::check;
use crate::history::event::{Event, Events, Op, Phase};

const HISTORIES: u64 = 60;

/// What happens to one record of a read, or to one acknowledgement.
#[derive(Copy, Clone, Debug)]
enum Change {
    Drop,
    Swap,
    Double,
    Renumber,
}

/// A log with plain and transactional records, two groups that read all of it, and watermarks.
fn good(chance: &mut StdRng) -> Events {
    use std::fmt::Write as _;
    let mut story = String::new();
    let (mut all, mut committed) = (Vec::new(), Vec::new());
    let mut offset = 0;
    let mut value = 0;
    for turn in 0..chance.random_range(4..20) {
        let is_txn = chance.random_bool(0.4);
        let commits = is_txn && chance.random_bool(0.6);
        let txn = if is_txn { format!(" txn=t{turn}") } else { String::new() };
        for _ in 0..chance.random_range(1..4) {
            value += 1;
            let producer = chance.random_range(0..2);
            let send = format!("send invoke value={value:x} mode=idempotent prod=p{producer}{txn}");
            writeln!(story, "{send}").unwrap();
            if chance.random_bool(0.8) {
                writeln!(story, "send ok value={value:x} offset={offset}").unwrap();
            } else {
                writeln!(story, "send info value={value:x}").unwrap();
            }
            all.push(format!("{offset}:{value:x}"));
            if commits || !is_txn {
                committed.push(format!("{offset}:{value:x}"));
            }
            offset += 1;
        }
        if is_txn {
            writeln!(story, "txn_end invoke txn=t{turn} commit={commits}").unwrap();
            writeln!(story, "txn_end ok txn=t{turn} commit={commits}").unwrap();
            offset += 1;
        }
        writeln!(story, "list_offsets ok hw={offset} lso={offset} start=0").unwrap();
    }
    // The last one is known to be there: a group that stops before it has not seen all.
    writeln!(story, "send invoke value=fff mode=idempotent\nsend ok value=fff offset={offset}")
        .unwrap();
    all.push(format!("{offset}:fff"));
    committed.push(format!("{offset}:fff"));
    for (isolation, records) in [("ru", &all), ("rc", &committed)] {
        let reader = format!("group=g{isolation} proc=c{isolation} assign=x iso={isolation}");
        writeln!(story, "assign ok offset=0 {reader}").unwrap();
        for part in records.chunks(chance.random_range(1..8)) {
            writeln!(story, "poll ok values={} {reader}", part.join(",")).unwrap();
        }
        let end = offset + 1;
        writeln!(story, "last values={} end={end} iso={isolation}", records.join(",")).unwrap();
        writeln!(story, "drained ok group=g{isolation}").unwrap();
    }
    events(&story)
}

/// Makes one change; false if there is nothing to be changed like this.
fn apply(change: Change, list: &mut [Event], chance: &mut StdRng) -> bool {
    let is_read = |event: &Event| matches!(event.op, Op::Poll | Op::Final);
    let reads: Vec<usize> = (0..list.len()).filter(|index| is_read(&list[*index])).collect();
    let values = &mut list[reads[chance.random_range(0..reads.len())]].values;
    let place = chance.random_range(0..values.len());
    match change {
        Change::Drop => {
            values.remove(place);
        }
        Change::Swap => {
            let other = chance.random_range(0..values.len());
            if other == place {
                return false;
            }
            let held = values[place].1;
            values[place].1 = values[other].1;
            values[other].1 = held;
        }
        Change::Double => {
            let (offset, value) = (values[values.len() - 1].0 + 1, values[place].1);
            values.push((offset, value));
        }
        Change::Renumber => values[place].0 += if chance.random_bool(0.5) { 1 } else { -1 },
    }
    true
}

#[test]
fn histories_drawn_by_chance_break_nothing() {
    for seed in 0..HISTORIES {
        let (verdict, _) = check(&good(&mut StdRng::seed_from_u64(seed)));
        assert!(verdict.rules().is_empty(), "seed {seed}: {verdict}");
    }
}

#[test]
fn every_change_of_one_record_is_found() {
    let mut made = 0;
    for seed in 0..HISTORIES {
        let mut chance = StdRng::seed_from_u64(seed);
        let whole = good(&mut chance);
        for change in [Change::Drop, Change::Swap, Change::Double, Change::Renumber].repeat(10) {
            let mut events = whole.clone();
            if !apply(change, &mut events.list, &mut chance) {
                continue;
            }
            made += 1;
            let (verdict, _) = check(&events);
            assert!(!verdict.rules().is_empty(), "seed {seed}: {change:?} was not found");
        }
    }
    assert!(made > 1500, "only {made} changes were made");
}

#[test]
fn an_acknowledgement_of_another_offset_is_found() {
    for seed in 0..HISTORIES {
        let mut chance = StdRng::seed_from_u64(seed);
        let mut events = good(&mut chance);
        let is_ok = |event: &&mut Event| event.op == Op::Send && event.phase == Phase::Ok;
        let mut acks: Vec<&mut Event> = events.list.iter_mut().filter(is_ok).collect();
        let place = chance.random_range(0..acks.len());
        acks[place].offset = acks[place].offset.map(|offset| offset + 1);
        let (verdict, _) = check(&events);
        assert!(!verdict.rules().is_empty(), "seed {seed}: the change was not found");
    }
}
