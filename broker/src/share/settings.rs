//! What can be set for a share group, and what holds for it. PURE.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::config::setting::Kind;
use crate::share::partition::Limits;

/// Where a group begins in a partition that it has never read.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum OffsetReset {
    /// At the end: only what is written from now on.
    Latest,
    /// At the start of the log.
    Earliest,
    /// At what was written so many milliseconds ago.
    Ago(i64),
}

/// Which records a group sees.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// All.
    ReadUncommitted,
    /// Those before the first open transaction.
    ReadCommitted,
}

/// One setting of a group.
pub struct GroupSetting {
    /// Kafka's name.
    pub name: &'static str,
    /// Type shown to clients.
    pub kind: Kind,
    /// Its meaning, in one line.
    pub doc: &'static str,
    /// Its value when it is not set.
    pub default: fn(&Config) -> String,
}

const LOCK_MS: &str = "share.record.lock.duration.ms";
const SESSION_MS: &str = "share.session.timeout.ms";
const HEARTBEAT_MS: &str = "share.heartbeat.interval.ms";
const RESET: &str = "share.auto.offset.reset";
const ISOLATION: &str = "share.isolation.level";

/// All settings of share groups.
pub static GROUP_SETTINGS: &[GroupSetting] = &[
    GroupSetting {
        name: RESET,
        kind: Kind::String,
        doc: "Where the group begins in a partition that it has never read: latest, earliest, or by_duration:PnDTnHnMn.nS.",
        default: |_| "latest".into(),
    },
    GroupSetting {
        name: HEARTBEAT_MS,
        kind: Kind::Int,
        doc: "How often members of the group send a heartbeat.",
        default: |config| config.group_share_heartbeat_interval_ms.to_string(),
    },
    GroupSetting {
        name: ISOLATION,
        kind: Kind::String,
        doc: "Whether the group waits for open transactions: read_uncommitted or read_committed.",
        default: |_| "read_uncommitted".into(),
    },
    GroupSetting {
        name: LOCK_MS,
        kind: Kind::Int,
        doc: "How long a member has a record that it has acquired.",
        default: |config| config.group_share_record_lock_duration_ms.to_string(),
    },
    GroupSetting {
        name: SESSION_MS,
        kind: Kind::Int,
        doc: "A member of the group that is silent for so long is gone.",
        default: |config| config.group_share_session_timeout_ms.to_string(),
    },
];

/// What holds for one share group.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// How long a member has a record.
    pub lock_ms: i64,
    /// A member that is silent for so long is gone.
    pub session_ms: i64,
    /// How often a member is to send a heartbeat.
    pub heartbeat_ms: i32,
    /// Where it begins.
    pub reset: OffsetReset,
    /// What it sees.
    pub isolation: Isolation,
    /// Bounds of its share-partitions.
    pub limits: Limits,
}

impl GroupSettings {
    /// What follows from the broker's settings and those of the group. The error is one line that
    /// names the setting.
    pub fn of(config: &Config, overrides: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut settings = Self {
            lock_ms: i64::from(config.group_share_record_lock_duration_ms),
            session_ms: i64::from(config.group_share_session_timeout_ms),
            heartbeat_ms: config.group_share_heartbeat_interval_ms,
            reset: OffsetReset::Latest,
            isolation: Isolation::ReadUncommitted,
            limits: Limits {
                deliveries_max: i16::try_from(config.group_share_delivery_count_limit)
                    .expect("its bound is small"),
                locks_max: i64::from(config.group_share_partition_max_record_locks),
            },
        };
        for (name, value) in overrides {
            settings.set(config, name, value).map_err(|why| format!("{name}: {why}"))?;
        }
        Ok(settings)
    }

