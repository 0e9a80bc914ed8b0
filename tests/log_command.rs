//! `weir log` beside a real broker: a flipped bit is found, told of and salvaged, and the broker
//! serves the rest.

use std::path::Path;
use std::process::Output;

use serde_json::Value as Json;
use weir_protocol::records::batch::batches;

use crate::kit::program::{Program, refusal, weir};
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

fn broker(data: &Path) -> Program {
    let data = data.display();
    let line =
        format!("broker --data-dir {data} --listeners PLAINTEXT://127.0.0.1:0 --http 127.0.0.1:0");
    Program::start(&line, 1)
}

/// Values of the records from an offset on, with their offsets.
fn values(client: &mut Client, mut from: i64, end: i64) -> Vec<(i64, Vec<u8>)> {
    let mut found = Vec::new();
    while from < end {
        let (code, bytes, _) = client.fetch("orders", from);
        assert_eq!(code, 0, "at {from}");
        for batch in batches(bytes) {
            let batch = batch.unwrap();
            for record in batch.records(1 << 20).unwrap() {
                let record = record.unwrap();
                found.push((record.offset.0, record.value.unwrap().to_vec()));
            }
            from = batch.header().last_offset().0 + 1;
        }
    }
    found
}

#[test]
fn a_damaged_partition_is_found_and_salvaged_and_serves_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("log");
    let place = format!("--data-dir {}", data.display());
    let missing = refusal(&format!("log check {place}"));
    assert!(missing.contains("there is no data directory"), "{missing}");
    let running = broker(&data);
    let mut client = Client::connect(running.at("broker kafka"));
    assert_eq!(client.create("orders", &[]).0, 0);
    for number in 0..4 {
        let value = format!("value {number}").repeat(9);
        assert_eq!(client.produce("orders", &[&value, &value]).0, 0);
    }
    let written = values(&mut client, 0, 8);
    for command in ["check", "salvage --topic orders:0"] {
        let busy = refusal(&format!("log {command} {place}"));
        assert!(busy.contains("is in use by another process"), "{busy}");
    }
    assert!(running.stop().success());
    let told = said(&format!("log check {place}"), 0);
    assert!(told.contains("8 records") && told.contains("nothing is damaged"), "{told}");

    // When a bit flips in the third of four batches.
    let path = data.join("orders-0/00000000000000000000.log");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.len() / 2 + 70;
    bytes[at] ^= 4;
    std::fs::write(&path, &bytes).unwrap();
    let told = said(&format!("log check {place} --topic orders:0 -o json"), 3);
    let report: Json = serde_json::from_str(&told).unwrap();
    let problem = &report["problems"][0];
    assert_eq!(problem["file"], "orders-0/00000000000000000000.log");
    assert_eq!(problem["offsets"], serde_json::json!({"start": 4, "end": 6}));
    assert_eq!(problem["bytes"]["start"], bytes.len() / 2);
    assert!(said(&format!("log check {place}"), 3).contains("weir log salvage"));

    // Then a dry run changes nothing, and a real one keeps what was found beside it.
    let dry = said(&format!("log salvage {place} --topic orders:0 --dry-run"), 0);
    assert!(dry.contains("lost 4..6"), "{dry}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    said(&format!("log salvage {place} --topic orders:0"), 0);
    let kept = data.join("orders-0/00000000000000000000.log.damaged");
    assert_eq!(std::fs::read(kept).unwrap(), bytes);
    said(&format!("log check {place}"), 0);
    let running = broker(&data);
    let mut client = Client::connect(running.at("broker kafka"));
    let left: Vec<_> = written.into_iter().filter(|(offset, _)| !(4..6).contains(offset)).collect();
    assert_eq!(values(&mut client, 0, 8), left);
    assert_eq!(client.produce("orders", &["more"]).0, 0);
    assert_eq!(values(&mut client, 8, 9), [(8, b"more".to_vec())]);
    assert!(running.stop().success());
}
