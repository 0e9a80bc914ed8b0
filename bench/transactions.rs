//! Transactions of few records each, one after the other on each connection: how many end a second.
//!
//! A transaction is AddPartitionsToTxn, one Produce and EndTxn, as every client before transaction
//! version 2 speaks, so that brokers of any age can be set side by side. A coordinator that is still
//! writing the markers of the transaction before says CONCURRENT_TRANSACTIONS, and is asked again.
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest,
    ProduceRequest, ProducerId, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;
use weir_protocol::records::builder::BatchBuilder;
use weir_protocol::records::compression::Compression;
use weir_protocol::records::control::transactional;

use crate::connection::Connection;
use crate::measure::{Latencies, LatencyMs, Server, ServerUse, per_second, round};
use crate::report::Report;
use crate::topic::{self, topic_name};
use crate::{BenchError, Target, clock};

const TIMEOUT_MS: i32 = 60_000;

#[derive(Args, Clone, Debug)]
pub(crate) struct Transactions {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Producers, each with a transactional id and a connection of its own.
    #[arg(long, default_value_t = 1)]
    producers: usize,
    /// Records of a transaction, all in one batch.
    #[arg(long, default_value_t = 1)]
    records: usize,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 100)]
    record_size: usize,
    /// How long.
    #[arg(long, value_parser = crate::seconds, default_value = "5")]
    duration: Duration,
}

#[derive(Serialize)]
struct Ended {
    transactions: u64,
    seconds: f64,
    transactions_per_second: u64,
    /// From AddPartitionsToTxn to the answer to EndTxn.
    latency_ms: LatencyMs,
    /// How often a coordinator had to be asked again.
    asked_again: u64,
    server: Option<ServerUse>,
}

struct Tally {
    latencies: Latencies,
    asked_again: u64,
}

pub(crate) async fn run(settings: Transactions) -> Result<Report, BenchError> {
    let target = &settings.target;
    let topic = topic::create(target, &target.topic_configs).await?;
    let mut producers = Vec::new();
    for number in 0..settings.producers.max(1) {
        let partition = i32::try_from(number % topic.leaders.len()).unwrap_or(0);
        producers.push(Producer::begin(&settings, number, partition).await?);
    }
    let server = Server::watch(target.server_pid);
    let start = clock::now();
    let until = start + settings.duration;
    let tasks: Vec<_> =
        producers.into_iter().map(|producer| tokio::spawn(producer.run(until))).collect();
    let mut latencies = Latencies::new();
    let mut asked_again = 0;
    for task in tasks {
        let tally = task.await.map_err(|error| BenchError::Server(error.to_string()))??;
        latencies.add(&tally.latencies);
        asked_again += tally.asked_again;
    }
    let seconds = start.elapsed().as_secs_f64();
    let latency_ms = latencies.summary();
    let transactions = latency_ms.count;
    let result = Ended {
        transactions,
        seconds: round(seconds),
        transactions_per_second: per_second(transactions, seconds),
        latency_ms,
        asked_again,
        server: server.and_then(|server| server.spent(0)),
    };
    let settings = json!({
        "bootstrap_server": target.bootstrap_server,
        "topic": target.topic,
        "partitions": topic.leaders.len(),
        "producers": settings.producers,
        "records": settings.records,
        "record_size": settings.record_size,
    });
    Ok(Report::new("transactions", settings, &result))
}

/// One transactional id at work.
struct Producer {
    connection: Connection,
    transactional_id: TransactionalId,
    producer: (ProducerId, i16),
    topic: String,
    partition: i32,
    records: usize,
    value: Vec<u8>,
    next_sequence: i32,
    asked_again: u64,
}