    fn set(&mut self, config: &Config, name: &str, value: &str) -> Result<(), String> {
        let within = |min: i32, max: i32| {
            let number = value.parse().map_err(|_| "expected a whole number of 32 bits".to_owned());
            let number: i32 = number?;
            if !(min..=max).contains(&number) {
                return Err(format!("expected {min} to {max}"));
            }
            Ok(number)
        };
        match name {
            LOCK_MS => {
                let (min, max) = (
                    config.group_share_min_record_lock_duration_ms,
                    config.group_share_max_record_lock_duration_ms,
                );
                self.lock_ms = i64::from(within(min, max)?);
            }
            SESSION_MS => {
                let (min, max) = (
                    config.group_share_min_session_timeout_ms,
                    config.group_share_max_session_timeout_ms,
                );
                self.session_ms = i64::from(within(min, max)?);
            }
            HEARTBEAT_MS => {
                let (min, max) = (
                    config.group_share_min_heartbeat_interval_ms,
                    config.group_share_max_heartbeat_interval_ms,
                );
                self.heartbeat_ms = within(min, max)?;
            }
            RESET => {
                self.reset = match value {
                    "latest" => OffsetReset::Latest,
                    "earliest" => OffsetReset::Earliest,
                    _ => OffsetReset::Ago(ago(value).ok_or(
                        "expected latest, earliest or by_duration: and an ISO 8601 duration",
                    )?),
                };
            }
            ISOLATION => {
                self.isolation = match value {
                    "read_uncommitted" => Isolation::ReadUncommitted,
                    "read_committed" => Isolation::ReadCommitted,
                    _ => return Err("expected read_uncommitted or read_committed".into()),
                };
            }
            _ => return Err("is no setting of share groups".into()),
        }
        Ok(())
    }
}

/// Milliseconds of `by_duration:P1DT2H3M4.5S`; no part is negative and one is there at least.
fn ago(value: &str) -> Option<i64> {
    let text = value.strip_prefix("by_duration:P")?;
    let (days, times) = match text.split_once('T') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (text, ""),
    };
    let days_ms = parts(days, &[('D', 86_400_000.0)])?;
    let times_ms = parts(times, &[('H', 3_600_000.0), ('M', 60_000.0), ('S', 1000.0)])?;
    (!text.is_empty()).then_some((days_ms + times_ms) as i64)
}

/// The sum of numbers with units, each once at most and in this order.
fn parts(mut text: &str, units: &[(char, f64)]) -> Option<f64> {
    let mut sum = 0.0;
    for (unit, unit_ms) in units {
        let Some((number, rest)) = text.split_once(*unit) else { continue };
        let is_digit = |c: char| c.is_ascii_digit() || (c == '.' && *unit == 'S');
        let is_number =
            number.starts_with(|c: char| c.is_ascii_digit()) && number.chars().all(is_digit);
        sum += is_number.then(|| number.parse::<f64>().ok()).flatten()? * unit_ms;
        text = rest;
    }
    text.is_empty().then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_iso_8601_writes_them() {
        let read = |text: &str| ago(&format!("by_duration:{text}"));
        assert_eq!(read("PT1H"), Some(3_600_000));
        assert_eq!(read("P2DT3M4.5S"), Some(2 * 86_400_000 + 184_500));
        for bad in ["", "P", "PT", "P1H", "PT1D", "PT-1S", "PT1S2", "1H", "PTS", "PT1M1H"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(ago("latest"), None);
    }

    #[test]
    fn a_group_has_its_own_settings_within_the_brokers_bounds() {
        let config = Config::default();
        let of = |name: &str, value: &str| {
            GroupSettings::of(&config, &BTreeMap::from([(name.to_owned(), value.to_owned())]))
        };
        let plain = GroupSettings::of(&config, &BTreeMap::new()).expect("the defaults");
        assert_eq!((plain.lock_ms, plain.session_ms, plain.heartbeat_ms), (30_000, 45_000, 5_000));
        assert_eq!(plain.limits, Limits { deliveries_max: 5, locks_max: 2000 });
        assert_eq!(
            of("share.record.lock.duration.ms", "15000").expect("in bounds").lock_ms,
            15_000
        );
        let reset = of("share.auto.offset.reset", "earliest").expect("a word").reset;
        assert_eq!(reset, OffsetReset::Earliest);
        for (name, value) in [
            ("share.record.lock.duration.ms", "1"),
            ("share.session.timeout.ms", "many"),
            ("share.auto.offset.reset", "none"),
            ("share.isolation.level", "serializable"),
            ("share.nonsense", "1"),
        ] {
            let refused = of(name, value).expect_err(name);
            assert!(refused.starts_with(name), "{refused}");
        }
        for setting in GROUP_SETTINGS {
            of(setting.name, &(setting.default)(&config)).expect(setting.name);
        }
    }
}
