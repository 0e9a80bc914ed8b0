//! The members of a share group, and what they work on: KIP-932's heartbeat. PURE.
//!
//! ```text
//! a member comes, goes, or subscribes anew; a topic changes   ──> the group's epoch grows
//! the next heartbeat finds assignment epoch < group epoch     ──> everybody's target is made anew
//! a member's heartbeat finds member epoch < assignment epoch  ──> it takes its target at once
//! ```
//!
//! Every change is a [`GroupRecord`] that is applied as it is written, so a group that is read back
//! from its records is the same group. Only when a member was last heard is not written: after a
//! restart each has its whole session before it.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::error::ResponseError;
use uuid::Uuid;

use crate::share::assignor::{self, Assignment};
use crate::share::group_records::{Current, GroupEpoch, GroupRecord, MemberMetadata};
use crate::share::session::Place;

/// The member epoch with which a member joins.
pub const JOIN_EPOCH: i32 = 0;
/// The member epoch with which a member leaves.
pub const LEAVE_EPOCH: i32 = -1;

/// The topic of that name, if there is one: its id and how many partitions it has.
pub type FindTopic<'a> = &'a dyn Fn(&str) -> Option<(Uuid, i32)>;

/// A heartbeat.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat {
    /// Who.
    pub member: String,
    /// Its epoch, or 0 to join, -1 to leave.
    pub epoch: i32,
    /// Where it runs; absent: as before.
    pub rack: Option<String>,
    /// What it calls itself.
    pub client_id: String,
    /// Its address.
    pub client_host: String,
    /// To what it subscribes; absent: as before.
    pub topics: Option<BTreeSet<String>>,
}

/// What a member is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its epoch.
    pub epoch: i32,
    /// Its partitions, if it has to hear of them.
    pub places: Option<BTreeSet<Place>>,
}

/// One member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// What it said of itself.
    pub metadata: MemberMetadata,
    /// What it works on.
    pub current: Current,
    /// When its session ends.
    pub until_ms: i64,
}

/// See the head of this file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShareGroup {
    group: GroupEpoch,
    assignment_epoch: i32,
    members: BTreeMap<String, Member>,
    targets: Assignment,
    /// How many members subscribe to each topic.
    subscribed: BTreeMap<String, usize>,
}

impl ShareGroup {
    /// The group's epoch.
    pub fn epoch(&self) -> i32 {
        self.group.epoch
    }

    /// The epoch for which the targets were made.
    pub fn assignment_epoch(&self) -> i32 {
        self.assignment_epoch
    }

    /// The members by id.
    pub fn members(&self) -> &BTreeMap<String, Member> {
        &self.members
    }

