//! What a broker serves of a data directory, and what a damaged one may serve instead.
use std::collections::BTreeMap;
use std::sync::Arc;

use weir_broker::broker::Broker;
use weir_broker::log::ReadSlice;
use weir_broker::partition::Partition;
use weir_broker::quota::entity::Filter;
use weir_protocol::records::Offset;
use weir_protocol::records::batch::batches;
use weir_protocol::records::record::Record;

use crate::rot::directory::Stop;

const BYTES_MAX: usize = 700;
const INTERNAL: [&str; 2] = ["__consumer_offsets", "__transaction_state"];

/// What came of a damaged file.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// It was told that something is damaged.
    Detected,
    /// All is served as it was written.
    Harmless,
    /// What was not durable at the last checkpoint was taken for a torn tail.
    Tail,
    /// The file is as it was.
    Unchanged,
}

/// Base offset, offset after the last, records.
type Batch = (Offset, Offset, Vec<Record>);

/// A log as it was written.
struct Written {
    batches: Vec<Batch>,
    durable: Offset,
    log_start: Offset,
    /// Producers with their batches.
    producers: String,
    /// Where the first leader epoch ends.
    epoch_end: Offset,
}

/// All that a broker serves.
pub(super) struct Served {
    logs: BTreeMap<(String, i32), Written>,
    facts: BTreeMap<&'static str, String>,
}

impl Served {
    /// Of an undamaged directory.
    pub(super) fn of(broker: &Broker, stop: &Stop) -> Served {
        let mut logs = BTreeMap::new();
        for (key, partition) in partitions(broker) {
            let ends = partition.ends();
            let (mut from, mut found) = (ends.log_start, Vec::new());
            while from < ends.high_watermark {
                for batch in read(&partition, from).unwrap() {
                    from = batch.1;
                    found.push(batch);
                }
            }
            let (durable, log_start) = (stop.durable[&key], ends.log_start);
            let (producers, epoch_end) = (producers_of(&partition), partition.epoch_end(0).1);
            let batches = found;
            logs.insert(key, Written { batches, durable, log_start, producers, epoch_end });
        }
        assert!(logs.values().all(|log| log.batches.len() > 5), "there is something to damage");
        Served { logs, facts: facts(broker) }
    }
}

fn partitions(broker: &Broker) -> Vec<((String, i32), Arc<Partition>)> {
    let mut found = Vec::new();
    for topic in broker.catalog.topics().iter() {
        for (index, partition) in (0..).zip(&topic.partitions) {
            found.push(((topic.name.to_string(), index), partition.clone()));
        }
    }
    found
}

/// The batches from an offset on, as a consumer reads them that checks nothing.
fn read(partition: &Partition, from: Offset) -> Result<Vec<Batch>, String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let bytes = match partition.read(from, BYTES_MAX, true).map_err(|error| told(&error))? {
        ReadSlice::Hot(bytes) => bytes,
        ReadSlice::Cold(cold) => cold.load().map_err(|error| told(&error))?,
    };
    let batch = |batch| {
        let batch: weir_protocol::records::batch::RecordBatch = batch;
        let header = *batch.header();
        let records = batch.records(1 << 20).expect("a batch that is served can be read");
        let records = records.map(|record| record.expect("so can its records")).collect();
        (header.base_offset, header.last_offset().next(), records)
    };
    Ok(batches(bytes).map(|it| batch(it.expect("whole batches are served"))).collect())
}

fn producers_of(partition: &Partition) -> String {
    let producers: Vec<_> = partition
        .producers()
        .into_iter()
        .map(|(id, producer)| (id, producer.epoch, producer.batches, producer.open_from))
        .collect();
    format!("{producers:?}")
}

/// What is told of all else.
fn facts(broker: &Broker) -> BTreeMap<&'static str, String> {
    let topics = broker.catalog.topics();
    let topics = topics.iter().map(|topic| {
        (topic.name.to_string(), topic.id, topic.partition_count(), topic.config.overrides.clone())
    });
    let mut committed: Vec<String> =
        broker.offsets.all().iter().map(|(key, value)| format!("{key:?} {value:?}")).collect();
    committed.sort();
    let mut transactions: Vec<String> =
        broker.transactions.list().iter().map(|it| format!("{it:?}")).collect();
    transactions.sort();
    let quotas = broker.quotas.described(&Filter::of(&[], false).unwrap());
    BTreeMap::from([
        ("the topics", format!("{:?}", topics.collect::<Vec<_>>())),
        (INTERNAL[0], format!("{committed:?}")),
        (INTERNAL[1], format!("{transactions:?}")),
        ("the quotas", format!("{quotas:?}")),
        ("client metrics", format!("{:?}", broker.client_metrics.all())),
        ("share groups", format!("{:?}", broker.shares.settings("g"))),
        ("broker settings", format!("{:?}", broker.catalog.default_overrides(""))),
        ("the cluster", broker.cluster_id.to_string()),
        ("the directory", format!("{:?}", broker.logs.meta())),
    ])
}

