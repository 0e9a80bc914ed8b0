//! The plot (../README.md) by the `rdkafka` crate. BOOTSTRAP and ONLY come by the environment.

use futures_executor::block_on;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const WAIT: Duration = Duration::from_secs(60);
type Outcome<T = ()> = Result<T, String>;

/// A record as the plot knows it; a header without a value is null.
#[derive(Clone, Debug, PartialEq, Default)]
struct Record {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    ms: i64,
}

/// Keeps the first error that a delivery had.
#[derive(Default)]
struct Deliveries(Mutex<Option<KafkaError>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().unwrap().get_or_insert_with(|| error.clone());
        }
    }
}

struct Plot {
    bootstrap: String,
    prefix: String,
    admin: AdminClient<DefaultClientContext>,
    base_ms: i64,
}

/// A consumer of a group on a thread of its own; it commits whatever it has read.
struct Member {
    assigned: Arc<AtomicUsize>,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn equal<T: PartialEq + std::fmt::Debug>(got: T, wanted: T, what: &str) -> Outcome {
    if got == wanted {
        Ok(())
    } else {
        Err(format!("{what}: wanted {wanted:?}, got {got:?}").chars().take(800).collect())
    }
}

fn until<T: PartialEq + std::fmt::Debug>(
    what: &str,
    wanted: T,
    mut ask: impl FnMut() -> T,
) -> Outcome {
    let deadline = Instant::now() + WAIT;
    loop {
        let got = ask();
        if got == wanted || Instant::now() > deadline {
            return equal(got, wanted, what);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Plot {
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("allow.auto.create.topics", "false");
        config
    }

    fn create(
        &self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Result<String, RDKafkaErrorCode> {
        let topic = format!("{}{name}", self.prefix);
        let mut new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1));
        for (key, value) in configs {
            new = new.set(key, value);
        }
        let answers =
            block_on(self.admin.create_topics([&new], &AdminOptions::new())).expect("an answer");
        answers[0].as_ref().map(|_| topic.clone()).map_err(|(_, code)| *code)
    }

    fn config_of(&self, topic: &str, name: &str) -> Result<Option<String>, KafkaError> {
        let asked = [ResourceSpecifier::Topic(topic)];
        let answers = block_on(self.admin.describe_configs(&asked, &AdminOptions::new()))?;
        match &answers[0] {
            Ok(resource) => Ok(resource.get(name).and_then(|entry| entry.value.clone())),
            Err(code) => Err(KafkaError::AdminOp(*code)),
        }
    }

    /// How many partitions a topic has, or the error that Metadata tells; a consumer makes no topics by asking.
    fn partitions(&self, topic: &str) -> Result<usize, RDKafkaErrorCode> {
        let consumer: BaseConsumer = self.config().create().expect("a consumer");
        let told = consumer.fetch_metadata(Some(topic), WAIT).expect("metadata");
        told.topics()[0]
            .error()
            .map_or(Ok(told.topics()[0].partitions().len()), |code| Err(code.into()))
    }

    fn producer(&self, settings: &[(&str, &str)]) -> Outcome<ThreadedProducer<Deliveries>> {
        let mut config = self.config();
        config
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("message.max.bytes", "10000000");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        config.create_with_context(Deliveries::default()).map_err(said)
    }

    fn send(
        producer: &ThreadedProducer<Deliveries>,
        topic: &str,
        partition: i32,
        records: &[Record],
    ) -> Result<(), KafkaError> {
        for record in records {
            let mut headers = OwnedHeaders::new();
            for (key, value) in &record.headers {
                headers = headers.insert(Header { key, value: value.as_ref() });
            }
            let mut one: BaseRecord<'_, Vec<u8>, Vec<u8>> =
                BaseRecord::to(topic).partition(partition).headers(headers);
            one.key = record.key.as_ref();
            one.payload = record.value.as_ref();
            if record.ms != 0 {
                one = one.timestamp(record.ms);
            }
            producer.send(one).map_err(|(error, _)| error)?;
        }
        producer.flush(WAIT)?;
        producer.context().0.lock().unwrap().take().map_or(Ok(()), Err)
    }

    fn write(&self, topic: &str, partition: i32, records: &[Record], codec: &str) -> Outcome {
        let producer = self.producer(&[("compression.type", codec)])?;
        Self::send(&producer, topic, partition, records).map_err(said)
    }

    /// All records of partition 0 from an offset to the end.
    fn read(&self, topic: &str, start: i64, isolation: &str) -> Outcome<Vec<Record>> {
        let mut config = self.config();
        config
            .set("group.id", "unused")
            .set("enable.partition.eof", "true")
            .set("isolation.level", isolation);
        let consumer: BaseConsumer = config.create().map_err(said)?;
        let mut places = TopicPartitionList::new();
        places.add_partition_offset(topic, 0, Offset::Offset(start)).map_err(said)?;
        consumer.assign(&places).map_err(said)?;
        let mut found = Vec::new();
        loop {
            match consumer.poll(WAIT) {
                Some(Ok(message)) => found.push(record_of(&message)),
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(found),
                Some(Err(error)) => return Err(said(error)),
                None => return Err(format!("no end after {} records", found.len())),
            }
        }
    }

    fn join(
        &self,
        group: &str,
        topic: &str,
        settings: &[(&str, &str)],
        seen: &Arc<Mutex<HashSet<String>>>,
    ) -> Outcome<Member> {
        let mut config = self.config();
        config
            .set("group.id", group)
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        let consumer: BaseConsumer = config.create().map_err(said)?;
        consumer.subscribe(&[topic]).map_err(said)?;
        let mut member = Member { assigned: Arc::default(), closing: Arc::default(), thread: None };
        let (assigned, closing, seen) =
            (member.assigned.clone(), member.closing.clone(), seen.clone());
        member.thread = Some(std::thread::spawn(move || {
            while !closing.load(Ordering::SeqCst) {
                if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                    seen.lock().unwrap().insert(
                        String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned(),
                    );
                    let _ = consumer.commit_message(&message, CommitMode::Sync);
                }
                assigned.store(
                    consumer.assignment().map_or(0, |places| places.count()),
                    Ordering::SeqCst,
                );
            }
        }));
        Ok(member)
    }

    fn committed(&self, group: &str, topic: &str, partitions: i32) -> i64 {
        let consumer: BaseConsumer =
            self.config().set("group.id", group).create().expect("a consumer");
        let mut places = TopicPartitionList::new();
        places.add_partition_range(topic, 0, partitions - 1);
        let found = consumer.committed_offsets(places, WAIT).unwrap_or_default();
        found
            .elements()
            .iter()
            .filter_map(|place| place.offset().to_raw())
            .filter(|offset| *offset >= 0)
            .sum()
    }

    fn plain(&self, count: i64) -> Vec<Record> {
        let one = |n: i64| Record {
            key: Some(format!("k{}", n % 7).into()),
            value: Some(format!("v{n}{}", " same again".repeat((n % 50) as usize)).into()),
            headers: Vec::new(),
            ms: self.base_ms + n * 10,
        };
        (0..count).map(one).collect()
    }

    fn administered(&self) -> Outcome {
        let topic = self.create("admin", 3, &[("retention.ms", "7200000")]).map_err(said)?;
        let retention = || self.config_of(&topic, "retention.ms").ok().flatten();
        until("retention.ms", Some("7200000".into()), retention)?;
        let change =
            AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("retention.ms", "8000000");
        block_on(self.admin.alter_configs([&change], &AdminOptions::new())).map_err(said)?;
        until("retention.ms", Some("8000000".into()), retention)?;
        let more = NewPartitions::new(&topic, 4);
        block_on(self.admin.create_partitions([&more], &AdminOptions::new())).map_err(said)?;
        until("partitions", Ok(4), || self.partitions(&topic))?;
        block_on(self.admin.delete_topics(&[&topic], &AdminOptions::new())).map_err(said)?;
        until("the topic is gone", Err(RDKafkaErrorCode::UnknownTopicOrPartition), || {
            self.partitions(&topic)
        })
    }

    fn codecs(&self) -> Outcome {
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let topic = self.create(codec, 1, &[]).map_err(said)?;
            self.write(&topic, 0, &self.plain(300), codec)?;
            equal(self.read(&topic, 0, "read_uncommitted")?, self.plain(300), codec)?;
        }
        Ok(())
    }

