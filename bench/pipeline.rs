//! Produce requests in flight on one connection: a half that sends, a task that takes the answers.
//!
//! The batch goes to the socket as it is, between a head and a tail that are encoded by hand: only
//! the correlation id of the head changes from request to request.
use std::io::IoSlice;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::protocol::Request;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::Instant;

use crate::connection::{self, CLIENT_ID, Connection, Frames};
use crate::measure::Latencies;
use crate::{BenchError, clock, topic};

/// The Produce version that is spoken where the broker does: what clients of 2020 to 2024 speak.
const VERSION: i16 = 9;
const FLEXIBLE_FROM: i16 = 9;
const TIMEOUT_MS: i32 = 30_000;
/// Groups of records of a batch whose latency is told apart.
const LATENCY_GROUPS: u64 = 16;

/// A batch on its way.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// Where it goes.
    pub(crate) partition: i32,
    /// Records in it.
    pub(crate) records: u64,
    /// Bytes of their keys and values.
    pub(crate) bytes: u64,
    /// When its first record was due: in a closed loop, when it was sent.
    pub(crate) first_due: Instant,
    /// When its last record was due.
    pub(crate) last_due: Instant,
}

impl Sent {
    /// Its records by groups, each from when the middle of the group was due until then.
    pub(crate) fn record_latency(&self, at: Instant, latencies: &mut Latencies) {
        let groups = self.records.min(LATENCY_GROUPS);
        let span = self.last_due - self.first_due;
        for group in 0..groups {
            let share = self.records * (group + 1) / groups - self.records * group / groups;
            let due = self.first_due + span.mul_f64((group as f64 + 0.5) / groups as f64);
            latencies.record(at.saturating_duration_since(due), share);
        }
    }
}

/// A batch that the broker has acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Ack {
    pub(crate) sent: Sent,
    pub(crate) at: Instant,
    /// The offset of its first record; -1 without acknowledgement.
    pub(crate) base_offset: i64,
}

/// The half that sends.
pub(crate) struct Pipeline {
    address: String,
    topic: String,
    writer: OwnedWriteHalf,
    version: i16,
    acks: i16,
    correlation_id: i32,
    in_flight: Arc<Semaphore>,
    expected: mpsc::UnboundedSender<(i32, Sent)>,
    acknowledged: mpsc::UnboundedSender<Ack>,
    answers: tokio::task::JoinHandle<Result<(), BenchError>>,
}

impl Pipeline {
    /// At most so many requests are in flight; acknowledgements come out of the receiver.
    pub(crate) fn new(
        connection: Connection,
        topic: &str,
        acks: i16,
        in_flight: usize,
    ) -> Result<(Pipeline, mpsc::UnboundedReceiver<Ack>), BenchError> {
        let address = connection.address().to_owned();
        let version = connection.version(ProduceRequest::KEY, VERSION)?;
        let (writer, frames) = connection.into_halves();
        let (expected, sent) = mpsc::unbounded_channel();
        let (acknowledged, acks_out) = mpsc::unbounded_channel();
        let in_flight = Arc::new(Semaphore::new(in_flight));
        let answers = tokio::spawn(take_answers(
            frames,
            version,
            sent,
            acknowledged.clone(),
            Arc::clone(&in_flight),
        ));
        let topic = topic.to_owned();
        let pipeline = Pipeline {
            address,
            topic,
            writer,
            version,
            acks,
            correlation_id: 0,
            in_flight,
            expected,
            acknowledged,
            answers,
        };
        Ok((pipeline, acks_out))
    }

    /// Sends a batch as soon as there is room for it in flight.
    pub(crate) async fn send(&mut self, batch: &Bytes, sent: Sent) -> Result<(), BenchError> {
        if self.acks != 0 {
            let Some(()) = self.in_flight.acquire().await.ok().map(SemaphorePermit::forget) else {
                return Err(self.lost().await);
            };
        }
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let head = self.head(sent.partition, batch.len());
        let tail: &[u8] = if self.version >= FLEXIBLE_FROM { &[0, 0, 0] } else { &[] };
        if self.acks != 0 && self.expected.send((self.correlation_id, sent.clone())).is_err() {
            return Err(self.lost().await);
        }
        if let Err(source) = write_all(&mut self.writer, [&head, batch, tail]).await {
            return Err(connection::io(&self.address, source));
        }
        if self.acks == 0 {
            let _ = self.acknowledged.send(Ack { sent, at: clock::now(), base_offset: -1 });
        }
        Ok(())
    }

