//! What a group does when a member gives a sign of life, or gives none. PURE.
//!
//! A heartbeat is first checked against what is known of the member, and changes nothing if it is
//! refused. Then, in this order: the member's profile, the topics, the group's epoch, the target
//! assignment, and the member's own next step to it.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;

use crate::group::consumer::assignor::Assignor;
use crate::group::consumer::group::ConsumerGroup;
use crate::group::consumer::member::{
    AWAY_EPOCH, JOIN_EPOCH, LEAVE_EPOCH, Member, Profile, Standing, State,
};
use crate::group::consumer::reconciliation::step;
use crate::group::consumer::records::{GroupValue, Record, Resolved};
use crate::group::consumer::subscription::{Pattern, metadata_hash};
use crate::group::consumer::topics::{Partitions, Topics};

/// What holds for a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// After how long without a heartbeat a member is dropped, in ms.
    pub session_timeout_ms: i32,
    /// How often members shall send heartbeats, in ms.
    pub heartbeat_interval_ms: i32,
    /// How many members a group may have.
    pub members_max: usize,
    /// The assignors that members may ask for; the first one is taken if nobody asks.
    pub assignors: Vec<Assignor>,
}

/// A heartbeat. What did not change since the last one is not sent again.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat {
    /// The member; never empty.
    pub member_id: String,
    /// Its epoch: 0 joins, -1 leaves, -2 goes away for a while.
    pub epoch: i32,
    /// The id of a static member.
    pub instance_id: Option<String>,
    /// The rack that it reads from.
    pub rack_id: Option<String>,
    /// How long it may take to let go of partitions, in ms.
    pub rebalance_timeout_ms: Option<i32>,
    /// The topics to which it subscribes by name.
    pub topic_names: Option<BTreeSet<String>>,
    /// The expression to which it subscribes; empty: to none.
    pub topic_regex: Option<String>,
    /// The assignor that it wishes for.
    pub assignor: Option<String>,
    /// What it owns.
    pub owned: Option<Partitions>,
    /// As the client calls itself.
    pub client_id: String,
    /// Whence it connected.
    pub client_host: String,
}

/// What a member is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The member.
    pub member_id: String,
    /// Its epoch now.
    pub epoch: i32,
    /// What it owns; `None`: as it was told before.
    pub assignment: Option<Partitions>,
}

/// Why a member is refused.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// Kafka's code.
    pub error: ResponseError,
    /// For a person.
    pub message: String,
}

pub(super) fn refuse<T>(error: ResponseError, message: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { error, message: message.into() })
}

impl ConsumerGroup {
    /// A heartbeat of a member that speaks the consumer protocol. The records must be durable
    /// before the answer is given.
    ///
    /// # Errors
    /// With Kafka's code when the member is refused; then nothing has changed.
    pub fn heartbeat(
        &mut self,
        now_ms: i64,
        beat: &Heartbeat,
        topics: &Topics,
        rules: &Rules,
    ) -> Result<(Answer, Vec<Record>), Refused> {
        let mut records = Vec::new();
        if matches!(beat.epoch, LEAVE_EPOCH | AWAY_EPOCH) {
            return self.leave(beat, topics, records);
        }
        let replaced = self.check(beat, rules)?;
        if let Some(old) = replaced {
            self.replace(&old, &beat.member_id, &mut records);
        }
        let before = self.members.get(&beat.member_id).cloned().unwrap_or_default();
        let profile = profile_of(&before.profile, beat);
        self.enrol(now_ms, &beat.member_id, profile, topics, &mut records);
        self.renew_target(topics, rules, &mut records);
        self.reconcile(now_ms, &beat.member_id, beat.owned.as_ref(), &mut records);

        let member = self.members.get_mut(&beat.member_id).expect("it was enrolled above");
        member.session_deadline_ms = Some(now_ms + i64::from(rules.session_timeout_ms));
        let asks_all = beat.epoch == JOIN_EPOCH
            || beat.rebalance_timeout_ms.is_some()
                && (beat.topic_names.is_some() || beat.topic_regex.is_some())
                && beat.owned.is_some();
        let owned = member.standing.owned();
        let is_news = asks_all || owned != before.standing.owned();
        let answer = Answer {
            member_id: beat.member_id.clone(),
            epoch: member.standing.epoch,
            assignment: is_news.then_some(owned),
        };
        Ok((answer, records))
    }

