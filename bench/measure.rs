//! What is measured: latencies in a histogram, and what the server's process spent.
use std::fs;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies from a microsecond to an hour, to three digits.
#[derive(Clone)]
pub(crate) struct Latencies(Histogram<u64>);

/// The quantiles that are reported, in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LatencyMs {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    #[serde(rename = "p99.9")]
    pub(crate) p99_9: f64,
    pub(crate) max: f64,
    pub(crate) mean: f64,
    pub(crate) count: u64,
}

impl Latencies {
    pub(crate) fn new() -> Latencies {
        let hour_ns = 3_600_000_000_000;
        let histogram = Histogram::new_with_bounds(1_000, hour_ns, 3);
        Latencies(histogram.expect("these bounds are allowed"))
    }

    /// So many records took so long.
    pub(crate) fn record(&mut self, latency: Duration, count: u64) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record_n(nanoseconds, count);
    }

    pub(crate) fn add(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }

    pub(crate) fn summary(&self) -> LatencyMs {
        let ms = |nanoseconds: u64| round(Duration::from_nanos(nanoseconds).as_secs_f64() * 1e3);
        LatencyMs {
            p50: ms(self.0.value_at_quantile(0.5)),
            p90: ms(self.0.value_at_quantile(0.9)),
            p99: ms(self.0.value_at_quantile(0.99)),
            p99_9: ms(self.0.value_at_quantile(0.999)),
            max: ms(self.0.max()),
            mean: round(self.0.mean() / 1e6),
            count: self.0.len(),
        }
    }
}

/// Three digits behind the point are enough for anything that is reported.
pub(crate) fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// A whole number of things a second.
pub(crate) fn per_second(count: u64, seconds: f64) -> u64 {
    (count as f64 / seconds).round() as u64
}

/// What a process has spent so far, as the kernel counts it.
#[derive(Copy, Clone, Debug, Default)]
struct Spent {
    cpu_ticks: u64,
    written_bytes: u64,
}

/// The server's process, watched over the time of the load.
#[derive(Debug)]
pub(crate) struct Server {
    pid: u32,
    before: Spent,
}

/// What the server spent.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ServerUse {
    pub(crate) cpu_seconds: f64,
    /// By 10^9 bytes of keys and values, where any were sent or read.
    pub(crate) cpu_seconds_per_gb: Option<f64>,
    pub(crate) rss_mib: f64,
    pub(crate) rss_peak_mib: f64,
    pub(crate) disk_written_mb: f64,
}

/// Ticks of a second in `/proc`: fixed by Linux' interface to programs.
const TICKS_PER_SECOND: f64 = 100.0;

impl Server {
    /// From now on; nothing is watched without a process, or without `/proc`.
    pub(crate) fn watch(pid: Option<u32>) -> Option<Server> {
        let pid = pid?;
        Some(Server { pid, before: spent(pid)? })
    }

    /// What it spent since, for so many bytes.
    pub(crate) fn spent(&self, bytes: u64) -> Option<ServerUse> {
        let after = spent(self.pid)?;
        let ticks = after.cpu_ticks.saturating_sub(self.before.cpu_ticks);
        let cpu_seconds = ticks as f64 / TICKS_PER_SECOND;
        let written = after.written_bytes.saturating_sub(self.before.written_bytes);
        Some(ServerUse {
            cpu_seconds: round(cpu_seconds),
            cpu_seconds_per_gb: (bytes > 0).then(|| round(cpu_seconds / (bytes as f64 / 1e9))),
            rss_mib: status_mib(self.pid, "VmRSS:")?,
            rss_peak_mib: status_mib(self.pid, "VmHWM:")?,
            disk_written_mb: round(written as f64 / 1e6),
        })
    }
}

fn spent(pid: u32) -> Option<Spent> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold blanks; user and system time are fields 14 and 15.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let tick = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok());
    Some(Spent { cpu_ticks: tick(14)? + tick(15)?, written_bytes: written.unwrap_or(0) })
}

fn status_mib(pid: u32, name: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(round(kib / 1024.0))
}
