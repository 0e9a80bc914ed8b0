//! What one setting is: name, type, default, meaning, bounds; and how its text becomes a value.
//!
//! Each setting is declared once (see the tables beside this file). Parsing, validation and what
//! DescribeConfigs shows all come from that declaration, so they cannot disagree.

use std::fmt::Display;

use weir_protocol::properties::PropertiesError;

/// The type of a setting's value, with the numbers of DescribeConfigs.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Kind {
    /// `true` or `false`.
    Boolean = 1,
    /// Any text.
    String = 2,
    /// A number of 32 bits.
    Int = 3,
    /// A number of 64 bits.
    Long = 5,
    /// A floating point number.
    Double = 6,
    /// Words divided by commas.
    List = 7,
}

/// Where a value comes from, with the numbers of DescribeConfigs.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum Source {
    /// Set for the topic.
    Topic = 1,
    /// Set for this broker by a client, while it ran.
    DynamicBroker = 2,
    /// Set for all brokers by a client, while they ran.
    DynamicDefault = 3,
    /// Set in the broker's file or on its command line.
    Broker = 4,
    /// Nobody set it.
    Default = 5,
    /// Set for the subscription to the metrics of clients.
    ClientMetrics = 7,
    /// Set for the group.
    Group = 8,
}

/// Why a setting is refused; the text is one line for the operator or the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No such setting.
    #[error(
        "unknown setting {name}: this broker has no such setting (a setting of Kafka's that would \
         have no effect here is refused too); remove it"
    )]
    Unknown {
        /// The setting as given.
        name: String,
    },
    /// The value is outside what the setting takes.
    #[error("setting {name}: {value:?} cannot be used: {expected}")]
    Value {
        /// The setting.
        name: String,
        /// What was given.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// A setting of a file.
    #[error("line {line}: {refused}")]
    Line {
        /// Where it stands.
        line: usize,
        /// Why it is refused.
        refused: Box<ConfigError>,
    },
    /// The file cannot be read as settings.
    #[error(transparent)]
    Properties(#[from] PropertiesError),
    /// Two settings contradict each other.
    #[error("setting {name}: {reason}")]
    Conflict {
        /// The setting to change.
        name: &'static str,
        /// What it contradicts, and the remedy.
        reason: String,
    },
}

/// A type that a setting can have.
pub trait SettingValue: Sized {
    /// The type shown to clients.
    const KIND: Kind;
    /// Reads the value; the error says what was expected.
    fn parse(text: &str) -> Result<Self, String>;
    /// The text that [`Self::parse`] reads back; absent when the setting is not set at all.
    fn show(&self) -> Option<String>;
}

impl SettingValue for bool {
    const KIND: Kind = Kind::Boolean;
    fn parse(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("true") {
            Ok(true)
        } else if text.eq_ignore_ascii_case("false") {
            Ok(false)
        } else {
            Err("expected true or false".into())
        }
    }
    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl SettingValue for i32 {
    const KIND: Kind = Kind::Int;
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "expected a whole number of 32 bits".into())
    }
    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl SettingValue for i64 {
    const KIND: Kind = Kind::Long;
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "expected a whole number of 64 bits".into())
    }
    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl SettingValue for f64 {
    const KIND: Kind = Kind::Double;
    fn parse(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        number.ok_or_else(|| "expected a number".into())
    }
    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl SettingValue for String {
    const KIND: Kind = Kind::String;
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
    fn show(&self) -> Option<String> {
        Some(self.clone())
    }
}

impl<T: SettingValue> SettingValue for Option<T> {
    const KIND: Kind = T::KIND;
    fn parse(text: &str) -> Result<Self, String> {
        T::parse(text).map(Some)
    }
    fn show(&self) -> Option<String> {
        self.as_ref().and_then(SettingValue::show)
    }
}

impl SettingValue for Vec<String> {
    const KIND: Kind = Kind::List;
    fn parse(text: &str) -> Result<Self, String> {
        Ok(list(text).map(str::to_owned).collect())
    }
    fn show(&self) -> Option<String> {
        Some(self.join(","))
    }
}

/// The words of a list.
pub fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// What may become of old records: one of the two, or both.
pub fn check_cleanup_policy(value: &str) -> Result<(), String> {
    let mut words = list(value).peekable();
    let is_some = words.peek().is_some();
    if is_some && words.all(|word| matches!(word, "delete" | "compact")) {
        Ok(())
    } else {
        Err("expected delete, compact or both".into())
    }
}

/// Every value will do.
pub fn any<T>(_: &T) -> Result<(), String> {
    Ok(())
}

/// Assignors of consumer groups, one at least.
pub fn assignors(names: &[String]) -> Result<(), String> {
    let is_known = |name: &String| matches!(name.as_str(), "uniform" | "range");
    if !names.is_empty() && names.iter().all(is_known) {
        return Ok(());
    }
    Err("expected uniform, range, or both, divided by a comma".into())
}

/// A number not below `min`.
pub fn at_least<T: PartialOrd + Display>(min: T) -> impl Fn(&T) -> Result<(), String> {
    move |value| if *value >= min { Ok(()) } else { Err(format!("expected at least {min}")) }
}

/// A number not below `min` and not above `max`.
pub fn between<T: PartialOrd + Display>(min: T, max: T) -> impl Fn(&T) -> Result<(), String> {
    move |value| {
        if *value >= min && *value <= max {
            Ok(())
        } else {
            Err(format!("expected {min} to {max}"))
        }
    }
}

/// One of some words, in capitals or not.
pub fn one_of_any_case(words: &'static [&'static str]) -> impl Fn(&String) -> Result<(), String> {
    move |value| one_of(words)(&value.to_ascii_lowercase())
}

/// One of some words.
pub fn one_of(words: &'static [&'static str]) -> impl Fn(&String) -> Result<(), String> {
    move |value| {
        if words.contains(&value.as_str()) {
            Ok(())
        } else {
            Err(format!("expected {}", words.join(" or ")))
        }
    }
}
