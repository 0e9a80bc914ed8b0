//! Who shall own what: the assignors `uniform` and `range`. PURE.
//!
//! - `uniform` keeps what members have as far as that is balanced. If all members subscribe to the
//!   same topics, the shares differ by one at most. If not, the shares are such that no row of hand-
//!   overs from member to member could make them more even.
//! - `range` gives each member one run of partitions of each topic, in the order of the members'
//!   names (static members first, by their instance ids). Topics with as many partitions, to which
//!   the same members subscribe, are cut alike, so that their records can be joined.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use uuid::Uuid;

use crate::group::consumer::topics::{Partitions, TopicPartition};

/// An assignor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// Even shares that change as little as possible.
    Uniform,
    /// Runs of partitions, alike for all topics.
    Range,
}

impl Assignor {
    /// The assignor that clients and settings call so.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "uniform" => Some(Self::Uniform),
            "range" => Some(Self::Range),
            _ => None,
        }
    }

    /// What clients and settings call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }
}

/// What an assignor must know of a member.
#[derive(Clone, Debug, Default)]
pub struct Candidate {
    /// Its instance id, if it is a static one.
    pub instance_id: Option<String>,
    /// The topics to which it subscribed and that exist.
    pub topics: BTreeSet<Uuid>,
    /// What it was to own so far.
    pub previous: Partitions,
}

/// Shares the partitions of the topics (id and partition count) among the members.
pub fn assign(
    assignor: Assignor,
    members: &BTreeMap<String, Candidate>,
    topics: &BTreeMap<Uuid, i32>,
) -> BTreeMap<String, Partitions> {
    match assignor {
        Assignor::Uniform => uniform(members, topics),
        Assignor::Range => range(members, topics),
    }
}

fn range(
    members: &BTreeMap<String, Candidate>,
    topics: &BTreeMap<Uuid, i32>,
) -> BTreeMap<String, Partitions> {
    let mut order: Vec<(&String, &Candidate)> = members.iter().collect();
    order.sort_by_key(|(id, member)| (member.instance_id.is_none(), &member.instance_id, *id));
    let mut shares: BTreeMap<String, Partitions> =
        members.keys().map(|id| (id.clone(), Partitions::new())).collect();
    for (&topic, &count) in topics {
        let takers = order.iter().filter(|(_, member)| member.topics.contains(&topic));
        let takers: Vec<&String> = takers.map(|(id, _)| *id).collect();
        let mut next = 0;
        for (at, taker) in takers.iter().enumerate() {
            let share = count / takers.len() as i32;
            let end = next + share + i32::from((at as i32) < count % takers.len() as i32);
            let run = (next..end).map(|index| TopicPartition::new(topic, index));
            shares.entry((*taker).clone()).or_default().extend(run);
            next = end;
        }
    }
    shares
}

fn uniform(
    members: &BTreeMap<String, Candidate>,
    topics: &BTreeMap<Uuid, i32>,
) -> BTreeMap<String, Partitions> {
    let wanted = topics
        .iter()
        .filter(|(topic, _)| members.values().any(|member| member.topics.contains(topic)));
    let mut free: Partitions = wanted
        .flat_map(|(&topic, &count)| (0..count).map(move |at| TopicPartition::new(topic, at)))
        .collect();
    let count = free.len();
    // What members have and may keep; of two that claim one partition the first has it.
    let mut shares: BTreeMap<&String, Partitions> = BTreeMap::new();
    for (id, member) in members {
        let kept = member
            .previous
            .iter()
            .filter(|partition| member.topics.contains(&partition.topic) && free.remove(partition));
        shares.insert(id, kept.copied().collect());
    }
    let mut subscriptions = members.values().map(|member| &member.topics);
    let first = subscriptions.next();
    if subscriptions.all(|topics| Some(topics) == first) {
        fill_quotas(&mut shares, count, free);
    } else {
        fill_unlike(&mut shares, members, free);
        while hand_over(&mut shares, members) {}
    }
    shares.into_iter().map(|(id, share)| (id.clone(), share)).collect()
}

