//! A member of a classic consumer group, for one topic: join, share out if it leads, heartbeat,
//! commit, leave. The partitions are shared out as Kafka's `range` assignor does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::join_group_response::JoinGroupResponse;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ApiKey, ConsumerProtocolAssignment, ConsumerProtocolSubscription, GroupId, HeartbeatRequest,
    JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use weir_compactor::source::client::Client;
use weir_compactor::source::cluster::Cluster;
use weir_compactor::source::requests::topic_name;

use crate::failure::Failure;

const SESSION_TIMEOUT_MS: i32 = 45_000;
const REBALANCE_TIMEOUT_MS: i32 = 60_000;
/// A join waits for the other members, as long as they may take to come back.
const JOIN_PATIENCE: Duration = Duration::from_secs(90);
const ASSIGNOR: &str = "range";
/// The version of subscriptions and assignments that every client reads.
const PROTOCOL_VERSION: i16 = 0;

/// A member.
pub(super) struct Member<'a> {
    cluster: &'a Cluster,
    coordinator: Arc<Client>,
    group: String,
    topic: String,
    member_id: StrBytes,
    generation: i32,
    /// What was committed last; the same is not committed again.
    told: BTreeMap<i32, i64>,
}

impl<'a> Member<'a> {
    pub(super) async fn new(
        cluster: &'a Cluster,
        group: &str,
        topic: &str,
    ) -> Result<Self, Failure> {
        let address = cluster.any().await?.find_coordinator(group).await?;
        // Of its own: a join holds up its connection.
        let coordinator = Arc::new(Client::connect(&address, "weir-consume").await?);
        Ok(Self {
            cluster,
            coordinator,
            group: group.to_owned(),
            topic: topic.to_owned(),
            member_id: StrBytes::default(),
            generation: -1,
            told: BTreeMap::new(),
        })
    }

    /// Joins the next generation. The partitions that this member gets.
    pub(super) async fn join(&mut self) -> Result<Vec<i32>, Failure> {
        loop {
            let joined = self.ask_to_join().await?;
            match ResponseError::try_from_code(joined.error_code) {
                None => {}
                Some(ResponseError::MemberIdRequired) => {
                    self.member_id = joined.member_id;
                    continue;
                }
                Some(ResponseError::UnknownMemberId) => {
                    self.member_id = StrBytes::default();
                    continue;
                }
                Some(error) => return Err(self.refused("join", error)),
            }
            self.member_id = joined.member_id.clone();
            self.generation = joined.generation_id;
            self.told.clear();
            let assignments = if joined.leader == joined.member_id {
                self.share_out(&joined).await?
            } else {
                Vec::new()
            };
            let request = SyncGroupRequest::default()
                .with_group_id(self.group_id())
                .with_generation_id(self.generation)
                .with_member_id(self.member_id.clone())
                .with_assignments(assignments);
            let version = self.coordinator.version_for(ApiKey::SyncGroup as i16, 3)?;
            let answer = self.coordinator.call_within(&request, version, JOIN_PATIENCE).await?;
            match ResponseError::try_from_code(answer.error_code) {
                None => return self.partitions_in(answer.assignment),
                Some(ResponseError::RebalanceInProgress | ResponseError::IllegalGeneration) => {}
                Some(ResponseError::UnknownMemberId) => self.member_id = StrBytes::default(),
                Some(error) => return Err(self.refused("sync", error)),
            }
        }
    }