    fn records(&self) -> Outcome {
        let topic = self.create("records", 1, &[]).map_err(said)?;
        let shapes = [None, Some(Vec::new()), Some("clé-鍵".into()), Some(vec![0; 5000])];
        let headers = vec![
            ("h".into(), Some(b"1".to_vec())),
            ("h".into(), None),
            ("ünï".into(), Some(Vec::new())),
        ];
        let mut wanted = Vec::new();
        for key in &shapes {
            for value in &shapes {
                for headers in [headers.clone(), Vec::new()] {
                    let ms = self.base_ms + wanted.len() as i64;
                    wanted.push(Record { key: key.clone(), value: value.clone(), headers, ms });
                }
            }
        }
        self.write(&topic, 0, &wanted, "none")?;
        equal(self.read(&topic, 0, "read_uncommitted")?, wanted.clone(), "from the start")?;
        equal(self.read(&topic, 20, "read_uncommitted")?, wanted[20..].to_vec(), "from 20")
    }

    fn timestamp(&self) -> Outcome {
        let topic = self.create("timestamp", 1, &[]).map_err(said)?;
        self.write(&topic, 0, &self.plain(500), "none")?;
        let consumer: BaseConsumer =
            self.config().set("group.id", "unused").create().map_err(said)?;
        let mut asked = TopicPartitionList::new();
        asked.add_partition_offset(&topic, 0, Offset::Offset(self.base_ms + 1225)).map_err(said)?;
        let found = consumer.offsets_for_times(asked, WAIT).map_err(said)?;
        equal(found.elements()[0].offset(), Offset::Offset(123), "offset at a time")?;
        equal(
            self.read(&topic, 123, "read_uncommitted")?,
            self.plain(500)[123..].to_vec(),
            "from there",
        )
    }

