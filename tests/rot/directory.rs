//! A small data directory with every kind of file that the broker writes, after an orderly stop and
//! after a crash.
use std::collections::BTreeMap;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;
use weir_broker::broker::Broker;
use weir_broker::clock::ManualClock;
use weir_broker::config::Config;
use weir_broker::disk::Disk;
use weir_broker::group::internal::internal_topic;
use weir_broker::group::offset_records::{Committed, OffsetKey};
use weir_broker::named_settings::{NamedSettings, Settings};
use weir_broker::partition::Partition;
use weir_broker::quota::book::Alteration;
use weir_broker::quota::entity::Entity;
use weir_broker::share::group_configs;
use weir_broker::start::{StartError, open_on};
use weir_protocol::records::Offset;
use weir_protocol::records::batch::RecordBatch;
use weir_protocol::records::builder::BatchBuilder;
use weir_protocol::records::compression::Compression;

use crate::kit::disk::{Image, SimDisk};

const NOW_MS: i64 = 1_000_000_000;

/// A directory as a broker left it.
pub(super) struct Stop {
    pub(super) name: &'static str,
    image: Image,
    /// Up to where each log was durable at the last checkpoint.
    pub(super) durable: BTreeMap<(String, i32), Offset>,
}

impl Stop {
    /// A copy of it.
    pub(super) fn disk(&self) -> SimDisk {
        self.image.cut_with(1.0, &mut StdRng::seed_from_u64(0))
    }
}

fn config() -> Arc<Config> {
    let mut config = Config::default();
    for (name, value) in [
        ("offsets.topic.num.partitions", "2"),
        ("transaction.state.log.num.partitions", "2"),
        ("log.index.interval.bytes", "300"),
    ] {
        config.set(name, value).unwrap();
    }
    Arc::new(config)
}

/// A broker on this disk.
pub(super) fn open(disk: &SimDisk) -> Result<Arc<Broker>, StartError> {
    open_on(Arc::new(disk.clone()), config(), Arc::new(ManualClock::new(NOW_MS)))
}

/// Every file with its bytes, by path.
pub(super) fn files(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for name in disk.list("").unwrap() {
        match disk.list(&name) {
            Ok(inner) => {
                for file in inner {
                    let path = format!("{name}/{file}");
                    files.insert(path.clone(), disk.read(&path).unwrap());
                }
            }
            Err(_) => drop(files.insert(name.clone(), disk.read(&name).unwrap())),
        }
    }
    files
}

/// The directory after an orderly stop, and after a crash behind a checkpoint.
pub(super) fn filled() -> [Stop; 2] {
    let disk = SimDisk::new();
    let broker = open(&disk).unwrap();
    make_topics(&broker);
    write(&broker, 0..24);
    keep_settings(&broker);
    drop(broker);
    // A crash, so that there is a second leader epoch.
    let disk = disk.image().cut_with(1.0, &mut StdRng::seed_from_u64(0));
    let broker = open(&disk).unwrap();
    write(&broker, 24..48);
    let keyed = partition(&broker, "keyed", 0);
    let dirt = keyed.dirt(None).expect("it is compacted");
    keyed.clean(&dirt, 1 << 20, &|| false).unwrap();
    partition(&broker, "orders", 1).delete_records_before(Offset(13)).unwrap();
    broker.logs.checkpoint().unwrap();
    let durable = ends(&broker);
    write(&broker, 48..51);
    let crashed = Stop { name: "crashed", image: disk.image(), durable };
    broker.logs.close().unwrap();
    let clean = Stop { name: "clean", image: disk.image(), durable: ends(&broker) };
    [clean, crashed]
}

fn ends(broker: &Broker) -> BTreeMap<(String, i32), Offset> {
    let topics = broker.catalog.topics();
    let of = |topic: &Arc<weir_broker::catalog::Topic>| {
        let name = topic.name.to_string();
        let numbered = (0..).zip(topic.partitions.clone());
        numbered.map(move |(index, partition)| ((name.clone(), index), partition.ends().log_end))
    };
    topics.iter().flat_map(of).collect()
}

