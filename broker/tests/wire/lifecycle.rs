//! The program `weir-broker`: starting, refusing to start, stopping.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::client::{Client, batch};

/// A process that is killed when the test is over.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have stopped by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir-broker"));
    command
        .arg("--data-dir")
        .arg(folder)
        .args(["--listeners", "PLAINTEXT://127.0.0.1:0", "--http", "127.0.0.1:0"])
        .args(["--override", "log.segment.bytes=1048576"])
        .args(arguments)
        .env("WEIR_LOG", "error")
        .stderr(Stdio::piped());
    command
}

/// Starts the program and waits until it is ready.
pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Process {
    let mut child = command(folder, arguments).spawn().expect("the program starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("a line");
    let address = line.strip_prefix("broker ready kafka=").and_then(|rest| rest.split(' ').next());
    let address = address.unwrap_or_else(|| panic!("not ready: {line}")).parse();
    // Somebody must read on, or the program blocks on a full pipe.
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    Process { child, address: address.expect("an address") }
}

fn refused(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command(folder, arguments).output().expect("it runs");
    (status.code(), String::from_utf8(stderr).expect("text"))
}

#[test]
fn a_start_that_cannot_be_is_refused_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = start(folder.path(), &[]);
    let (code, line) = refused(folder.path(), &[]);
    assert_eq!(code, Some(1));
    assert!(line.contains("in use by another process"), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");

    let other = tempfile::tempdir().expect("a folder");
    let taken = format!("PLAINTEXT://{}", running.address);
    let (code, line) = refused(other.path(), &["--override", &format!("listeners={taken}")]);
    assert_eq!(code, Some(1));
    assert!(line.contains("listeners") && line.contains("cannot listen on"), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");

    let (code, line) = refused(other.path(), &["--override", "num.network.threads=3"]);
    assert_eq!(code, Some(1));
    assert!(line.contains("unknown setting num.network.threads"), "{line}");
    let (code, line) = refused(other.path(), &["--override", "log.segment.bytes=lots"]);
    assert_eq!(code, Some(1));
    assert!(line.contains("log.segment.bytes"), "{line}");
    assert_eq!(refused(other.path(), &["--no-such-flag"]).0, Some(2));

    let foreign = tempfile::tempdir().expect("a folder");
    std::fs::write(foreign.path().join("meta.properties"), "version=1\nnode.id=1\n")
        .expect("a file");
    let (code, line) = refused(foreign.path(), &[]);
    assert_eq!(code, Some(1));
    assert!(line.contains("meta.properties"), "{line}");
}

#[test]
fn a_file_of_settings_is_read_and_its_mistakes_are_placed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("server.properties");
    std::fs::write(&file, "# mine\nnum.partitions=4\nno.such=1\n").expect("a file");
    let file = file.to_str().expect("a path");
    let (code, line) = refused(&folder.path().join("data"), &["--config", file]);
    assert_eq!(code, Some(1));
    assert!(line.contains("line 3") && line.contains("no.such"), "{line}");
}

#[test]
fn it_stops_cleanly_when_it_is_told_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut process = start(folder.path(), &[]);
    runtime.block_on(async {
        let mut client = Client::connect(process.address).await;
        client.create("t", 1, &[]).await;
        assert_eq!(client.produce("t", batch(&["a"])).await.error_code, 0);
    });
    terminate(&process.child);
    assert!(process.child.wait().expect("it ends").success());
    assert!(folder.path().join(".kafka_cleanshutdown").exists());
    let process = start(folder.path(), &[]);
    runtime.block_on(async {
        let mut client = Client::connect(process.address).await;
        assert_eq!(client.list_offset("t", -1).await.offset, 1);
    });
}

fn terminate(child: &Child) {
    let killed = Command::new("kill").arg(child.id().to_string()).status();
    assert!(killed.expect("kill runs").success());
}

/// Memory that a process holds, in bytes.
pub(crate) fn resident_bytes(process: &Process) -> u64 {
    memory_bytes(process, "VmRSS:")
}

/// The most memory that a process ever held, in bytes.
pub(crate) fn resident_bytes_max(process: &Process) -> u64 {
    memory_bytes(process, "VmHWM:")
}

fn memory_bytes(process: &Process, name: &str) -> u64 {
    let path = format!("/proc/{}/status", process.child.id());
    let mut status = String::new();
    let mut file = std::fs::File::open(path).expect("the process lives");
    file.read_to_string(&mut status).expect("text");
    let line = status.lines().find(|line| line.starts_with(name)).expect("a line");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    kib * 1024
}
