//! `weir group describe`: members, and for each partition how far it is read and what is left.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde::Serialize;
use weir_compactor::source::requests::LATEST;

use crate::failure::Failure;
use crate::group::connect;
use crate::group::requests::{Described, Groups};
use crate::print;
use crate::table::{Bootstrap, Output};

#[derive(Args, Clone, Debug)]
pub(crate) struct Describe {
    /// The group.
    group: String,
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Whole {
    #[serde(flatten)]
    group: Described,
    partitions: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    topic: String,
    partition: i32,
    /// What was committed; none: nothing yet.
    current_offset: Option<i64>,
    /// Where committed records end; none: the topic is gone.
    log_end_offset: Option<i64>,
    lag: Option<i64>,
    member_id: Option<String>,
}

pub(super) async fn run(describe: &Describe) -> Result<(), Failure> {
    let groups = connect(&describe.bootstrap);
    let group = groups.describe(&describe.group).await?;
    let partitions = lines(&groups, &group).await?;
    if describe.output == Output::Json {
        return print::json(&Whole { group, partitions });
    }
    let mut members = print::table(&["member", "instance", "client", "host", "partitions"]);
    for member in &group.members {
        let count = member.assigned.values().map(Vec::len).sum::<usize>();
        members.add_row([
            member.member_id.clone(),
            member.instance_id.clone().unwrap_or_default(),
            member.client_id.clone(),
            member.host.clone(),
            count.to_string(),
        ]);
    }
    let mut offsets = print::table(&["topic", "partition", "committed", "end", "lag", "member"]);
    let known = |number: Option<i64>| number.map_or("-".to_owned(), |it| it.to_string());
    for line in partitions {
        offsets.add_row([
            line.topic,
            line.partition.to_string(),
            known(line.current_offset),
            known(line.log_end_offset),
            known(line.lag),
            line.member_id.unwrap_or_default(),
        ]);
    }
    let (name, state) = (&group.group, &group.state);
    let head = format!("{name}  {}  {state}  {}", group.group_type, group.assignor);
    let mut told = vec![head.trim_end().to_owned()];
    if !group.members.is_empty() {
        told.push(members.to_string());
    }
    told.push(offsets.to_string());
    print::lines(&told)
}

async fn lines(groups: &Groups, group: &Described) -> Result<Vec<Line>, Failure> {
    let committed = if group.group_type == "share" {
        BTreeMap::new()
    } else {
        groups.committed(&group.group).await?
    };
    let mut owners: BTreeMap<(String, i32), String> = BTreeMap::new();
    for member in &group.members {
        for (topic, partitions) in &member.assigned {
            let owned =
                partitions.iter().map(|it| ((topic.clone(), *it), member.member_id.clone()));
            owners.extend(owned);
        }
    }
    let places: BTreeSet<&(String, i32)> = committed.keys().chain(owners.keys()).collect();
    let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in places.iter().copied() {
        by_topic.entry(topic).or_default().push(*partition);
    }
    let client = groups.cluster.any().await?;
    let mut ends = BTreeMap::new();
    for (topic, partitions) in &by_topic {
        // A topic that is gone has no end; what was committed for it is shown all the same.
        if let Ok(found) = client.list_offsets(topic, partitions, LATEST).await {
            ends.extend(found.into_iter().map(|(it, end)| (((*topic).to_owned(), it), end.offset)));
        }
    }
    let line = |place: &(String, i32)| {
        let current_offset = committed.get(place).copied();
        let log_end_offset = ends.get(place).copied();
        let lag = current_offset.zip(log_end_offset).map(|(current, end)| (end - current).max(0));
        let (topic, partition) = place.clone();
        let member_id = owners.get(place).cloned();
        Line { topic, partition, current_offset, log_end_offset, lag, member_id }
    };
    Ok(places.into_iter().map(line).collect())
}
