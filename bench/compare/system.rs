//! The systems that are compared: each starts on ports and in a folder of its own, and both go with it.
use std::fs::{self, File};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{BenchError, clock};

/// How long a system may take to start.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// What Kafka writes to its log once it serves.
const KAFKA_READY: &str = "Kafka Server started";
/// As Kafka's own start script runs it.
const KAFKA_JAVA: &[&str] = &[
    "-Xmx1g",
    "-Xms1g",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
];

#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum System {
    #[default]
    /// Weir as it is by default: acks=all waits for the sync.
    Weir,
    /// Weir with log.durability=os: acks=all waits for no disk, as in Kafka.
    WeirOs,
    /// Apache Kafka, one KRaft node.
    Kafka,
    /// Tansu, its log in memory.
    Tansu,
}

impl System {
    pub(crate) fn name(self) -> &'static str {
        match self {
            System::Weir => "weir",
            System::WeirOs => "weir-os",
            System::Kafka => "kafka",
            System::Tansu => "tansu",
        }
    }
}

/// Where the systems' programs are, and where they may run.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) weir: PathBuf,
    pub(crate) kafka_class_path: Option<String>,
    pub(crate) tansu: Option<PathBuf>,
    pub(crate) scratch: PathBuf,
    /// Cores of the server, as `taskset -c` takes them.
    pub(crate) server_cores: Option<String>,
}

/// A system at work. Dropped, it is killed, and its folder removed.
pub(crate) struct Running {
    pub(crate) address: String,
    pub(crate) pid: u32,
    child: Child,
    folder: TempDir,
}

impl Running {
    pub(crate) async fn stop(mut self) -> io::Result<()> {
        self.child.kill().await?;
        self.folder.close()
    }
}

