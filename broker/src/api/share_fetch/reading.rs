//! How a ShareFetch looks at partitions, and acquires what it has found.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use tokio::sync::Notify;
use weir_protocol::records::Offset;
use weir_protocol::records::batch::{BatchHeader, batches};

use crate::api::share_routes::error_of;
use crate::broker::Broker;
use crate::catalog::Topic;
use crate::log::ReadSlice;
use crate::partition::Partition;
use crate::producers::Aborted;
use crate::share::cell::Cell;
use crate::share::partition::{Acquired, Wish};
use crate::share::runs::Span;
use crate::share::session::{Place, SessionKey};
use crate::share::settings::{GroupSettings, Isolation, OffsetReset};
use crate::share::state_log::Written;

/// Wakes `waiter` when a partition grows, or records of it are given back.
pub(super) fn watch(broker: &Broker, key: &SessionKey, places: &[Place], waiter: &Arc<Notify>) {
    let topics = broker.catalog.topics();
    for place in places {
        let topic = topics.identified(&place.topic);
        if let Some(partition) = topic.and_then(|topic| topic.partition(place.partition)) {
            partition.wake_on_growth(waiter);
        }
        if let Some(cell) = broker.shares.cell(&key.group, place) {
            cell.waiters.watch(waiter);
        }
    }
}

/// What was found in one partition.
struct Found {
    place: Place,
    topic: Arc<Topic>,
    cell: Arc<Cell>,
    from: i64,
    bytes: Bytes,
}

/// One look at the partitions of a session. Nothing is acquired yet.
pub(super) struct Look {
    found: Vec<Found>,
    settings: GroupSettings,
    /// Bytes that can be had.
    pub(super) size_bytes: usize,
    /// Partitions that cannot be looked at.
    pub(super) errors: Vec<(Place, ResponseError)>,
    /// When the first lock ends.
    pub(super) deadline_ms: Option<i64>,
}

/// What was acquired of one partition.
pub(super) struct Taken {
    pub(super) place: Place,
    pub(super) bytes: Bytes,
    pub(super) acquired: Vec<Acquired>,
}

/// What was acquired in all.
#[derive(Default)]
pub(super) struct AllTaken {
    pub(super) records: Vec<Taken>,
    pub(super) errors: Vec<(Place, ResponseError)>,
    pub(super) written: Vec<Written>,
}

impl Look {
    pub(super) async fn at(
        broker: &Arc<Broker>,
        key: &SessionKey,
        places: &[Place],
        bytes_max: usize,
    ) -> Self {
        let settings = broker.shares.settings(&key.group);
        let mut look = Self {
            found: Vec::new(),
            settings,
            size_bytes: 0,
            errors: Vec::new(),
            deadline_ms: None,
        };
        for place in places {
            let left = bytes_max.saturating_sub(look.size_bytes);
            if left == 0 && look.size_bytes > 0 {
                break;
            }
            match look.read(broker, key, *place, left).await {
                Ok(Some(found)) => {
                    look.size_bytes += found.bytes.len();
                    look.found.push(found);
                }
                Ok(None) => {}
                Err(error) => look.errors.push((*place, error)),
            }
        }
        look
    }

    /// Batches of one partition, from the first available record on.
    async fn read(
        &mut self,
        broker: &Arc<Broker>,
        key: &SessionKey,
        place: Place,
        bytes_max: usize,
    ) -> Result<Option<Found>, ResponseError> {
        let topics = broker.catalog.topics();
        let topic = topics.identified(&place.topic).ok_or(ResponseError::UnknownTopicId)?.clone();
        let partition = topic.partition(place.partition);
        let partition = partition.ok_or(ResponseError::UnknownTopicOrPartition)?;
        let cell = match broker.shares.cell(&key.group, &place) {
            Some(cell) => cell,
            None => begin(broker, key, place, partition, self.settings.reset).await?,
        };
        let ends = partition.ends();
        let moment = broker.shares.moment(&self.settings, broker.clock.now_ms());
        let acted = cell.act(&moment, |share| {
            let change = share.cut_before(ends.log_start.0);
            ((share.next(&self.settings.limits), share.deadline_ms()), change)
        });
        // What time and retention did is not waited for: it is done again after a crash.
        let ((next, deadline_ms), _) = acted.map_err(|error| error_of(&error))?;
        self.deadline_ms = self.deadline_ms.into_iter().chain(deadline_ms).min();
        let end = self.end_of(ends.last_stable, ends.high_watermark);
        let Some(from) = next.filter(|from| *from < end.0) else { return Ok(None) };
        topic.metrics.fetch_requests.inc();
        let is_first = self.size_bytes == 0;
        let slice = partition.read(Offset(from), bytes_max, is_first);
        let bytes = match slice.map_err(|error| error.error_code())? {
            ReadSlice::Hot(bytes) => bytes,
            ReadSlice::Cold(cold) => {
                let loaded = tokio::task::spawn_blocking(move || cold.load()).await;
                let loaded = loaded.map_err(|_| ResponseError::KafkaStorageError)?;
                loaded.map_err(|error| {
                    tracing::warn!(%error, "a read from the disk failed");
                    error.error_code()
                })?
            }
        };
        let topic = topic.clone();
        Ok((!bytes.is_empty()).then_some(Found { place, topic, cell, from, bytes }))
    }

