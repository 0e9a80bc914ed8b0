//! What Weir asks a broker about the offsets of groups, each question a function.

use std::collections::BTreeMap;

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    ApiKey, FindCoordinatorRequest, GroupId, OffsetCommitRequest, OffsetFetchRequest,
};

use crate::source::client::{Client, ClientError};
use crate::source::requests::{host_and_port, place, text, topic_name};

impl Client {
    /// Host and port of the broker that keeps a group's offsets.
    pub async fn find_coordinator(&self, group: &str) -> Result<String, ClientError> {
        let version = self.version_for(ApiKey::FindCoordinator as i16, 6)?;
        let request = FindCoordinatorRequest::default();
        let request = if version >= 4 {
            request.with_coordinator_keys(vec![text(group)])
        } else {
            request.with_key(text(group))
        };
        let answer = self.call(&request, version).await?;
        let about = || format!("group {group}");
        let message = answer.error_message.as_ref();
        self.accept("FindCoordinator", answer.error_code, message, about)?;
        if let Some(found) = answer.coordinators.first() {
            let message = found.error_message.as_ref();
            self.accept("FindCoordinator", found.error_code, message, about)?;
            return Ok(host_and_port(&found.host, found.port));
        }
        Ok(host_and_port(&answer.host, answer.port))
    }

    /// Says for a group without members up to where each partition was read.
    pub async fn offset_commit(
        &self,
        group: &str,
        topic: &str,
        offsets: &BTreeMap<i32, i64>,
    ) -> Result<(), ClientError> {
        let partition = |(index, offset): (&i32, &i64)| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(*index)
                .with_committed_offset(*offset)
                .with_committed_leader_epoch(-1)
        };
        let asked = OffsetCommitRequestTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(offsets.iter().map(partition).collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_generation_id_or_member_epoch(-1)
            .with_retention_time_ms(-1)
            .with_topics(vec![asked]);
        let version = self.version_for(ApiKey::OffsetCommit as i16, 9)?;
        let answer = self.call(&request, version).await?;
        for result in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            let index = result.partition_index;
            self.accept("OffsetCommit", result.error_code, None, || {
                format!("group {group}, {}", place(topic, index))
            })?;
        }
        Ok(())
    }

    /// The offsets that a group committed; partitions without one are left out.
    pub async fn offset_fetch(
        &self,
        group: &str,
        topic: &str,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let version = self.version_for(ApiKey::OffsetFetch as i16, 9)?;
        let about = || format!("group {group}, {topic}");
        let mut offsets = BTreeMap::new();
        if version >= 8 {
            let asked = OffsetFetchRequestTopics::default()
                .with_name(topic_name(topic))
                .with_partition_indexes(partitions.to_vec());
            let asked = OffsetFetchRequestGroup::default()
                .with_group_id(GroupId(text(group)))
                .with_member_epoch(-1)
                .with_topics(Some(vec![asked]));
            let request = OffsetFetchRequest::default().with_groups(vec![asked]);
            for group in self.call(&request, version).await?.groups {
                self.accept("OffsetFetch", group.error_code, None, about)?;
                for found in group.topics.iter().flat_map(|topic| &topic.partitions) {
                    self.accept("OffsetFetch", found.error_code, None, about)?;
                    offsets.insert(found.partition_index, found.committed_offset);
                }
            }
        } else {
            let asked = OffsetFetchRequestTopic::default()
                .with_name(topic_name(topic))
                .with_partition_indexes(partitions.to_vec());
            let request = OffsetFetchRequest::default()
                .with_group_id(GroupId(text(group)))
                .with_topics(Some(vec![asked]));
            let answer = self.call(&request, version).await?;
            self.accept("OffsetFetch", answer.error_code, None, about)?;
            for found in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                self.accept("OffsetFetch", found.error_code, None, about)?;
                offsets.insert(found.partition_index, found.committed_offset);
            }
        }
        offsets.retain(|_, offset| *offset >= 0);
        Ok(offsets)
    }
}