    /// Waits for the answers that are still to come.
    pub(crate) async fn finish(self) -> Result<(), BenchError> {
        drop(self.expected);
        drop(self.acknowledged);
        if self.acks == 0 {
            self.answers.abort();
            return Ok(());
        }
        self.answers.await.unwrap_or_else(|e| Err(BenchError::Server(e.to_string())))
    }

    /// Why the task that takes the answers has ended.
    async fn lost(&mut self) -> BenchError {
        match (&mut self.answers).await {
            Ok(Err(error)) => error,
            _ => BenchError::Server(format!("{}: the connection was lost", self.address)),
        }
    }

    fn head(&self, partition: i32, batch_bytes: usize) -> Vec<u8> {
        let is_flexible = self.version >= FLEXIBLE_FROM;
        let mut head = Vec::with_capacity(128);
        head.put_u32(0);
        head.put_i16(ProduceRequest::KEY);
        head.put_i16(self.version);
        head.put_i32(self.correlation_id);
        put_string(&mut head, CLIENT_ID);
        if is_flexible {
            head.put_slice(&[0, 0]); // no tagged fields, no transaction
        } else {
            head.put_i16(-1);
        }
        head.put_i16(self.acks);
        head.put_i32(TIMEOUT_MS);
        if is_flexible {
            head.put_u8(2); // one topic
            put_varint(&mut head, self.topic.len() + 1);
            head.put_slice(self.topic.as_bytes());
            head.put_u8(2); // one partition
            head.put_i32(partition);
            put_varint(&mut head, batch_bytes + 1);
        } else {
            head.put_i32(1);
            put_string(&mut head, &self.topic);
            head.put_i32(1);
            head.put_i32(partition);
            head.put_u32(u32::try_from(batch_bytes).expect("batches are small"));
        }
        let tail_bytes = if is_flexible { 3 } else { 0 };
        let length = u32::try_from(head.len() - 4 + batch_bytes + tail_bytes);
        head[..4].copy_from_slice(&length.expect("batches are small").to_be_bytes());
        head
    }
}

async fn take_answers(
    mut frames: Frames,
    version: i16,
    mut expected: mpsc::UnboundedReceiver<(i32, Sent)>,
    acknowledged: mpsc::UnboundedSender<Ack>,
    in_flight: Arc<Semaphore>,
) -> Result<(), BenchError> {
    // However this ends, a sender that waits for room must hear of it.
    let _closing = Closing(&in_flight);
    while let Some((correlation_id, sent)) = expected.recv().await {
        let answer = frames.next().await?;
        let at = clock::now();
        let answer = connection::decode::<ProduceRequest>(answer, version, correlation_id)?;
        let partition =
            answer.responses.first().and_then(|topic| topic.partition_responses.first());
        let Some(partition) = partition else {
            return Err(BenchError::Server("a produce answer names no partition".to_owned()));
        };
        if partition.error_code != 0 {
            let code = topic::error_name(partition.error_code);
            let said = partition.error_message.as_deref().unwrap_or_default();
            return Err(BenchError::Server(format!("produce: {code} {said}")));
        }
        in_flight.add_permits(1);
        let _ = acknowledged.send(Ack { sent, at, base_offset: partition.base_offset });
    }
    Ok(())
}

struct Closing<'a>(&'a Semaphore);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

async fn write_all(writer: &mut OwnedWriteHalf, parts: [&[u8]; 3]) -> std::io::Result<()> {
    let [mut head, mut batch, mut tail] = parts;
    while !(head.is_empty() && batch.is_empty() && tail.is_empty()) {
        let slices = [IoSlice::new(head), IoSlice::new(batch), IoSlice::new(tail)];
        let mut written = writer.write_vectored(&slices).await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        for part in [&mut head, &mut batch, &mut tail] {
            let taken = written.min(part.len());
            part.advance(taken);
            written -= taken;
        }
    }
    Ok(())
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.put_u16(u16::try_from(text.len()).expect("names are short"));
    out.put_slice(text.as_bytes());
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}