    /// Checks a heartbeat. The answer is the member whom this one replaces, if it does.
    fn check(&self, beat: &Heartbeat, rules: &Rules) -> Result<Option<String>, Refused> {
        let known = self.members.get(&beat.member_id);
        if let Some(assignor) = &beat.assignor
            && !rules.assignors.iter().any(|known| known.name() == assignor)
        {
            let error = ResponseError::UnsupportedAssignor;
            return refuse(error, format!("ServerAssignor {assignor} is not supported."));
        }
        if let Some(text) = beat.topic_regex.as_ref().filter(|text| !text.is_empty())
            && known.is_none_or(|member| member.profile.topic_regex.as_ref() != Some(text))
            && let Err(error) = Pattern::new(text)
        {
            return refuse(ResponseError::InvalidRegularExpression, error.to_string());
        }
        let is_join = beat.epoch == JOIN_EPOCH;
        let holder = beat.instance_id.as_ref().and_then(|instance| self.instances.get(instance));
        match (&beat.instance_id, holder) {
            (Some(instance), None) if !is_join => {
                let message = format!("Instance id {instance} is unknown.");
                return refuse(ResponseError::UnknownMemberId, message);
            }
            (Some(instance), Some(holder)) if *holder != beat.member_id => {
                return self.check_replaced(instance, holder, is_join).map(Some);
            }
            _ => {}
        }
        let Some(member) = known else {
            if !is_join {
                let message = format!("Member {} is not a member of the group.", beat.member_id);
                return refuse(ResponseError::UnknownMemberId, message);
            }
            if self.members.len() >= rules.members_max {
                let message = format!("The consumer group has {} members.", rules.members_max);
                return refuse(ResponseError::GroupMaxSizeReached, message);
            }
            return Ok(None);
        };
        if is_join && member.is_away() {
            return Ok(Some(beat.member_id.clone()));
        }
        if !(is_join && member.is_classic()) {
            check_epoch(&member.standing, beat)?;
        }
        Ok(None)
    }

    fn check_replaced(
        &self,
        instance: &str,
        holder: &str,
        is_join: bool,
    ) -> Result<String, Refused> {
        let member = &self.members[holder];
        if !is_join {
            let message = format!("Instance id {instance} belongs to member {holder}.");
            return refuse(ResponseError::FencedInstanceId, message);
        }
        if !member.is_away() && !member.is_classic() {
            let message = format!("Instance id {instance} is still used by member {holder}.");
            return refuse(ResponseError::UnreleasedInstanceId, message);
        }
        Ok(holder.to_owned())
    }

    /// A member leaves, or a static one goes away for a while.
    fn leave(
        &mut self,
        beat: &Heartbeat,
        topics: &Topics,
        mut records: Vec<Record>,
    ) -> Result<(Answer, Vec<Record>), Refused> {
        let id = &beat.member_id;
        if let Some(instance) = &beat.instance_id {
            match self.instances.get(instance) {
                None => {
                    let message = format!("Instance id {instance} is unknown.");
                    return refuse(ResponseError::UnknownMemberId, message);
                }
                Some(holder) if holder != id => {
                    let message = format!("Instance id {instance} belongs to member {holder}.");
                    return refuse(ResponseError::FencedInstanceId, message);
                }
                Some(_) => {}
            }
        }
        let Some(member) = self.members.get(id) else {
            let message = format!("Member {id} is not a member of the group.");
            return refuse(ResponseError::UnknownMemberId, message);
        };
        if beat.epoch == AWAY_EPOCH {
            let mut standing = member.standing.clone();
            standing.epoch = AWAY_EPOCH;
            standing.revoking.clear();
            self.apply(Record::Standing(id.clone(), Some(standing)), &mut records);
            let member = self.members.get_mut(id).expect("it was found above");
            member.rebalance_deadline_ms = None;
        } else {
            self.remove([id.clone()], topics, &mut records);
        }
        let answer = Answer { member_id: id.clone(), epoch: beat.epoch, assignment: None };
        Ok((answer, records))
    }

    /// Takes members out; the group's epoch grows, and the next heartbeat makes the new target.
    pub(super) fn remove(
        &mut self,
        ids: impl IntoIterator<Item = String>,
        topics: &Topics,
        records: &mut Vec<Record>,
    ) {
        for id in ids {
            self.apply(Record::Standing(id.clone(), None), records);
            self.apply(Record::Target(id.clone(), None), records);
            self.apply(Record::Member(id, None), records);
        }
        self.forget_expressions(records);
        self.metadata_hash = metadata_hash(&self.subscribed_topics(), topics);
        self.grow_epoch(records);
    }

    pub(super) fn grow_epoch(&mut self, records: &mut Vec<Record>) {
        let value = GroupValue { epoch: self.epoch + 1, metadata_hash: self.metadata_hash };
        self.apply(Record::Group(Some(value)), records);
    }

    /// A static member has come back as another member: it takes over what the old one had.
    pub(super) fn replace(&mut self, old: &str, new: &str, records: &mut Vec<Record>) {
        let Member { profile, mut standing, .. } = self.members[old].clone();
        let target = self.targets.get(old).cloned().unwrap_or_default();
        standing.epoch = JOIN_EPOCH;
        standing.previous_epoch = JOIN_EPOCH;
        self.apply(Record::Standing(old.to_owned(), None), records);
        self.apply(Record::Target(old.to_owned(), None), records);
        self.apply(Record::Member(old.to_owned(), None), records);
        self.apply(Record::Member(new.to_owned(), Some(profile)), records);
        self.apply(Record::Target(new.to_owned(), Some(target)), records);
        self.apply(Record::Standing(new.to_owned(), Some(standing)), records);
    }

