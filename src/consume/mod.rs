//! `weir consume`: prints the records of a topic, alone or as a member of a consumer group.
//!
//! Only committed records are printed. Alone it keeps no offsets; with `--group` it begins where
//! the group stands, shares the partitions with the other members, and commits what it has printed.

mod format;
mod member;
mod start;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use clap::{Args, ValueEnum};
use weir_compactor::source::cluster::Cluster;
use weir_compactor::source::requests::TopicMetadata;
use weir_compactor::source::{self, Answered, BatchKind, Source};
use weir_protocol::records::Offset;

use crate::consume::format::{Format, json_of};
use crate::consume::member::Member;
use crate::failure::Failure;
use crate::table::Bootstrap;

pub(crate) use start::Start;

/// A batch is not decompressed beyond this.
const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;
/// A member says so often that it lives, and commits what it has printed.
const HEARTBEAT: Duration = Duration::from_secs(1);

#[derive(Args, Clone, Debug)]
pub(crate) struct Consume {
    /// The topic.
    topic: String,
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// Where to begin: start, end, an offset, -COUNT from the end, or @TIME in ms or RFC 3339. With
    /// --group: where it has not committed yet.
    #[arg(long, value_name = "WHERE", default_value = "start", allow_hyphen_values = true)]
    offset: Start,
    /// Only these partitions; may be repeated.
    #[arg(short, long = "partition", value_name = "NUMBER", conflicts_with = "group")]
    partitions: Vec<i32>,
    /// A consumer group to be a member of.
    #[arg(short, long)]
    group: Option<String>,
    /// Stop after so many records.
    #[arg(short, long, value_name = "COUNT", visible_alias = "max-messages")]
    num: Option<u64>,
    /// Stop at the end of the topic instead of waiting for more.
    #[arg(short, long)]
    exit: bool,
    /// text: the value and a line end; json: one object a line.
    #[arg(short, long, value_enum, default_value_t = Shape::Text)]
    output: Shape,
    /// Text by a format of your own: %t topic, %p partition, %o offset, %d timestamp in ms, %k key,
    /// %v value, %h headers, \n and \t.
    #[arg(short, long)]
    format: Option<Format>,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    Text,
    Json,
}

pub(crate) async fn run(consume: Consume) -> Result<(), Failure> {
    let cluster = Cluster::new(&consume.bootstrap.bootstrap_server, "weir-consume");
    let stop = tokio::signal::ctrl_c();
    tokio::pin!(stop);
    let mut reader = Reader::new(&cluster, consume).await?;
    match reader.consume.group.clone() {
        None => {
            let partitions = reader.asked()?;
            let next = reader.begin(&partitions, &BTreeMap::new()).await?;
            let mut source = reader.open(&next).await?;
            while !reader.is_done() {
                tokio::select! {
                    answered = source.next() => reader.print(answered?)?,
                    _ = &mut stop => break,
                }
            }
            Ok(())
        }
        Some(group) => {
            let topic = reader.consume.topic.clone();
            let mut member = Member::new(&cluster, &group, &topic).await?;
            let read = tokio::select! {
                read = reader.read_as_member(&mut member) => read,
                _ = &mut stop => Ok(()),
            };
            // Whatever has happened: what was printed is committed, and the others may have the
            // partitions at once.
            member.commit(&reader.next).await?;
            member.leave().await?;
            read
        }
    }
}

/// What has been read.
struct Reader<'a> {
    cluster: &'a Cluster,
    consume: Consume,
    topic: TopicMetadata,
    format: Format,
    /// By partition: the offset after the last that was printed or passed over.
    next: BTreeMap<i32, i64>,
    /// By partition: where committed records end, as last seen.
    ends: BTreeMap<i32, i64>,
    printed_count: u64,
}

