//! What people and machines get wrong, tried on the real program: each mistake is answered by one
//! clear line or by an error code of Kafka's, and what was safe before is safe afterwards.
//!
//! A line for a person names the thing, the place and the remedy. A mistake of the start ends the
//! program with exit code 1; whatever may pass by itself (a broker that is away, a full disk) is
//! told where people look, and passes by itself.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;

use crate::kit::program::{
    Program, free_port, outcome, page, quiet, refusal, table, wait_until, weir,
};
use crate::kit::wire::Client;

/// Error codes of Kafka's.
const INVALID_CONFIG: i16 = 40;
const KAFKA_STORAGE_ERROR: i16 = 56;

/// A folder of its own and the paths in it, which hold no blanks.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("a path in UTF-8").to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

/// `weir broker` on free ports, with segments as small as they may be.
fn broker(data_dir: &str) -> String {
    format!(
        "broker --data-dir {data_dir} --override listeners=PLAINTEXT://127.0.0.1:0 \
         --override http.listen=127.0.0.1:0 --override log.segment.bytes=1048576 \
         --override offsets.topic.segment.bytes=1048576"
    )
}

/// `weir compactor` on a free port, which looks for tables often.
fn compactor(warehouse: &str, bootstrap: &str) -> String {
    format!(
        "compactor --warehouse {warehouse} --override bootstrap.servers={bootstrap} \
         --override http.listen=127.0.0.1:0 --override discovery.interval.ms=50"
    )
}

/// `weir up` on free ports.
fn up(data_dir: &str) -> String {
    format!(
        "up --data-dir {data_dir} --override listeners=PLAINTEXT://127.0.0.1:0 \
         --override http.listen=127.0.0.1:0 --compactor-override http.listen=127.0.0.1:0 \
         --compactor-override discovery.interval.ms=50"
    )
}

/// The program refuses to start, in one line that holds all of these words.
fn assert_refused(line: &str, words: &[&str]) {
    let reason = refusal(line);
    for word in words {
        assert!(reason.contains(word), "weir {line}: {word:?} is missing in: {reason}");
    }
}

