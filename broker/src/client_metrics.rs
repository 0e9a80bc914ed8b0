//! PURE. What can be set for a subscription to the metrics of clients (KIP-714).
//!
//! Subscriptions are kept and shown, so that tools can prepare them. Clients are not asked to push
//! anything: as in a Kafka without a receiver for their metrics, those APIs are not advertised.

use regex::Regex;

use crate::config::setting::{Kind, list};
use crate::named_settings::Settings;

/// The file.
pub const FILE: &str = "weir-client-metrics";

/// One setting of a subscription.
#[derive(Debug)]
pub struct SubscriptionSetting {
    /// Kafka's name.
    pub name: &'static str,
    /// Type shown to clients.
    pub kind: Kind,
    /// Its meaning, in one line.
    pub doc: &'static str,
    /// Its value when it is not set.
    pub default: &'static str,
}

/// All of them.
pub static SUBSCRIPTION_SETTINGS: &[SubscriptionSetting] = &[
    SubscriptionSetting {
        name: "interval.ms",
        kind: Kind::Int,
        doc: "How often a client is to push its metrics, 100 to 3600000.",
        default: "300000",
    },
    SubscriptionSetting {
        name: "match",
        kind: Kind::List,
        doc: "Which clients are meant: name=pattern, all of which must fit. Nothing: all clients.",
        default: "",
    },
    SubscriptionSetting {
        name: "metrics",
        kind: Kind::List,
        doc: "Prefixes of the names of metrics; *: all of them.",
        default: "",
    },
];

/// What a client can be told by.
const SELECTORS: &[&str] = &[
    "client_instance_id",
    "client_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

/// Why a subscription cannot be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such setting, or its value is out of its bounds.
    Request(String),
    /// A pattern means nothing.
    Config(String),
}

/// The setting of that name; the error is one line for the client.
pub fn setting(name: &str) -> Result<&'static SubscriptionSetting, String> {
    let found = SUBSCRIPTION_SETTINGS.iter().find(|setting| setting.name == name);
    found.ok_or_else(|| format!("{name} is no setting of a client metrics subscription."))
}

/// Whether a subscription can be so.
pub fn check(set: &Settings) -> Result<(), Refusal> {
    for (name, value) in set {
        match setting(name).map_err(Refusal::Request)?.name {
            "interval.ms" => {
                let interval_ms: Option<i32> = value.parse().ok();
                if !interval_ms.is_some_and(|ms| (100..=3_600_000).contains(&ms)) {
                    let why = format!("interval.ms: expected 100 to 3600000, not {value:?}.");
                    return Err(Refusal::Request(why));
                }
            }
            "match" => list(value).try_for_each(check_pattern)?,
            // Any words are prefixes of metrics.
            _ => {}
        }
    }
    Ok(())
}

fn check_pattern(pattern: &str) -> Result<(), Refusal> {
    let refused = || {
        Refusal::Config(format!(
            "match: {pattern:?} is no pattern: expected name=regular expression, the name one of {}.",
            SELECTORS.join(", ")
        ))
    };
    let (selector, expression) = pattern.split_once('=').ok_or_else(refused)?;
    let (selector, expression) = (selector.trim(), expression.trim());
    let is_whole = !expression.is_empty() && !expression.contains('=');
    if is_whole && SELECTORS.contains(&selector) && Regex::new(expression).is_ok() {
        return Ok(());
    }
    Err(refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_is_what_kafka_takes() {
        let check = |name: &str, value: &str| {
            super::check(&Settings::from([(name.to_owned(), value.to_owned())]))
        };
        for (name, value) in [
            ("metrics", "*"),
            ("metrics", "org.apache.kafka.producer.,org.apache.kafka.consumer."),
            ("interval.ms", "100"),
            ("interval.ms", "3600000"),
            ("match", "client_id=a.*, client_software_name = librdkafka"),
            ("match", ""),
        ] {
            assert_eq!(check(name, value), Ok(()), "{name}={value}");
        }
        for (name, value) in
            [("interval.ms", "99"), ("interval.ms", "3600001"), ("interval.ms", "x"), ("m", "1")]
        {
            assert!(matches!(check(name, value), Err(Refusal::Request(_))), "{name}={value}");
        }
        for value in ["client_id", "colour=red", "client_id=", "client_id=(", "client_id=a=b"] {
            assert!(matches!(check("match", value), Err(Refusal::Config(_))), "{value}");
        }
    }
}
