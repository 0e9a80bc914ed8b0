//! Histories made by hand, each with one fault: each must break its own rule and no other.
//!
//! A line is `op phase field=value ...`; the clock moves by ten with each. Unless it is said, the
//! partition is `a`, the process `p`, and a producer sends each record once. `last` is the last
//! read at both isolation levels.

use std::fmt::Write as _;

use crate::history::event::Events;
use crate::history::{check, read_folder};

/// A hand-made history as events.
pub(super) fn events(story: &str) -> Events {
    let mut text = String::new();
    let lines = story.lines().map(str::trim).filter(|line| !line.is_empty());
    for (index, line) in lines.enumerate() {
        match line.strip_prefix("last ") {
            Some(fields) if !line.contains("iso=") => {
                for isolation in ["ru", "rc"] {
                    write_line(&mut text, index, &format!("final ok {fields} iso={isolation}"));
                }
            }
            Some(fields) => write_line(&mut text, index, &format!("final ok {fields}")),
            None => write_line(&mut text, index, line),
        }
    }
    let mut events = Events::default();
    events.read(&text).unwrap();
    events.sort();
    events
}

fn write_line(text: &mut String, index: usize, line: &str) {
    let mut words = line.split(' ');
    let (op, phase) = (words.next().unwrap(), words.next().unwrap());
    let mut fields = serde_json::json!({
        "t": 10 * (index + 1), "op": op, "type": phase, "proc": "p", "tp": "a", "mode": "once",
    });
    for word in words {
        let (name, value) = word.split_once('=').unwrap();
        fields[name] = match name {
            "values" => value
                .split(',')
                .filter(|record| !record.is_empty())
                .map(|record| {
                    let (offset, value) = record.split_once(':').unwrap();
                    let value = Some(value).filter(|value| *value != "damaged");
                    serde_json::json!([offset.parse::<i64>().unwrap(), value])
                })
                .collect(),
            "value" | "from" | "proc" | "tp" | "prod" | "mode" | "acks" | "txn" | "tid" | "iso"
            | "assign" | "group" => value.into(),
            _ => serde_json::from_str(value).unwrap(),
        };
    }
    writeln!(text, "{fields}").unwrap();
}

/// Two records that are written one after the other, by one producer.
const TWO: &str = "
    send invoke value=1
    send ok value=1 offset=0
    send invoke value=2
    send ok value=2 offset=1
";
/// A transaction of two records, on two partitions, whose end is still open.
const BOTH: &str = "
    send invoke value=1 txn=t mode=idempotent
    send ok value=1 offset=0
    send invoke value=2 txn=t mode=idempotent tp=b
    send ok value=2 offset=0 tp=b
";
const COMMITTED: &str = "
    txn_end invoke txn=t tid=i commit=true
    txn_end ok txn=t tid=i commit=true epoch=0
";
const ABORTED: &str = "
    txn_end invoke txn=t tid=i commit=false
    txn_end ok txn=t tid=i commit=false epoch=0
";
const LAST_TWO: &str = "last values=0:1,1:2 end=2";
const LAST_BOTH: &str = "
    last values=0:1 end=2
    last values=0:2 end=2 tp=b
";

fn breaks(rule: &str, stories: &[String]) {
    for story in stories {
        let (verdict, _) = check(&events(story));
        assert_eq!(verdict.rules(), [rule], "{story}\n{verdict}");
    }
}

fn holds(story: &str) {
    let (verdict, _) = check(&events(story));
    assert!(verdict.rules().is_empty(), "{story}\n{verdict}");
}

