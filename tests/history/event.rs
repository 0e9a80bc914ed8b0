//! What a client process wrote down: one JSON line for each thing that it began, saw or was told.
//!
//! `{t, proc, type: invoke|ok|fail|info, op, ...}`; `t` is CLOCK_MONOTONIC in nanoseconds, `ok` lines
//! may say in `began` when the call began. `ok` was acknowledged, `fail` was certainly not done,
//! `info` may have been done or not. A call without an end counts as `info`.
//!
//! | op | fields |
//! |---|---|
//! | `send` | `tp`, `value`; invoke also `prod` (one life of a producer), `mode`, `acks`, `txn`, `from`; ok: `offset` |
//! | `poll` | `tp`, `iso`, `values: [[offset, value or null if damaged]]`, `assign`, `group`, `txn` |
//! | `final` | `tp`, `iso`, `start`, `end`, `values`: part of the last read, which covers `start..end` |
//! | `assign`, `revoke` | `assign`, `tp`, `group`, `gen`; `offset`: where reading begins, if it was chosen |
//! | `txn_end` | `txn`, `commit`, `tid`, `epoch` |
//! | `init` | `tid`, `epoch`: a transactional id got a new owner |
//! | `commit`, `committed` | `group`, `tp`, `offset`: written, or read back; `reset` if it may go back |
//! | `list_offsets` | `tp`, and of `start`, `lso`, `hw` what was asked |
//! | `drained` | `group`, `tp`: the group has read to the end, and everything was whole long before |
//! | `kill`, `pause`, `restart` | a fault |

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;

/// A name that occurs in the history, by number. Zero is no name.
pub type Name = u32;
/// Identity of a record: what its sender drew for it.
pub type Value = u128;

/// How an event stands to its call.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Invoke,
    Ok,
    Fail,
    Info,
}

/// What was called.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    Send,
    Poll,
    Final,
    Assign,
    Revoke,
    TxnEnd,
    Init,
    Commit,
    Committed,
    ListOffsets,
    Drained,
    Kill,
    Pause,
    Restart,
}

/// How a producer sends.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It may send a record again that has been written: doubled records are no fault.
    #[default]
    Retrying,
    /// It sends each record once, one after another.
    Once,
    /// It numbers its records.
    Idempotent,
}

/// What a reader asked to see.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
pub enum Isolation {
    #[default]
    #[serde(rename = "ru")]
    Uncommitted,
    #[serde(rename = "rc")]
    Committed,
}

#[derive(Deserialize)]
struct Line<'a> {
    t: u64,
    began: Option<u64>,
    #[serde(borrow)]
    proc: Cow<'a, str>,
    #[serde(rename = "type")]
    phase: Phase,
    op: Op,
    tp: Option<Cow<'a, str>>,
    value: Option<Cow<'a, str>>,
    from: Option<Cow<'a, str>>,
    offset: Option<i64>,
    prod: Option<Cow<'a, str>>,
    #[serde(default)]
    mode: Mode,
    acks: Option<Cow<'a, str>>,
    txn: Option<Cow<'a, str>>,
    tid: Option<Cow<'a, str>>,
    epoch: Option<i64>,
    commit: Option<bool>,
    #[serde(default)]
    iso: Isolation,
    #[serde(default)]
    values: Vec<(i64, Option<Cow<'a, str>>)>,
    assign: Option<Cow<'a, str>>,
    group: Option<Cow<'a, str>>,
    #[serde(rename = "gen")]
    generation: Option<i64>,
    #[serde(default)]
    reset: bool,
    start: Option<i64>,
    end: Option<i64>,
    lso: Option<i64>,
    hw: Option<i64>,
}

/// One line, its names as numbers.
#[derive(Clone, Debug)]
pub struct Event {
    pub t: u64,
    pub began: u64,
    pub process: Name,
    pub phase: Phase,
    pub op: Op,
    pub tp: Name,
    pub value: Option<Value>,
    pub from: Option<Value>,
    pub offset: Option<i64>,
    pub producer: Name,
    pub mode: Mode,
    pub is_acked_by_all: bool,
    pub txn: Name,
    pub tid: Name,
    pub epoch: Option<i64>,
    pub commits: bool,
    pub isolation: Isolation,
    /// Offset and value; no value where the payload was damaged.
    pub values: Vec<(i64, Option<Value>)>,
    pub assignment: Name,
    pub group: Name,
    pub generation: Option<i64>,
    pub is_reset: bool,
    pub start: Option<i64>,
    pub end: Option<i64>,
    pub lso: Option<i64>,
    pub high_watermark: Option<i64>,
}

/// The events of all processes, and the names in them.
#[derive(Clone, Default)]
pub struct Events {
    pub list: Vec<Event>,
    names: Vec<String>,
    numbers: HashMap<String, Name>,
}

impl Events {
    /// Takes in what one process wrote. A last line that was cut off by the end of its process is
    /// no line; any other that cannot be read is an error.
    pub fn read(&mut self, text: &str) -> Result<(), String> {
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        for (index, line) in text[..whole].lines().enumerate() {
            let parsed = serde_json::from_str(line).map_err(|error| error.to_string());
            let event = parsed.and_then(|line| self.event(line));
            self.list.push(event.map_err(|error| format!("line {}: {error}: {line}", index + 1))?);
        }
        Ok(())
    }

    /// Orders the events of all processes by time; those of one process keep their order.
    pub fn sort(&mut self) {
        self.list.sort_by_key(|event| event.t);
    }

    /// The name of a number.
    pub fn name(&self, number: Name) -> &str {
        number.checked_sub(1).map_or("-", |index| &self.names[index as usize])
    }

    fn number(&mut self, name: Option<Cow<'_, str>>) -> Name {
        let Some(name) = name else { return 0 };
        if let Some(number) = self.numbers.get(name.as_ref()) {
            return *number;
        }
        self.names.push(name.clone().into_owned());
        let number = u32::try_from(self.names.len()).expect("fewer names than events");
        self.numbers.insert(name.into_owned(), number);
        number
    }

    fn event(&mut self, line: Line<'_>) -> Result<Event, String> {
        let records = line.values.into_iter();
        let values: Result<Vec<_>, String> =
            records.map(|(offset, value)| Ok((offset, hex(value)?))).collect();
        Ok(Event {
            t: line.t,
            began: line.began.unwrap_or(line.t),
            process: self.number(Some(line.proc)),
            phase: line.phase,
            op: line.op,
            tp: self.number(line.tp),
            value: hex(line.value)?,
            from: hex(line.from)?,
            offset: line.offset,
            producer: self.number(line.prod),
            mode: line.mode,
            is_acked_by_all: line.acks.is_none_or(|acks| acks == "all"),
            txn: self.number(line.txn),
            tid: self.number(line.tid),
            epoch: line.epoch,
            commits: line.commit.unwrap_or_default(),
            isolation: line.iso,
            values: values?,
            assignment: self.number(line.assign),
            group: self.number(line.group),
            generation: line.generation,
            is_reset: line.reset,
            start: line.start,
            end: line.end,
            lso: line.lso,
            high_watermark: line.hw,
        })
    }
}

fn hex(text: Option<Cow<'_, str>>) -> Result<Option<Value>, String> {
    let parse = |text: Cow<'_, str>| u128::from_str_radix(&text, 16);
    text.map(parse).transpose().map_err(|error| error.to_string())
}
