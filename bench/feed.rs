//! Rows on their way into batches, and batches on their way to the leaders of their partitions.
use tokio::sync::mpsc;
use tokio::time::Instant;
use weir_protocol::records::builder::BatchBuilder;
use weir_protocol::records::compression::Compression;

use crate::connection::Connection;
use crate::pipeline::{Ack, Pipeline, Sent};
use crate::rows::Row;
use crate::topic::Topic;
use crate::{BenchError, clock};

/// A batch is sent once it holds so many bytes.
const BATCH_BYTES: usize = 256 * 1024;

/// One batch under way for each partition.
pub(crate) struct Feed {
    pipelines: Vec<Pipeline>,
    /// The pipeline of each partition: that of its leader.
    of_partition: Vec<usize>,
    batches: Vec<Filling>,
    compression: Compression,
    now_ms: i64,
    /// The acknowledgements of all pipelines, for whoever takes them.
    pub(crate) acks: Option<mpsc::UnboundedReceiver<Ack>>,
    /// Rows that were sent.
    pub(crate) rows: u64,
    /// Bytes of their keys and values.
    pub(crate) bytes: u64,
}

struct Filling {
    builder: BatchBuilder,
    bytes: u64,
    due: Option<Instant>,
}

impl Filling {
    fn new(compression: Compression) -> Filling {
        Filling { builder: BatchBuilder::new(compression), bytes: 0, due: None }
    }
}

impl Feed {
    /// A pipeline to every leader.
    pub(crate) async fn open(topic: &Topic, compression: Compression) -> Result<Feed, BenchError> {
        let mut leaders: Vec<&String> = Vec::new();
        let mut pipelines = Vec::new();
        let mut of_partition = Vec::new();
        let (all, acks) = mpsc::unbounded_channel();
        for leader in &topic.leaders {
            let known = leaders.iter().position(|known| *known == leader);
            of_partition.push(known.unwrap_or(leaders.len()));
            if known.is_none() {
                leaders.push(leader);
                let connection = Connection::open(leader).await?;
                let (pipeline, mut acks) = Pipeline::new(connection, &topic.name, -1, 5)?;
                pipelines.push(pipeline);
                let all = all.clone();
                tokio::spawn(async move {
                    while let Some(ack) = acks.recv().await {
                        let _ = all.send(ack);
                    }
                });
            }
        }
        Ok(Feed {
            pipelines,
            of_partition,
            batches: topic.leaders.iter().map(|_| Filling::new(compression)).collect(),
            compression,
            now_ms: clock::wall_ms(),
            acks: Some(acks),
            rows: 0,
            bytes: 0,
        })
    }

    /// A row to the batch of its partition, which is sent once it is full.
    pub(crate) async fn add(&mut self, row: Row, due: Option<Instant>) -> Result<(), BenchError> {
        let partition = row.partition(self.batches.len());
        let filling = &mut self.batches[partition];
        filling.builder.append(self.now_ms, row.key.as_deref(), row.value.as_deref(), &[]);
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        filling.bytes += length(&row.key) + length(&row.value);
        filling.due = due;
        if filling.builder.size_bytes() >= BATCH_BYTES {
            self.send(partition).await
        } else {
            Ok(())
        }
    }

    /// Sends what has gathered.
    pub(crate) async fn flush(&mut self) -> Result<(), BenchError> {
        for partition in 0..self.batches.len() {
            if self.batches[partition].builder.record_count() > 0 {
                self.send(partition).await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self, partition: usize) -> Result<(), BenchError> {
        let empty = Filling::new(self.compression);
        let full = std::mem::replace(&mut self.batches[partition], empty);
        let records = full.builder.record_count() as u64;
        self.rows += records;
        self.bytes += full.bytes;
        let due = full.due.unwrap_or_else(clock::now);
        let sent = Sent {
            partition: i32::try_from(partition).expect("partitions are counted in 32 bits"),
            records,
            bytes: full.bytes,
            first_due: due,
            last_due: due,
        };
        let pipeline = &mut self.pipelines[self.of_partition[partition]];
        pipeline.send(&full.builder.finish(), sent).await
    }

    /// Waits for the last acknowledgement.
    pub(crate) async fn finish(self) -> Result<(), BenchError> {
        for pipeline in self.pipelines {
            pipeline.finish().await?;
        }
        Ok(())
    }
}