#[test]
fn good_histories_break_nothing() {
    holds(&format!("{TWO}{LAST_TWO}"));
    holds(&format!("{BOTH}{COMMITTED}{LAST_BOTH}"));
    let only_uncommitted = LAST_BOTH.replace("end=2", "end=2 iso=ru");
    let nothing = "last values= end=2 iso=rc\nlast values= end=2 iso=rc tp=b";
    holds(&format!("{BOTH}{ABORTED}{only_uncommitted}\n{nothing}"));
    // Nobody knows whether these were done.
    holds("send invoke value=1\nsend info value=1\nlast values= end=0");
    holds("send invoke value=1\nsend info value=1\nlast values=0:1,1:1 end=2");
    holds("send invoke value=1 mode=retrying\nsend ok value=1 offset=1\nlast values=0:1,1:1 end=2");
    // Retention has taken the first record.
    holds(&format!("{TWO}last values=1:2 start=1 end=2"));
    // Gaps are where no record is.
    holds(&format!(
        "{TWO}assign ok assign=x offset=0\npoll ok assign=x values=0:1,1:2\n{LAST_TWO}"
    ));
}

#[test]
fn a_history_without_a_last_read_is_none() {
    breaks("F0", &[TWO.to_owned(), format!("{TWO}last values=0:1,1:2 end=2 iso=rc")]);
}

#[test]
fn a_lost_record_is_found() {
    breaks(
        "F1",
        &[
            format!("{TWO}last values=0:1 end=1"),
            format!("{TWO}last values=1:2 end=2"),
            format!("{TWO}last values= end=0"),
            format!("{BOTH}{ABORTED}last values= end=2\nlast values=0:2 end=2 tp=b iso=ru"),
        ],
    );
}

#[test]
fn a_record_from_nowhere_is_found() {
    breaks(
        "F2",
        &[
            format!("{TWO}last values=0:1,1:2,2:3 end=3"),
            format!("{TWO}send invoke value=3\nlast values=0:1,1:2,2:damaged end=3"),
            format!("poll ok values=0:1\n{TWO}{LAST_TWO}"),
            format!("{TWO}send invoke value=3 tp=b\nlast values=0:1,1:2,2:3 end=3"),
        ],
    );
}

#[test]
fn a_record_that_was_taken_back_is_found() {
    let refused = "send invoke value=3\nsend fail value=3\n";
    let only = "last values=0:1 end=2 iso=ru\nlast values=0:2 end=2 tp=b iso=ru\n";
    breaks(
        "F3",
        &[
            format!("{TWO}{refused}last values=0:1,1:2,2:3 end=3"),
            format!("{BOTH}{ABORTED}{LAST_BOTH}"),
            // Its commit was never asked for.
            format!("{BOTH}{LAST_BOTH}"),
            format!("{BOTH}{ABORTED}poll ok values=0:1 iso=rc\n{only}"),
            // A commit that was refused.
            format!(
                "{BOTH}txn_end invoke txn=t commit=true\ntxn_end fail txn=t commit=true\n{LAST_BOTH}"
            ),
        ],
    );
}

#[test]
fn a_doubled_record_is_found() {
    let numbered = TWO.replace("value=1\n", "value=1 mode=idempotent\n");
    let open = "send invoke value=1 mode=idempotent\nsend info value=1\n";
    breaks(
        "F4",
        &[
            format!("{TWO}last values=0:1,1:2,2:1 end=3"),
            format!("{numbered}last values=0:1,1:2,2:1 end=3"),
            format!("{open}last values=0:1,1:1 end=2"),
            format!("{open}poll ok values=0:1,1:1\nlast values=0:1,1:1 end=2"),
        ],
    );
}

#[test]
fn a_place_that_held_two_records_is_found() {
    let open = "send invoke value=3\nsend info value=3\n";
    breaks(
        "F5",
        &[
            format!("{TWO}{open}poll ok values=1:3\n{LAST_TWO}"),
            format!(
                "{TWO}{open}poll ok values=0:3 iso=rc assign=x\npoll ok values=0:1 assign=y\n{LAST_TWO}"
            ),
            format!(
                "{TWO}{open}last values=0:1,1:2 end=2 iso=ru\nlast values=0:1,1:3 end=2 iso=rc"
            ),
        ],
    );
}

#[test]
fn a_wrong_acknowledgement_is_found() {
    breaks(
        "F6",
        &[
            format!("{TWO}last values=0:1,2:2 end=3"),
            format!("{TWO}last values=1:1,2:2 end=3"),
            // A zero that was never meant.
            "send invoke value=1\nsend ok value=1 offset=0\nlast values=7:1 end=8".to_owned(),
        ],
    );
}