    /// The topics to which anybody subscribes.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.subscribed.keys().map(String::as_str)
    }

    /// Kafka's word for how the group stands.
    pub fn state(&self) -> &'static str {
        if self.members.is_empty() { "Empty" } else { "Stable" }
    }

    /// Takes a change that was written.
    pub fn apply(&mut self, record: GroupRecord) {
        match record {
            GroupRecord::Group(group) => self.group = group.unwrap_or_default(),
            GroupRecord::TargetEpoch(epoch) => self.assignment_epoch = epoch.unwrap_or(0),
            GroupRecord::Member(id, Some(metadata)) => {
                for name in &metadata.topics {
                    *self.subscribed.entry(name.clone()).or_default() += 1;
                }
                let member = self.members.entry(id).or_default();
                let before = std::mem::replace(&mut member.metadata, metadata);
                self.unsubscribe(&before.topics);
            }
            GroupRecord::Member(id, None) => {
                if let Some(member) = self.members.remove(&id) {
                    self.unsubscribe(&member.metadata.topics);
                }
            }
            GroupRecord::Target(id, Some(places)) => drop(self.targets.insert(id, places)),
            GroupRecord::Target(id, None) => drop(self.targets.remove(&id)),
            // The cleaner may have left what the member said of itself behind this.
            GroupRecord::Current(id, Some(current)) => {
                self.members.entry(id).or_default().current = current;
            }
            // Whoever is forgotten has no assignment either, whatever comes first.
            GroupRecord::Current(id, None) => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.current = Current::default();
                }
            }
        }
    }

    fn unsubscribe(&mut self, topics: &BTreeSet<String>) {
        for name in topics {
            let count = self.subscribed.get_mut(name).expect("it was counted");
            *count -= 1;
            if *count == 0 {
                self.subscribed.remove(name);
            }
        }
    }

    /// All records that make this group anew.
    pub fn records(&self) -> Vec<GroupRecord> {
        let mut records = vec![GroupRecord::Group(Some(self.group))];
        for (id, member) in &self.members {
            records.push(GroupRecord::Member(id.clone(), Some(member.metadata.clone())));
        }
        for (id, places) in &self.targets {
            records.push(GroupRecord::Target(id.clone(), Some(places.clone())));
        }
        records.push(GroupRecord::TargetEpoch(Some(self.assignment_epoch)));
        for (id, member) in &self.members {
            records.push(GroupRecord::Current(id.clone(), Some(member.current.clone())));
        }
        records
    }

    /// The records that forget this group, which must be empty.
    pub fn farewell(&self) -> Vec<GroupRecord> {
        assert!(self.members.is_empty(), "a group with members is not forgotten");
        vec![GroupRecord::TargetEpoch(None), GroupRecord::Group(None)]
    }

    /// Gives every member a whole session from now on.
    pub fn begin_sessions(&mut self, until_ms: i64) {
        for member in self.members.values_mut() {
            member.until_ms = until_ms;
        }
    }

    /// A heartbeat comes. Answers what the member is told, and what is to be written.
    ///
    /// # Errors
    /// INVALID_REQUEST, UNKNOWN_MEMBER_ID, FENCED_MEMBER_EPOCH, or GROUP_MAX_SIZE_REACHED.
    pub fn heartbeat(
        &mut self,
        heartbeat: &Heartbeat,
        find: FindTopic<'_>,
        members_max: usize,
        until_ms: i64,
    ) -> Result<(Told, Vec<GroupRecord>), ResponseError> {
        let Heartbeat { member: id, epoch, topics, .. } = heartbeat;
        if *epoch < LEAVE_EPOCH || (*epoch == JOIN_EPOCH && topics.is_none()) {
            return Err(ResponseError::InvalidRequest);
        }
        if *epoch == LEAVE_EPOCH {
            if !self.members.contains_key(id) {
                return Err(ResponseError::UnknownMemberId);
            }
            return Ok((
                Told { epoch: LEAVE_EPOCH, places: None },
                self.remove(std::slice::from_ref(id)),
            ));
        }
        self.check_member(heartbeat, members_max)?;
        let mut records = Vec::new();
        let has_changed = self.update_member(heartbeat, &mut records);
        let metadata_hash = self.metadata_hash(find);
        if has_changed || metadata_hash != self.group.metadata_hash {
            let epoch = self.group.epoch + 1;
            self.write(GroupRecord::Group(Some(GroupEpoch { epoch, metadata_hash })), &mut records);
        }
        if self.assignment_epoch < self.group.epoch {
            self.assign(find, &mut records);
        }
        let is_moved = self.reconcile(id, &mut records);
        let member = self.members.get_mut(id).expect("it was just heard");
        member.until_ms = until_ms;
        let is_told = is_moved || *epoch == JOIN_EPOCH || topics.is_some();
        let places = is_told.then(|| member.current.places.clone());
        Ok((Told { epoch: member.current.epoch, places }, records))
    }

    fn check_member(&self, heartbeat: &Heartbeat, members_max: usize) -> Result<(), ResponseError> {
        let known = self.members.get(&heartbeat.member);
        if heartbeat.epoch == JOIN_EPOCH {
            let is_full = known.is_none() && self.members.len() >= members_max;
            return if is_full { Err(ResponseError::GroupMaxSizeReached) } else { Ok(()) };
        }
        let current = &known.ok_or(ResponseError::UnknownMemberId)?.current;
        if heartbeat.epoch != current.epoch && heartbeat.epoch != current.previous_epoch {
            return Err(ResponseError::FencedMemberEpoch);
        }
        Ok(())
    }

    /// Whether the targets are to be made anew for it.
    fn update_member(&mut self, heartbeat: &Heartbeat, records: &mut Vec<GroupRecord>) -> bool {
        let known = self.members.get(&heartbeat.member);
        let before = known.map(|member| member.metadata.clone());
        let mut metadata = before.clone().unwrap_or_default();
        metadata.client_id.clone_from(&heartbeat.client_id);
        metadata.client_host.clone_from(&heartbeat.client_host);
        if heartbeat.rack.is_some() {
            metadata.rack.clone_from(&heartbeat.rack);
        }
        if let Some(topics) = &heartbeat.topics {
            metadata.topics.clone_from(topics);
        }
        if before.as_ref() == Some(&metadata) {
            return false;
        }
        let has_changed = before.is_none_or(|before| before.topics != metadata.topics);
        self.write(GroupRecord::Member(heartbeat.member.clone(), Some(metadata)), records);
        has_changed
    }

    fn assign(&mut self, find: FindTopic<'_>, records: &mut Vec<GroupRecord>) {
        let found = self.subscribed.keys().filter_map(|name| Some((name.clone(), find(name)?)));
        let found: BTreeMap<String, (Uuid, i32)> = found.collect();
        let mut wanted = Assignment::new();
        for (id, member) in &self.members {
            let topics = member.metadata.topics.iter().filter_map(|name| found.get(name));
            let places = topics.flat_map(|&(topic, count)| {
                (0..count).map(move |partition| Place { topic, partition })
            });
            wanted.insert(id.clone(), places.collect());
        }
        for (id, places) in assignor::assign(&wanted, &self.targets) {
            if self.targets.get(&id) != Some(&places) {
                self.write(GroupRecord::Target(id, Some(places)), records);
            }
        }
        self.write(GroupRecord::TargetEpoch(Some(self.group.epoch)), records);
    }

    /// Lets a member take its target. Whether its partitions are others than before.
    fn reconcile(&mut self, id: &str, records: &mut Vec<GroupRecord>) -> bool {
        let current = &self.members[id].current;
        if current.epoch == self.assignment_epoch {
            return false;
        }
        let places = self.targets.get(id).cloned().unwrap_or_default();
        let is_moved = places != current.places;
        let previous_epoch = current.epoch;
        let current = Current { epoch: self.assignment_epoch, previous_epoch, places };
        self.write(GroupRecord::Current(id.to_owned(), Some(current)), records);
        is_moved
    }

    /// Removes members whose session is over. Answers who they are, and what is to be written.
    pub fn tick(&mut self, now_ms: i64) -> (Vec<String>, Vec<GroupRecord>) {
        let over = self.members.iter().filter(|(_, member)| member.until_ms <= now_ms);
        let over: Vec<String> = over.map(|(id, _)| id.clone()).collect();
        let records = self.remove(&over);
        (over, records)
    }

    fn remove(&mut self, ids: &[String]) -> Vec<GroupRecord> {
        let mut records = Vec::new();
        for id in ids {
            self.write(GroupRecord::Current(id.clone(), None), &mut records);
            self.write(GroupRecord::Target(id.clone(), None), &mut records);
            self.write(GroupRecord::Member(id.clone(), None), &mut records);
        }
        if !ids.is_empty() {
            let group = GroupEpoch { epoch: self.group.epoch + 1, ..self.group };
            self.write(GroupRecord::Group(Some(group)), &mut records);
        }
        records
    }

    fn write(&mut self, record: GroupRecord, records: &mut Vec<GroupRecord>) {
        self.apply(record.clone());
        records.push(record);
    }

    /// A number that another one is likely to replace when a subscribed topic changes (FNV-1a).
    fn metadata_hash(&self, find: FindTopic<'_>) -> i64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut take = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        for name in self.subscribed.keys() {
            if let Some((id, count)) = find(name) {
                take(name.as_bytes());
                take(id.as_bytes());
                take(&count.to_be_bytes());
            }
        }
        hash.cast_signed()
    }
}

#[cfg(test)]
mod tests;