fn partition(broker: &Broker, topic: &str, index: i32) -> Arc<Partition> {
    broker.catalog.topic(topic).unwrap().partition(index).unwrap().clone()
}

fn make_topics(broker: &Broker) {
    let configs = |more: &[(&str, &str)]| {
        let all = [("segment.ms", "1000"), ("index.interval.bytes", "300")];
        all.iter().chain(more).map(|(name, value)| ((*name).into(), (*value).into())).collect()
    };
    broker.catalog.create("orders", 2, configs(&[("retention.ms", "-1")])).unwrap();
    let compact = [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0")];
    broker.catalog.create("keyed", 1, configs(&compact)).unwrap();
}

/// A batch of three records by an idempotent producer.
fn batch(number: i64, producer: i64, sequence: i32) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::None).producer(producer, 0, sequence);
    for part in 0..3_i64 {
        let key = format!("k{}", (number * 3 + part) % 7);
        let value = format!("{number}.{part} ").repeat(12);
        let time = NOW_MS - 100_000 + number * 200;
        builder.append(time, Some(key.as_bytes()), Some(value.as_bytes()), &[]);
    }
    RecordBatch::parse(builder.finish()).unwrap()
}

/// Records, committed offsets and a transactional id.
fn write(broker: &Arc<Broker>, numbers: std::ops::Range<i64>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for number in numbers {
        let sequence = i32::try_from(number).unwrap() * 3;
        for (topic, index, producer) in [("orders", 0, 7), ("orders", 1, 8), ("keyed", 0, 9)] {
            partition(broker, topic, index).append(&batch(number, producer, sequence)).unwrap();
        }
        broker.logs.sync_now();
        runtime.block_on(commit(broker, number));
        if number % 3 == 0 {
            let id = format!("id-{}", number % 4);
            runtime.block_on(broker.transactions.init(&id, 60_000, None)).unwrap();
        }
    }
    for topic in broker.catalog.topics().iter() {
        for partition in &topic.partitions {
            runtime.block_on(partition.durable(partition.ends().log_end)).unwrap();
        }
    }
}

async fn commit(broker: &Arc<Broker>, number: i64) {
    let topic = internal_topic(&broker.catalog, &broker.config).unwrap();
    let group = format!("g{}", number % 3);
    let key = OffsetKey { group: group.clone(), topic: "orders".into(), partition: 0 };
    let (leader_epoch, metadata) = (0, format!("after {number}"));
    let value = Committed { offset: number * 3, leader_epoch, metadata, commit_ms: NOW_MS };
    let begun = broker.offsets.begin().await;
    begun.write(&topic, &group, vec![(key, Some(value))], NOW_MS).await.unwrap();
}

fn keep_settings(broker: &Arc<Broker>) {
    let set = |name: &str, value: &str| Settings::from([(name.to_owned(), value.to_owned())]);
    let interval = set("interval.ms", "5000");
    let change = |all: &mut Settings| -> Result<(), String> {
        *all = interval.clone();
        Ok(())
    };
    broker.client_metrics.change("m", false, change).unwrap();
    let groups = NamedSettings::open(broker.logs.clone(), group_configs::FILE).unwrap();
    let reset = set("share.auto.offset.reset", "earliest");
    let change = |all: &mut Settings| -> Result<(), String> {
        *all = reset.clone();
        Ok(())
    };
    groups.change("g", false, change).unwrap();
    let retention = |_: &Settings| Ok(set("log.retention.ms", "999999999999"));
    broker.catalog.reconfigure_defaults("", false, retention).unwrap();
    let entity = Entity::of([("client-id", Some("c"))]).unwrap();
    let values = vec![("producer_byte_rate".to_owned(), Some(1024.0))];
    assert_eq!(broker.quotas.alter(&[Alteration { entity, values }], false), [Ok(())]);
}
