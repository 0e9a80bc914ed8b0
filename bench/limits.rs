//! The floors of this machine: what its kernel, memory and disk do when no broker is in the way.
//!
//! Each is measured alone, one after the other, for about as long as is asked for. A figure of a
//! broker is read as a share of the floor under it. `writev` from a mapped file is not among them:
//! mapping a file is unsafe code, which this crate has none of; `sendfile` stands in for it.
use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::{self, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rustix::fs::{FallocateFlags, fallocate, sendfile};
use rustix::io::pwritev;
use serde::Serialize;
use serde_json::json;

use crate::measure::{Latencies, round};
use crate::report::Report;
use crate::{BenchError, Output, clock};

/// What is written, sent and copied at once: large enough that calls cost little beside bytes.
const CHUNK_BYTES: usize = 1 << 20;
/// What is checked at once: a usual record batch.
const BATCH_BYTES: usize = 64 << 10;
/// Larger than any cache, so that copies are paid by memory.
const COPY_BYTES: usize = 64 << 20;
/// The file that is written over and over, and sent from.
const FILE_BYTES: u64 = 256 << 20;
/// What an append before a sync writes.
const APPEND_BYTES: usize = 4 << 10;

#[derive(Args, Clone, Debug)]
pub(crate) struct LimitsCommand {
    /// Seconds by floor.
    #[arg(long, default_value = "1", value_parser = crate::seconds)]
    duration: Duration,
    /// A folder on the disk that is meant. Absent: the system's folder for temporary files.
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// How to print the result.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// The floors; MB are 10^6 bytes.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Limits {
    pub(crate) loopback_tcp_mb_per_second: f64,
    pub(crate) memcpy_mb_per_second: f64,
    pub(crate) crc32c_mb_per_second: f64,
    pub(crate) pwritev_mb_per_second: f64,
    pub(crate) sendfile_mb_per_second: f64,
    pub(crate) fdatasync_per_second: f64,
    pub(crate) fdatasync_ms: f64,
}

pub(crate) async fn run(settings: LimitsCommand) -> Result<Report, BenchError> {
    let limits = measure(settings.duration, settings.scratch).await?;
    let said = json!({ "seconds_by_floor": settings.duration.as_secs_f64() });
    Ok(Report::new("limits", said, &limits))
}

/// All floors, on a thread that may block.
pub(crate) async fn measure(
    duration: Duration,
    scratch: Option<PathBuf>,
) -> Result<Limits, BenchError> {
    let scratch = scratch.unwrap_or_else(std::env::temp_dir);
    let address = scratch.display().to_string();
    tokio::task::spawn_blocking(move || floors(duration, &scratch))
        .await
        .map_err(|error| BenchError::Server(error.to_string()))?
        .map_err(|source| BenchError::Io { address, source })
}

fn floors(duration: Duration, scratch: &Path) -> io::Result<Limits> {
    let folder = tempfile::Builder::new().prefix("weir-limits-").tempdir_in(scratch)?;
    let path = folder.path().join("log");
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES)?;
    let pwritev_mb_per_second = pwritev_rate(&file, duration)?;
    let sendfile_mb_per_second = over_loopback(|stream| send_file(&file, stream, duration))?;
    let (fdatasync_per_second, fdatasync_ms) = syncs(&folder.path().join("synced"), duration)?;
    Ok(Limits {
        loopback_tcp_mb_per_second: over_loopback(|stream| send_chunks(stream, duration))?,
        memcpy_mb_per_second: memcpy(duration),
        crc32c_mb_per_second: crc32c(duration),
        pwritev_mb_per_second,
        sendfile_mb_per_second,
        fdatasync_per_second,
        fdatasync_ms,
    })
}

/// Repeats until the time is over; 10^6 bytes a second.
fn rate(duration: Duration, mut step: impl FnMut() -> io::Result<usize>) -> io::Result<f64> {
    let began = clock::now();
    let mut bytes = 0;
    while began.elapsed() < duration {
        bytes += step()?;
    }
    Ok(round(bytes as f64 / 1e6 / began.elapsed().as_secs_f64()))
}

fn memcpy(duration: Duration) -> f64 {
    let source = vec![1_u8; COPY_BYTES];
    let mut target = vec![0_u8; COPY_BYTES];
    let copied = rate(duration, || {
        black_box(&mut target).copy_from_slice(black_box(&source));
        Ok(COPY_BYTES)
    });
    copied.expect("copying memory does not fail")
}

fn crc32c(duration: Duration) -> f64 {
    let batch = vec![7_u8; BATCH_BYTES];
    let checked = rate(duration, || {
        black_box(crc32c::crc32c(black_box(&batch)));
        Ok(BATCH_BYTES)
    });
    checked.expect("a checksum does not fail")
}

/// Over blocks that were reserved before, as a log segment is written; nothing is synced.
fn pwritev_rate(file: &File, duration: Duration) -> io::Result<f64> {
    let chunk = vec![b'w'; CHUNK_BYTES];
    let mut position = 0;
    rate(duration, || {
        let written = pwritev(file, &[IoSlice::new(&chunk)], position)?;
        position = (position + CHUNK_BYTES as u64) % FILE_BYTES;
        Ok(written)
    })
}

/// From the pages that `pwritev_rate` has left in memory.
fn send_file(file: &File, stream: &mut TcpStream, duration: Duration) -> io::Result<f64> {
    let mut position = 0;
    rate(duration, || {
        let sent = sendfile(&*stream, file, Some(&mut position), CHUNK_BYTES)?;
        if position + CHUNK_BYTES as u64 > FILE_BYTES {
            position = 0;
        }
        Ok(sent)
    })
}

fn send_chunks(stream: &mut TcpStream, duration: Duration) -> io::Result<f64> {
    let chunk = vec![b'w'; CHUNK_BYTES];
    rate(duration, || stream.write_all(&chunk).map(|()| CHUNK_BYTES))
}

/// One thread sends, one takes what comes and forgets it.
fn over_loopback(send: impl FnOnce(&mut TcpStream) -> io::Result<f64>) -> io::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (mut receiver, _) = listener.accept()?;
    let taking = std::thread::spawn(move || -> io::Result<()> {
        let mut buffer = vec![0_u8; CHUNK_BYTES];
        while receiver.read(&mut buffer)? > 0 {}
        Ok(())
    });
    let sent = send(&mut sender);
    drop(sender);
    taking.join().expect("the receiver does not panic")?;
    sent
}

/// Syncs a second, and the median of one in milliseconds: each after an append to reserved blocks.
fn syncs(path: &Path, duration: Duration) -> io::Result<(f64, f64)> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES)?;
    file.sync_all()?;
    let block = [b'w'; APPEND_BYTES];
    let mut latencies = Latencies::new();
    let mut position = 0;
    let began = clock::now();
    let mut count = 0_u32;
    while began.elapsed() < duration {
        let asked = clock::now();
        file.write_all_at(&block, position)?;
        file.sync_data()?;
        latencies.record(asked.elapsed(), 1);
        position = (position + APPEND_BYTES as u64) % FILE_BYTES;
        count += 1;
    }
    let per_second = round(f64::from(count) / began.elapsed().as_secs_f64());
    Ok((per_second, latencies.summary().p50))
}
