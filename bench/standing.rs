//! What a broker spends while nothing happens: connections that say nothing, partitions that nobody
//! writes to, groups that only send heartbeats. Then how fast it answers for all of it.
//!
//! - *idle*: CPU of the server's process over a quiet time, as a share of one core.
//! - *metadata*: the time of one Metadata request about all partitions.
//! - *rebalance*: from the moment at which a member joins a group of many until all of them have
//!   their assignment of the new generation.
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest, MetadataRequest,
    SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::measure::{Latencies, LatencyMs, Server, ServerUse, round};
use crate::report::Report;
use crate::{BenchError, Target, clock, topic};

/// The most partitions of one topic.
const TOPIC_PARTITIONS: i32 = 100;
/// The default of clients.
const HEARTBEAT: Duration = Duration::from_secs(3);
const SESSION_MS: i32 = 45_000;
const METADATA_REQUESTS: u32 = 20;

#[derive(Args, Clone, Debug)]
pub(crate) struct Standing {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Connections that say nothing.
    #[arg(long, default_value_t = 1000)]
    connections: usize,
    /// Partitions over all topics that are made, a hundred in each.
    #[arg(long, default_value_t = 500)]
    all_partitions: i32,
    /// Groups of one member that sends heartbeats.
    #[arg(long, default_value_t = 100)]
    groups: usize,
    /// Members of the group that is rebalanced.
    #[arg(long, default_value_t = 100)]
    members: usize,
    /// The quiet time.
    #[arg(long, value_parser = crate::seconds, default_value = "20")]
    duration: Duration,
}

#[derive(Serialize)]
struct Stood {
    /// Of one core.
    idle_cpu_percent: Option<f64>,
    idle: Option<ServerUse>,
    metadata_partitions: usize,
    metadata_ms: LatencyMs,
    rebalance_members: usize,
    /// The first time all members come together, after the server's initial delay.
    first_generation_ms: f64,
    /// One more member.
    rebalance_ms: f64,
}

pub(crate) async fn run(settings: Standing) -> Result<Report, BenchError> {
    let target = &settings.target;
    make_topics(target, settings.all_partitions).await?;
    let mut silent = Vec::new();
    for _ in 0..settings.connections {
        silent.push(Connection::open(&target.bootstrap_server).await?);
    }
    let mut members = Vec::new();
    for number in 0..settings.groups {
        let group = format!("standing-{number}");
        members.push(tokio::spawn(Member::join(target.bootstrap_server.clone(), group)));
    }
    let mut heartbeats: Vec<JoinHandle<Result<(), BenchError>>> = Vec::new();
    for member in members {
        let member = member.await.map_err(|error| BenchError::Server(error.to_string()))??;
        heartbeats.push(tokio::spawn(member.beat(HEARTBEAT)));
    }
    let server = Server::watch(target.server_pid);
    let start = clock::now();
    tokio::time::sleep(settings.duration).await;
    let seconds = start.elapsed().as_secs_f64();
    let idle = server.and_then(|server| server.spent(0));
    let (metadata_partitions, metadata_ms) = metadata(target).await?;
    let (first, again) = rebalance(target, settings.members).await?;
    if let Some(ended) = heartbeats.iter().find(|heartbeat| heartbeat.is_finished()) {
        return Err(BenchError::Server(format!("a member's heartbeats ended: {ended:?}")));
    }
    heartbeats.iter().for_each(JoinHandle::abort);
    let result = Stood {
        idle_cpu_percent: idle.as_ref().map(|idle| round(idle.cpu_seconds / seconds * 100.0)),
        idle,
        metadata_partitions,
        metadata_ms,
        rebalance_members: settings.members,
        first_generation_ms: round(first.as_secs_f64() * 1e3),
        rebalance_ms: round(again.as_secs_f64() * 1e3),
    };
    let settings = json!({
        "bootstrap_server": target.bootstrap_server,
        "connections": silent.len(),
        "all_partitions": settings.all_partitions,
        "groups": settings.groups,
        "seconds": round(seconds),
    });
    Ok(Report::new("standing", settings, &result))
}

async fn make_topics(target: &Target, all_partitions: i32) -> Result<(), BenchError> {
    let mut left = all_partitions;
    for number in 0.. {
        if left <= 0 {
            break;
        }
        let partitions = left.min(TOPIC_PARTITIONS);
        left -= partitions;
        let one = Target {
            topic: format!("{}-standing-{number}", target.topic),
            partitions,
            ..target.clone()
        };
        topic::create(&one, &target.topic_configs).await?;
    }
    Ok(())
}

async fn metadata(target: &Target) -> Result<(usize, LatencyMs), BenchError> {
    let mut connection = Connection::open(&target.bootstrap_server).await?;
    let request = MetadataRequest::default().with_topics(None);
    let mut latencies = Latencies::new();
    let mut partitions = 0;
    for _ in 0..METADATA_REQUESTS {
        let began = clock::now();
        let answer = connection.call(&request, 12).await?;
        latencies.record(began.elapsed(), 1);
        partitions = answer.topics.iter().map(|topic| topic.partitions.len()).sum();
    }
    Ok((partitions, latencies.summary()))
}

