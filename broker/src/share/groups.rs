//! The share groups of this broker: their members, and their records in `__consumer_offsets`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kafka_protocol::error::ResponseError;
use weir_protocol::records::record::Record;

use crate::catalog::Topic;
use crate::group::offset_records::partition_of;
use crate::log::error::AppendError;
use crate::share::group_records::GroupRecord;
use crate::share::membership::{FindTopic, Heartbeat, ShareGroup, Told};
use crate::share::state_log::{Written, append};

/// Why a heartbeat was refused.
#[derive(Debug, thiserror::Error)]
pub enum HeartbeatError {
    /// The client's mistake.
    #[error("{0:?}")]
    Refused(ResponseError),
    /// What it changes cannot be written.
    #[error("a share group cannot be written: {0}")]
    Storage(#[from] AppendError),
}

/// All share groups.
#[derive(Debug, Default)]
pub struct Groups {
    groups: Mutex<HashMap<String, ShareGroup>>,
}

/// Members that are gone, with their group.
pub type Gone = Vec<(String, String)>;

impl Groups {
    /// Takes a record of `__consumer_offsets` as it is read back.
    pub fn take(&self, record: &Record) {
        let Some(key) = record.key.as_deref() else { return };
        let mut groups = self.lock();
        match GroupRecord::decode(key, record.value.as_deref()) {
            Some((group, GroupRecord::Group(None))) => drop(groups.remove(&group)),
            // What is left to forget of a group that is gone makes none.
            Some((group, _)) if record.value.is_none() && !groups.contains_key(&group) => {}
            Some((group, record)) => groups.entry(group).or_default().apply(record),
            None => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, ShareGroup>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of the group of that name.
    pub fn named(&self, group: &str) -> Option<ShareGroup> {
        self.lock().get(group).cloned()
    }

    /// Whether there is a group of that name.
    pub fn contains(&self, group: &str) -> bool {
        self.lock().contains_key(group)
    }

    /// Whether that group has that member.
    pub fn has_member(&self, group: &str, member: &str) -> bool {
        self.lock().get(group).is_some_and(|group| group.members().contains_key(member))
    }

    /// The names of all groups, with their state.
    pub fn all(&self) -> Vec<(String, &'static str)> {
        let groups = self.lock();
        let mut all: Vec<_> =
            groups.iter().map(|(name, group)| (name.clone(), group.state())).collect();
        all.sort();
        all
    }

    /// Gives every member a whole session, after a start.
    pub fn begin_sessions(&self, until_ms: impl Fn(&str) -> i64) {
        for (name, group) in self.lock().iter_mut() {
            group.begin_sessions(until_ms(name));
        }
    }

    /// A heartbeat to a group, which is made by the first one that joins it.
    pub fn heartbeat(
        &self,
        log: &Topic,
        name: &str,
        heartbeat: &Heartbeat,
        find: FindTopic<'_>,
        members_max: usize,
        (now_ms, until_ms): (i64, i64),
    ) -> Result<(Told, Option<Written>), HeartbeatError> {
        let mut groups = self.lock();
        let mut new = ShareGroup::default();
        let group = groups.get_mut(name).unwrap_or(&mut new);
        let beaten = group.heartbeat(heartbeat, find, members_max, until_ms);
        let (told, records) = beaten.map_err(HeartbeatError::Refused)?;
        let written = write(log, name, &records, now_ms)?;
        if !new.members().is_empty() {
            groups.insert(name.to_owned(), new);
        }
        Ok((told, written))
    }

    /// Removes members that are silent for too long.
    pub fn tick(&self, log: &Topic, now_ms: i64) -> Result<Gone, AppendError> {
        let mut all = Vec::new();
        for (name, group) in self.lock().iter_mut() {
            let (gone, records) = group.tick(now_ms);
            all.extend(gone.into_iter().map(|member| (name.clone(), member)));
            write(log, name, &records, now_ms)?;
        }
        Ok(all)
    }

    /// Forgets a group without members.
    ///
    /// # Errors
    /// GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP.
    pub fn delete(
        &self,
        log: &Topic,
        name: &str,
        now_ms: i64,
    ) -> Result<Option<Written>, HeartbeatError> {
        let refuse = |error| Err(HeartbeatError::Refused(error));
        let mut groups = self.lock();
        let Some(group) = groups.get(name) else { return refuse(ResponseError::GroupIdNotFound) };
        if !group.members().is_empty() {
            return refuse(ResponseError::NonEmptyGroup);
        }
        let written = write(log, name, &group.farewell(), now_ms)?;
        groups.remove(name);
        Ok(written)
    }
}

/// Records in one batch.
const BATCH: usize = 200;

fn write(
    log: &Topic,
    group: &str,
    records: &[GroupRecord],
    now_ms: i64,
) -> Result<Option<Written>, AppendError> {
    let partition: &Arc<_> = log
        .partition(partition_of(group, log.partition_count()))
        .expect("the index is below the count");
    let mut written = None;
    for records in records.chunks(BATCH) {
        let records: Vec<_> = records.iter().map(|record| record.encode(group)).collect();
        written = Some(append(partition, &records, now_ms)?);
    }
    Ok(written)
}
