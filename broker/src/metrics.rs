//! What the broker counts, as handles that are made once and handed down.
//!
//! Two families bear the names that existing dashboards ask for (the JMX exporter's and
//! kafka_exporter's); the rest is ours and begins with `weir_`. Counters are bumped where it
//! happens; what can be asked at any time (offsets, sizes, lag) is set when somebody looks.

pub mod cleaner;

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};
use weir_protocol::api::APIS;

use crate::metrics::cleaner::CleanerMetrics;

/// The counters of one topic, cached in the topic so that no label is looked up on the hot path.
#[derive(Clone, Debug)]
pub struct TopicMetrics {
    /// Records appended.
    pub messages_in: IntCounter,
    /// Batch bytes appended.
    pub bytes_in: IntCounter,
    /// Record bytes answered to fetches.
    pub bytes_out: IntCounter,
    /// Partitions that produce requests named.
    pub produce_requests: IntCounter,
    /// Partitions that fetch requests named.
    pub fetch_requests: IntCounter,
    /// Those of the former that were refused.
    pub failed_produce_requests: IntCounter,
    /// Those of the former that were refused.
    pub failed_fetch_requests: IntCounter,
}

/// All that the broker counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    topic_counters: [IntCounterVec; 7],
    request_seconds: Vec<(i16, Histogram)>,
    /// Open client connections.
    pub connections: IntGauge,
    /// Connections that were turned away by a limit.
    pub refused_connections: IntCounter,
    /// Connections that were closed because of what they sent.
    pub hostile_connections: IntCounter,
    /// The log cleaner's.
    pub cleaner: CleanerMetrics,
    /// Set when somebody looks.
    pub gauges: Gauges,
}

/// What is set when somebody looks.
#[derive(Debug)]
pub struct Gauges {
    /// `kafka_brokers`
    pub brokers: IntGauge,
    /// `kafka_controller_kafkacontroller_activecontrollercount`
    pub active_controllers: IntGauge,
    /// `kafka_controller_kafkacontroller_offlinepartitionscount`
    pub offline_partitions: IntGauge,
    /// `kafka_server_replicamanager_leadercount`
    pub leaders: IntGauge,
    /// `kafka_server_replicamanager_partitioncount`
    pub partitions: IntGauge,
    /// `kafka_server_replicamanager_underreplicatedpartitions`
    pub under_replicated: IntGauge,
    /// `kafka_topic_partitions{topic}`
    pub topic_partitions: IntGaugeVec,
    /// `kafka_topic_partition_current_offset{topic,partition}`
    pub current_offset: IntGaugeVec,
    /// `kafka_topic_partition_oldest_offset{topic,partition}`
    pub oldest_offset: IntGaugeVec,
    /// `kafka_log_log_size{topic,partition}`
    pub log_size: IntGaugeVec,
    /// `kafka_log_log_numlogsegments{topic,partition}`
    pub log_segments: IntGaugeVec,
    /// `kafka_consumergroup_current_offset{consumergroup,topic,partition}`
    pub group_offset: IntGaugeVec,
    /// `kafka_consumergroup_lag{consumergroup,topic,partition}`
    pub group_lag: IntGaugeVec,
    /// `weir_share_groups`
    pub share_groups: IntGauge,
    /// `weir_share_sessions`
    pub share_sessions: IntGauge,
    /// `weir_producers`
    pub producers: IntGauge,
    /// Groups that members have joined.
    pub groups: IntGauge,
    /// The same by state.
    pub groups_by_state: IntGaugeVec,
    /// Members by group.
    pub group_members: IntGaugeVec,
    /// Generations that were begun.
    pub rebalances: IntGauge,
    /// Fetch sessions.
    pub fetch_sessions: FetchSessionGauges,
    /// The memory for requests.
    pub memory_pool: MemoryPoolGauges,
}

/// What is known of fetch sessions.
#[derive(Debug)]
pub struct FetchSessionGauges {
    /// How many are kept.
    pub count: IntGauge,
    /// Partitions in all of them.
    pub partitions: IntGauge,
    /// Those that made way for others.
    pub evictions: IntGauge,
}