impl Producer {
    async fn begin(
        settings: &Transactions,
        number: usize,
        partition: i32,
    ) -> Result<Producer, BenchError> {
        let id = format!("{}-{number}-{}", settings.target.topic, std::process::id());
        let id = TransactionalId(StrBytes::from_string(id));
        let mut connection = Connection::open(&settings.target.bootstrap_server).await?;
        let asked = FindCoordinatorRequest::default().with_key(id.0.clone()).with_key_type(1);
        let found = connection.call_until_ready(&asked, 3, |answer| answer.error_code).await?.0;
        let address = format!("{}:{}", found.host, found.port);
        let mut connection = Connection::open(&address).await?;
        let asked = InitProducerIdRequest::default()
            .with_transactional_id(Some(id.clone()))
            .with_transaction_timeout_ms(TIMEOUT_MS)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let given = connection.call_until_ready(&asked, 4, |answer| answer.error_code).await?.0;
        Ok(Producer {
            connection,
            transactional_id: id,
            producer: (given.producer_id, given.producer_epoch),
            topic: settings.target.topic.clone(),
            partition,
            records: settings.records.max(1),
            value: vec![b'x'; settings.record_size],
            next_sequence: 0,
            asked_again: 0,
        })
    }

    async fn run(mut self, until: Instant) -> Result<Tally, BenchError> {
        let mut latencies = Latencies::new();
        while clock::now() < until {
            let began = clock::now();
            self.add_partition().await?;
            self.produce().await?;
            self.end().await?;
            latencies.record(began.elapsed(), 1);
        }
        Ok(Tally { latencies, asked_again: self.asked_again })
    }

    async fn add_partition(&mut self) -> Result<(), BenchError> {
        let topic = AddPartitionsToTxnTopic::default()
            .with_name(topic_name(&self.topic))
            .with_partitions(vec![self.partition]);
        let asked = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.transactional_id.clone())
            .with_v3_and_below_producer_id(self.producer.0)
            .with_v3_and_below_producer_epoch(self.producer.1)
            .with_v3_and_below_topics(vec![topic]);
        let added = self.connection.call_until_ready(&asked, 3, |answer| {
            let topics = answer.results_by_topic_v3_and_below.iter();
            let errors = topics.flat_map(|topic| &topic.results_by_partition);
            errors.map(|one| one.partition_error_code).find(|error| *error != 0).unwrap_or(0)
        });
        self.asked_again += added.await?.1;
        Ok(())
    }

    async fn produce(&mut self) -> Result<(), BenchError> {
        let partition = PartitionProduceData::default()
            .with_index(self.partition)
            .with_records(Some(self.batch()));
        let topic = TopicProduceData::default()
            .with_name(topic_name(&self.topic))
            .with_partition_data(vec![partition]);
        let asked = ProduceRequest::default()
            .with_transactional_id(Some(self.transactional_id.clone()))
            .with_acks(-1)
            .with_timeout_ms(TIMEOUT_MS)
            .with_topic_data(vec![topic]);
        let produced = self.connection.call_until_ready(&asked, 9, |answer| {
            let partitions = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
            partitions.map(|one| one.error_code).find(|error| *error != 0).unwrap_or(0)
        });
        self.asked_again += produced.await?.1;
        Ok(())
    }

    fn batch(&mut self) -> Bytes {
        let (id, epoch) = (self.producer.0.0, self.producer.1);
        let mut builder =
            BatchBuilder::new(Compression::None).producer(id, epoch, self.next_sequence);
        let now_ms = clock::wall_ms();
        for _ in 0..self.records {
            builder.append(now_ms, None, Some(&self.value), &[]);
        }
        // After the greatest sequence comes 0.
        let count = i32::try_from(self.records).unwrap_or(i32::MAX);
        self.next_sequence = self.next_sequence.wrapping_add(count) & i32::MAX;
        transactional(&builder.finish())
    }

    async fn end(&mut self) -> Result<(), BenchError> {
        let asked = EndTxnRequest::default()
            .with_transactional_id(self.transactional_id.clone())
            .with_producer_id(self.producer.0)
            .with_producer_epoch(self.producer.1)
            .with_committed(true);
        let ended = self.connection.call_until_ready(&asked, 3, |answer| answer.error_code).await?;
        self.asked_again += ended.1;
        Ok(())
    }
}
