//! Topics as a group sees them, and sets of their partitions. PURE.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use uuid::Uuid;

/// One partition of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's id.
    pub topic: Uuid,
    /// The partition's number.
    pub index: i32,
}

impl TopicPartition {
    /// Partition `index` of `topic`.
    pub fn new(topic: Uuid, index: i32) -> Self {
        Self { topic, index }
    }
}

/// A set of partitions.
pub type Partitions = BTreeSet<TopicPartition>;

/// A set of partitions by topic, as requests, answers and records write them.
pub fn by_topic<'a>(
    partitions: impl IntoIterator<Item = &'a TopicPartition>,
) -> BTreeMap<Uuid, Vec<i32>> {
    let mut topics: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(partition.topic).or_default().push(partition.index);
    }
    topics
}

/// What a group needs to know of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its identity.
    pub id: Uuid,
    /// How many partitions it has.
    pub partition_count: i32,
    /// Whether it belongs to the broker itself: no expression matches it.
    pub is_internal: bool,
}

/// All topics of the broker at one moment.
#[derive(Clone, Debug, Default)]
pub struct Topics {
    version: u64,
    by_name: BTreeMap<String, Shape>,
    names: HashMap<Uuid, String>,
}

impl Topics {
    /// The topics of that version: another version number means that something may have changed.
    pub fn new(version: u64, topics: impl IntoIterator<Item = (String, Shape)>) -> Self {
        let by_name: BTreeMap<String, Shape> = topics.into_iter().collect();
        let names = by_name.iter().map(|(name, shape)| (shape.id, name.clone())).collect();
        Self { version, by_name, names }
    }

    /// Tells one state of the topics from another.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The topic of that name.
    pub fn named(&self, name: &str) -> Option<Shape> {
        self.by_name.get(name).copied()
    }

    /// The name of the topic of that id.
    pub fn name_of(&self, id: &Uuid) -> Option<&str> {
        self.names.get(id).map(String::as_str)
    }

    /// Partitions that are told by their topics' names; those that are not there are left out.
    pub fn partitions_of(&self, named: &[(String, Vec<i32>)]) -> Partitions {
        let there = named.iter().filter_map(|(name, indexes)| Some((self.named(name)?, indexes)));
        let partitions = there.flat_map(|(shape, indexes)| {
            let indexes = indexes.iter().filter(move |at| (0..shape.partition_count).contains(at));
            indexes.map(move |at| TopicPartition::new(shape.id, *at))
        });
        partitions.collect()
    }

    /// The names of all topics that are not the broker's own, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let public = self.by_name.iter().filter(|(_, shape)| !shape.is_internal);
        public.map(|(name, _)| name.as_str())
    }
}