impl FetchSessionGauges {
    fn new(make: &Maker<'_>) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| {
            make.gauge(&format!("kafka_server_fetchsessioncache_{name}"), help)
        };
        Ok(Self {
            count: gauge("numincrementalfetchsessions", "Fetch sessions that are kept.")?,
            partitions: gauge(
                "numincrementalfetchpartitionscached",
                "Partitions in all fetch sessions.",
            )?,
            evictions: gauge(
                "incrementalfetchsessionevictions",
                "Fetch sessions that made way for others since the start.",
            )?,
        })
    }
}

/// `kafka_network_socketserver_memorypool…`: the bytes of requests under way.
#[derive(Debug)]
pub struct MemoryPoolGauges {
    /// For which there is room.
    pub available: IntGauge,
    /// That are read or under way.
    pub used: IntGauge,
}

impl MemoryPoolGauges {
    fn new(make: &Maker<'_>) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| {
            make.gauge(&format!("kafka_network_socketserver_memorypool{name}"), help)
        };
        Ok(Self {
            available: gauge(
                "available",
                "Bytes for which requests have room; 0 without queued.max.request.bytes.",
            )?,
            used: gauge("used", "Bytes of requests that are read or under way.")?,
        })
    }
}

struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn add<C: Collector + Clone + 'static>(&self, collector: C) -> prometheus::Result<C> {
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.add(IntCounter::new(name, help)?)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.add(IntGauge::new(name, help)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn by_topic(&self, name: &str, help: &str) -> prometheus::Result<IntCounterVec> {
        let name = format!("kafka_server_brokertopicmetrics_{name}_total");
        self.add(IntCounterVec::new(Opts::new(name, help), &["topic"])?)
    }
}

impl Gauges {
    fn new(make: &Maker<'_>) -> prometheus::Result<Self> {
        const PARTITION: &[&str] = &["topic", "partition"];
        const GROUP: &[&str] = &["consumergroup", "topic", "partition"];
        Ok(Self {
            brokers: make.gauge("kafka_brokers", "Brokers in the cluster.")?,
            active_controllers: make.gauge(
                "kafka_controller_kafkacontroller_activecontrollercount",
                "Controllers on this broker.",
            )?,
            offline_partitions: make.gauge(
                "kafka_controller_kafkacontroller_offlinepartitionscount",
                "Partitions that cannot be written: damaged, or their log directory failed.",
            )?,
            leaders: make.gauge(
                "kafka_server_replicamanager_leadercount",
                "Partitions that this broker leads.",
            )?,
            partitions: make.gauge(
                "kafka_server_replicamanager_partitioncount",
                "Partitions on this broker.",
            )?,
            under_replicated: make.gauge(
                "kafka_server_replicamanager_underreplicatedpartitions",
                "Partitions with fewer replicas than wanted.",
            )?,
            topic_partitions: make.gauges(
                "kafka_topic_partitions",
                "Partitions of a topic.",
                &["topic"],
            )?,
            current_offset: make.gauges(
                "kafka_topic_partition_current_offset",
                "Offset after the newest durable record.",
                PARTITION,
            )?,
            oldest_offset: make.gauges(
                "kafka_topic_partition_oldest_offset",
                "Offset of the oldest record.",
                PARTITION,
            )?,
            log_size: make.gauges("kafka_log_log_size", "Bytes in the log.", PARTITION)?,
            log_segments: make.gauges(
                "kafka_log_log_numlogsegments",
                "Segments in the log.",
                PARTITION,
            )?,
            group_offset: make.gauges(
                "kafka_consumergroup_current_offset",
                "Offset that a group committed.",
                GROUP,
            )?,
            group_lag: make.gauges(
                "kafka_consumergroup_lag",
                "Records between a group's offset and the newest durable one.",
                GROUP,
            )?,
            groups: make.gauge(
                "kafka_coordinator_group_groupmetadatamanager_numgroups",
                "Groups that members have joined.",
            )?,
            groups_by_state: make.gauges(
                "weir_groups",
                "Groups that members have joined, by state.",
                &["state"],
            )?,
            group_members: make.gauges(
                "kafka_consumergroup_members",
                "Members of a group.",
                &GROUP[..1],
            )?,
            rebalances: make.gauge(
                "kafka_coordinator_group_completed_rebalances",
                "Generations of groups that were begun since the start.",
            )?,
            share_groups: make.gauge("weir_share_groups", "Share groups.")?,
            share_sessions: make.gauge("weir_share_sessions", "Share group members that fetch.")?,
            fetch_sessions: FetchSessionGauges::new(make)?,
            memory_pool: MemoryPoolGauges::new(make)?,
            producers: make.gauge("weir_producers", "Idempotent producers that are remembered.")?,
        })
    }
}

