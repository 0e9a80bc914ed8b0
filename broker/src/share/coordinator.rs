//! All of the share groups of this broker: groups, sessions, share-partitions and their settings.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weir_protocol::records::Offset;

use crate::catalog::error::CatalogError;
use crate::catalog::{Catalog, Topic};
use crate::config::Config;
use crate::group::internal::internal_topic;
use crate::log::error::ReadError;
use crate::partition::Partition;
use crate::share::cell::{Cell, CellError, Moment};
use crate::share::group_configs::GroupConfigs;
use crate::share::groups::Groups;
use crate::share::session::{Place, SessionKey, Sessions};
use crate::share::settings::GroupSettings;
use crate::share::state_log::{StateLog, Written};
use crate::share::state_records::StateKey;

type Cells = HashMap<String, BTreeMap<Place, Arc<Cell>>>;

/// See the head of this file.
#[derive(Debug)]
pub struct ShareCoordinator {
    config: Arc<Config>,
    /// The groups.
    pub groups: Groups,
    /// What was set for them.
    pub configs: GroupConfigs,
    log: StateLog,
    cells: Mutex<Cells>,
    sessions: Mutex<Sessions>,
}

/// The log of states cannot be had, or not be cut.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// A state cannot be written.
    #[error(transparent)]
    Cell(#[from] CellError),
    /// It is not durable, or cannot be cut.
    #[error("__share_group_state: {0}")]
    Storage(String),
}

impl ShareCoordinator {
    /// Reads the states back, for groups that are read back already. Blocks.
    pub fn open(
        catalog: &Catalog,
        config: &Arc<Config>,
        groups: Groups,
        configs: GroupConfigs,
        now_ms: i64,
    ) -> Result<Self, ReadError> {
        let (log, states) = StateLog::open(catalog)?;
        let mut cells = Cells::new();
        for (key, state) in states {
            let place = Place { topic: key.topic, partition: key.partition };
            let cell = Arc::new(Cell::replayed(key.clone(), &state));
            cells.entry(key.group).or_default().insert(place, cell);
        }
        let coordinator = Self {
            config: config.clone(),
            groups,
            configs,
            log,
            cells: Mutex::new(cells),
            sessions: Mutex::default(),
        };
        let until_ms = |group: &str| now_ms + coordinator.settings(group).session_ms;
        coordinator.groups.begin_sessions(until_ms);
        coordinator.clamp(catalog, now_ms)?;
        Ok(coordinator)
    }

    /// After a crash that took records away, no state speaks of more than the log holds.
    fn clamp(&self, catalog: &Catalog, now_ms: i64) -> Result<(), ReadError> {
        for cell in self.cells().values().flat_map(BTreeMap::values) {
            let key = cell.key();
            let topics = catalog.topics();
            let topic = topics.identified(&key.topic);
            let Some(partition) = topic.and_then(|topic| topic.partition(key.partition)) else {
                continue;
            };
            let log_end = partition.ends().log_end.0;
            let settings = self.settings(&key.group);
            let cut = cell.act(&self.moment(&settings, now_ms), |share| {
                let cut = share.cut_after(log_end);
                (cut.is_some(), None)
            });
            // A state that is cut is written whole: an update can only add.
            if matches!(cut, Ok((true, _)))
                && let Err(error) = cell.snapshot(&self.moment(&settings, now_ms))
            {
                tracing::error!(group = key.group, %error, "a share-partition that lost records is not written yet");
            }
        }
        Ok(())
    }

    /// What holds for a group.
    pub fn settings(&self, group: &str) -> GroupSettings {
        self.configs.settings(group)
    }

    /// What surrounds a change at this time.
    pub fn moment<'a>(&'a self, settings: &'a GroupSettings, now_ms: i64) -> Moment<'a> {
        let updates_max = self.config.share_updates_per_snapshot;
        Moment { log: &self.log, now_ms, limits: &settings.limits, updates_max }
    }

    /// The share sessions.
    pub fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cells(&self) -> MutexGuard<'_, Cells> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The topics to which groups and states are written, made if need be. Blocks.
    pub fn internal_topics(&self, catalog: &Catalog) -> Result<Arc<Topic>, CatalogError> {
        self.log.make(catalog, &self.config)?;
        internal_topic(catalog, &self.config)
    }

    /// A group's share of a partition, if it was begun.
    pub fn cell(&self, group: &str, place: &Place) -> Option<Arc<Cell>> {
        self.cells().get(group)?.get(place).cloned()
    }

    /// All that a group has begun.
    pub fn cells_of(&self, group: &str) -> Vec<(Place, Arc<Cell>)> {
        let cells = self.cells();
        let own = cells.get(group).into_iter().flatten();
        own.map(|(place, cell)| (*place, cell.clone())).collect()
    }