    /// The offset before which the group may read.
    fn end_of(&self, last_stable: Offset, high_watermark: Offset) -> Offset {
        match self.settings.isolation {
            Isolation::ReadUncommitted => high_watermark,
            Isolation::ReadCommitted => last_stable,
        }
    }

    /// Acquires what is available among all that was found.
    pub(super) fn acquire(
        &self,
        broker: &Broker,
        key: &SessionKey,
        records_max: i64,
        batch_records: i64,
    ) -> AllTaken {
        let now_ms = broker.clock.now_ms();
        let mut all = AllTaken::default();
        let mut left = records_max;
        for found in &self.found {
            if left <= 0 {
                break;
            }
            let wish = Wish {
                member: key.member.as_str().into(),
                until_ms: now_ms.saturating_add(self.settings.lock_ms),
                records_max: left,
                batch_records,
            };
            match self.acquire_one(broker, found, &wish, now_ms) {
                Ok((acquired, written)) => {
                    all.written.extend(written);
                    left -= acquired.iter().map(|one| one.span.count()).sum::<i64>();
                    if let Some(bytes) = holding(&found.bytes, &acquired) {
                        found.topic.metrics.bytes_out.inc_by(bytes.len() as u64);
                        all.records.push(Taken { place: found.place, bytes, acquired });
                    }
                }
                Err(error) => all.errors.push((found.place, error)),
            }
        }
        all
    }

    fn acquire_one(
        &self,
        broker: &Broker,
        found: &Found,
        wish: &Wish,
        now_ms: i64,
    ) -> Result<(Vec<Acquired>, Option<Written>), ResponseError> {
        let partition = found.topic.partition(found.place.partition);
        let partition = partition.ok_or(ResponseError::UnknownTopicOrPartition)?;
        let ends = partition.ends();
        let end = self.end_of(ends.last_stable, ends.high_watermark);
        let aborted = match self.settings.isolation {
            Isolation::ReadUncommitted => Vec::new(),
            Isolation::ReadCommitted => partition.aborted_within(Offset(found.from), end),
        };
        let mut spans = Vec::new();
        let mut known_to = found.from;
        for batch in batches(found.bytes.clone()) {
            let batch = batch.map_err(|error| {
                tracing::error!(%error, "a batch cannot be read");
                ResponseError::CorruptMessage
            })?;
            let header = batch.header();
            if header.last_offset() >= end {
                break;
            }
            known_to = header.last_offset().next().0;
            // Markers of transactions are nobody's to process, nor is what was aborted.
            if !header.is_control() && !is_aborted(header, &aborted) {
                let (first, last) = (header.base_offset.0, header.last_offset().0);
                spans.push(Span { first, last });
            }
        }
        let moment = broker.shares.moment(&self.settings, now_ms);
        let acted = found.cell.act(&moment, |share| {
            let (acquired, mut change) =
                share.acquire(wish, &self.settings.limits, found.from, &spans);
            let last = spans.last().map_or(found.from, |span| span.last + 1);
            if share.end() >= last {
                change = share.archive_hole(last, known_to - 1).or(change);
            }
            (acquired, change)
        });
        acted.map_err(|error| error_of(&error))
    }
}

fn is_aborted(header: &BatchHeader, aborted: &[Aborted]) -> bool {
    header.is_transactional()
        && aborted.iter().any(|it| {
            it.producer_id == header.producer_id
                && (it.first..=it.last).contains(&header.base_offset)
        })
}

/// The batches from the first to the last that hold anything of what was acquired.
fn holding(bytes: &Bytes, acquired: &[Acquired]) -> Option<Bytes> {
    let (first, last) = (acquired.first()?.span.first, acquired.last()?.span.last);
    let (mut position, mut start, mut end) = (0, None, 0);
    for batch in batches(bytes.clone()).flatten() {
        let header = batch.header();
        let after = position + header.size_bytes();
        if header.last_offset().0 >= first && header.base_offset.0 <= last {
            start.get_or_insert(position);
            end = after;
        }
        position = after;
    }
    Some(bytes.slice(start?..end))
}

/// Begins a group's share of a partition where its settings say; durable before anything is had.
async fn begin(
    broker: &Arc<Broker>,
    key: &SessionKey,
    place: Place,
    partition: &Arc<Partition>,
    reset: OffsetReset,
) -> Result<Arc<Cell>, ResponseError> {
    let ends = partition.ends();
    let now_ms = broker.clock.now_ms();
    let start = match reset {
        OffsetReset::Latest => ends.high_watermark,
        OffsetReset::Earliest => ends.log_start,
        OffsetReset::Ago(ms) => {
            let shared = partition.clone();
            let find = move || shared.offset_for_timestamp(now_ms.saturating_sub(ms));
            let found = tokio::task::spawn_blocking(find).await;
            let found = found.map_err(|_| ResponseError::KafkaStorageError)?;
            let found = found.map_err(|error| error.error_code())?;
            found.map_or(ends.high_watermark, |(offset, _, _)| offset)
        }
    };
    let begun = broker.shares.begin(&key.group, place, partition, start, now_ms);
    let (cell, written) = begun.map_err(|error| error_of(&error))?;
    if let Some(written) = written {
        written.durable().await.map_err(|_| ResponseError::KafkaStorageError)?;
    }
    Ok(cell)
}