/// All members of a group come together; then one more does. How long each took.
async fn rebalance(target: &Target, count: usize) -> Result<(Duration, Duration), BenchError> {
    let group = || "standing-many".to_owned();
    let began = clock::now();
    let joining: Vec<_> = (0..count)
        .map(|_| tokio::spawn(Member::join(target.bootstrap_server.clone(), group())))
        .collect();
    let mut members = Vec::new();
    for member in joining {
        members.push(member.await.map_err(|error| BenchError::Server(error.to_string()))??);
    }
    let first = began.elapsed();
    let generation = members.iter().map(|member| member.generation).max().unwrap_or(0);
    let began = clock::now();
    let newcomer = tokio::spawn(Member::join(target.bootstrap_server.clone(), group()));
    let again = members.into_iter().map(|member| tokio::spawn(member.beyond(generation)));
    for member in again.collect::<Vec<_>>() {
        member.await.map_err(|error| BenchError::Server(error.to_string()))??;
    }
    newcomer.await.map_err(|error| BenchError::Server(error.to_string()))??;
    Ok((first, began.elapsed()))
}

/// A member of a classic group.
struct Member {
    connection: Connection,
    group: GroupId,
    id: StrBytes,
    generation: i32,
}

impl Member {
    /// Joins until it has an assignment.
    async fn join(bootstrap: String, group: String) -> Result<Member, BenchError> {
        let mut connection = Connection::open(&bootstrap).await?;
        let group = GroupId(StrBytes::from_string(group));
        let asked = FindCoordinatorRequest::default().with_key(group.0.clone());
        let found = connection.call_until_ready(&asked, 3, |answer| answer.error_code).await?.0;
        let connection = Connection::open(&format!("{}:{}", found.host, found.port)).await?;
        let mut member = Member { connection, group, id: StrBytes::default(), generation: -1 };
        member.rejoin().await?;
        Ok(member)
    }

    /// JoinGroup and SyncGroup, again while the group is rebalanced.
    async fn rejoin(&mut self) -> Result<(), BenchError> {
        loop {
            let protocol = JoinGroupRequestProtocol::default()
                .with_name(StrBytes::from_static_str("range"))
                .with_metadata(Bytes::from_static(b"\0\0\0\0\0\0\0\0\0\0"));
            let asked = JoinGroupRequest::default()
                .with_group_id(self.group.clone())
                .with_session_timeout_ms(SESSION_MS)
                .with_rebalance_timeout_ms(60_000)
                .with_member_id(self.id.clone())
                .with_protocol_type(StrBytes::from_static_str("consumer"))
                .with_protocols(vec![protocol]);
            let joined = self.connection.call(&asked, 7).await?;
            if joined.error_code == ResponseError::MemberIdRequired.code() {
                self.id = joined.member_id;
                continue;
            }
            if joined.error_code != 0 {
                return Err(BenchError::Server(topic::error_name(joined.error_code)));
            }
            self.id = joined.member_id;
            self.generation = joined.generation_id;
            let assignments = joined.members.iter().map(|member| {
                SyncGroupRequestAssignment::default()
                    .with_member_id(member.member_id.clone())
                    .with_assignment(Bytes::from_static(b"\0\0\0\0\0\0\0\0\0\0"))
            });
            let asked = SyncGroupRequest::default()
                .with_group_id(self.group.clone())
                .with_generation_id(self.generation)
                .with_member_id(self.id.clone())
                .with_protocol_type(Some(StrBytes::from_static_str("consumer")))
                .with_protocol_name(Some(StrBytes::from_static_str("range")))
                .with_assignments(assignments.collect());
            if !must_rejoin(self.connection.call(&asked, 5).await?.error_code)? {
                return Ok(());
            }
        }
    }

    async fn heartbeat(&mut self) -> Result<i16, BenchError> {
        let asked = HeartbeatRequest::default()
            .with_group_id(self.group.clone())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone());
        Ok(self.connection.call(&asked, 4).await?.error_code)
    }

    /// Heartbeats until it is told to rejoin, and on from there, for ever.
    async fn beat(mut self, every: Duration) -> Result<(), BenchError> {
        loop {
            tokio::time::sleep(every).await;
            if must_rejoin(self.heartbeat().await?)? {
                self.rejoin().await?;
            }
        }
    }

    /// Heartbeats, often, until it has an assignment of a later generation.
    async fn beyond(mut self, generation: i32) -> Result<Instant, BenchError> {
        while self.generation <= generation {
            if must_rejoin(self.heartbeat().await?)? {
                self.rejoin().await?;
            } else {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(clock::now())
    }
}

/// Whether a member is told that its group is being rebalanced.
fn must_rejoin(error: i16) -> Result<bool, BenchError> {
    match error {
        0 => Ok(false),
        _ if error == ResponseError::RebalanceInProgress.code() => Ok(true),
        error => Err(BenchError::Server(topic::error_name(error))),
    }
}