#[test]
fn records_out_of_order_are_found() {
    let order = "send ok value=1 offset=1\nsend ok value=2 offset=0\n";
    let last = "last values=0:2,1:1 end=2";
    breaks(
        "F7",
        &[
            format!("send invoke value=1\nsend invoke value=2\n{order}{last}"),
            format!(
                "send invoke value=1 mode=idempotent\nsend invoke value=2 mode=idempotent\n{order}{last}"
            ),
        ],
    );
    let first = "send ok value=1 offset=1\n";
    breaks(
        "F8",
        &[
            format!(
                "send invoke value=1 prod=x\n{first}send invoke value=2 prod=y\nsend ok value=2 offset=0\n{last}"
            ),
            format!(
                "send invoke value=1 mode=retrying\n{first}send invoke value=2 mode=retrying\nsend ok value=2 offset=0\n{last}"
            ),
        ],
    );
}

#[test]
fn what_was_seen_and_is_gone_is_found() {
    let open = "send invoke value=3\nsend info value=3\n";
    breaks(
        "F9",
        &[
            format!("{TWO}{open}poll ok values=2:3\n{LAST_TWO}"),
            format!(
                "{TWO}{open}poll ok values=2:3 iso=rc\nlast values=0:1,1:2,2:3 end=3 iso=ru\nlast values=0:1,1:2 end=3 iso=rc"
            ),
            format!("{TWO}{open}poll ok values=7:3\nlast values=0:1,1:2 end=8"),
        ],
    );
}

#[test]
fn a_reader_that_errs_is_found() {
    breaks(
        "F10",
        &[
            format!("{TWO}assign ok assign=x offset=0\npoll ok assign=x values=1:2\n{LAST_TWO}"),
            format!(
                "{TWO}poll ok assign=x values=0:1,1:2\npoll ok assign=x values=0:1\n{LAST_TWO}"
            ),
            format!("{TWO}poll ok assign=x values=1:2,0:1\n{LAST_TWO}"),
            format!("{TWO}poll ok assign=x values=0:1\npoll ok assign=x values=0:1\n{LAST_TWO}"),
            format!(
                "{TWO}send invoke value=3\nsend ok value=3 offset=2\npoll ok assign=x values=0:1,2:3\n\
             last values=0:1,1:2,2:3 end=3"
            ),
        ],
    );
}

#[test]
fn what_a_group_never_saw_is_found() {
    breaks(
        "F11",
        &[
            format!("{TWO}poll ok group=g values=0:1\n{LAST_TWO}\ndrained ok group=g"),
            format!("{TWO}poll ok group=h values=0:1,1:2\n{LAST_TWO}\ndrained ok group=g"),
            format!("{BOTH}{COMMITTED}{LAST_BOTH}drained ok group=g tp=b"),
        ],
    );
}

#[test]
fn a_torn_transaction_is_found() {
    let part =
        "last values=0:1 end=2\nlast values=0:2 end=2 tp=b iso=ru\nlast values= end=2 tp=b iso=rc";
    let unknown = "txn_end invoke txn=t commit=true\ntxn_end info txn=t commit=true\n";
    let made = "
        send invoke value=3 txn=t mode=idempotent from=9
        send invoke value=4 txn=t mode=idempotent from=9
        txn_end invoke txn=t commit=true
        txn_end ok txn=t commit=true
        last values=0:3,1:4 end=3
    ";
    breaks(
        "F12",
        &[
            format!("{BOTH}{COMMITTED}{part}"),
            format!("{BOTH}{unknown}{part}"),
            format!("{BOTH}poll ok values=0:1 iso=rc\n{COMMITTED}{LAST_BOTH}"),
            made.to_owned(),
        ],
    );
}

