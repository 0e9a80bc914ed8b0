//! The program `weir` as a process: started, refused, asked over HTTP, killed when the test is over.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How often somebody looks whether something has happened: two minutes long, more than anything
/// here takes on a busy machine. Only a test that fails waits for so long.
const GLANCES_MAX: u32 = 6_000;
const GLANCE: Duration = Duration::from_millis(20);

/// The program with the arguments of a line, parted by blanks, and nothing of the environment that
/// could change what it does.
pub(crate) fn weir(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(line.split_whitespace());
    quiet(&mut command);
    command
}

/// Lets a command log nothing: what is left on standard error is meant for a person.
pub(crate) fn quiet(command: &mut Command) {
    command.env("WEIR_LOG", "off").env_remove("WEIR_CRASH_AT").env_remove("WEIR_SEEDED_BUG");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
}

/// The one line with which the program refuses to run.
pub(crate) fn refusal(line: &str) -> String {
    let (status, said) = outcome(line);
    assert_eq!(status.code(), Some(1), "weir {line}: {said}");
    assert_eq!(said.lines().count(), 1, "weir {line}: {said}");
    let reason = said.strip_prefix("weir: ").unwrap_or_else(|| panic!("weir {line}: {said}"));
    reason.trim_end().to_owned()
}

/// How the program ends by itself, and what it said.
pub(crate) fn outcome(line: &str) -> (ExitStatus, String) {
    let mut child = weir(line).spawn().unwrap();
    let status = wait_for(&mut child);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (status.unwrap_or_else(|| panic!("weir {line} goes on, and said {said:?}")), said)
}

/// How a process ended; it is killed if it does not.
fn wait_for(child: &mut Child) -> Option<ExitStatus> {
    let ended = within_patience(|| child.try_wait().unwrap());
    if ended.is_none() {
        // It may have ended at this very moment.
        let _ = child.kill();
        child.wait().unwrap();
    }
    ended
}

fn within_patience<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..GLANCES_MAX {
        let found = look();
        if found.is_some() {
            return found;
        }
        std::thread::sleep(GLANCE);
    }
    None
}

/// Looks again and again until there is what was waited for; `last` says what there is instead.
pub(crate) fn wait_until<T>(
    what: &str,
    mut look: impl FnMut() -> Option<T>,
    last: impl FnOnce() -> String,
) -> T {
    within_patience(&mut look).unwrap_or_else(|| panic!("{what} never came: {}", last()))
}

/// A port that was free a moment ago, for a service that is to come later.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A process that serves.
pub(crate) struct Program {
    child: Child,
    addresses: BTreeMap<String, SocketAddr>,
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    /// Starts `weir` and waits until so many services have said that they are ready.
    pub(crate) fn start(line: &str, services: usize) -> Program {
        Self::of(weir(line), services)
    }

    /// The same for a command of any kind that becomes `weir`.
    pub(crate) fn of(mut command: Command, services: usize) -> Program {
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut program = Program { child, addresses: BTreeMap::new() };
        for _ in 0..services {
            let mut line = String::new();
            stderr.read_line(&mut line).unwrap();
            let (service, told) = line.trim_end().split_once(" ready ").unwrap_or_else(|| {
                panic!("{command:?} is not ready: {line}");
            });
            for (name, address) in told.split(' ').filter_map(|word| word.split_once('=')) {
                program.addresses.insert(format!("{service} {name}"), address.parse().unwrap());
            }
        }
        // Somebody must read on, or the program blocks on a full pipe.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        program
    }

    /// Where a service listens: `broker kafka`, `broker http`, `compactor http`.
    pub(crate) fn at(&self, service: &str) -> SocketAddr {
        self.addresses[service]
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Asks it to stop, and says how it ended.
    pub(crate) fn stop(mut self) -> ExitStatus {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        wait_for(&mut self.child).expect("it stops when it is told to")
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Status and text of an HTTP page.
pub(crate) fn page(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.expect("a status"), body.to_owned())
}

/// What a compactor's page says of a topic's table; nothing if it does not know it.
pub(crate) fn table(address: SocketAddr, topic: &str) -> Option<serde_json::Value> {
    let (_, text) = page(address, "/v1/tables");
    let tables: Vec<serde_json::Value> = serde_json::from_str(&text).expect("a list of tables");
    tables.into_iter().find(|table| table["topic"] == topic)
}
