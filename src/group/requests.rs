//! What `weir group` asks a coordinator, each question a function that answers with plain values.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response as consumer;
use kafka_protocol::messages::describe_groups_response::DescribedGroupMember;
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    ApiKey, ConsumerGroupDescribeRequest, ConsumerProtocolAssignment, DeleteGroupsRequest,
    DescribeGroupsRequest, GroupId, ListGroupsRequest, OffsetDeleteRequest, OffsetFetchRequest,
    ShareGroupDescribeRequest,
};
use kafka_protocol::protocol::{Decodable, StrBytes};
use serde::Serialize;
use weir_compactor::source::client::{Client, ClientError};
use weir_compactor::source::cluster::Cluster;
use weir_compactor::source::requests::topic_name;

use crate::failure::Failure;

/// A group in a list.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Listed {
    pub(super) group: String,
    /// `classic`, `consumer` or `share`.
    #[serde(rename = "type")]
    pub(super) group_type: String,
    pub(super) protocol: String,
    pub(super) state: String,
}

/// A group as its coordinator describes it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Described {
    pub(super) group: String,
    #[serde(rename = "type")]
    pub(super) group_type: String,
    pub(super) state: String,
    /// The protocol that the members chose, or the assignor.
    pub(super) assignor: String,
    pub(super) members: Vec<DescribedMember>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct DescribedMember {
    pub(super) member_id: String,
    pub(super) instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) host: String,
    /// Its partitions by topic.
    pub(super) assigned: BTreeMap<String, Vec<i32>>,
}

/// Asks about groups.
pub(super) struct Groups {
    pub(super) cluster: Cluster,
}

impl Groups {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self { cluster }
    }

    /// The coordinator of a group.
    async fn of(&self, group: &str) -> Result<Arc<Client>, ClientError> {
        let address = self.cluster.any().await?.find_coordinator(group).await?;
        self.cluster.at(&address).await
    }

    /// All groups that every broker knows.
    pub(super) async fn list(
        &self,
        states: &[String],
        types: &[String],
    ) -> Result<Vec<Listed>, Failure> {
        let filter = |words: &[String]| words.iter().map(|word| text(word)).collect::<Vec<_>>();
        let mut listed = Vec::new();
        for address in self.cluster.any().await?.metadata(Some(&[])).await?.brokers.into_values() {
            let client = self.cluster.at(&address).await?;
            let version = client.version_for(ApiKey::ListGroups as i16, 5)?;
            let mut request = ListGroupsRequest::default();
            if version >= 4 {
                request = request.with_states_filter(filter(states));
            }
            if version >= 5 {
                request = request.with_types_filter(filter(types));
            }
            let answer = client.call(&request, version).await?;
            client.accept("ListGroups", answer.error_code, None, || "groups".to_owned())?;
            listed.extend(answer.groups.into_iter().map(|group| Listed {
                group: group.group_id.0.to_string(),
                group_type: group.group_type.to_string(),
                protocol: group.protocol_type.to_string(),
                state: group.group_state.to_string(),
            }));
        }
        listed.sort_by(|left, right| left.group.cmp(&right.group));
        Ok(listed)
    }

    /// One group, whatever its type.
    pub(super) async fn describe(&self, group: &str) -> Result<Described, Failure> {
        let listed = self.list(&[], &[]).await?;
        let found = listed.into_iter().find(|it| it.group == group).ok_or_else(|| {
            Failure::new(format!(
                "there is no group {group}; `weir group list` shows those that are"
            ))
        })?;
        let client = self.of(group).await?;
        match found.group_type.as_str() {
            "consumer" => describe_consumer(&client, group).await,
            "share" => describe_share(&client, group).await,
            _ => describe_classic(&client, group).await,
        }
    }

    /// All that a group has committed: by topic and partition the offset.
    pub(super) async fn committed(
        &self,
        group: &str,
    ) -> Result<BTreeMap<(String, i32), i64>, Failure> {
        let client = self.of(group).await?;
        let version = client.version_for(ApiKey::OffsetFetch as i16, 9)?;
        let about = || format!("group {group}");
        let mut committed = BTreeMap::new();
        if version >= 8 {
            let asked = OffsetFetchRequestGroup::default()
                .with_group_id(id(group))
                .with_member_epoch(-1)
                .with_topics(None);
            let request = OffsetFetchRequest::default().with_groups(vec![asked]);
            for group in client.call(&request, version).await?.groups {
                client.accept("OffsetFetch", group.error_code, None, about)?;
                for topic in &group.topics {
                    let found = topic.partitions.iter().filter(|it| it.committed_offset >= 0);
                    committed.extend(found.map(|it| {
                        ((topic.name.to_string(), it.partition_index), it.committed_offset)
                    }));
                }
            }
        } else {
            let request = OffsetFetchRequest::default().with_group_id(id(group)).with_topics(None);
            let answer = client.call(&request, version).await?;
            client.accept("OffsetFetch", answer.error_code, None, about)?;
            for topic in &answer.topics {
                let found = topic.partitions.iter().filter(|it| it.committed_offset >= 0);
                committed.extend(
                    found.map(|it| {
                        ((topic.name.to_string(), it.partition_index), it.committed_offset)
                    }),
                );
            }
        }
        Ok(committed)
    }

    /// Commits for a group without members.
    pub(super) async fn commit(
        &self,
        group: &str,
        topic: &str,
        offsets: &BTreeMap<i32, i64>,
    ) -> Result<(), Failure> {
        let client = self.of(group).await?;
        client.offset_commit(group, topic, offsets).await.map_err(|error| match error.code() {
            Some(ResponseError::UnknownMemberId) => Failure::new(format!(
                "group {group} has members: stop them first, or they commit over it"
            )),
            _ => error.into(),
        })
    }

    pub(super) async fn delete(&self, group: &str) -> Result<(), Failure> {
        let client = self.of(group).await?;
        let request = DeleteGroupsRequest::default().with_groups_names(vec![id(group)]);
        let version = client.version_for(ApiKey::DeleteGroups as i16, 2)?;
        for result in client.call(&request, version).await?.results {
            client.accept("DeleteGroups", result.error_code, None, || format!("group {group}"))?;
        }
        Ok(())
    }

    /// Forgets committed offsets.
    pub(super) async fn forget(
        &self,
        group: &str,
        topic: &str,
        partitions: &[i32],
    ) -> Result<(), Failure> {
        let client = self.of(group).await?;
        let partition =
            |index: &i32| OffsetDeleteRequestPartition::default().with_partition_index(*index);
        let topic = OffsetDeleteRequestTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(partitions.iter().map(partition).collect());
        let request =
            OffsetDeleteRequest::default().with_group_id(id(group)).with_topics(vec![topic]);
        let about = || format!("group {group}");
        let answer = client.call(&request, 0).await?;
        client.accept("OffsetDelete", answer.error_code, None, about)?;
        for result in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            client.accept("OffsetDelete", result.error_code, None, about)?;
        }
        Ok(())
    }
}