#[test]
fn transactions_in_a_circle_are_found() {
    let two = "
        send invoke value=1 txn=t mode=idempotent
        send invoke value=2 txn=u mode=idempotent tp=b
        txn_end invoke txn=t commit=true
        txn_end invoke txn=u commit=true
        poll ok values=0:2 iso=rc txn=t tp=b
        poll ok values=0:1 iso=rc txn=u
        txn_end ok txn=t commit=true
        txn_end ok txn=u commit=true
    ";
    let three = "
        send invoke value=1 txn=t mode=idempotent
        send invoke value=2 txn=u mode=idempotent tp=b
        send invoke value=3 txn=v mode=idempotent tp=c
        txn_end invoke txn=t commit=true
        txn_end invoke txn=u commit=true
        txn_end invoke txn=v commit=true
        poll ok values=0:1 iso=rc txn=u
        poll ok values=0:2 iso=rc txn=v tp=b
        poll ok values=0:3 iso=rc txn=t tp=c
        last values=0:3 end=2 tp=c
    ";
    breaks("F13", &[format!("{two}{LAST_BOTH}"), format!("{three}{LAST_BOTH}")]);
}

#[test]
fn a_watermark_that_goes_back_is_found() {
    breaks(
        "F14",
        &[
            format!(
                "{TWO}list_offsets ok hw=2\nlist_offsets ok hw=1 began=1\nlist_offsets ok hw=1\n{LAST_TWO}"
            ),
            format!("{TWO}list_offsets ok lso=2\nlist_offsets ok lso=1\n{LAST_TWO}"),
            format!("{TWO}list_offsets ok start=1\nlist_offsets ok start=0\n{LAST_TWO}"),
            format!("{TWO}list_offsets ok hw=1\n{LAST_TWO}"),
            format!("{TWO}list_offsets ok lso=3 hw=2\n{LAST_TWO}"),
            format!("{TWO}list_offsets ok lso=3\nlist_offsets ok hw=2\n{LAST_TWO}"),
        ],
    );
}

#[test]
fn who_should_have_stopped_is_found() {
    breaks(
        "F15",
        &[
            "
        init ok tid=i epoch=1
        init ok tid=i epoch=2
        txn_end invoke txn=t tid=i commit=true
        txn_end ok txn=t tid=i commit=true epoch=1
        "
            .to_owned(),
            "
        assign ok group=g gen=3 assign=x proc=p
        assign ok group=g gen=3 assign=y proc=q
        "
            .to_owned(),
            "
        commit invoke group=g
        commit ok group=g offset=5
        commit invoke group=g
        commit ok group=g offset=4
        "
            .to_owned(),
            "
        commit invoke group=g
        commit ok group=g offset=5
        committed invoke group=g
        committed ok group=g offset=4
        "
            .to_owned(),
        ],
    );
    holds(
        "
        assign ok group=g gen=3 assign=x proc=p
        revoke ok group=g assign=x proc=p
        assign ok group=g gen=3 assign=y proc=q
        assign ok group=g gen=4 assign=z proc=p
        commit invoke group=g
        commit ok group=g offset=5
        commit invoke group=g reset=true
        commit ok group=g offset=0 reset=true
        ",
    );
}

#[test]
fn files_are_read_together_and_a_line_that_death_cut_off_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let send = r#"{"t":1,"proc":"p","type":"invoke","op":"send","tp":"a","value":"1"}"#;
    let ok = r#"{"t":3,"proc":"p","type":"ok","op":"send","value":"1","offset":0}"#;
    let poll = r#"{"t":2,"proc":"c","type":"ok","op":"poll","tp":"a","values":[[0,"1"]]}"#;
    write("p.jsonl", &format!("{send}\n{ok}\n{{\"t\":4,\"pr"));
    write("c.jsonl", &format!("{poll}\n"));
    write("broker.log", "no history");
    let events = read_folder(folder.path()).unwrap();
    let times: Vec<u64> = events.list.iter().map(|event| event.t).collect();
    assert_eq!(times, [1, 2, 3]);
    assert_eq!(check(&events).0.rules(), ["F0"]);
    write("d.jsonl", "damage\n");
    assert!(read_folder(folder.path()).is_err());
}
