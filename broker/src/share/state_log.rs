//! The internal topic `__share_group_state`: what outlives the broker of all share-partitions.
//!
//! As in Kafka it is not compacted: what lies before the oldest snapshot that counts is cut off.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use weir_protocol::records::Offset;
use weir_protocol::records::batch::RecordBatch;
use weir_protocol::records::builder::BatchBuilder;
use weir_protocol::records::compression::Compression;

use crate::catalog::error::CatalogError;
use crate::catalog::{Catalog, Topic};
use crate::config::Config;
use crate::group::internal;
use crate::group::offset_records::partition_of;
use crate::log::error::{AppendError, ReadError};
use crate::log::meta::encode_id;
use crate::partition::Partition;
use crate::share::kept::Kept;
use crate::share::state_records::{SnapshotHead, StateKey, StateRecord};
use crate::sync::StorageFailed;

/// The name of the topic.
pub const SHARE_GROUP_STATE: &str = "__share_group_state";

/// Something that was appended and is not durable yet.
#[derive(Clone, Debug)]
pub struct Written {
    /// Where.
    pub partition: Arc<Partition>,
    /// The offset of its first record.
    pub at: Offset,
    /// The offset after its last record.
    pub next: Offset,
}

impl Written {
    /// Waits until it is durable.
    pub async fn durable(&self) -> Result<(), StorageFailed> {
        self.partition.durable(self.next).await
    }
}

/// Appends records of the broker's own as one batch.
pub fn append(
    partition: &Arc<Partition>,
    records: &[(bytes::Bytes, Option<bytes::Bytes>)],
    now_ms: i64,
) -> Result<Written, AppendError> {
    let mut builder = BatchBuilder::new(Compression::None);
    for (key, value) in records {
        builder.append(now_ms, Some(key), value.as_deref(), &[]);
    }
    let batch = RecordBatch::parse(builder.finish()).expect("the builder makes whole batches");
    let appended = partition.append_internal(&batch)?;
    let (at, next) = (appended.base_offset, appended.last_offset.next());
    Ok(Written { partition: partition.clone(), at, next })
}

/// A state as it was read back.
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    /// The head of its last snapshot.
    pub head: SnapshotHead,
    /// The state.
    pub kept: Kept,
    /// Updates since that snapshot.
    pub update_count: i32,
    /// Where that snapshot lies.
    pub snapshot_at: Offset,
}

/// The topic, once it is there.
#[derive(Debug, Default)]
pub struct StateLog {
    topic: RwLock<Option<Arc<Topic>>>,
}

impl StateLog {
    /// Finds the topic and reads it back. Blocks.
    pub fn open(catalog: &Catalog) -> Result<(Self, HashMap<StateKey, Replayed>), ReadError> {
        let mut states = HashMap::new();
        let topic = catalog.topic(SHARE_GROUP_STATE);
        internal::replay(catalog, SHARE_GROUP_STATE, &mut |_, replayed| {
            let internal::Replayed::Record(record, _) = replayed else { return };
            let Some(key) = record.key.as_deref() else { return };
            let read = StateRecord::decode(key, record.value.as_deref());
            if let Some((key, read)) = read {
                replay(&mut states, key, read, record.offset);
            }
        })?;
        Ok((Self { topic: RwLock::new(topic) }, states))
    }

    /// Makes the topic if there is none. Blocks.
    pub fn make(&self, catalog: &Catalog, config: &Config) -> Result<(), CatalogError> {
        if self.topic().is_some() {
            return Ok(());
        }
        let count = config.share_state_topic_num_partitions;
        let topic =
            catalog.internal(SHARE_GROUP_STATE, count, config.share_state_topic_segment_bytes)?;
        *self.topic.write().unwrap_or_else(PoisonError::into_inner) = Some(topic);
        Ok(())
    }

    /// The topic, if there is one.
    pub fn topic(&self) -> Option<Arc<Topic>> {
        self.topic.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The partition that keeps this state; `None` while there is no topic.
    pub fn partition(&self, key: &StateKey) -> Option<Arc<Partition>> {
        let topic = self.topic()?;
        let name = format!("{}:{}:{}", key.group, encode_id(key.topic), key.partition);
        topic.partition(partition_of(&name, topic.partition_count())).cloned()
    }
}

fn replay(
    states: &mut HashMap<StateKey, Replayed>,
    key: StateKey,
    record: StateRecord,
    at: Offset,
) {
    match record {
        StateRecord::Snapshot(head, kept) => {
            let state = Replayed { head, kept, update_count: 0, snapshot_at: at };
            states.insert(key, state);
        }
        StateRecord::Update(head, change) => {
            if let Some(state) = states.get_mut(&key)
                && state.head.snapshot_epoch == head.snapshot_epoch
            {
                state.kept.update(&change);
                state.update_count += 1;
            }
        }
        StateRecord::Forgotten => drop(states.remove(&key)),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::share::kept::StateBatch;
    use crate::share::runs::Span;
    use crate::share::state_records::UpdateHead;

    #[test]
    fn updates_go_on_with_their_snapshot_and_no_other() {
        let key = StateKey { group: "g".into(), topic: Uuid::nil(), partition: 0 };
        let batch =
            |first, last, state| StateBatch { span: Span { first, last }, state, deliveries: 1 };
        let snapshot = SnapshotHead { snapshot_epoch: 2, ..SnapshotHead::default() };
        let update = |snapshot_epoch| UpdateHead { snapshot_epoch, leader_epoch: 0 };
        let mut states = HashMap::new();
        let mut tell = |record, at| replay(&mut states, key.clone(), record, Offset(at));
        tell(StateRecord::Update(update(2), Kept { start: 9, batches: vec![] }), 0);
        tell(StateRecord::Snapshot(snapshot, Kept { start: 4, batches: vec![batch(5, 9, 0)] }), 1);
        tell(StateRecord::Update(update(2), Kept { start: 4, batches: vec![batch(7, 7, 2)] }), 2);
        tell(StateRecord::Update(update(1), Kept { start: 99, batches: vec![] }), 3);
        tell(StateRecord::Update(update(2), Kept { start: -1, batches: vec![batch(9, 9, 4)] }), 4);
        let state = &states[&key];
        let batches = vec![batch(5, 6, 0), batch(7, 7, 2), batch(8, 8, 0), batch(9, 9, 4)];
        assert_eq!(state.kept, Kept { start: 4, batches });
        assert_eq!((state.update_count, state.snapshot_at), (2, Offset(1)));
        replay(&mut states, key.clone(), StateRecord::Forgotten, Offset(5));
        assert!(states.is_empty());
    }
}