async fn describe_classic(client: &Client, group: &str) -> Result<Described, Failure> {
    let request = DescribeGroupsRequest::default().with_groups(vec![id(group)]);
    let version = client.version_for(ApiKey::DescribeGroups as i16, 6)?;
    let answer = client.call(&request, version).await?;
    let described = answer.groups.into_iter().next().ok_or_else(|| no_answer(group))?;
    let message = described.error_message.as_ref();
    client.accept("DescribeGroups", described.error_code, message, || format!("group {group}"))?;
    let member = |member: DescribedGroupMember| DescribedMember {
        member_id: member.member_id.to_string(),
        instance_id: member.group_instance_id.map(|id| id.to_string()),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        assigned: assigned(&member.member_assignment),
    };
    Ok(Described {
        group: group.to_owned(),
        group_type: "classic".to_owned(),
        state: described.group_state.to_string(),
        assignor: described.protocol_data.to_string(),
        members: described.members.into_iter().map(member).collect(),
    })
}

/// What an assignment of the consumer protocol says; nothing if it is of another protocol.
fn assigned(bytes: &Bytes) -> BTreeMap<String, Vec<i32>> {
    let mut content = bytes.slice(2.min(bytes.len())..);
    let assignment = ConsumerProtocolAssignment::decode(&mut content, 0).unwrap_or_default();
    let parts = assignment.assigned_partitions.into_iter();
    parts.map(|part| (part.topic.to_string(), part.partitions)).collect()
}

async fn describe_consumer(client: &Client, group: &str) -> Result<Described, Failure> {
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![id(group)]);
    let version = client.version_for(ApiKey::ConsumerGroupDescribe as i16, 1)?;
    let answer = client.call(&request, version).await?;
    let described = answer.groups.into_iter().next().ok_or_else(|| no_answer(group))?;
    let (code, message) = (described.error_code, described.error_message.as_ref());
    client.accept("ConsumerGroupDescribe", code, message, || format!("group {group}"))?;
    let member = |member: consumer::Member| DescribedMember {
        member_id: member.member_id.to_string(),
        instance_id: member.instance_id.map(|id| id.to_string()),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        assigned: (member.assignment.topic_partitions.into_iter())
            .map(|part| (part.topic_name.to_string(), part.partitions))
            .collect(),
    };
    Ok(Described {
        group: group.to_owned(),
        group_type: "consumer".to_owned(),
        state: described.group_state.to_string(),
        assignor: described.assignor_name.to_string(),
        members: described.members.into_iter().map(member).collect(),
    })
}

async fn describe_share(client: &Client, group: &str) -> Result<Described, Failure> {
    let request = ShareGroupDescribeRequest::default().with_group_ids(vec![id(group)]);
    let answer = client.ask(&request).await?;
    let described = answer.groups.into_iter().next().ok_or_else(|| no_answer(group))?;
    let (code, message) = (described.error_code, described.error_message.as_ref());
    client.accept("ShareGroupDescribe", code, message, || format!("group {group}"))?;
    let members = described.members.into_iter().map(|member| DescribedMember {
        member_id: member.member_id.to_string(),
        instance_id: None,
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        assigned: (member.assignment.topic_partitions.into_iter())
            .map(|part| (part.topic_name.to_string(), part.partitions))
            .collect(),
    });
    Ok(Described {
        group: group.to_owned(),
        group_type: "share".to_owned(),
        state: described.group_state.to_string(),
        assignor: described.assignor_name.to_string(),
        members: members.collect(),
    })
}

fn no_answer(group: &str) -> Failure {
    Failure::new(format!("group {group}: the coordinator's answer does not name it"))
}

fn id(group: &str) -> GroupId {
    GroupId(text(group))
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}
