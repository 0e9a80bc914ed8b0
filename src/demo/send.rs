//! Sends change records through the Kafka protocol, as an idempotent producer with `acks=all`.

use indicatif::ProgressBar;
use weir_compactor::source::client::Client;
use weir_protocol::records::builder::BatchBuilder;
use weir_protocol::records::compression::Compression;

use crate::demo::sample::Set;
use crate::failure::Failure;

/// Records that travel together.
const BATCH_RECORDS: usize = 500;

/// What was sent.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Sent {
    pub(super) records: u64,
    /// Keys and values as they were made.
    pub(super) plain_bytes: i64,
    /// Record batches as they lie in the log.
    pub(super) log_bytes: i64,
}

/// Creates the topic of a set, declared a table, and fills it.
pub(super) async fn send(client: &Client, set: &Set, bar: &ProgressBar) -> Result<Sent, Failure> {
    let configs = set.configs();
    let configs: Vec<(&str, &str)> =
        configs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    client.create_topic(&set.topic, 1, &configs).await.map_err(|error| match error.code() {
        Some(kafka_protocol::error::ResponseError::TopicAlreadyExists) => Failure::new(format!(
            "topic {} is there already, from an earlier demo: name another --data-dir",
            set.topic
        )),
        _ => error.into(),
    })?;
    let (producer_id, epoch) = client.init_producer_id().await?;
    let mut sent = Sent::default();
    let mut waiting = Waiting::new(producer_id, epoch, 0);
    for change in set.changes() {
        let change = change?;
        let (key, value) = (change.key.as_deref(), change.value.as_deref());
        let bytes = key.map_or(0, str::len) + value.map_or(0, str::len);
        sent.plain_bytes += i64::try_from(bytes).unwrap_or(i64::MAX);
        waiting.builder.append(
            change.timestamp,
            key.map(str::as_bytes),
            value.map(str::as_bytes),
            &[],
        );
        if waiting.builder.record_count() == BATCH_RECORDS {
            waiting = waiting.send(client, set, &mut sent).await?;
            bar.set_message(format!("{} of {}: {}", sent.records, set.records, set.topic));
        }
    }
    if waiting.builder.record_count() > 0 {
        waiting.send(client, set, &mut sent).await?;
    }
    Ok(sent)
}

/// A batch that fills, and what comes after it.
struct Waiting {
    producer_id: i64,
    epoch: i16,
    next_sequence: i32,
    builder: BatchBuilder,
}

impl Waiting {
    fn new(producer_id: i64, epoch: i16, next_sequence: i32) -> Waiting {
        let builder = BatchBuilder::new(Compression::Lz4);
        let builder = builder.producer(producer_id, epoch, next_sequence);
        Waiting { producer_id, epoch, next_sequence, builder }
    }

    /// Sends it and waits until it is durable; an empty one follows.
    async fn send(self, client: &Client, set: &Set, sent: &mut Sent) -> Result<Waiting, Failure> {
        let count = i32::try_from(self.builder.record_count()).expect("a batch is small");
        let batch = self.builder.finish();
        sent.records += u64::from(count.unsigned_abs());
        sent.log_bytes += i64::try_from(batch.len()).expect("a batch is small");
        client.produce(&set.topic, 0, batch, -1).await?;
        Ok(Waiting::new(self.producer_id, self.epoch, self.next_sequence + count))
    }
}
