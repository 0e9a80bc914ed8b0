//! What a broker promises beside records: topics, committed offsets, producer ids. The clerk asks
//! for all of it until the broker dies, and looks in the next life whether it was kept.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;
use weir_compactor::source::client::{Client, ClientError};

use crate::kill::machine::TOPIC;

const GROUP: &str = "clerks";
const PREFIX: &str = "made-";
/// Topics beside each other; the oldest is deleted before there are more.
const TOPICS_MAX: usize = 3;

/// A topic of the clerk's.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Topic {
    /// Asked for, not answered.
    Making,
    There(Uuid),
    /// Its deletion was asked for, not answered.
    Deleting(Uuid),
    Gone,
}

/// Who asks, and what was promised.
#[derive(Default)]
pub(super) struct Clerk {
    topics: BTreeMap<u64, Topic>,
    made_count: u64,
    /// The offset whose commit was acknowledged last.
    offset: i64,
    /// The offset whose commit was asked for last.
    asked: i64,
    producer_ids: BTreeSet<i64>,
    pub(super) kept: u64,
}

impl Clerk {
    /// Asks for one thing after the other until the connection is lost. May be cancelled.
    pub(super) async fn work(&mut self, client: &Client) -> ClientError {
        loop {
            if let Err(error) = self.ask_for_all(client).await {
                return error;
            }
        }
    }

    async fn ask_for_all(&mut self, client: &Client) -> Result<(), ClientError> {
        self.asked += 1;
        client.offset_commit(GROUP, TOPIC, &BTreeMap::from([(0, self.asked)])).await?;
        self.offset = self.asked;
        let (id, _) = client.init_producer_id().await?;
        assert!(self.producer_ids.insert(id), "producer id {id} was given out twice");
        let number = self.made_count;
        self.made_count += 1;
        self.topics.insert(number, Topic::Making);
        let id = client.create_topic(&name(number), 1, &[]).await?;
        self.topics.insert(number, Topic::There(id));
        let there = self.topics.iter().filter_map(|(number, topic)| match topic {
            Topic::There(id) => Some((*number, *id)),
            _ => None,
        });
        let there: Vec<(u64, Uuid)> = there.collect();
        for (number, id) in there.iter().rev().skip(TOPICS_MAX) {
            self.topics.insert(*number, Topic::Deleting(*id));
            client.delete_topic(&name(*number)).await?;
            self.topics.insert(*number, Topic::Gone);
        }
        Ok(())
    }

    /// Looks whether everything was kept. What was asked for and not answered may be or not be;
    /// how it is found, it stays.
    pub(super) async fn check(&mut self, client: &Client) -> Result<(), ClientError> {
        let committed = client.offset_fetch(GROUP, TOPIC, &[0]).await?;
        let committed = committed.get(&0).copied().unwrap_or(0);
        let may_be = self.offset..=self.asked;
        assert!(may_be.contains(&committed), "offset {committed} of {may_be:?} is committed");
        self.offset = committed;
        let found: BTreeMap<String, Uuid> = client
            .metadata(None)
            .await?
            .topics
            .into_iter()
            .filter(|topic| topic.name.starts_with(PREFIX) && topic.error.is_none())
            .map(|topic| (topic.name, topic.topic_id))
            .collect();
        for (number, topic) in &mut self.topics {
            let found = found.get(&name(*number)).copied();
            let is_kept = match *topic {
                Topic::Making => true,
                Topic::There(id) => found == Some(id),
                Topic::Deleting(id) => found.is_none_or(|found| found == id),
                Topic::Gone => found.is_none(),
            };
            assert!(is_kept, "topic {}: {topic:?}, found {found:?}", name(*number));
            *topic = found.map_or(Topic::Gone, Topic::There);
            self.kept += 1;
        }
        Ok(())
    }
}

fn name(number: u64) -> String {
    format!("{PREFIX}{number}")
}