impl<'a> Reader<'a> {
    async fn new(cluster: &'a Cluster, consume: Consume) -> Result<Self, Failure> {
        let name = consume.topic.as_str();
        let metadata = cluster.any().await?.metadata(Some(&[name])).await?;
        let found = metadata.topics.into_iter().find(|topic| topic.name == name);
        let topic = found.filter(|topic| topic.error.is_none()).ok_or_else(|| {
            Failure::new(format!(
                "there is no topic {name}; `weir topic list` shows those that are"
            ))
        })?;
        let format = match &consume.format {
            Some(format) => format.clone(),
            None => r"%v\n".parse().map_err(Failure::new)?,
        };
        let (next, ends) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { cluster, consume, topic, format, next, ends, printed_count: 0 })
    }

    /// The partitions that were asked for; all if none was.
    fn asked(&self) -> Result<Vec<i32>, Failure> {
        if self.consume.partitions.is_empty() {
            return Ok(self.topic.leaders.keys().copied().collect());
        }
        let asked: BTreeSet<i32> = self.consume.partitions.iter().copied().collect();
        if let Some(missing) = asked.iter().find(|it| !self.topic.leaders.contains_key(it)) {
            let (name, last) = (&self.topic.name, self.topic.leaders.len().saturating_sub(1));
            let line = format!("topic {name} has no partition {missing}; its last is {last}");
            return Err(Failure::new(line));
        }
        Ok(asked.into_iter().collect())
    }

    /// Where to begin in each partition: where it was committed, else where the person says.
    async fn begin(
        &mut self,
        partitions: &[i32],
        committed: &BTreeMap<i32, i64>,
    ) -> Result<BTreeMap<i32, Offset>, Failure> {
        let (name, id) = (&self.topic.name, self.topic.topic_id);
        let bounds = source::bounds(self.cluster, name, id, partitions).await?;
        let by_time = match self.consume.offset {
            Start::Time(time_ms) => {
                self.cluster.any().await?.list_offsets(name, partitions, time_ms).await?
            }
            _ => BTreeMap::new(),
        };
        let mut next = BTreeMap::new();
        for (partition, bounds) in bounds {
            let (start, end) = (bounds.start.0, bounds.end.0);
            let by_time = by_time.get(&partition).map(|it| it.offset).filter(|it| *it >= 0);
            let begin = match committed.get(&partition) {
                // What retention has deleted cannot be read any more.
                Some(offset) if *offset <= end => (*offset).max(start),
                _ => self.consume.offset.within(start, end, by_time),
            };
            next.insert(partition, Offset(begin));
        }
        self.next = next.iter().map(|(partition, offset)| (*partition, offset.0)).collect();
        self.ends.clear();
        Ok(next)
    }

    async fn open(&self, next: &BTreeMap<i32, Offset>) -> Result<Source, Failure> {
        Ok(Source::open(self.cluster, &self.topic.name, self.topic.topic_id, next).await?)
    }

    /// Prints the records of one answer.
    fn print(&mut self, answered: Answered) -> Result<(), Failure> {
        let mut out = Vec::new();
        for fetched in answered.batches {
            let Some(next) = self.next.get_mut(&fetched.partition) else { continue };
            if fetched.kind == BatchKind::Records {
                for record in fetched.batch.records(DECOMPRESSED_BYTES_MAX)? {
                    let record = record?;
                    if record.offset.0 < *next {
                        continue;
                    }
                    if self.consume.num == Some(self.printed_count) {
                        return write(&out);
                    }
                    match self.consume.output {
                        Shape::Json if self.consume.format.is_none() => {
                            let json = json_of(&self.topic.name, fetched.partition, &record);
                            out.extend_from_slice(json.to_string().as_bytes());
                            out.push(b'\n');
                        }
                        _ => {
                            let name = &self.topic.name;
                            self.format.print(name, fetched.partition, &record, &mut out);
                        }
                    }
                    self.printed_count += 1;
                    *next = record.offset.0 + 1;
                }
            }
            *next = (*next).max(fetched.batch.header().last_offset().0 + 1);
        }
        self.ends.extend(answered.ends.iter().map(|(partition, end)| (*partition, end.0)));
        write(&out)
    }

    /// Whether all that was asked for is printed.
    fn is_done(&self) -> bool {
        if self.consume.num.is_some_and(|num| self.printed_count >= num) {
            return true;
        }
        let is_read = |(partition, next): (&i32, &i64)| {
            self.ends.get(partition).is_some_and(|end| next >= end)
        };
        self.consume.exit && self.next.iter().all(is_read)
    }

    /// Reads what the group gives to this member, generation after generation.
    async fn read_as_member(&mut self, member: &mut Member<'_>) -> Result<(), Failure> {
        loop {
            let partitions = member.join().await?;
            let committed = member.committed(&partitions).await?;
            let next = self.begin(&partitions, &committed).await?;
            let mut source = self.open(&next).await?;
            let mut beat = tokio::time::interval(HEARTBEAT);
            loop {
                if self.is_done() {
                    return Ok(());
                }
                tokio::select! {
                    answered = source.next() => self.print(answered?)?,
                    _ = beat.tick() => {
                        member.commit(&self.next).await?;
                        if !member.heartbeat().await? {
                            break;
                        }
                    }
                }
            }
        }
    }
}

fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}
