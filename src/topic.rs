//! `weir topic`: create, list, describe, alter and delete topics; a topic's configs make it a table.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;
use weir_compactor::source::client::Client;
use weir_compactor::source::cluster::Cluster;
use weir_compactor::source::requests::{EARLIEST, LATEST, TopicMetadata};

use crate::failure::Failure;
use crate::print;
use crate::table::{Bootstrap, Output};

/// The broker decides.
const BROKER_DEFAULT: i32 = -1;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Create a topic; --config table.enabled=true makes it a table.
    Create(Create),
    /// List topics.
    List(List),
    /// Show a topic's partitions, offsets and the configs that were set.
    Describe(Describe),
    /// Set or unset configs, or add partitions.
    Alter(Alter),
    /// Delete a topic with all its records. The table that was folded from it stays.
    Delete(Delete),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Create {
    /// The topic.
    name: String,
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// Partitions [default: the broker's num.partitions].
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// A config as name=value; may be repeated.
    #[arg(long = "config", value_name = "NAME=VALUE", value_parser = name_and_value)]
    configs: Vec<(String, String)>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// How to print them.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Describe {
    /// The topic.
    name: String,
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Show every config that a table or topic can have, with what it means.
    #[arg(long)]
    all_configs: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Alter {
    /// The topic.
    name: String,
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// A config to set, as name=value; may be repeated.
    #[arg(long = "config", value_name = "NAME=VALUE", value_parser = name_and_value)]
    configs: Vec<(String, String)>,
    /// A config to unset; may be repeated.
    #[arg(long = "delete-config", value_name = "NAME")]
    delete_configs: Vec<String>,
    /// Partitions that it shall have: more than now.
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Delete {
    /// The topic.
    name: String,
    #[command(flatten)]
    bootstrap: Bootstrap,
}

#[derive(Debug, Serialize)]
struct TopicLine {
    name: String,
    partitions: usize,
    internal: bool,
}

#[derive(Debug, Serialize)]
struct Description {
    name: String,
    topic_id: String,
    partitions: Vec<PartitionLine>,
    configs: Vec<ConfigLine>,
}

#[derive(Debug, Serialize)]
struct PartitionLine {
    partition: i32,
    leader: i32,
    earliest_offset: Option<i64>,
    latest_offset: Option<i64>,
}

#[derive(Debug, Serialize)]
struct ConfigLine {
    name: String,
    value: Option<String>,
    is_set: bool,
    documentation: Option<String>,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected name=value")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

pub(crate) async fn run(command: TopicCommand) -> Result<(), Failure> {
    match command {
        TopicCommand::Create(it) => {
            let configs: Vec<(&str, &str)> =
                it.configs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let partitions = it.partitions.unwrap_or(BROKER_DEFAULT);
            connect(&it.bootstrap).await?.create_topic(&it.name, partitions, &configs).await?;
            print::lines(&[format!("created topic {}", it.name)])
        }
        TopicCommand::List(list) => show_list(&list).await,
        TopicCommand::Describe(describe) => show(&describe).await,
        TopicCommand::Alter(alter) => change(&alter).await,
        TopicCommand::Delete(it) => {
            connect(&it.bootstrap).await?.delete_topic(&it.name).await?;
            print::lines(&[format!("deleted topic {}", it.name)])
        }
    }
}

async fn connect(bootstrap: &Bootstrap) -> Result<Arc<Client>, Failure> {
    Ok(Cluster::new(&bootstrap.bootstrap_server, "weir-topic").any().await?)
}

async fn change(alter: &Alter) -> Result<(), Failure> {
    let client = connect(&alter.bootstrap).await?;
    let set = alter.configs.iter().map(|(name, value)| (name.as_str(), Some(value.as_str())));
    let unset = alter.delete_configs.iter().map(|name| (name.as_str(), None));
    let configs: Vec<(&str, Option<&str>)> = set.chain(unset).collect();
    if configs.is_empty() && alter.partitions.is_none() {
        return Err(Failure::new(
            "nothing to alter: give --config, --delete-config or --partitions",
        ));
    }
    if !configs.is_empty() {
        client.alter_configs(&alter.name, &configs).await?;
    }
    if let Some(count) = alter.partitions {
        client.create_partitions(&alter.name, count).await?;
    }
    print::lines(&[format!("altered topic {}", alter.name)])
}

async fn show_list(list: &List) -> Result<(), Failure> {
    let metadata = connect(&list.bootstrap).await?.metadata(None).await?;
    let line = |topic: &TopicMetadata| TopicLine {
        name: topic.name.clone(),
        partitions: topic.leaders.len(),
        internal: topic.is_internal,
    };
    let mut lines: Vec<TopicLine> = metadata.topics.iter().map(line).collect();
    lines.sort_by(|left, right| left.name.cmp(&right.name));
    if list.output == Output::Json {
        return print::json(&lines);
    }
    let mut table = print::table(&["topic", "partitions", "internal"]);
    for line in lines {
        let internal = if line.internal { "yes" } else { "" };
        table.add_row([line.name, line.partitions.to_string(), internal.to_owned()]);
    }
    print::lines(&[table.to_string()])
}

async fn show(describe: &Describe) -> Result<(), Failure> {
    let client = connect(&describe.bootstrap).await?;
    let description = description(&client, describe).await?;
    if describe.output == Output::Json {
        return print::json(&description);
    }
    let mut partitions = print::table(&["partition", "leader", "earliest", "latest"]);
    let known = |offset: Option<i64>| offset.map_or("unknown".to_owned(), |it| it.to_string());
    for it in &description.partitions {
        let (earliest, latest) = (known(it.earliest_offset), known(it.latest_offset));
        partitions.add_row([it.partition.to_string(), it.leader.to_string(), earliest, latest]);
    }
    let mut head = vec!["config", "value"];
    if describe.all_configs {
        head.push("meaning");
    }
    let mut configs = print::table(&head);
    for it in description.configs {
        let mut row = vec![it.name, it.value.unwrap_or_default()];
        if describe.all_configs {
            row.push(it.documentation.unwrap_or_default());
        }
        configs.add_row(row);
    }
    print::lines(&[
        format!("{}  id {}", description.name, description.topic_id),
        partitions.to_string(),
        configs.to_string(),
    ])
}

async fn description(client: &Client, describe: &Describe) -> Result<Description, Failure> {
    let name = describe.name.as_str();
    let metadata = client.metadata(Some(&[name])).await?;
    let found = metadata.topics.into_iter().find(|topic| topic.name == name);
    let topic = found.filter(|topic| topic.error.is_none()).ok_or_else(|| {
        Failure::new(format!("there is no topic {name}; `weir topic list` shows those that are"))
    })?;
    let indexes: Vec<i32> = topic.leaders.keys().copied().collect();
    let earliest = client.list_offsets(name, &indexes, EARLIEST).await?;
    let latest = client.list_offsets(name, &indexes, LATEST).await?;
    let offset = |offsets: &BTreeMap<i32, _>, partition: &i32| {
        offsets.get(partition).map(|it: &weir_compactor::source::requests::ListedOffset| it.offset)
    };
    let partition = |(partition, leader): (&i32, &i32)| PartitionLine {
        partition: *partition,
        leader: *leader,
        earliest_offset: offset(&earliest, partition),
        latest_offset: offset(&latest, partition),
    };
    let entries = match client.describe_configs(&[name]).await?.remove(name) {
        Some(entries) => entries?,
        None => Vec::new(),
    };
    let configs = entries.into_iter().filter(|entry| entry.is_set || describe.all_configs);
    Ok(Description {
        name: name.to_owned(),
        topic_id: topic.topic_id.to_string(),
        partitions: topic.leaders.iter().map(partition).collect(),
        configs: configs
            .map(|entry| ConfigLine {
                name: entry.name,
                value: entry.value,
                is_set: entry.is_set,
                documentation: entry.documentation,
            })
            .collect(),
    })
}