/// All members subscribe alike: everybody gets the same number, some one more. Those who have more
/// already are the ones who keep one more.
fn fill_quotas(shares: &mut BTreeMap<&String, Partitions>, count: usize, mut free: Partitions) {
    let quota = count / shares.len().max(1);
    let mut extra = count % shares.len().max(1);
    let mut order: Vec<&String> = shares.keys().copied().collect();
    order.sort_by_key(|id| std::cmp::Reverse(shares[id].len()));
    let mut quotas = BTreeMap::new();
    for id in order {
        let own = quota + usize::from(extra > 0);
        extra = extra.saturating_sub(1);
        let share = shares.get_mut(id).expect("the names are those of the shares");
        while share.len() > own {
            free.extend(share.pop_last());
        }
        quotas.insert(id, own);
    }
    for (id, share) in shares {
        while share.len() < quotas[id]
            && let Some(partition) = free.pop_first()
        {
            share.insert(partition);
        }
    }
}

/// Gives what is free to the member that has least of those who want it; the topics that fewest
/// want come first.
fn fill_unlike<'a>(
    shares: &mut BTreeMap<&'a String, Partitions>,
    members: &'a BTreeMap<String, Candidate>,
    free: Partitions,
) {
    let mut takers: BTreeMap<Uuid, Vec<&String>> = BTreeMap::new();
    for (id, member) in members {
        for topic in &member.topics {
            takers.entry(*topic).or_default().push(id);
        }
    }
    let mut free: Vec<TopicPartition> = free.into_iter().collect();
    free.sort_by_key(|partition| (takers.get(&partition.topic).map_or(0, Vec::len), *partition));
    for partition in free {
        let wanting = takers.get(&partition.topic).into_iter().flatten();
        if let Some(least) = wanting.min_by_key(|id| shares[*id].len()) {
            shares.get_mut(least).expect("every member has a share").insert(partition);
        }
    }
}

/// Looks for a row of members, each able to hand a partition to the next, from one who has more
/// than the last has by two at least; and hands over. A breadth-first search from the largest
/// share: the shortest row moves least. False: no such row, so the shares are as even as can be.
fn hand_over<'a>(
    shares: &mut BTreeMap<&'a String, Partitions>,
    members: &'a BTreeMap<String, Candidate>,
) -> bool {
    let mut givers: Vec<(usize, &String)> =
        shares.iter().map(|(id, share)| (share.len(), *id)).collect();
    givers.sort_by_key(|(size, id)| (std::cmp::Reverse(*size), *id));
    let least = givers.last().map_or(0, |(size, _)| *size);
    for (size, giver) in givers {
        if size < least + 2 {
            return false;
        }
        if let Some(row) = row_from(giver, size, shares, members) {
            for (from, partition, to) in row {
                shares.get_mut(from).expect("every member has a share").remove(&partition);
                shares.get_mut(to).expect("every member has a share").insert(partition);
            }
            return true;
        }
    }
    false
}

type Row<'a> = Vec<(&'a String, TopicPartition, &'a String)>;

fn row_from<'a>(
    giver: &'a String,
    size: usize,
    shares: &BTreeMap<&'a String, Partitions>,
    members: &'a BTreeMap<String, Candidate>,
) -> Option<Row<'a>> {
    let mut came: BTreeMap<&String, (&String, TopicPartition)> = BTreeMap::new();
    let mut seen: BTreeSet<Uuid> = BTreeSet::new();
    let mut waiting = VecDeque::from([giver]);
    while let Some(from) = waiting.pop_front() {
        // The last of a topic's partitions goes first, and what was its own before goes last.
        let previous = &members[from].previous;
        let mut givable: BTreeMap<Uuid, TopicPartition> = BTreeMap::new();
        for partition in &shares[from] {
            let kept = givable.entry(partition.topic).or_insert(*partition);
            if previous.contains(kept) || !previous.contains(partition) {
                *kept = *partition;
            }
        }
        for (topic, partition) in givable {
            if !seen.insert(topic) {
                continue;
            }
            for (to, member) in members {
                if to == giver || came.contains_key(to) || !member.topics.contains(&topic) {
                    continue;
                }
                came.insert(to, (from, partition));
                if shares[to].len() + 2 <= size {
                    return Some(row_to(to, giver, &came));
                }
                waiting.push_back(to);
            }
        }
    }
    None
}

fn row_to<'a>(
    mut to: &'a String,
    giver: &'a String,
    came: &BTreeMap<&'a String, (&'a String, TopicPartition)>,
) -> Row<'a> {
    let mut row = Vec::new();
    while to != giver {
        let (from, partition) = came[to];
        row.push((from, partition, to));
        to = from;
    }
    row
}

#[cfg(test)]
mod tests;
