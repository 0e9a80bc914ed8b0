//! A `weir` in a process of its own: started, heard until it is ready, killed.
//!
//! It ends with its value: nothing that a test started outlives the test. What it wrote to standard
//! error is kept, for whoever must find out why a test failed; a panic in it fails the test.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::kill::PATIENCE;

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

/// A running `weir`.
pub(super) struct Process {
    child: Child,
    ready: watch::Receiver<bool>,
    lines: Arc<Mutex<Vec<String>>>,
    listening: JoinHandle<()>,
}

impl Process {
    /// Starts `weir` with the given arguments and environment.
    pub(super) fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(arguments).envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("weir can be started");
        let stderr = child.stderr.take().expect("it is piped");
        let (said, ready) = watch::channel(false);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let listening = tokio::spawn(listen(stderr, Arc::clone(&lines), said));
        Process { child, ready, lines, listening }
    }

    /// Runs a command of `weir` to its end, which must be a good one.
    pub(super) async fn run(arguments: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        let output = command.args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
        let output = tokio::time::timeout(PATIENCE, output).await.expect("it ends");
        let output = output.expect("weir can be started");
        assert!(output.status.success(), "weir {arguments:?}: {output:#?}");
    }

    /// Waits until it says that it is ready.
    pub(super) async fn ready(&mut self) {
        let ready = self.ready.wait_for(|ready| *ready);
        let ready = tokio::time::timeout(PATIENCE, ready).await.map(|ready| ready.is_ok());
        assert_eq!(ready, Ok(true), "weir is not ready: {}", self.told());
    }

    /// Kills it by SIGKILL. It must have been alive until then.
    pub(super) async fn kill(&mut self) {
        self.child.start_kill().expect("it can be killed");
        let (status, told) = self.ended().await;
        assert_eq!(status.signal(), Some(SIGKILL), "weir ended by itself, {status}: {told}");
    }

    /// Waits until it has died at a named step.
    pub(super) async fn dies_at(&mut self, point: &str) {
        let (status, told) = self.ended().await;
        assert_eq!(status.signal(), Some(SIGABRT), "{point}: weir ended with {status}: {told}");
        let last = told.lines().last().unwrap_or_default();
        assert_eq!(last, format!("crash point {point}"), "it aborted elsewhere: {told}");
    }

    /// Stops it in good order.
    pub(super) async fn stop(&mut self) {
        let id = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        rustix::process::kill_process(id.expect("it runs"), Signal::TERM).expect("it can be told");
        let (status, told) = self.ended().await;
        assert!(status.success(), "weir did not stop in good order, {status}: {told}");
    }

    /// Waits for its end, and for all that it said.
    async fn ended(&mut self) -> (ExitStatus, String) {
        let Ok(status) = tokio::time::timeout(PATIENCE, self.child.wait()).await else {
            panic!("weir does not end: {}", self.told());
        };
        (&mut self.listening).await.expect("listening does not fail");
        let told = self.told();
        assert!(!told.contains("panicked at"), "a defect of weir: {told}");
        (status.expect("its end can be awaited"), told)
    }

    fn told(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }
}

async fn listen(
    stderr: impl AsyncRead + Unpin,
    told: Arc<Mutex<Vec<String>>>,
    ready: watch::Sender<bool>,
) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let is_ready = line.starts_with("broker ready ") || line.starts_with("compactor ready ");
        told.lock().unwrap().push(line);
        if is_ready {
            ready.send_replace(true);
        }
    }
}