impl Metrics {
    /// Makes and registers all of them.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let make = Maker(&registry);
        let topic_counters = [
            make.by_topic("messagesin", "Records appended.")?,
            make.by_topic("bytesin", "Record batch bytes appended.")?,
            make.by_topic("bytesout", "Record batch bytes answered to fetches.")?,
            make.by_topic("totalproducerequests", "Partitions that produce requests named.")?,
            make.by_topic("totalfetchrequests", "Partitions that fetch requests named.")?,
            make.by_topic("failedproducerequests", "Partitions whose produce was refused.")?,
            make.by_topic("failedfetchrequests", "Partitions whose fetch was refused.")?,
        ];
        let options = HistogramOpts::new(
            "weir_request_seconds",
            "From a request's arrival to its answer, long polls included.",
        )
        .buckets(prometheus::exponential_buckets(0.000_05, 2.0, 20)?);
        let seconds = make.add(HistogramVec::new(options, &["request"])?)?;
        let request_seconds =
            APIS.iter().map(|row| (row.key, seconds.with_label_values(&[row.name]))).collect();
        let connections = make.gauge("weir_connections", "Open client connections.")?;
        let refused_connections =
            make.counter("weir_refused_connections_total", "Connections turned away by a limit.")?;
        let hostile_connections = make.counter(
            "weir_hostile_connections_total",
            "Connections closed because of what they sent.",
        )?;
        let cleaner = CleanerMetrics::new(&registry)?;
        let gauges = Gauges::new(&make)?;
        Ok(Self {
            registry,
            topic_counters,
            request_seconds,
            connections,
            refused_connections,
            hostile_connections,
            cleaner,
            gauges,
        })
    }

    /// Registers handles that another part made.
    pub fn register(&self, collector: Box<dyn Collector>) -> prometheus::Result<()> {
        self.registry.register(collector)
    }

    /// The counters of a topic.
    pub fn topic(&self, topic: &str) -> TopicMetrics {
        let [messages_in, bytes_in, bytes_out, produce, fetch, failed_produce, failed_fetch] =
            &self.topic_counters;
        let of = |counters: &IntCounterVec| counters.with_label_values(&[topic]);
        TopicMetrics {
            messages_in: of(messages_in),
            bytes_in: of(bytes_in),
            bytes_out: of(bytes_out),
            produce_requests: of(produce),
            fetch_requests: of(fetch),
            failed_produce_requests: of(failed_produce),
            failed_fetch_requests: of(failed_fetch),
        }
    }

    /// Forgets the counters of a deleted topic.
    pub fn forget_topic(&self, topic: &str) {
        for counters in &self.topic_counters {
            // A topic that was never counted has no label to remove: nothing to tell.
            let _ = counters.remove_label_values(&[topic]);
        }
    }

    /// The latency histogram of an API.
    pub fn request_seconds(&self, api_key: i16) -> Option<&Histogram> {
        self.request_seconds.iter().find(|(key, _)| *key == api_key).map(|(_, seconds)| seconds)
    }

    /// The page that Prometheus reads.
    pub fn page(&self) -> prometheus::Result<Vec<u8>> {
        let mut page = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut page)?;
        Ok(page)
    }
}
