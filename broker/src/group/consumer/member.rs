//! A member of a consumer group, and how far it is on its way to what it shall own. PURE.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::group::consumer::topics::{Partitions, TopicPartition};

/// The epoch that a joining member sends.
pub const JOIN_EPOCH: i32 = 0;
/// The epoch that a leaving member sends.
pub const LEAVE_EPOCH: i32 = -1;
/// The epoch of a static member that went away and will come back.
pub const AWAY_EPOCH: i32 = -2;

/// How a member stands to its target. The numbers are those of Kafka's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It owns its target as of its epoch.
    #[default]
    Stable = 1,
    /// It must let go of partitions before it moves to the next epoch.
    UnrevokedPartitions = 2,
    /// Partitions of its target are still held by others.
    UnreleasedPartitions = 3,
}

impl State {
    /// The state of that number in a record.
    pub fn of(number: i8) -> Option<Self> {
        match number {
            1 => Some(Self::Stable),
            2 => Some(Self::UnrevokedPartitions),
            3 => Some(Self::UnreleasedPartitions),
            _ => None,
        }
    }
}

/// What a member told of itself; it changes only by what the member sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The id of a static member.
    pub instance_id: Option<String>,
    /// The rack that it reads from.
    pub rack_id: Option<String>,
    /// As the client calls itself.
    pub client_id: String,
    /// Whence it connected.
    pub client_host: String,
    /// The topics to which it subscribed by name.
    pub topic_names: BTreeSet<String>,
    /// The regular expression to which it subscribed.
    pub topic_regex: Option<String>,
    /// How long it may take to let go of partitions, in ms.
    pub rebalance_timeout_ms: i32,
    /// The assignor that it wishes for.
    pub assignor: Option<String>,
    /// What a member that speaks the classic protocol told besides.
    pub classic: Option<ClassicProfile>,
}

/// What a member that speaks the classic protocol told of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassicProfile {
    /// After how long without a sign of life it is dropped, in ms.
    pub session_timeout_ms: i32,
    /// The assignors that it knows, each with its subscription as the consumer protocol writes it.
    pub protocols: Vec<(String, Bytes)>,
}

/// What a member owns and in which epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The epoch that it must send.
    pub epoch: i32,
    /// The epoch before: accepted too, for the answer with the newer one may have been lost.
    pub previous_epoch: i32,
    /// How it stands to its target.
    pub state: State,
    /// What it owns, each with the epoch since when.
    pub assigned: BTreeMap<TopicPartition, i32>,
    /// What it must let go of, and may still hold; with the epoch since when.
    pub revoking: BTreeMap<TopicPartition, i32>,
}

impl Standing {
    /// What it owns.
    pub fn owned(&self) -> Partitions {
        self.assigned.keys().copied().collect()
    }

    /// All that nobody else may be given.
    pub fn held(&self) -> impl Iterator<Item = &TopicPartition> {
        self.assigned.keys().chain(self.revoking.keys())
    }
}

/// A member: what is kept of it in records, and its deadlines, which are not.
#[derive(Clone, Debug, Default)]
pub struct Member {
    /// What it told of itself.
    pub profile: Profile,
    /// What it owns.
    pub standing: Standing,
    /// When it is dropped unless it gives a sign of life.
    pub session_deadline_ms: Option<i64>,
    /// When it is dropped unless it has let go of what it must, has joined again, or has fetched its
    /// assignment.
    pub rebalance_deadline_ms: Option<i64>,
}

impl Member {
    /// Whether it speaks the classic protocol.
    pub fn is_classic(&self) -> bool {
        self.profile.classic.is_some()
    }

    /// Whether it is a static member that went away for a while.
    pub fn is_away(&self) -> bool {
        self.standing.epoch == AWAY_EPOCH
    }

    /// The earlier one of its deadlines.
    pub fn deadline_ms(&self) -> Option<i64> {
        self.session_deadline_ms.into_iter().chain(self.rebalance_deadline_ms).min()
    }
}