/// Holds what a broker serves of a damaged directory against what was written.
pub(super) fn compare(expected: &Served, broker: &Broker, path: &str) -> Result<Outcome, String> {
    let mut worst = Outcome::Harmless;
    let is_epochs = path.ends_with("leader-epoch-checkpoint");
    let found: BTreeMap<_, _> = partitions(broker).into_iter().collect();
    let mut touched: Vec<&str> = Vec::new();
    for (key, written) in &expected.logs {
        let partition = found.get(key).ok_or(format!("{key:?} is gone"))?;
        let outcome =
            compare_log(written, partition, is_epochs).map_err(|how| format!("{key:?}: {how}"))?;
        if outcome != Outcome::Harmless {
            worst = worst.min(outcome);
            touched.push(&key.0);
        }
    }
    let facts = facts(broker);
    for (name, told) in &expected.facts {
        let may_differ = touched.contains(name);
        if facts[name] != *told && !may_differ {
            return Err(format!("{name}: {}, not {told} ({path})", facts[name]));
        }
    }
    // The least of all is the best known: told damage, then nothing, then a tail.
    Ok(if touched.is_empty() { Outcome::Harmless } else { worst })
}

/// Holds a salvaged log against what was written: every batch is served, or wholly told lost.
pub(super) fn compare_salvaged(
    expected: &Served,
    broker: &Broker,
    log: &(String, i32),
    lost: &[std::ops::Range<i64>],
) -> Result<(), String> {
    let (written, all) = (&expected.logs[log], partitions(broker));
    let (_, partition) = all.iter().find(|(key, _)| key == log).ok_or("the log is gone")?;
    if let Some(damage) = partition.damage() {
        return Err(format!("{damage:?}"));
    }
    let ends = partition.ends();
    let (mut served, mut from) = (Vec::new(), ends.log_start);
    while from < ends.high_watermark {
        let found = read(partition, from)?;
        from = found.last().ok_or(format!("nothing at {from}"))?.1;
        served.extend(found.into_iter().filter(|batch| !batch.2.is_empty()));
    }
    let is_lost = |batch: &&Batch| {
        let inside =
            |range: &std::ops::Range<i64>| range.start <= batch.0.0 && batch.1.0 <= range.end;
        lost.iter().any(inside) || batch.1 > written.durable && batch.0 >= ends.log_end
    };
    let full = written.batches.iter().filter(|batch| !batch.2.is_empty());
    let left: Vec<&Batch> = full.filter(|batch| !is_lost(batch)).collect();
    if left.len() != served.len() || left.iter().zip(&served).any(|(left, served)| *left != served)
    {
        let offsets = |batch: &Batch| (batch.0.0, batch.1.0);
        let served: Vec<_> = served.iter().map(offsets).collect();
        let left: Vec<_> = left.iter().map(|batch| offsets(batch)).collect();
        return Err(format!("{served:?} in place of {left:?}, told lost {lost:?}"));
    }
    if ends.log_end < written.durable {
        return Err(format!("the log ends at {}, not {}", ends.log_end, written.durable));
    }
    Ok(())
}

/// `is_epochs`: the leader epochs of some log are damaged.
fn compare_log(
    written: &Written,
    partition: &Partition,
    is_epochs: bool,
) -> Result<Outcome, String> {
    let ends = partition.ends();
    let (mut refused, mut tail, mut missing) = (0, 0, Vec::new());
    let mut place = 0;
    while place < written.batches.len() {
        let (base, next, _) = &written.batches[place];
        let served = if *base < ends.high_watermark || partition.damage().is_some() {
            read(partition, (*base).max(written.log_start))
        } else {
            Ok(Vec::new())
        };
        match served {
            Err(_) => refused += 1,
            Ok(served) if served.is_empty() => match *next <= written.durable {
                true => missing.push(*base),
                false => tail += 1,
            },
            Ok(served) => {
                for one in &served {
                    if written.batches.get(place) != Some(one) {
                        let wanted = written.batches.get(place).map(|it| (it.0, it.1));
                        return Err(format!("{}..{} in place of {wanted:?}", one.0, one.1));
                    }
                    place += 1;
                }
                continue;
            }
        }
        place += 1;
    }
    let last = written.batches.last().map_or(written.log_start, |batch| batch.1);
    if ends.log_end > last {
        return Err(format!("the log ends at {}, not at {last}", ends.log_end));
    }
    if partition.damage().is_some() || refused > 0 {
        return Ok(Outcome::Detected);
    }
    if !missing.is_empty() {
        return Err(format!("durable batches are gone without a word: {missing:?}"));
    }
    if ends.log_start != written.log_start {
        return Err(format!("the log begins at {}, not {}", ends.log_start, written.log_start));
    }
    if tail > 0 {
        return Ok(Outcome::Tail);
    }
    if producers_of(partition) != written.producers {
        return Err(format!("{}, not {}", producers_of(partition), written.producers));
    }
    // Made anew from the batches, an epoch ends where the next one's first batch is that is left.
    let (found, wanted) = (partition.epoch_end(0).1, written.epoch_end);
    if found != wanted && !(is_epochs && found > wanted) {
        return Err(format!("epoch 0 ends at {found}, not at {wanted}"));
    }
    Ok(Outcome::Harmless)
}
