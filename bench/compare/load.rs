//! One workload on one running system: the load is a process of its own, so that what the client
//! spends is not counted as the server's.
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;

use crate::BenchError;
use crate::compare::system::{Running, command};
use crate::compare::workload::{Kind, Workload};
use crate::measure::round;

/// What a load may take beyond its own time: to make a thousand partitions, to write a backlog.
const PATIENCE: Duration = Duration::from_secs(120);
/// A topic is read again and again until its time is over.
const PASSES: &str = "1000000";

/// How the load is run.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) program: PathBuf,
    /// Cores of the client, as `taskset -c` takes them.
    pub(crate) cores: Option<String>,
    pub(crate) seconds: f64,
    pub(crate) warmup_seconds: f64,
}

/// What one run found. Latencies are those of the acknowledgement, or of arrival at a consumer
/// where one follows.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Found {
    pub(crate) mb_per_second: f64,
    pub(crate) records_per_second: f64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) p99_9_ms: Option<f64>,
    pub(crate) cpu_seconds_per_gb: Option<f64>,
    pub(crate) cpu_seconds_per_million_records: Option<f64>,
    pub(crate) rss_peak_mib: Option<f64>,
}

impl Client {
    pub(crate) async fn run(
        &self,
        workload: &Workload,
        system: &Running,
    ) -> Result<Found, BenchError> {
        let seconds = self.seconds.to_string();
        let warmup = self.warmup_seconds.to_string();
        let mut produce = vec!["produce".to_owned()];
        produce.extend(workload.produce_arguments());
        let report = match workload.backlog_records() {
            Some(records) => {
                produce.extend(["--records".to_owned(), records.to_string()]);
                self.call(system, &produce).await?;
                let consumers = workload.consumer_per_subscription.to_string();
                let consume = |duration: &str| {
                    ["consume", "--consumers", &consumers, "--passes", PASSES, "--duration"]
                        .into_iter()
                        .chain([duration])
                        .map(str::to_owned)
                        .collect::<Vec<_>>()
                };
                self.call(system, &consume(&warmup)).await?;
                self.call(system, &consume(&seconds)).await?
            }
            None => {
                let timed = |seconds: &str| {
                    let times = ["--duration", seconds, "--warmup", &warmup];
                    produce.iter().cloned().chain(times.map(str::to_owned)).collect::<Vec<_>>()
                };
                if workload.is_latency() {
                    // What a cold system lets pile up must not wait into the measured time.
                    self.call(system, &timed(&warmup)).await?;
                }
                self.call(system, &timed(&seconds)).await?
            }
        };
        found(workload.kind, &report["result"])
            .ok_or_else(|| BenchError::Server(format!("a report without figures: {report}")))
    }

    /// This program once more, as the load.
    async fn call(&self, system: &Running, arguments: &[String]) -> Result<Value, BenchError> {
        let mut load = command(&self.program, self.cores.as_deref());
        load.args(arguments)
            .args(["--bootstrap-server", &system.address, "-o", "json"])
            .args(["--server-pid", &system.pid.to_string()])
            .stderr(Stdio::piped());
        let allowed = PATIENCE + Duration::from_secs_f64(self.seconds + self.warmup_seconds);
        let Ok(ended) = timeout(allowed, load.output()).await else {
            let said = format!("{} took more than {allowed:?}", arguments[0]);
            return Err(BenchError::Server(said));
        };
        let ended = ended.map_err(|source| BenchError::Io {
            address: self.program.display().to_string(),
            source,
        })?;
        if !ended.status.success() {
            let said = String::from_utf8_lossy(&ended.stderr);
            let said = said.lines().last().unwrap_or("it ended without a word");
            return Err(BenchError::Server(
                said.trim().trim_start_matches("weir-bench: ").to_owned(),
            ));
        }
        serde_json::from_slice(&ended.stdout)
            .map_err(|error| BenchError::Server(format!("its report: {error}")))
    }
}

/// The figures of a report of `weir-bench produce` or `consume`.
fn found(kind: Kind, result: &Value) -> Option<Found> {
    let latency = match kind {
        Kind::Produce => &result["latency_ms"],
        Kind::Tail => &result["end_to_end_ms"],
        Kind::CatchUp => &Value::Null,
    };
    let server = &result["server"];
    let millions = result["records"].as_f64()? / 1e6;
    let cpu_seconds = server["cpu_seconds"].as_f64();
    Some(Found {
        mb_per_second: result["mb_per_second"].as_f64()?,
        records_per_second: result["records_per_second"].as_f64()?,
        p50_ms: latency["p50"].as_f64(),
        p99_ms: latency["p99"].as_f64(),
        p99_9_ms: latency["p99.9"].as_f64(),
        cpu_seconds_per_gb: server["cpu_seconds_per_gb"].as_f64(),
        cpu_seconds_per_million_records: cpu_seconds
            .filter(|_| millions > 0.0)
            .map(|seconds| round(seconds / millions)),
        rss_peak_mib: server["rss_peak_mib"].as_f64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_becomes_figures_and_one_without_records_none() {
        let report = serde_json::json!({
            "records": 2_000_000, "records_per_second": 1_000_000, "mb_per_second": 100.5,
            "latency_ms": { "p50": 1.0, "p99": 2.0, "p99.9": 3.0 },
            "end_to_end_ms": { "p50": 4.0, "p99": 5.0, "p99.9": 6.0 },
            "server": { "cpu_seconds": 1.0, "cpu_seconds_per_gb": 5.0, "rss_peak_mib": 64.0 },
        });
        let publish = found(Kind::Produce, &report).expect("all is there");
        assert_eq!(publish.cpu_seconds_per_million_records, Some(0.5));
        assert_eq!((publish.p50_ms, publish.p99_9_ms), (Some(1.0), Some(3.0)));
        assert_eq!(found(Kind::Tail, &report).expect("it too").p50_ms, Some(4.0));
        assert!(found(Kind::Produce, &Value::Null).is_none());
    }
}
