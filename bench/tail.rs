//! Consumers that follow the end of a topic while it is written: the time from when a record was due
//! to when a consumer held it.
//!
//! Producer and consumers share a process and its clock, so nothing is stamped into the records: the
//! acknowledgement says at which offset a batch stands, a fetch when the batch at that offset came.
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use weir_protocol::records::batch::batches;

use crate::connection::Connection;
use crate::consume::{self, Position};
use crate::measure::Latencies;
use crate::pipeline::Ack;
use crate::topic::{self, Topic};
use crate::{BenchError, clock};

/// How long the last records may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes asked for by partition and request.
const FETCH_BYTES: i32 = 1 << 20;

/// A batch that a consumer has.
struct Seen {
    partition: i32,
    base_offset: i64,
    end_offset: i64,
    at: Instant,
}

/// Consumers at work.
pub(crate) struct Tail {
    seen: mpsc::UnboundedReceiver<Result<Seen, BenchError>>,
    consumers: Vec<JoinHandle<()>>,
}

impl Tail {
    /// From the end that the topic has now; each consumer takes its share of the partitions.
    pub(crate) async fn follow(topic: &Topic, consumers: usize) -> Result<Tail, BenchError> {
        let starts = topic::offsets(topic, topic::LATEST).await?;
        let ends = vec![i64::MAX; starts.len()];
        let (told, seen) = mpsc::unbounded_channel();
        let mut tasks = Vec::new();
        for (leader, positions) in consume::shares(topic, &starts, &ends, consumers) {
            let connection = Connection::open(&leader).await?;
            let (name, told) = (topic.name.clone(), told.clone());
            tasks.push(tokio::spawn(async move {
                if let Err(error) = follow(connection, &name, positions, &told).await {
                    let _ = told.send(Err(error));
                }
            }));
        }
        Ok(Tail { seen, consumers: tasks })
    }

    /// Waits until all that was acknowledged has been read, and tells how long that took.
    pub(crate) async fn finish(mut self, written: &[Ack]) -> Result<Latencies, BenchError> {
        let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
        for ack in written {
            let end = ends.entry(ack.sent.partition).or_default();
            *end = (*end).max(ack.base_offset + ack.sent.records.cast_signed());
        }
        let mut read: BTreeMap<(i32, i64), Instant> = BTreeMap::new();
        let deadline = clock::now() + PATIENCE;
        while !ends.is_empty() {
            let Ok(Some(seen)) = timeout_at(deadline, self.seen.recv()).await else {
                let missing = ends.len();
                let said = format!("{missing} partitions were not read to their end in time");
                return Err(BenchError::Server(said));
            };
            let seen = seen?;
            read.insert((seen.partition, seen.base_offset), seen.at);
            if ends.get(&seen.partition).is_some_and(|end| *end <= seen.end_offset) {
                ends.remove(&seen.partition);
            }
        }
        self.consumers.iter().for_each(JoinHandle::abort);
        Ok(latencies(written, &read))
    }
}

/// A server may put batches together: the one that holds an offset is the last that begins at it or
/// before.
fn latencies(written: &[Ack], read: &BTreeMap<(i32, i64), Instant>) -> Latencies {
    let mut latencies = Latencies::new();
    for ack in written {
        let partition = ack.sent.partition;
        let from = (partition, i64::MIN)..=(partition, ack.base_offset);
        if let Some((_, at)) = read.range(from).next_back() {
            ack.sent.record_latency(*at, &mut latencies);
        }
    }
    latencies
}

async fn follow(
    mut connection: Connection,
    topic: &str,
    mut positions: Vec<Position>,
    told: &mpsc::UnboundedSender<Result<Seen, BenchError>>,
) -> Result<(), BenchError> {
    loop {
        let request = consume::fetch(topic, &positions, FETCH_BYTES);
        let answer = connection.call(&request, consume::VERSION).await?;
        let at = clock::now();
        for partition in answer.responses.iter().flat_map(|topic| &topic.partitions) {
            let index = partition.partition_index;
            if partition.error_code != 0 {
                let code = topic::error_name(partition.error_code);
                return Err(BenchError::Server(format!("fetch from {topic}-{index}: {code}")));
            }
            let position = positions.iter_mut().find(|position| position.partition == index);
            let (Some(position), Some(records)) = (position, &partition.records) else { continue };
            for batch in batches(records.clone()) {
                let batch = batch.map_err(|error| BenchError::Server(error.to_string()))?;
                let header = batch.header();
                let (base_offset, end_offset) =
                    (header.base_offset.0, header.last_offset().next().0);
                position.next = end_offset;
                let _ = told.send(Ok(Seen { partition: index, base_offset, end_offset, at }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Sent;

    #[test]
    fn a_record_counts_from_when_it_was_due_to_when_its_batch_was_read() {
        let due = clock::now();
        let sent =
            |partition| Sent { partition, records: 1, bytes: 1, first_due: due, last_due: due };
        let ack = |partition, base_offset| Ack { sent: sent(partition), at: due, base_offset };
        let at = |ms| due + Duration::from_millis(ms);
        // Offsets 3 and 4 of partition 0 came in one batch; partition 1 has one of its own.
        let read = BTreeMap::from([((0, 0), at(1)), ((0, 3), at(4)), ((1, 0), at(8))]);
        let found = latencies(&[ack(0, 3), ack(0, 4), ack(1, 0)], &read).summary();
        assert_eq!(found.count, 3);
        assert!((found.p50 - 4.0).abs() < 0.01, "{found:?}");
        assert!((found.max - 8.0).abs() < 0.01, "{found:?}");
    }
}
