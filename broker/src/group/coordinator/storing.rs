//! How groups come into the internal topic, and out of it.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;

use crate::catalog::names::CONSUMER_OFFSETS;
use crate::group::coordinator::{Groups, Inner};
use crate::group::group_records;
use crate::group::internal::{Appending, KeyValue, append};

impl Groups {
    /// Forgets a group without members, in memory and in the log. What it has committed is for the
    /// caller to forget. `false`: there is no such group.
    ///
    /// # Errors
    /// NON_EMPTY_GROUP when it has members; when the log does not take the tombstone.
    pub async fn forget(&self, group: &str) -> Result<bool, ResponseError> {
        let appending = {
            let mut inner = self.lock();
            let Some(entry) = inner.groups.get(group) else { return Ok(false) };
            if !entry.group.is_idle() {
                return Err(ResponseError::NonEmptyGroup);
            }
            let appending = if entry.is_stored {
                let tombstone = (group_records::encode_key(group), None);
                Some(self.append(group, &[tombstone])?)
            } else {
                None
            };
            inner.take_out(group);
            appending
        };
        if let Some(appending) = appending {
            appending.durable().await?;
        }
        Ok(true)
    }

    /// What was stored is durable, or is not.
    fn stored(self: &Arc<Self>, name: &str, generation: i32, error: Option<ResponseError>) {
        let rules = self.rules;
        let mut inner = self.lock();
        self.event(&mut inner, name, |group, now_ms| {
            group.stored(now_ms, &rules, generation, error);
        });
    }

    pub(super) fn store(self: &Arc<Self>, inner: &mut Inner, name: &str) {
        let Some(entry) = inner.groups.get_mut(name) else { return };
        let generation = entry.group.generation();
        let value = group_records::encode(&entry.group, entry.state_since_ms);
        let appended = self.append(name, &[(group_records::encode_key(name), Some(value))]);
        entry.is_stored |= appended.is_ok();
        let (groups, name) = (Arc::clone(self), name.to_owned());
        // Not awaited here: the lock is held.
        tokio::spawn(async move {
            let error = match appended {
                Ok(appending) => appending.durable().await.err(),
                Err(error) => Some(error),
            };
            groups.stored(&name, generation, error);
        });
    }

    pub(super) fn append(
        &self,
        group: &str,
        records: &[KeyValue],
    ) -> Result<Appending, ResponseError> {
        // Whoever lets members in has made the topic before.
        let topic =
            self.catalog.topic(CONSUMER_OFFSETS).ok_or(ResponseError::CoordinatorNotAvailable)?;
        append(&topic, group, records, self.clock.now_ms()).map_err(|error| {
            tracing::error!(group, %error, "a group cannot be stored");
            ResponseError::CoordinatorNotAvailable
        })
    }
}
