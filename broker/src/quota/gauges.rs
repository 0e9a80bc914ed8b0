//! What clients with a quota use, under the names that Kafka's exporter gives: set when somebody
//! looks. Clients without a quota are not counted, and no more than [`PARTIES_MAX`] are shown.

use prometheus::core::Collector;
use prometheus::{GaugeVec, IntCounter, Opts};

use crate::quota::key::Key;
use crate::quota::sensors::Shown;

/// Those who use most, of each kind.
pub const PARTIES_MAX: usize = 1000;

/// Gauges of clients with quotas.
#[derive(Debug)]
pub struct QuotaGauges {
    by_key: [(Key, GaugeVec, GaugeVec); 4],
    /// Connections that were held back and closed by `connection_creation_rate`.
    pub throttled_connections: IntCounter,
}

impl QuotaGauges {
    /// Makes and registers all of them.
    pub fn new(
        register: impl Fn(Box<dyn Collector>) -> prometheus::Result<()>,
    ) -> prometheus::Result<QuotaGauges> {
        let gauge = |name: String, help: &str| {
            let gauge = GaugeVec::new(Opts::new(name, help), &["user", "client_id"])?;
            register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let pair = |key, kind: &str, rate: &str, help: &str| {
            let delay = "Milliseconds that a client with a quota was held back, on average.";
            let rate = gauge(format!("kafka_server_{kind}_{rate}"), help)?;
            let delay = gauge(format!("kafka_server_{kind}_throttle_time"), delay)?;
            Ok::<_, prometheus::Error>((key, rate, delay))
        };
        let throttled_connections = IntCounter::new(
            "weir_throttled_connections_total",
            "Connections that were held back and closed by connection_creation_rate.",
        )?;
        register(Box::new(throttled_connections.clone()))?;
        Ok(QuotaGauges {
            by_key: [
                pair(
                    Key::ProducerBytes,
                    "produce",
                    "byte_rate",
                    "Bytes per second of Produce requests of a client with a quota.",
                )?,
                pair(
                    Key::ConsumerBytes,
                    "fetch",
                    "byte_rate",
                    "Record bytes per second to a client with a quota.",
                )?,
                pair(
                    Key::RequestPercentage,
                    "request",
                    "request_time",
                    "Percent of a thread that a client with a quota takes.",
                )?,
                pair(
                    Key::Mutations,
                    "controllermutation",
                    "mutation_rate",
                    "Partitions per second that a client with a quota makes or deletes.",
                )?,
            ],
            throttled_connections,
        })
    }

    /// Shows what is used now, and forgets who is not there any more.
    pub fn refresh(&self, mut shown: Vec<Shown>) {
        shown.sort_by(|left, right| right.per_second.total_cmp(&left.per_second));
        for (key, rate, delay) in &self.by_key {
            rate.reset();
            delay.reset();
            for one in shown.iter().filter(|one| one.key == *key).take(PARTIES_MAX) {
                let labels = [one.party.user.as_str(), one.party.client.as_str()];
                rate.with_label_values(&labels).set(one.per_second);
                delay.with_label_values(&labels).set(one.delay_ms);
            }
        }
    }
}