/// Every file below a folder, with what is in it; locks are not looked at.
fn contents(folder: &str) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(contents(&name));
        } else if !path.ends_with(".lock") {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn a_setting_that_is_unknown_or_cannot_be_is_refused_by_every_command() {
    let place = Place::new();
    let (data, tables) = (place.path("data"), place.path("tables"));
    let (broker, compactor, up) = (broker(&data), compactor(&tables, "127.0.0.1:1"), up(&data));
    let server = place.write("server.properties", "# mine\nnum.partitions=4\nno.such=1\n");
    let twice = place.write("twice.properties", "num.partitions=4\nnum.partitions=5\n");
    let mistyped = place.write("compactor.properties", "group.id=g\n\nmemory.byte=1\n");
    let bad_table = "[topic orders]\ntable.enabled=true\ntable.merge.engine=best\n";
    let bad_table = place.write("table.properties", bad_table);
    let missing = place.path("missing.properties");
    let cases: &[(String, &[&str])] = &[
        (format!("{broker} --override no.such=1"), &["unknown setting no.such", "remove it"]),
        (format!("{broker} --override nonsense"), &["--override nonsense", "name=value"]),
        (
            format!("{broker} --override log.segment.bytes=lots"),
            &["log.segment.bytes", "lots", "a whole number"],
        ),
        (
            format!("{broker} --override log.segment.bytes=5"),
            &["log.segment.bytes", "\"5\"", "at least 1048576"],
        ),
        (format!("{broker} --listeners SSL://127.0.0.1:0"), &["listeners", "SSL", "PLAINTEXT"]),
        (
            format!("{broker} --override listeners=PLAINTEXT://0.0.0.0:0"),
            &["advertised.listeners", "must be set", "0.0.0.0"],
        ),
        (
            format!("{broker} --override listeners=PLAINTEXT://192.0.2.1:0"),
            &["listeners", "192.0.2.1", "set allow.insecure.listener=true"],
        ),
        (
            format!("{broker} --config {server}"),
            &[&server, "line 3", "unknown setting no.such", "remove it"],
        ),
        (format!("{broker} --config {twice}"), &[&twice, "line 2", "num.partitions", "line 1"]),
        (format!("{broker} --config {missing}"), &["--config", &missing, "can be read"]),
        (
            format!("{compactor} --override memory_bytes=1"),
            &["unknown setting memory_bytes", "did you mean memory.bytes?"],
        ),
        (format!("{compactor} --override no.such=1"), &["unknown setting no.such", "remove it"]),
        (format!("{compactor} --override nonsense"), &["--override nonsense", "name=value"]),
        (
            format!("{compactor} --override memory.bytes=1"),
            &["memory.bytes=1", "a number from 16777216"],
        ),
        (
            format!("{compactor} --bootstrap-server localhost"),
            &["bootstrap.servers=localhost", "use host:port"],
        ),
        (format!("{compactor} --http 9645"), &["http.listen=9645", "use ip:port"]),
        (
            format!("{compactor} --override warehouse=s3://bucket/tables"),
            &["warehouse=s3://bucket/tables", "only folders and file:// URLs"],
        ),
        (
            format!("{compactor} --config {mistyped}"),
            &[&mistyped, "line 3", "unknown setting memory.byte", "remove it"],
        ),
        (
            format!("{compactor} --config {bad_table}"),
            &[&bad_table, "[topic orders]", "table.merge.engine=best", "use deduplicate"],
        ),
        (format!("{compactor} --config {missing}"), &["--config", &missing, "can be read"]),
        (format!("{up} --override no.such=1"), &["broker: unknown setting no.such"]),
        (format!("{up} --config {server}"), &["broker: ", &server, "line 3"]),
        (format!("{up} --compactor-override no.such=1"), &["compactor: unknown setting no.such"]),
        (format!("{up} --compactor-config {mistyped}"), &["compactor: ", &mistyped, "line 3"]),
    ];
    for (line, words) in cases {
        assert_refused(line, words);
    }
    for made in [&data, &tables] {
        assert!(!Path::new(made).exists(), "settings are looked at before {made} is made");
    }
    // Wrong usage is another thing than a failure.
    assert_eq!(outcome("broker --no-such-flag").0.code(), Some(2));
    assert_eq!(outcome("no-such-command").0.code(), Some(2));
}

#[test]
fn a_data_directory_has_one_broker_at_a_time() {
    let place = Place::new();
    let data = place.path("data");
    let first = Program::start(&up(&data), 2);
    let mut client = Client::connect(first.at("broker kafka"));
    assert_eq!(client.create("t", &[]).0, 0);
    assert_eq!(client.produce("t", &["kept"]).0, 0);
    let words = ["log.dirs", &data, "in use by another process", "stop it or set another"];
    assert_refused(&broker(&format!("{data}/log")), &words);
    assert_refused(&up(&data), &[&["broker: "], &words[..]].concat());
    // The first one has noticed nothing, and whoever comes after it finds everything.
    assert_eq!(client.produce("t", &["kept too"]).0, 0);
    drop(client);
    assert!(first.stop().success());
    let next = Program::start(&broker(&format!("{data}/log")), 1);
    let (code, _, end) = Client::connect(next.at("broker kafka")).fetch("t", 0);
    assert_eq!((code, end), (0, 2));
}

#[test]
fn a_port_in_use_is_told_with_the_setting_that_names_it() {
    let place = Place::new();
    let (data, tables) = (place.path("data"), place.path("tables"));
    let (broker, compactor, up) = (broker(&data), compactor(&tables, "127.0.0.1:1"), up(&data));
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let remedy = "in use (os error 98); stop what uses it or set another";
    let kafka =
        format!("listeners: cannot listen on PLAINTEXT://{taken}: Address already {remedy}");
    let http = format!("http.listen: cannot listen on {taken}: Address already {remedy}");
    assert_refused(&format!("{broker} --override listeners=PLAINTEXT://{taken}"), &[&kafka]);
    assert_refused(&format!("{broker} --override http.listen={taken}"), &[&http]);
    assert_refused(&format!("{compactor} --override http.listen={taken}"), &[&http]);
    let in_broker = format!("broker: {http}");
    assert_refused(&format!("{up} --override http.listen={taken}"), &[&in_broker]);
    // The broker is running by then; it is stopped in good order.
    let in_compactor = format!("compactor: {http}");
    assert_refused(&format!("{up} --compactor-override http.listen={taken}"), &[&in_compactor]);
    assert!(Path::new(&format!("{data}/log/.kafka_cleanshutdown")).exists());
    assert!(Program::start(&up, 2).stop().success());
}

/// Names below a folder, and what is in them.
type Files<'a> = &'a [(&'a str, &'a str)];

#[test]
fn a_directory_of_another_program_or_of_a_later_version_is_left_as_it_is() {
    let place = Place::new();
    let ours = place.path("ours");
    let running = Program::start(&broker(&ours), 1);
    assert_eq!(Client::connect(running.at("broker kafka")).create("t", &[]).0, 0);
    assert!(running.stop().success());
    let meta = fs::read_to_string(format!("{ours}/meta.properties")).unwrap();
    let topics = fs::read_to_string(format!("{ours}/weir-catalog")).unwrap();
    let of_kafka = "version=1\nnode.id=1\ncluster.id=AAAAAAAAAAAAAAAAAAAAAQ\n";
    let later = meta.replace("weir.version=1", "weir.version=2");
    let log = "t-0/00000000000000000000.log";
    let cases: &[(Files<'_>, &[&str])] = &[
        (
            &[("meta.properties", of_kafka), (log, "records")],
            &["meta.properties", "written by another program", "use an empty directory"],
        ),
        (
            &[("meta.properties", &later), (log, "records")],
            &["meta.properties", "weir.version is 2", "the program that wrote this one"],
        ),
        (&[(log, "records")], &["t-0", "no meta.properties", "use an empty directory"]),
    ];
    for (number, (files, words)) in cases.iter().enumerate() {
        let folder = format!("foreign-{number}");
        for (name, text) in *files {
            place.write(&format!("{folder}/log/{name}"), text);
        }
        let data = place.path(&folder);
        let before = contents(&data);
        let log_folder = format!("{data}/log");
        assert_refused(&broker(&log_folder), &[&[log_folder.as_str()], *words].concat());
        assert_refused(&up(&data), &[&["broker: "], *words].concat());
        assert_eq!(contents(&data), before, "nothing is made, changed or deleted there");
    }
    // Ours, but of another broker, or with topics in a later format.
    let other = format!("{} --override node.id=2", broker(&ours));
    assert_refused(&other, &[&ours, "meta.properties", "node.id is 1", "set node.id=1"]);
    place.write("ours/weir-catalog", &topics.replacen("weir-catalog 1", "weir-catalog 9", 1));
    assert_refused(&broker(&ours), &[&ours, "weir-catalog", "format 9", "use the newer program"]);
    place.write("ours/weir-catalog", &topics);
    let again = Program::start(&broker(&ours), 1);
    assert!(Client::connect(again.at("broker kafka")).has("t"));
}

#[test]
fn a_folder_that_cannot_be_one_is_named() {
    let place = Place::new();
    let file = place.write("file", "not a folder");
    let below = format!("{file}/below");
    let remedy = "a folder that this user may write";
    assert_refused(&broker(&file), &["log.dirs", &file, remedy]);
    assert_refused(&broker(&below), &["log.dirs", &below, remedy]);
    assert_refused(&compactor(&file, "127.0.0.1:1"), &["warehouse=", &file, remedy]);
    assert_refused(&compactor(&below, "127.0.0.1:1"), &["warehouse=", &below, remedy]);
    assert_refused(&up(&file), &["broker: log.dirs", &file, remedy]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "not a folder");
}

/// Settings of a table that cannot be, and what the refusal must name.
const BAD_TABLES: &[(&[(&str, &str)], &str)] = &[
    (&[("table.enabled", "yes")], "table.enabled=yes is refused: use true or false"),
    (&[("table.primary.kye", "id")], "table.primary.kye is no setting of a table"),
    (&[("table.merge.engine", "best")], "table.merge.engine=best is refused: use deduplicate"),
    (&[("table.buckets", "0")], "table.buckets=0 is refused: use a number from 1 to 4096"),
    (&[("table.schema", "id BIGNT")], "unknown type `BIGNT`"),
    (&[("table.value.format", "xml")], "table.value.format=xml is refused: use json"),
    (
        &[("table.enabled", "true"), SCHEMA, ("table.primary.key", "nr")],
        "table.primary.key=nr is refused: table.schema has no such column",
    ),
    (
        &[("table.enabled", "true"), SCHEMA, ("table.primary.key", "id"), BY_DAY],
        "table.partition.by=day is refused: a partition column of a primary-key table must be in \
         table.primary.key",
    ),
];
const SCHEMA: (&str, &str) = ("table.schema", "id BIGINT NOT NULL, day STRING");
const BY_DAY: (&str, &str) = ("table.partition.by", "day");

#[test]
fn settings_of_a_table_that_cannot_be_are_refused_and_nothing_is_made_or_changed() {
    let place = Place::new();
    let data = place.path("data");
    let program = Program::start(&broker(&data), 1);
    let mut client = Client::connect(program.at("broker kafka"));
    assert_eq!(client.create("there", &[("retention.ms", "5000")]).0, 0);
    let before = (client.settings("there"), fs::read(format!("{data}/weir-catalog")).unwrap());
    for (settings, words) in BAD_TABLES {
        for (code, message) in [client.create("new", settings), client.alter("there", settings)] {
            assert_eq!(code, INVALID_CONFIG, "{settings:?}: {message}");
            assert!(message.contains(words), "{settings:?}: {message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
        assert!(!client.has("new"), "{settings:?}");
    }
    assert!(!Path::new(&format!("{data}/new-0")).exists());
    let after = (client.settings("there"), fs::read(format!("{data}/weir-catalog")).unwrap());
    assert_eq!(after, before);
    // What is right is taken.
    let key = ("table.primary.key", "id");
    assert_eq!(client.create("new", &[("table.enabled", "true"), SCHEMA, key]).0, 0);
}

/// What the page says of a table once `is_there` is true of it.
fn table_once(address: SocketAddr, topic: &str, is_there: impl Fn(&Json) -> bool) -> Json {
    let look = || table(address, topic).filter(|table| is_there(table));
    let shown = || format!("{:?}", table(address, topic));
    wait_until(&format!("the table of {topic}"), look, shown)
}

/// Everything is folded, so many rows are live and so many records set aside.
fn counts_are(rows: i64, quarantined: i64) -> impl Fn(&Json) -> bool {
    move |table| {
        (&table["lag_records"], &table["rows"], &table["quarantined"])
            == (&Json::from(0), &Json::from(rows), &Json::from(quarantined))
    }
}

const TABLE: &[(&str, &str)] = &[
    ("table.enabled", "true"),
    SCHEMA,
    ("table.primary.key", "id"),
    ("table.commit.interval.ms", "50"),
];
/// Three rows, and three records without a whole key.
const WITH_GAPS: &[&str] = &[
    r#"{"id":1,"day":"monday"}"#,
    r#"{"id":null,"day":"monday"}"#,
    r#"{"id":2}"#,
    r#"{"day":"tuesday"}"#,
    "{}",
    r#"{"id":3,"day":"friday"}"#,
];

#[test]
fn a_record_without_its_primary_key_is_set_aside_or_halts_the_table_as_it_was_told() {
    let place = Place::new();
    let program = Program::start(&up(&place.path("data")), 2);
    let pages = program.at("compactor http");
    let mut client = Client::connect(program.at("broker kafka"));
    // Told nothing, the table keeps such records aside and goes on.
    assert_eq!(client.create("kept", TABLE).0, 0);
    assert_eq!(client.produce("kept", WITH_GAPS).0, 0);
    let kept = table_once(pages, "kept", counts_are(3, 3));
    assert_eq!((kept["folded"].as_i64(), kept["state"].as_str()), (Some(3), Some("folding")));
    // Told to halt, it stops before the first of them and says where, why, and what to do.
    let halting = [TABLE, &[("table.on.bad.record", "halt")]].concat();
    assert_eq!(client.create("halting", &halting).0, 0);
    assert_eq!(client.produce("halting", WITH_GAPS).0, 0);
    let halted = table_once(pages, "halting", |table| {
        table["state"] == "halted" && table["snapshot_id"] == 1
    });
    let error = halted["last_error"].as_str().unwrap();
    for words in ["partition 0, offset 1", "id", "set table.on.bad.record=quarantine"] {
        assert!(error.contains(words), "{words:?} is missing in: {error}");
    }
    assert_eq!((halted["rows"].as_i64(), halted["offsets"]["0"].as_i64()), (Some(1), Some(1)));
    // And goes on by itself when it is told otherwise.
    assert_eq!(client.alter("halting", &[("table.on.bad.record", "quarantine")]).0, 0);
    table_once(pages, "halting", counts_are(3, 3));
    // Where columns are inferred, a key that no record has is told, and what must be done.
    let inferred = [("table.enabled", "true"), ("table.primary.key", "nr")];
    assert_eq!(client.create("inferred", &inferred).0, 0);
    assert_eq!(client.produce("inferred", WITH_GAPS).0, 0);
    let missing = table_once(pages, "inferred", |table| table["last_error"].is_string());
    let error = missing["last_error"].as_str().unwrap();
    for words in ["column nr", "none of the first 6 records", "declare table.schema"] {
        assert!(error.contains(words), "{words:?} is missing in: {error}");
    }
    assert!(program.stop().success());
}

/// Waits until the compactor says that it is ready.
fn ready_once(address: SocketAddr) {
    let look = || (page(address, "/readyz").0 == 200).then_some(());
    wait_until("readiness", look, || page(address, "/readyz").1);
}

#[test]
fn a_compactor_whose_broker_is_away_says_so_and_goes_on_when_it_comes() {
    let place = Place::new();
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let broker =
        format!("{} --override listeners=PLAINTEXT://{address}", broker(&place.path("data")));
    // Given no broker at all.
    let program = Program::start(&compactor(&place.path("tables"), &address), 1);
    let pages = program.at("compactor http");
    assert_eq!(page(pages, "/livez").0, 200);
    let away = format!("cannot connect to {address}: Connection refused");
    let assert_away = || {
        // First it may be that the old connection is lost, or that nobody was asked yet.
        let look = || Some(page(pages, "/readyz").1).filter(|reason| reason.contains(&away));
        let reason = wait_until("the reason", look, || page(pages, "/readyz").1);
        assert_eq!(page(pages, "/readyz").0, 503);
        let remedy = format!("bootstrap.servers={address}");
        assert!(reason.contains(&remedy) && reason.lines().count() == 1, "{reason}");
    };
    assert_away();
    // When it comes, tables are folded.
    let first = Program::start(&broker, 1);
    ready_once(pages);
    let mut client = Client::connect(first.at("broker kafka"));
    assert_eq!(client.create("t", TABLE).0, 0);
    assert_eq!(client.produce("t", &[r#"{"id":1}"#]).0, 0);
    table_once(pages, "t", counts_are(1, 0));
    // When it dies, the tables stay, with the reason; when it is back they are folded on.
    drop(client);
    first.kill();
    assert_away();
    let gone = table_once(pages, "t", |table| table["state"] == "retrying");
    assert!(gone["last_error"].as_str().unwrap().contains(&address), "{gone}");
    let second = Program::start(&broker, 1);
    ready_once(pages);
    assert_eq!(Client::connect(second.at("broker kafka")).produce("t", &[r#"{"id":2}"#]).0, 0);
    let back = table_once(pages, "t", counts_are(2, 0));
    assert_eq!((&back["state"], &back["last_error"]), (&Json::from("folding"), &Json::Null));
    // It can be stopped while there is none.
    second.kill();
    assert_away();
    assert!(program.stop().success());
}

/// A command that gives `weir` a small disk of its own at `folder`, which nobody else sees; none,
/// told on standard error past the test's capture, where that cannot be had.
fn on_small_disk(folder: &str, size: &str, first: &str, line: &str) -> Option<Command> {
    fs::create_dir_all(folder).unwrap();
    let namespace = ["--user", "--map-root-user", "--mount", "sh", "-c"];
    let mount = format!("mount -t tmpfs -o size={size} tmpfs {folder}");
    let tried = Command::new("unshare").args(namespace).arg(&mount).output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        let told = "skipped: no disk of its own can be mounted here, so none can be filled\n";
        std::io::stderr().write_all(told.as_bytes()).unwrap();
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(namespace).arg(format!("{mount} && {first} && exec \"$0\" \"$@\""));
    let program = weir(line);
    command.arg(program.get_program()).args(program.get_args());
    quiet(&mut command);
    Some(command)
}

#[test]
fn a_full_disk_refuses_records_until_there_is_room_and_keeps_what_it_has() {
    let place = Place::new();
    let data = place.path("disk");
    let line = format!(
        "{} --override log.segment.delete.delay.ms=0 --override log.retention.check.interval.ms=50 \
         --override log.index.size.max.bytes=65536",
        broker(&data)
    );
    let Some(command) = on_small_disk(&data, "16m", "true", &line) else { return };
    let mut program = Program::of(command, 1);
    let mut client = Client::connect(program.at("broker kafka"));
    assert_eq!(client.create("t", &[("retention.ms", "-1")]).0, 0);
    // When it is filled.
    let value = [vec![b'x'; 100_000]];
    let mut taken = 0;
    let (code, message) = loop {
        let verdict = client.produce("t", &value);
        if verdict.0 != 0 {
            break verdict;
        }
        taken += 1;
        assert!(taken < 168, "16 MiB hold no more");
    };
    // Then records are refused, by Kafka's code and with the reason; the rest goes on.
    assert_eq!(code, KAFKA_STORAGE_ERROR, "{message}");
    assert!(message.contains("t-0") && message.contains("No space left on device"), "{message}");
    assert!(taken > 50, "{taken}");
    assert_eq!(client.produce("t", &value).0, KAFKA_STORAGE_ERROR, "it stays full");
    let (code, records, end) = client.fetch("t", taken - 1);
    assert_eq!((code, end), (0, taken), "what was acknowledged is there");
    assert!(records.len() > 100_000);
    assert_eq!(page(program.at("broker http"), "/livez").0, 200);
    // When records are deleted there is room again, without a restart.
    assert_eq!(client.delete_before("t", taken), 0);
    let look = || Some(client.produce("t", &value)).filter(|verdict| verdict.0 == 0);
    wait_until("room", look, String::new);
    println!("a disk of 16 MiB was full after {taken} batches of 100 kB");
    assert!(program.is_alive() && program.stop().success());
}

#[test]
fn a_warehouse_without_room_is_told_and_folded_on_when_there_is_some() {
    let place = Place::new();
    let (data, tables) = (place.path("data"), place.path("disk"));
    let broker = Program::start(&broker(&data), 1);
    let kafka = broker.at("broker kafka").to_string();
    let ballast = format!("head -c 4194304 /dev/zero >{tables}/ballast");
    let line = compactor(&tables, &kafka);
    let Some(command) = on_small_disk(&tables, "5m", &ballast, &line) else { return };
    let program = Program::of(command, 1);
    let pages = program.at("compactor http");
    let mut client = Client::connect(broker.at("broker kafka"));
    assert_eq!(client.create("t", TABLE).0, 0);
    assert_eq!(client.produce("t", &[r#"{"id":0,"day":"first"}"#]).0, 0);
    table_once(pages, "t", counts_are(1, 0));
    // When rows come that do not compress into the room that is left.
    let mut chance = 1_u64;
    let mut noise = || {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        format!("{chance:016x}")
    };
    let rows: Vec<String> = (1..=2000)
        .map(|id| {
            let day: String = (0..64).map(|_| noise()).collect();
            format!(r#"{{"id":{id},"day":"{day}"}}"#)
        })
        .collect();
    for rows in rows.chunks(200) {
        assert_eq!(client.produce("t", rows).0, 0);
    }
    // Then the table says why it stands, its last snapshot stays, and the others may go on.
    let full = table_once(pages, "t", |table| {
        table["last_error"].as_str().is_some_and(|error| error.contains("No space left"))
    });
    assert!(full["snapshot_id"].as_i64().unwrap() >= 1, "{full}");
    assert_eq!(page(pages, "/readyz").0, 200);
    // When there is room it goes on by itself.
    fs::remove_file(format!("/proc/{}/root{tables}/ballast", program.id())).unwrap();
    table_once(pages, "t", counts_are(2001, 0));
    assert!(program.stop().success());
}