/// A program under `taskset` where cores are given; it ends when its handle is dropped.
pub(crate) fn command(program: impl AsRef<Path>, cores: Option<&str>) -> Command {
    let program = program.as_ref();
    let mut command = match cores {
        Some(cores) => {
            let mut command = Command::new("taskset");
            command.args(["-c", cores]).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

impl Programs {
    /// Why a system cannot take part; `None` when it can.
    pub(crate) fn missing(&self, system: System) -> Option<&'static str> {
        match system {
            System::Weir | System::WeirOs if !self.weir.exists() => {
                Some("no such program: build it, or name it with --weir")
            }
            System::Kafka if self.kafka_class_path.is_none() => {
                Some("--kafka-class-path names no jars")
            }
            System::Tansu if self.tansu.is_none() => Some("--tansu names no program"),
            _ => None,
        }
    }

    /// Starts a system and waits until it serves.
    pub(crate) async fn start(&self, system: System) -> Result<Running, BenchError> {
        let failed =
            |source| BenchError::Io { address: format!("start {}", system.name()), source };
        let folder = tempfile::Builder::new().prefix("weir-compare-").tempdir_in(&self.scratch);
        let folder = folder.map_err(failed)?;
        let port = free_port().map_err(failed)?;
        let log = folder.path().join("log");
        let mut command = match system {
            System::Weir => self.weir(port, folder.path(), "fsync").map_err(failed)?,
            System::WeirOs => self.weir(port, folder.path(), "os").map_err(failed)?,
            System::Kafka => self.kafka(port, folder.path()).await.map_err(failed)?,
            System::Tansu => self.tansu(port),
        };
        let output = File::create(&log).map_err(failed)?;
        command.stdout(output.try_clone().map_err(failed)?).stderr(output);
        let child = command.spawn().map_err(failed)?;
        let pid = child.id().expect("it has just begun");
        let address = format!("127.0.0.1:{port}");
        let mut running = Running { address, pid, child, folder };
        let deadline = clock::now() + PATIENCE;
        while !is_ready(system, &running.address, &log) {
            let has_ended = running.child.try_wait().map_err(failed)?.is_some();
            if has_ended || clock::now() > deadline {
                let said = fs::read_to_string(&log).unwrap_or_default();
                let last: Vec<&str> = said.lines().rev().take(3).collect();
                let said = format!("{} did not start: {}", system.name(), last.join(" | "));
                return Err(BenchError::Server(said));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(running)
    }

    fn weir(&self, port: u16, folder: &Path, durability: &str) -> io::Result<Command> {
        let mut command = command(&self.weir, self.server_cores.as_deref());
        command
            .args(["broker", "--listeners", &format!("PLAINTEXT://127.0.0.1:{port}")])
            .args(["--http", &format!("127.0.0.1:{}", free_port()?)])
            .args(["--override", &format!("log.durability={durability}")])
            .arg("--data-dir")
            .arg(folder.join("data"));
        Ok(command)
    }

    fn tansu(&self, port: u16) -> Command {
        let program = self.tansu.clone().unwrap_or_default();
        let mut command = command(program, self.server_cores.as_deref());
        let url = format!("tcp://127.0.0.1:{port}");
        command.args(["broker", "--silent", "--storage-engine", "memory://tansu/"]).args([
            "--listener-url",
            &url,
            "--advertised-listener-url",
            &url,
        ]);
        command
    }

    /// Formats the folder, which Kafka wants done before; the settings are its defaults but for
    /// what one node cannot have.
    async fn kafka(&self, port: u16, folder: &Path) -> io::Result<Command> {
        let class_path = self.kafka_class_path.clone().unwrap_or_default();
        let settings = folder.join("server.properties");
        let data = folder.join("data");
        fs::write(&settings, kafka_settings(port, free_port()?, &data))?;
        let mut format = command("java", None);
        format.args(["-XX:TieredStopAtLevel=1", "-cp", &class_path, "kafka.tools.StorageTool"]);
        format.args(["format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c"]).arg(&settings);
        let formatted = format.output().await?;
        if !formatted.status.success() {
            let said = String::from_utf8_lossy(&formatted.stderr).into_owned();
            return Err(io::Error::other(said));
        }
        let mut command = command("java", self.server_cores.as_deref());
        command.args(KAFKA_JAVA).args(["-cp", &class_path, "kafka.Kafka"]).arg(settings);
        Ok(command)
    }

    /// What a system says that it is.
    pub(crate) async fn version(&self, system: System) -> String {
        let program = match system {
            System::Weir | System::WeirOs => Some(self.weir.clone()),
            System::Tansu => self.tansu.clone(),
            System::Kafka => None,
        };
        match program {
            Some(program) => {
                let told = command(program, None).arg("--version").output().await;
                told.map_or_else(
                    |_| "unknown".to_owned(),
                    |told| String::from_utf8_lossy(&told.stdout).trim().to_owned(),
                )
            }
            None => kafka_version(self.kafka_class_path.as_deref().unwrap_or_default()),
        }
    }
}

fn kafka_version(class_path: &str) -> String {
    let jar = class_path.split(':').find_map(|path| {
        path.rsplit('/').next()?.strip_prefix("kafka_2.13-")?.strip_suffix(".jar")
    });
    format!("Apache Kafka {}", jar.unwrap_or("of unknown version"))
}

fn kafka_settings(port: u16, controller: u16, data: &Path) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={}\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n",
        data.display()
    )
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Kafka's port is open before it serves, so its log is asked.
fn is_ready(system: System, address: &str, log: &Path) -> bool {
    match system {
        System::Kafka => fs::read_to_string(log).is_ok_and(|said| said.contains(KAFKA_READY)),
        _ => TcpStream::connect(address).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_kafka_stands_in_the_name_of_its_jar() {
        let class_path = "/jars/kafka-clients-4.4.0.jar:/jars/kafka_2.13-4.4.1.jar";
        assert_eq!(kafka_version(class_path), "Apache Kafka 4.4.1");
        assert_eq!(kafka_version(""), "Apache Kafka of unknown version");
    }
}
