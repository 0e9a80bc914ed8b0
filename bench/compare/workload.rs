//! A workload as its file says it, with the words of the OpenMessaging Benchmark where it has one.
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::BenchError;
use crate::limits::Limits;

/// One file of `bench/workloads/`; it is named like the workload.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Workload {
    #[serde(skip_deserializing)]
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) partitions_per_topic: u32,
    /// Bytes of a record's value.
    pub(crate) message_size: u32,
    pub(crate) producers_per_topic: u32,
    /// Records a second of all producers. Absent: as fast as it goes.
    pub(crate) producer_rate: Option<u32>,
    pub(crate) acks: Acks,
    #[serde(default)]
    pub(crate) compression: Compression,
    /// Bytes of values in a batch, at most. Absent: 65,536.
    pub(crate) batch_bytes: Option<u32>,
    #[serde(default)]
    pub(crate) consumer_per_subscription: u32,
    /// 10^6 bytes that lie there before a catch-up begins.
    #[serde(rename = "consumerBacklogMB")]
    pub(crate) consumer_backlog_mb: Option<u32>,
    pub(crate) limit: Limit,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Producers alone.
    Produce,
    /// Consumers alone, of what was written before.
    CatchUp,
    /// Producers, and consumers at the end of the topic.
    Tail,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) enum Acks {
    #[serde(rename = "0")]
    None,
    #[serde(rename = "1")]
    Leader,
    #[serde(rename = "all")]
    All,
}

#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// The floor that a workload's main figure is a share of.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Limit {
    LoopbackTcp,
    Pwritev,
    Sendfile,
    /// Of a latency: the time of one sync.
    Fdatasync,
}

impl Workload {
    pub(crate) fn read(path: &Path) -> Result<Workload, BenchError> {
        let address = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| BenchError::Io { address: address.clone(), source })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Workload::parse(&name, &text)
            .map_err(|said| BenchError::Usage(format!("{address}: {said}")))
    }

    fn parse(name: &str, text: &str) -> Result<Workload, String> {
        let read: Workload = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let workload = Workload { name: name.to_owned(), ..read };
        workload.validate()?;
        Ok(workload)
    }

    /// What is written must be used, and what is used must be written.
    fn validate(&self) -> Result<(), String> {
        let refused = |said: &str| Err(said.to_owned());
        let is_catch_up = self.kind == Kind::CatchUp;
        let has_consumers = self.consumer_per_subscription > 0;
        if self.partitions_per_topic == 0 || self.message_size == 0 || self.producers_per_topic == 0
        {
            return refused("partitionsPerTopic, messageSize and producersPerTopic begin at 1");
        }
        if self.producer_rate == Some(0) {
            return refused("producerRate begins at 1; leave it out for as fast as it goes");
        }
        if is_catch_up != self.consumer_backlog_mb.is_some() {
            return refused("consumerBacklogMB belongs to kind catch-up, which needs it");
        }
        if has_consumers == (self.kind == Kind::Produce) {
            return refused("consumerPerSubscription belongs to kinds catch-up and tail");
        }
        if is_catch_up && self.producer_rate.is_some() {
            return refused("producerRate does not belong to kind catch-up");
        }
        if self.kind == Kind::Tail && self.acks == Acks::None {
            return refused("kind tail needs acks 1 or all: they tell the offsets");
        }
        if (self.limit == Limit::Fdatasync) != self.is_latency() {
            return refused("limit fdatasync belongs to workloads with a producerRate");
        }
        Ok(())
    }

    /// Whether its main figure is a latency: at a fixed rate, throughput says nothing.
    pub(crate) fn is_latency(&self) -> bool {
        self.producer_rate.is_some()
    }

    /// Records of the backlog.
    pub(crate) fn backlog_records(&self) -> Option<u64> {
        let bytes = u64::from(self.consumer_backlog_mb?) * 1_000_000;
        Some(bytes.div_ceil(u64::from(self.message_size)))
    }

    /// What `weir-bench produce` is told about the load.
    pub(crate) fn produce_arguments(&self) -> Vec<String> {
        let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let mut arguments = Vec::new();
        let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        add("--partitions", self.partitions_per_topic.to_string());
        add("--record-size", self.message_size.to_string());
        add("--producers", self.producers_per_topic.to_string());
        add("--acks", word(serde_json::json!(self.acks)));
        add("--compression", word(serde_json::json!(self.compression)));
        if let Some(bytes) = self.batch_bytes {
            add("--batch-bytes", bytes.to_string());
        }
        if let Some(rate) = self.producer_rate {
            add("--rate", rate.to_string());
        }
        if self.kind == Kind::Tail {
            add("--tail-consumers", self.consumer_per_subscription.to_string());
        }
        arguments
    }
}

impl Limit {
    /// MB/s, or milliseconds of a sync.
    pub(crate) fn of(self, limits: &Limits) -> f64 {
        match self {
            Limit::LoopbackTcp => limits.loopback_tcp_mb_per_second,
            Limit::Pwritev => limits.pwritev_mb_per_second,
            Limit::Sendfile => limits.sendfile_mb_per_second,
            Limit::Fdatasync => limits.fdatasync_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "kind: produce\npartitionsPerTopic: 16\nmessageSize: 100\n\
        producersPerTopic: 4\nacks: \"1\"\nlimit: loopback-tcp\n";

    #[test]
    fn a_file_is_read_by_its_words() {
        let workload = Workload::parse("plain", PLAIN).expect("it is one");
        assert_eq!(workload.name, "plain");
        assert_eq!(workload.acks, Acks::Leader);
        assert_eq!(
            workload.produce_arguments().join(" "),
            "--partitions 16 --record-size 100 --producers 4 --acks 1 --compression none"
        );
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        for more in [
            "topics: 2\n",
            "producerRate: 0\n",
            "consumerBacklogMB: 5\n",
            "consumerPerSubscription: 1\n",
            "producerRate: 10\n", // a latency is no share of TCP's throughput
        ] {
            Workload::parse("wrong", &format!("{PLAIN}{more}")).expect_err(more);
        }
    }

    #[test]
    fn every_file_that_comes_along_is_one() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads");
        let files = std::fs::read_dir(folder).expect("it is there");
        let read = files.map(|file| Workload::read(&file.expect("an entry").path()));
        let read: Result<Vec<Workload>, BenchError> = read.collect();
        assert!(read.expect("all are right").len() >= 12);
    }

    #[test]
    fn a_backlog_is_counted_in_whole_records() {
        let text = PLAIN.replace("kind: produce", "kind: catch-up").replace("100", "300000");
        let text = format!("{text}consumerBacklogMB: 1\nconsumerPerSubscription: 1\n");
        let workload = Workload::parse("backlog", &text).expect("it is one");
        assert_eq!(workload.backlog_records(), Some(4));
    }
}
