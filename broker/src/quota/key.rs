//! PURE. What can be limited, by Kafka's names.

/// A setting of a quota.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Bytes of Produce requests per second.
    ProducerBytes,
    /// Bytes of records answered to Fetch requests per second.
    ConsumerBytes,
    /// Time that a broker's thread works for the client, in percent of one thread.
    RequestPercentage,
    /// Partitions created or deleted per second.
    Mutations,
    /// Connections of an address per second.
    Connections,
}

/// What a quota is set for decides what can be set.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A user, a client id, or both.
    Client,
    /// An address.
    Address,
}

/// Above this no number of 32 bits can say how many connections.
const CONNECTIONS_MAX: f64 = i32::MAX as f64;
/// Above this no number of 64 bits can say how many bytes.
const BYTES_MAX: f64 = i64::MAX as f64;
/// Whole numbers travel as floating point ones; Kafka forgives them so much.
const EPSILON: f64 = 1e-6;

impl Key {
    /// All of them.
    pub const ALL: [Key; 5] = [
        Key::ProducerBytes,
        Key::ConsumerBytes,
        Key::RequestPercentage,
        Key::Mutations,
        Key::Connections,
    ];

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Key::ProducerBytes => "producer_byte_rate",
            Key::ConsumerBytes => "consumer_byte_rate",
            Key::RequestPercentage => "request_percentage",
            Key::Mutations => "controller_mutation_rate",
            Key::Connections => "connection_creation_rate",
        }
    }

    /// The key of that name.
    pub fn named(name: &str) -> Option<Key> {
        Key::ALL.into_iter().find(|key| key.name() == name)
    }

    /// What it can be set for.
    pub fn scope(self) -> Scope {
        match self {
            Key::Connections => Scope::Address,
            _ => Scope::Client,
        }
    }

    /// Whether that can be a limit; the error is one line for the client.
    pub fn check(self, value: f64) -> Result<(), String> {
        let name = self.name();
        if !value.is_finite() || value <= 0.0 {
            return Err(format!("Quota {name} must be a finite number above 0, not {value}."));
        }
        let most = match self {
            Key::ProducerBytes | Key::ConsumerBytes => BYTES_MAX,
            Key::Connections => CONNECTIONS_MAX,
            Key::RequestPercentage | Key::Mutations => return Ok(()),
        };
        if value > most || ((value + EPSILON).trunc() - value).abs() > EPSILON {
            return Err(format!("Quota {name} must be a whole number up to {most}, not {value}."));
        }
        Ok(())
    }

    /// A client is not held back longer than this at once. Kafka has no bound for bytes: a client
    /// that sends in one request what it may send in a minute is held back for a minute.
    pub fn throttle_max_ms(self) -> i64 {
        match self {
            Key::RequestPercentage | Key::Connections => crate::quota::rate::WINDOW_MS,
            _ => i64::from(i32::MAX),
        }
    }

    /// Its bit in a set of keys.
    pub fn bit(self) -> u8 {
        1 << self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_numbers_as_kafka_takes_them() {
        for key in Key::ALL {
            assert_eq!(Key::named(key.name()), Some(key));
            assert_eq!(key.check(1.0), Ok(()), "{}", key.name());
            for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                assert!(key.check(bad).is_err(), "{} {bad}", key.name());
            }
        }
        assert!(Key::ProducerBytes.check(1.5).is_err());
        assert!(Key::ProducerBytes.check(1e19).is_err());
        assert!(Key::Connections.check(3e9).is_err());
        Key::RequestPercentage.check(0.5).expect("a fraction of a thread");
        Key::Mutations.check(0.1).expect("one in ten seconds");
        assert_eq!(Key::named("producer_bytes"), None);
    }
}
