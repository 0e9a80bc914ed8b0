//! The history checker: what clients wrote down while the broker was killed, paused and restarted,
//! against what Kafka promises. `event.rs` tells the format.
//!
//! | rule | broken when |
//! |---|---|
//! | F0 | acknowledged records have no last read to be looked for in |
//! | F1, F6 | an acknowledged record is gone, or is elsewhere |
//! | F2, F3 | what was read was never sent, is damaged, failed or was aborted |
//! | F4, F5 | a record is at two places, a place held two records |
//! | F7, F8 | offsets do not rise with the order of a producer's sends, or with time |
//! | F9, F10 | what was seen is gone; a reader went back, or left out what it could see |
//! | F11 | a group never saw a record, though all was whole for long |
//! | F12, F13 | a transaction was seen too early, in part, or twice; or in a circle with others |
//! | F14 | high watermark, last stable offset or log start went back |
//! | F15 | an old epoch, member or offset went on |
//!
//! Memory grows with the number of events. What tables must hold is `weir table verify`'s to say.

pub mod event;
mod groups;
mod known;
mod records;
mod transactions;
pub mod verdict;

#[cfg(test)]
mod bad;
#[cfg(test)]
mod changed;

use std::fs;
use std::path::Path;

use crate::history::event::Events;
use crate::history::known::Known;
use crate::history::verdict::Verdict;

/// Checks sorted events: the rules that are broken, and a line that tells what went on.
pub fn check(events: &Events) -> (Verdict, String) {
    let known = Known::of(events);
    let mut verdict = Verdict::default();
    for rule in [
        records::acknowledged,
        records::origins,
        records::places,
        records::order,
        records::seen,
        records::polls,
        groups::unseen,
        groups::watermarks,
        groups::fencing,
        transactions::atomicity,
        transactions::circles,
    ] {
        rule(&known, &mut verdict);
    }
    (verdict, groups::report(&known))
}

/// The events of all `*.jsonl` files of a folder, by time.
pub fn read_folder(folder: &Path) -> Result<Events, String> {
    let mut events = Events::default();
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            let text = fs::read_to_string(&path).map_err(|error| error.to_string());
            let read = text.and_then(|text| events.read(&text));
            read.map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    events.sort();
    Ok(events)
}