    async fn ask_to_join(&self) -> Result<JoinGroupResponse, Failure> {
        let subscription =
            ConsumerProtocolSubscription::default().with_topics(vec![text(&self.topic)]);
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text(ASSIGNOR))
            .with_metadata(encoded(&subscription)?);
        let request = JoinGroupRequest::default()
            .with_group_id(self.group_id())
            .with_session_timeout_ms(SESSION_TIMEOUT_MS)
            .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
            .with_member_id(self.member_id.clone())
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        let version = self.coordinator.version_for(ApiKey::JoinGroup as i16, 5)?;
        Ok(self.coordinator.call_within(&request, version, JOIN_PATIENCE).await?)
    }

    /// As the leader: who gets what.
    async fn share_out(
        &self,
        joined: &JoinGroupResponse,
    ) -> Result<Vec<SyncGroupRequestAssignment>, Failure> {
        let mut by_topic: BTreeMap<String, Vec<StrBytes>> = BTreeMap::new();
        for member in &joined.members {
            let mut bytes = member.metadata.slice(2.min(member.metadata.len())..);
            let subscription = ConsumerProtocolSubscription::decode(&mut bytes, PROTOCOL_VERSION);
            for topic in subscription.map(|it| it.topics).unwrap_or_default() {
                by_topic.entry(topic.to_string()).or_default().push(member.member_id.clone());
            }
        }
        let topics: Vec<&str> = by_topic.keys().map(String::as_str).collect();
        let metadata = self.cluster.any().await?.metadata(Some(&topics)).await?;
        let mut assigned: BTreeMap<StrBytes, Vec<TopicPartition>> = BTreeMap::new();
        for topic in metadata.topics.iter().filter(|topic| topic.error.is_none()) {
            let Some(members) = by_topic.get_mut(&topic.name) else { continue };
            members.sort();
            for (member, partitions) in
                members.iter().zip(ranges(topic.leaders.len(), members.len()))
            {
                let part = TopicPartition::default()
                    .with_topic(topic_name(&topic.name))
                    .with_partitions(partitions);
                assigned.entry(member.clone()).or_default().push(part);
            }
        }
        let all = joined.members.iter().map(|member| {
            let partitions = assigned.remove(&member.member_id).unwrap_or_default();
            let assignment =
                ConsumerProtocolAssignment::default().with_assigned_partitions(partitions);
            Ok(SyncGroupRequestAssignment::default()
                .with_member_id(member.member_id.clone())
                .with_assignment(encoded(&assignment)?))
        });
        all.collect()
    }

    fn partitions_in(&self, assignment: Bytes) -> Result<Vec<i32>, Failure> {
        if assignment.len() < 2 {
            return Ok(Vec::new());
        }
        let mut bytes = assignment.slice(2..);
        let assignment = ConsumerProtocolAssignment::decode(&mut bytes, PROTOCOL_VERSION)
            .map_err(|error| Failure::new(format!("group {}: {error}", self.group)))?;
        let ours = assignment.assigned_partitions.into_iter();
        let ours = ours.filter(|part| part.topic.0.as_str() == self.topic);
        Ok(ours.flat_map(|part| part.partitions).collect())
    }

    /// What the group has committed for these partitions.
    pub(super) async fn committed(
        &self,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, i64>, Failure> {
        Ok(self.coordinator.offset_fetch(&self.group, &self.topic, partitions).await?)
    }

    /// Whether this generation goes on.
    pub(super) async fn heartbeat(&self) -> Result<bool, Failure> {
        let request = HeartbeatRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.generation)
            .with_member_id(self.member_id.clone());
        let version = self.coordinator.version_for(ApiKey::Heartbeat as i16, 3)?;
        let answer = self.coordinator.call(&request, version).await?;
        match ResponseError::try_from_code(answer.error_code) {
            None => Ok(true),
            Some(error) if is_over(error) => Ok(false),
            Some(error) => Err(self.refused("heartbeat", error)),
        }
    }

    /// Commits up to where each partition was read. A generation that is over commits nothing: who
    /// has the partition now reads on from what was committed before.
    pub(super) async fn commit(&mut self, next: &BTreeMap<i32, i64>) -> Result<(), Failure> {
        let news =
            next.iter().filter(|(partition, offset)| self.told.get(partition) != Some(offset));
        let news: BTreeMap<i32, i64> =
            news.map(|(partition, offset)| (*partition, *offset)).collect();
        if news.is_empty() || self.generation < 0 {
            return Ok(());
        }
        let partition = |(index, offset): (&i32, &i64)| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(*index)
                .with_committed_offset(*offset)
                .with_committed_leader_epoch(-1)
        };
        let topic = OffsetCommitRequestTopic::default()
            .with_name(topic_name(&self.topic))
            .with_partitions(news.iter().map(partition).collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id_or_member_epoch(self.generation)
            .with_member_id(self.member_id.clone())
            .with_retention_time_ms(-1)
            .with_topics(vec![topic]);
        let version = self.coordinator.version_for(ApiKey::OffsetCommit as i16, 7)?;
        let answer = self.coordinator.call(&request, version).await?;
        for result in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            match ResponseError::try_from_code(result.error_code) {
                None => {}
                Some(error) if is_over(error) => return Ok(()),
                Some(error) => return Err(self.refused("commit", error)),
            }
        }
        self.told.extend(news);
        Ok(())
    }

    /// Leaves, so that the others need not wait for the session to run out.
    pub(super) async fn leave(&self) -> Result<(), Failure> {
        if self.member_id.is_empty() {
            return Ok(());
        }
        let version = self.coordinator.version_for(ApiKey::LeaveGroup as i16, 3)?;
        let request = LeaveGroupRequest::default().with_group_id(self.group_id());
        let request = if version >= 3 {
            let member = MemberIdentity::default().with_member_id(self.member_id.clone());
            request.with_members(vec![member])
        } else {
            request.with_member_id(self.member_id.clone())
        };
        let answer = self.coordinator.call(&request, version).await?;
        match ResponseError::try_from_code(answer.error_code) {
            None | Some(ResponseError::UnknownMemberId) => Ok(()),
            Some(error) => Err(self.refused("leave", error)),
        }
    }

    fn group_id(&self) -> GroupId {
        GroupId(text(&self.group))
    }

    fn refused(&self, what: &str, error: ResponseError) -> Failure {
        Failure::new(format!("group {}: cannot {what}: {error}", self.group))
    }
}

/// Whether the member has to join again.
fn is_over(error: ResponseError) -> bool {
    matches!(
        error,
        ResponseError::RebalanceInProgress
            | ResponseError::IllegalGeneration
            | ResponseError::UnknownMemberId
    )
}

/// PURE. Kafka's `range`: consecutive partitions, the first members get one more.
fn ranges(partition_count: usize, member_count: usize) -> Vec<Vec<i32>> {
    let (each, more) = (partition_count / member_count, partition_count % member_count);
    let mut next = 0;
    let shares = (0..member_count).map(|place| {
        let first = next;
        next += each + usize::from(place < more);
        (first..next).map(|index| i32::try_from(index).unwrap_or(i32::MAX)).collect()
    });
    shares.collect()
}

/// A message of the consumer protocol: its version and its bytes.
fn encoded(message: &impl Encodable) -> Result<Bytes, Failure> {
    let mut bytes = BytesMut::new();
    bytes.put_i16(PROTOCOL_VERSION);
    let done = message.encode(&mut bytes, PROTOCOL_VERSION);
    done.map_err(|error| Failure::new(format!("cannot write a request: {error}")))?;
    Ok(bytes.freeze())
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn every_partition_has_one_member_and_shares_differ_by_one() {
        assert_eq!(ranges(5, 3), [vec![0, 1], vec![2, 3], vec![4]]);
        assert_eq!(ranges(1, 2), [vec![0], vec![]]);
        assert_eq!(ranges(0, 1), [Vec::<i32>::new()]);
    }
}
