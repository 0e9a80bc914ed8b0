//! `weir group`: consumer groups: list, describe, delete, move their offsets, forget them.

mod describe;
mod list;
mod requests;
mod seek;

use clap::{Args, Subcommand};
use weir_compactor::source::cluster::Cluster;

use crate::failure::Failure;
use crate::group::requests::Groups;
use crate::print;
use crate::table::Bootstrap;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// List groups with their state.
    List(list::List),
    /// Show one group: its members, and how far each partition is read.
    Describe(describe::Describe),
    /// Delete groups with all that they committed. A group with members is refused.
    Delete(Delete),
    /// Set the committed offsets of a group that has no members.
    Seek(seek::Seek),
    /// Forget what a group committed for a topic.
    OffsetDelete(OffsetDelete),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Delete {
    /// The groups.
    #[arg(required = true)]
    groups: Vec<String>,
    #[command(flatten)]
    bootstrap: Bootstrap,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct OffsetDelete {
    /// The group.
    group: String,
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// A topic, or TOPIC:PARTITION; may be repeated.
    #[arg(long = "topic", value_name = "TOPIC[:PARTITION]", required = true, value_parser = place)]
    topics: Vec<(String, Option<i32>)>,
}

/// `orders` or `orders:3`.
fn place(text: &str) -> Result<(String, Option<i32>), String> {
    match text.rsplit_once(':') {
        None => Ok((text.to_owned(), None)),
        Some((topic, partition)) => {
            let partition = partition.parse().map_err(|_| "expected TOPIC or TOPIC:PARTITION")?;
            Ok((topic.to_owned(), Some(partition)))
        }
    }
}

pub(crate) async fn run(command: GroupCommand) -> Result<(), Failure> {
    match command {
        GroupCommand::List(list) => list::run(&list).await,
        GroupCommand::Describe(describe) => describe::run(&describe).await,
        GroupCommand::Seek(seek) => seek::run(&seek).await,
        GroupCommand::Delete(delete) => {
            let groups = connect(&delete.bootstrap);
            for group in &delete.groups {
                groups.delete(group).await?;
                print::lines(&[format!("deleted group {group}")])?;
            }
            Ok(())
        }
        GroupCommand::OffsetDelete(forget) => {
            let groups = connect(&forget.bootstrap);
            let committed = groups.committed(&forget.group).await?;
            for (topic, only) in &forget.topics {
                let of_topic = committed.keys().filter(|(name, _)| name == topic);
                let partitions = of_topic.map(|(_, partition)| *partition);
                let partitions = partitions.filter(|it| only.is_none_or(|only| only == *it));
                let partitions: Vec<i32> = partitions.collect();
                if partitions.is_empty() {
                    let group = &forget.group;
                    let line = format!("group {group} has committed nothing for {topic}");
                    return Err(Failure::new(line));
                }
                groups.forget(&forget.group, topic, &partitions).await?;
                let count = partitions.len();
                let line = format!("forgot {count} offsets of group {} for {topic}", forget.group);
                print::lines(&[line])?;
            }
            Ok(())
        }
    }
}

fn connect(bootstrap: &Bootstrap) -> Groups {
    Groups::new(Cluster::new(&bootstrap.bootstrap_server, "weir-group"))
}