    /// A group's share of a partition, begun at `start` if it was not begun before.
    pub fn begin(
        &self,
        group: &str,
        place: Place,
        partition: &Partition,
        start: Offset,
        now_ms: i64,
    ) -> Result<(Arc<Cell>, Option<Written>), CellError> {
        let mut cells = self.cells();
        if let Some(cell) = cells.get(group).and_then(|own| own.get(&place)) {
            return Ok((cell.clone(), None));
        }
        let key =
            StateKey { group: group.to_owned(), topic: place.topic, partition: place.partition };
        let settings = self.settings(group);
        let moment = self.moment(&settings, now_ms);
        let (cell, written) = Cell::begin(key, start.0, partition.leader_epoch(), &moment)?;
        let cell = Arc::new(cell);
        cells.entry(group.to_owned()).or_default().insert(place, cell.clone());
        Ok((cell, Some(written)))
    }

    /// Gives back all that a member has.
    pub fn release(&self, key: &SessionKey, now_ms: i64) -> Vec<Written> {
        let settings = self.settings(&key.group);
        let moment = self.moment(&settings, now_ms);
        let mut all = Vec::new();
        for (_, cell) in self.cells_of(&key.group) {
            match cell.act(&moment, |share| ((), share.release_all(&key.member))) {
                Ok(((), written)) => all.extend(written),
                Err(CellError::Gone) => {}
                Err(error) => {
                    tracing::error!(group = key.group, %error, "records are not released before their locks end")
                }
            }
        }
        all
    }

    /// Forgets what a group has begun of these places, or of all.
    pub fn forget(
        &self,
        group: &str,
        is_meant: impl Fn(&Place) -> bool,
        now_ms: i64,
    ) -> Result<Vec<Written>, CellError> {
        let settings = self.settings(group);
        let moment = self.moment(&settings, now_ms);
        let mut all = Vec::new();
        for (place, cell) in self.cells_of(group) {
            if is_meant(&place) {
                all.extend(cell.forget(&moment)?);
                let mut cells = self.cells();
                if let Some(own) = cells.get_mut(group) {
                    own.remove(&place);
                }
                cells.retain(|_, own| !own.is_empty());
            }
        }
        Ok(all)
    }

    /// Ends what is over: members that are silent, sessions without a member, states of topics that
    /// were deleted.
    pub fn tick(&self, catalog: &Catalog, now_ms: i64) {
        if let Some(log) = catalog.topic(crate::catalog::names::CONSUMER_OFFSETS) {
            match self.groups.tick(&log, now_ms) {
                Ok(gone) => {
                    for (group, member) in gone {
                        tracing::info!(
                            group,
                            member,
                            "a member of a share group is silent for too long"
                        );
                    }
                }
                Err(error) => tracing::error!(%error, "members of share groups cannot be removed"),
            }
        }
        let session_ms = |group: &str| self.settings(group).session_ms;
        let is_over = |key: &SessionKey, seen_ms: i64| {
            !self.groups.has_member(&key.group, &key.member)
                && seen_ms + session_ms(&key.group) <= now_ms
        };
        // What such a member has comes back when its locks end, and counts as delivered: it may be
        // the very reason why the member is gone.
        self.sessions().end_all(is_over);
        let topics = catalog.topics();
        let groups: Vec<String> = self.cells().keys().cloned().collect();
        for group in groups {
            let is_gone = |place: &Place| topics.identified(&place.topic).is_none();
            if let Err(error) = self.forget(&group, is_gone, now_ms) {
                tracing::error!(group, %error, "states of deleted topics are not forgotten yet");
            }
        }
    }

    /// Cuts off what no state needs, once a partition of the log is larger than `bytes_max`.
    pub async fn prune(&self, bytes_max: u64, now_ms: i64) -> Result<(), UpkeepError> {
        let Some(topic) = self.log.topic() else { return Ok(()) };
        for partition in &topic.partitions {
            if partition.size_bytes() <= bytes_max {
                continue;
            }
            let cut = partition.ends().log_end;
            let cells: Vec<Arc<Cell>> =
                self.cells().values().flat_map(BTreeMap::values).cloned().collect();
            let mut last = cut;
            for cell in cells {
                let is_here =
                    self.log.partition(cell.key()).is_some_and(|own| Arc::ptr_eq(&own, partition));
                if is_here && cell.snapshot_at() < cut {
                    let settings = self.settings(&cell.key().group);
                    let written = cell.snapshot(&self.moment(&settings, now_ms))?;
                    last = written.map_or(last, |written| last.max(written.next));
                }
            }
            let storage = |error: &dyn std::fmt::Display| UpkeepError::Storage(error.to_string());
            partition.durable(last).await.map_err(|error| storage(&error))?;
            let shared = partition.clone();
            let deleted =
                tokio::task::spawn_blocking(move || shared.delete_records_before(cut)).await;
            deleted.map_err(|error| storage(&error))?.map_err(|error| storage(&error))?;
        }
        Ok(())
    }
}