    fn group(&self, name: &str, settings: &[(&str, &str)]) -> Outcome {
        let topic = self.create(name, 6, &[]).map_err(said)?;
        let seen = Arc::default();
        let mut members: Vec<Member> = Vec::new();
        let mut written = 0;
        for (count, each) in [(1, 6), (3, 2), (2, 3), (1, 6)] {
            members.truncate(count);
            while members.len() < count {
                members.push(self.join(&topic, &topic, settings, &seen)?);
            }
            let assigned = || {
                members.iter().map(|one| one.assigned.load(Ordering::SeqCst)).collect::<Vec<_>>()
            };
            until("partitions of the members", vec![each; count], assigned)?;
            for partition in 0..6 {
                let one = |n| Record {
                    value: Some(format!("{written} {partition} {n}").into()),
                    ..Record::default()
                };
                self.write(&topic, partition, &(0..10).map(one).collect::<Vec<_>>(), "none")?;
            }
            written += 60;
            until("records read", written, || seen.lock().unwrap().len())?;
        }
        drop(members);
        until("committed", written as i64, || self.committed(&topic, &topic, 6))
    }

    fn resume(&self) -> Outcome {
        let topic = self.create("resume", 1, &[]).map_err(said)?;
        for round in 0..2_i64 {
            let one =
                |n| Record { value: Some(format!("{round} {n}").into()), ..Record::default() };
            self.write(&topic, 0, &(0..100).map(one).collect::<Vec<_>>(), "gzip")?;
            let seen = Arc::default();
            let member = self.join(&topic, &topic, &[], &seen)?;
            until("records read", 100, || seen.lock().unwrap().len())?;
            drop(member);
            equal(seen.lock().unwrap().contains("0 99"), round == 0, "the first round is read")?;
            until("committed", (round + 1) * 100, || self.committed(&topic, &topic, 1))?;
        }
        Ok(())
    }