    /// Notes what a member told, and what the topics are now. The group's epoch grows if it matters.
    pub(super) fn enrol(
        &mut self,
        now_ms: i64,
        id: &str,
        profile: Profile,
        topics: &Topics,
        records: &mut Vec<Record>,
    ) {
        let before = self.members.get(id).map(|member| &member.profile);
        let subscribed =
            |profile: &Profile| (profile.topic_names.clone(), profile.topic_regex.clone());
        let mut has_changed = before.map(subscribed) != Some(subscribed(&profile));
        let is_new = before.is_none();
        if before != Some(&profile) {
            self.apply(Record::Member(id.to_owned(), Some(profile)), records);
        }
        if is_new {
            // Even without partitions a member stands somewhere: so it is read back as a member.
            let standing = Standing::default();
            self.apply(Record::Standing(id.to_owned(), Some(standing)), records);
        }
        if has_changed || self.seen_version != Some(topics.version()) {
            self.resolve(now_ms, topics, records);
            self.seen_version = Some(topics.version());
            let hash = metadata_hash(&self.subscribed_topics(), topics);
            if hash != self.metadata_hash {
                self.metadata_hash = hash;
                has_changed = true;
            }
        }
        if has_changed {
            self.grow_epoch(records);
        }
    }

    /// Looks at which topics the members' expressions match now.
    fn resolve(&mut self, now_ms: i64, topics: &Topics, records: &mut Vec<Record>) {
        self.forget_expressions(records);
        let texts = self.members.values().filter_map(|member| member.profile.topic_regex.clone());
        for text in texts.collect::<BTreeSet<String>>() {
            let known = self.expressions.get(&text);
            let pattern =
                known.map_or_else(|| Pattern::new(&text).ok(), |known| known.pattern.clone());
            let matched = pattern.map(|pattern| pattern.matches(topics)).unwrap_or_default();
            if known.is_none_or(|known| known.resolved.topics != matched) {
                let version = topics.version() as i64;
                let resolved = Resolved { topics: matched, version, time_ms: now_ms };
                self.apply(Record::Pattern(text, Some(resolved)), records);
            }
        }
    }

    fn forget_expressions(&mut self, records: &mut Vec<Record>) {
        let used: BTreeSet<&String> = self
            .members
            .values()
            .filter_map(|member| member.profile.topic_regex.as_ref())
            .collect();
        let unused = self.expressions.keys().filter(|text| !used.contains(text));
        for text in unused.cloned().collect::<Vec<String>>() {
            self.apply(Record::Pattern(text, None), records);
        }
    }

    /// A member's next step to its target.
    pub(super) fn reconcile(
        &mut self,
        now_ms: i64,
        id: &str,
        owned: Option<&Partitions>,
        records: &mut Vec<Record>,
    ) {
        let nothing = Partitions::new();
        let member = &self.members[id];
        let target = self.targets.get(id).unwrap_or(&nothing);
        let is_held = |partition: &_| self.is_held_by_other(id, partition);
        let standing = step(&member.standing, target, self.target_epoch, is_held, owned);
        if standing == member.standing {
            return;
        }
        let timeout_ms = i64::from(member.profile.rebalance_timeout_ms);
        let must_let_go = standing.state == State::UnrevokedPartitions && !member.is_classic();
        self.apply(Record::Standing(id.to_owned(), Some(standing)), records);
        let member = self.members.get_mut(id).expect("it was found above");
        member.rebalance_deadline_ms = must_let_go.then_some(now_ms + timeout_ms);
    }
}

/// Whether the member may come with that epoch: its own, or the one before with nothing that it
/// does not own, for then the last answer may have been lost.
fn check_epoch(standing: &Standing, beat: &Heartbeat) -> Result<(), Refused> {
    let owns_only_assigned = || {
        let mut owned = beat.owned.as_ref()?.iter();
        Some(owned.all(|partition| standing.assigned.contains_key(partition)))
    };
    let is_previous = beat.epoch == standing.previous_epoch && owns_only_assigned() == Some(true);
    if beat.epoch == standing.epoch || beat.epoch < standing.epoch && is_previous {
        return Ok(());
    }
    let message = format!(
        "Member {} came with epoch {}, the group coordinator knows epoch {}. The member must \
         abandon all its partitions and rejoin.",
        beat.member_id, beat.epoch, standing.epoch
    );
    refuse(ResponseError::FencedMemberEpoch, message)
}

fn profile_of(before: &Profile, beat: &Heartbeat) -> Profile {
    let regex = beat.topic_regex.clone().or_else(|| before.topic_regex.clone());
    Profile {
        instance_id: beat.instance_id.clone().or_else(|| before.instance_id.clone()),
        rack_id: beat.rack_id.clone().or_else(|| before.rack_id.clone()),
        client_id: beat.client_id.clone(),
        client_host: beat.client_host.clone(),
        topic_names: beat.topic_names.clone().unwrap_or_else(|| before.topic_names.clone()),
        topic_regex: regex.filter(|text| !text.is_empty()),
        rebalance_timeout_ms: beat.rebalance_timeout_ms.unwrap_or(before.rebalance_timeout_ms),
        assignor: beat.assignor.clone().or_else(|| before.assignor.clone()),
        classic: None,
    }
}
