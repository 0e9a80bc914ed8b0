//! One loop, one tick: retention, and what groups have left behind.
//!
//! A topic that is a table loses nothing that its table has not folded: what lies at or above the
//! offset that the compactor's group committed stays, and everything stays while it has committed
//! nothing. The one exception is `table.retention.hard.bytes`, and passing it is told.

use std::sync::Arc;
use std::time::Duration;

use weir_protocol::records::Offset;

use crate::broker::Broker;
use crate::catalog::Topic;
use crate::group::expiry::expire;
use crate::partition::Partition;

/// The first look comes after this at the latest, as in Kafka.
const FIRST_LOOK_MS: i64 = 30_000;

/// Runs until it is dropped.
pub async fn run(broker: Arc<Broker>) {
    let config = &broker.config;
    let retention_ms = config.log_retention_check_interval_ms;
    let offsets_ms = config.offsets_retention_check_interval_ms;
    let tick_ms = retention_ms.min(offsets_ms).min(FIRST_LOOK_MS);
    let (mut retention_due_ms, mut offsets_due_ms) = (tick_ms, tick_ms);
    let mut elapsed_ms: i64 = 0;
    loop {
        let tick = u64::try_from(tick_ms).unwrap_or(1);
        tokio::time::sleep(Duration::from_millis(tick)).await;
        elapsed_ms = elapsed_ms.saturating_add(tick_ms);
        if elapsed_ms >= retention_due_ms {
            retention_due_ms = elapsed_ms.saturating_add(retention_ms);
            let shared = broker.clone();
            if tokio::task::spawn_blocking(move || retain(&shared)).await.is_err() {
                tracing::error!("retention panicked; it is tried again at the next tick");
            }
        }
        if elapsed_ms >= offsets_due_ms {
            offsets_due_ms = elapsed_ms.saturating_add(offsets_ms);
            keep_offsets(&broker).await;
        }
    }
}

/// The topic of share groups' states is cut when one of its partitions is this many times larger than
/// a segment.
const PRUNE_SEGMENTS: u64 = 2;
/// How often members of share groups are looked at.
const SHARE_TICK: Duration = Duration::from_secs(1);

/// Looks after share groups until it is dropped: silent members, deleted topics, the size of their
/// internal topic.
pub async fn keep_shares(broker: Arc<Broker>) {
    let bytes_max = u64::try_from(broker.config.share_state_topic_segment_bytes).unwrap_or(0);
    loop {
        tokio::time::sleep(SHARE_TICK).await;
        let now_ms = broker.clock.now_ms();
        broker.shares.tick(&broker.catalog, now_ms);
        if let Err(error) = broker.shares.prune(PRUNE_SEGMENTS * bytes_max, now_ms).await {
            tracing::error!(%error, "what no share group needs cannot be cut off");
        }
    }
}

/// One look at all logs. Blocks: for a thread that may.
pub fn retain(broker: &Broker) {
    for name in broker.catalog.topics().iter().map(|topic| topic.name.clone()) {
        // Offsets that were committed for a deleted topic must not count for one of the same name.
        let _begun = broker.offsets.begin_blocking();
        let Some(topic) = broker.catalog.topic(&name) else { continue };
        for (index, partition) in topic.partitions.iter().enumerate() {
            let keep_from = keep_from(broker, &topic, index as i32, partition);
            match partition.apply_retention(keep_from) {
                Ok(retired) if retired.segments > 0 => tracing::info!(
                    topic = topic.name.as_str(),
                    partition = index,
                    segments = retired.segments,
                    bytes = retired.bytes,
                    "old segments deleted"
                ),
                Ok(_) => {}
                Err(error) => tracing::error!(
                    topic = topic.name.as_str(),
                    partition = index,
                    %error,
                    "retention failed"
                ),
            }
        }
    }
}

/// From where on a table still needs its log; `None` when it is no table.
pub fn keep_from(
    broker: &Broker,
    topic: &Topic,
    index: i32,
    partition: &Partition,
) -> Option<Offset> {
    if !topic.config.is_table {
        return None;
    }
    let keep_from = broker.folded(topic, index).unwrap_or_else(|| partition.ends().log_start);
    let hard_bytes = u64::try_from(broker.config.table_retention_hard_bytes).ok();
    if hard_bytes.is_some_and(|hard_bytes| partition.size_bytes() > hard_bytes) {
        tracing::warn!(
            topic = topic.name.as_str(),
            partition = index,
            folded = keep_from.0,
            "table.retention.hard.bytes is passed: records may go that no table has folded"
        );
        return None;
    }
    Some(keep_from)
}

/// Forgets offsets and groups that nobody has needed for too long, and those of topics that are
/// gone: a crash may have come between deleting a topic and forgetting what was committed for it.
pub async fn keep_offsets(broker: &Broker) {
    let Broker { offsets, groups, catalog, config, .. } = broker;
    match expire(offsets, groups, catalog, config, broker.clock.now_ms()).await {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "committed offsets expired"),
        Err(error) => tracing::error!(%error, "committed offsets cannot be expired"),
    }
}