    fn transaction(&self) -> Outcome {
        let topic = self.create("transaction", 1, &[]).map_err(said)?;
        let producer = self.producer(&[("transactional.id", &topic)])?;
        producer.init_transactions(WAIT).map_err(said)?;
        let mut wanted = Vec::new();
        for (round, commit) in [true, false, true].into_iter().enumerate() {
            let mut records = self.plain(10);
            for record in &mut records {
                record.value = Some(round.to_string().into());
            }
            producer.begin_transaction().map_err(said)?;
            Self::send(&producer, &topic, 0, &records).map_err(said)?;
            if commit {
                producer.commit_transaction(WAIT).map_err(said)?;
                wanted.extend(records);
            } else {
                producer.abort_transaction(WAIT).map_err(said)?;
            }
        }
        equal(self.read(&topic, 0, "read_committed")?, wanted, "committed")?;
        equal(self.read(&topic, 0, "read_uncommitted")?.len(), 30, "records in all")
    }

    fn errors(&self) -> Outcome {
        let topic = self.create("errors", 1, &[("max.message.bytes", "10000")]).map_err(said)?;
        let large = [Record { value: Some(vec![0; 50_000]), ..Record::default() }];
        let refused = Self::send(&self.producer(&[])?, &topic, 0, &large)
            .map_err(|error| error.rdkafka_error_code());
        equal(refused, Err(Some(RDKafkaErrorCode::MessageSizeTooLarge)), "too large")?;
        equal(self.create("errors", 1, &[]), Err(RDKafkaErrorCode::TopicAlreadyExists), "exists")?;
        equal(
            self.create("no good name!", 1, &[]),
            Err(RDKafkaErrorCode::InvalidTopic),
            "bad name",
        )?;
        let unknown = self.partitions(&format!("{}missing", self.prefix));
        equal(unknown, Err(RDKafkaErrorCode::UnknownTopicOrPartition), "unknown topic")
    }
}

fn record_of(message: &impl Message) -> Record {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|one| (one.key.to_owned(), one.value.map(<[u8]>::to_vec))).collect()
    });
    Record {
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
        ms: message.timestamp().to_millis().unwrap_or(-1),
    }
}

fn main() {
    let bootstrap = std::env::var("BOOTSTRAP").expect("BOOTSTRAP");
    let only = std::env::var("ONLY").unwrap_or_default();
    let admin =
        ClientConfig::new().set("bootstrap.servers", &bootstrap).create().expect("an admin client");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64;
    let prefix = format!("rust-{}-", std::process::id());
    let plot = Plot { bootstrap, prefix, admin, base_ms: (now - 600) * 1000 };
    let range = [("partition.assignment.strategy", "range"), ("heartbeat.interval.ms", "500")];
    let cooperative =
        [("partition.assignment.strategy", "cooperative-sticky"), ("heartbeat.interval.ms", "500")];
    let features: [(&str, &dyn Fn() -> Outcome); 10] = [
        ("admin", &|| plot.administered()),
        ("codecs", &|| plot.codecs()),
        ("records", &|| plot.records()),
        ("timestamp", &|| plot.timestamp()),
        ("group", &|| plot.group("group", &range)),
        ("group-cooperative", &|| plot.group("group-cooperative", &cooperative)),
        ("group-848", &|| plot.group("group-848", &[("group.protocol", "consumer")])),
        ("resume", &|| plot.resume()),
        ("transaction", &|| plot.transaction()),
        ("errors", &|| plot.errors()),
    ];
    for (feature, run) in features {
        if feature.contains(&only) {
            match run() {
                Ok(()) => println!("ok rdkafka 0.39.0 {feature}"),
                Err(reason) => {
                    println!("FAIL rdkafka 0.39.0 {feature}: {}", reason.replace('\n', " "))
                }
            }
        }
    }
}
