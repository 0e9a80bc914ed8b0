//! The command `weir` as people and scripts use it: the demo, topics, tables, and exit codes that
//! mean something.

use std::path::Path;
use std::process::Output;

use serde_json::Value as Json;

use crate::kit::program::{Program, refusal, table, wait_until, weir};
use crate::kit::wire::Client;

/// What a command printed, once it has ended with this code.
fn said(line: &str, code: i32) -> String {
    let mut command = weir(line);
    command.stdout(std::process::Stdio::piped());
    let Output { status, stdout, stderr } = command.output().unwrap();
    let told = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(code), "weir {line}: {told}");
    String::from_utf8(stdout).expect("text")
}

fn json(line: &str) -> Json {
    serde_json::from_str(&said(line, 0)).unwrap_or_else(|error| panic!("weir {line}: {error}"))
}

/// `weir up` on free ports, which looks for tables often.
fn up(data: &Path) -> Program {
    let data = data.display();
    let line = format!(
        "up --data-dir {data} --listeners PLAINTEXT://127.0.0.1:0 --http 127.0.0.1:0 \
         --compactor-http 127.0.0.1:0 --override log.segment.bytes=1048576 \
         --override offsets.topic.segment.bytes=1048576 \
         --compactor-override discovery.interval.ms=50"
    );
    Program::start(&line, 2)
}

fn await_offset(weir: &Program, topic: &str, offset: i64) {
    let look = || table(weir.at("compactor http"), topic);
    wait_until(
        "a snapshot",
        || look().filter(|table| table["offsets"]["0"] == offset),
        || format!("{:?}", look()),
    );
}

#[test]
fn the_demo_folds_its_sample_and_leaves_tables_that_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let told = said(&format!("demo --exit --data-dir {}", data.display()), 0);
    assert_eq!(told.matches("equal").count(), 8, "seven tables and the sentence: {told}");
    let warehouse = data.join("warehouse");
    let place = format!("--warehouse {}", warehouse.display());
    let list = json(&format!("table list {place} -o json"));
    let names: Vec<&str> =
        list.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 7);
    assert!(names.contains(&"shop.orders") && names.contains(&"shop.pgbench_accounts"));

    // What PostgreSQL itself held in the end.
    let rows = said(&format!("table read shop.orders {place} -o json"), 0);
    assert_eq!(rows.lines().count(), 4172);
    let first: Json = serde_json::from_str(rows.lines().next().unwrap()).unwrap();
    let members: Vec<&String> = first.as_object().unwrap().keys().collect();
    assert_eq!(members.len(), 7);
    assert_eq!(first["id"], 1);
    let csv = said(&format!("table read shop.orders {place} -o csv --limit 3"), 0);
    assert_eq!(csv.lines().count(), 4);
    assert!(csv.starts_with("id,customer_id,status,total,placed_at,shipped_on,note\n"), "{csv}");

    let again = refusal(&format!("demo --exit --data-dir {}", data.display()));
    assert!(again.contains("--data-dir"), "{again}");
    let unknown = refusal(&format!("table read shop.nothing {place}"));
    assert!(unknown.contains("no table shop.nothing"), "{unknown}");
    let nowhere = refusal("table list --warehouse /nonexistent/warehouse");
    assert!(nowhere.contains("no such folder"), "{nowhere}");
}

#[test]
fn a_topic_made_by_command_becomes_a_table_that_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let weir = up(folder.path());
    let kafka = format!("--bootstrap-server {}", weir.at("broker kafka"));
    let place = format!("--warehouse {}/warehouse", folder.path().display());
    let configs = "--config table.enabled=true --config table.primary.key=id --config table.commit.interval.ms=50";
    said(&format!("topic create orders --partitions 1 {configs} {kafka}"), 0);
    let refused = refusal(&format!("topic create orders {kafka}"));
    assert!(refused.contains("orders") && refused.contains("TopicAlreadyExists"), "{refused}");
    let refused = refusal(&format!("topic create bad --config table.enabled=perhaps {kafka}"));
    assert!(refused.contains("table.enabled"), "{refused}");

    let mut client = Client::connect(weir.at("broker kafka"));
    let values = [r#"{"id":1,"v":2}"#, r#"{"id":2,"v":5}"#, r#"{"id":1,"v":1}"#];
    assert_eq!(client.produce("orders", &values).0, 0);
    await_offset(&weir, "orders", 3);

    let topic = json(&format!("topic describe orders {kafka} -o json"));
    assert_eq!(topic["partitions"][0]["latest_offset"], 3);
    let http = format!("--compactor-http {}", weir.at("compactor http"));
    let described = json(&format!("table describe orders {place} {kafka} {http} -o json"));
    assert_eq!(described["partitions"][0]["lag"], 0);
    assert_eq!(described["state"], "folding");
    assert_eq!(described["last_error"], Json::Null);
    assert_eq!(described["levels"][0]["rows"], 2);
    assert_eq!(described["snapshot"]["folded"], 3);
    let rows = said(&format!("table read orders {place} -o json"), 0);
    assert_eq!(rows, "{\"id\":1,\"v\":1}\n{\"id\":2,\"v\":5}\n");
    let told = said(&format!("table verify orders --every-snapshot {place} {kafka}"), 0);
    assert!(told.contains("equal (3 records make 2 rows, the table has 2)"), "{told}");

    // By other settings another row of the key would be the newest: the table is not that fold.
    said(&format!("topic alter orders --config table.sequence.field=v {kafka}"), 0);
    let told = said(&format!("table verify orders {place} {kafka}"), 3);
    assert!(told.contains("differs: key [1]"), "{told}");
    said(&format!("topic alter orders --delete-config table.sequence.field {kafka}"), 0);
    said(&format!("table verify orders {place} {kafka}"), 0);

    // Another log under the same name is not the one that was folded.
    said(&format!("topic delete orders {kafka}"), 0);
    said(&format!("topic create orders {configs} {kafka}"), 0);
    let gone = refusal(&format!("table verify orders {place} {kafka}"));
    assert!(gone.contains("topic orders is gone"), "{gone}");
    assert!(weir.stop().success());
}

#[test]
fn a_level_of_the_log_that_cannot_be_is_refused() {
    let mut command = weir("topic list");
    let Output { status, stderr, .. } = command.env("WEIR_LOG", "weir=loud").output().unwrap();
    assert_eq!(status.code(), Some(1));
    let line = String::from_utf8(stderr).expect("text");
    assert!(line.starts_with("weir: WEIR_LOG=weir=loud: "), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
}

#[test]
fn wrong_usage_has_a_code_of_its_own() {
    for line in ["", "no-such-command", "table", "table read", "topic create", "up --no-such-flag"]
    {
        said(line, 2);
    }
    for line in ["--help", "--version", "demo --help", "table verify --help", "topic alter --help"]
    {
        assert!(!said(line, 0).is_empty());
    }
}
