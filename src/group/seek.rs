//! `weir group seek`: sets what a group has committed, as `kafka-consumer-groups --reset-offsets`.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde::Serialize;
use weir_compactor::source::requests::{EARLIEST, LATEST};

use crate::consume::Start;
use crate::failure::Failure;
use crate::group::connect;
use crate::group::requests::Groups;
use crate::print;
use crate::table::{Bootstrap, Output};

#[derive(Args, Clone, Debug)]
pub(crate) struct Seek {
    /// The group. It must have no members; one that is not there yet is made.
    group: String,
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// Where to: start, end, an offset, -COUNT from the end, or @TIME in ms or RFC 3339.
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    to: Start,
    /// A topic; may be repeated [default: those for which the group has committed].
    #[arg(long = "topic")]
    topics: Vec<String>,
    /// Only say what would be committed.
    #[arg(long)]
    dry_run: bool,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Moved {
    topic: String,
    partition: i32,
    from: Option<i64>,
    to: i64,
}

pub(super) async fn run(seek: &Seek) -> Result<(), Failure> {
    let groups = connect(&seek.bootstrap);
    let committed = groups.committed(&seek.group).await?;
    let topics: BTreeSet<String> = if seek.topics.is_empty() {
        committed.keys().map(|(topic, _)| topic.clone()).collect()
    } else {
        seek.topics.iter().cloned().collect()
    };
    if topics.is_empty() {
        let group = &seek.group;
        let line = format!("group {group} has committed nothing yet; name topics with --topic");
        return Err(Failure::new(line));
    }
    let mut moved = Vec::new();
    for topic in &topics {
        let offsets = offsets(&groups, topic, seek.to).await?;
        if !seek.dry_run {
            groups.commit(&seek.group, topic, &offsets).await?;
        }
        moved.extend(offsets.into_iter().map(|(partition, to)| Moved {
            topic: topic.clone(),
            partition,
            from: committed.get(&(topic.clone(), partition)).copied(),
            to,
        }));
    }
    if seek.output == Output::Json {
        return print::json(&moved);
    }
    let mut table = print::table(&["topic", "partition", "from", "to"]);
    for it in moved {
        let from = it.from.map_or("-".to_owned(), |from| from.to_string());
        table.add_row([it.topic, it.partition.to_string(), from, it.to.to_string()]);
    }
    print::lines(&[table.to_string()])
}

/// Where that is in each partition of a topic.
async fn offsets(groups: &Groups, topic: &str, to: Start) -> Result<BTreeMap<i32, i64>, Failure> {
    let client = groups.cluster.any().await?;
    let metadata = client.metadata(Some(&[topic])).await?;
    let found = metadata.topics.into_iter().find(|it| it.name == topic && it.error.is_none());
    let found = found.ok_or_else(|| {
        Failure::new(format!("there is no topic {topic}; `weir topic list` shows those that are"))
    })?;
    let partitions: Vec<i32> = found.leaders.keys().copied().collect();
    let starts = client.list_offsets(topic, &partitions, EARLIEST).await?;
    let ends = client.list_offsets(topic, &partitions, LATEST).await?;
    let by_time = match to {
        Start::Time(time_ms) => client.list_offsets(topic, &partitions, time_ms).await?,
        _ => BTreeMap::new(),
    };
    let place = |partition: i32| {
        let start = starts.get(&partition)?.offset;
        let end = ends.get(&partition)?.offset;
        let by_time = by_time.get(&partition).map(|it| it.offset).filter(|it| *it >= 0);
        Some((partition, to.within(start, end, by_time)))
    };
    Ok(partitions.into_iter().filter_map(place).collect())
}
