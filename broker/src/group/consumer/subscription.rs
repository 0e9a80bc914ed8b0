//! To what members subscribe: names, and regular expressions as RE2 reads them. PURE.
//!
//! A regular expression must match the whole name of a topic. Matching takes time in proportion to
//! the name, and a compiled expression is bounded in size, so no client can stall the broker by one.

use std::collections::BTreeSet;

use regex::{Regex, RegexBuilder};

use crate::group::consumer::topics::Topics;

/// A compiled expression takes no more memory than this.
const COMPILED_BYTES_MAX: usize = 1 << 20;
/// The text of an expression is no longer than this.
const PATTERN_BYTES_MAX: usize = 4096;

/// Why an expression is refused.
#[derive(Debug, thiserror::Error)]
#[error("SubscribedTopicRegex `{pattern}` is not a valid regular expression: {reason}")]
pub struct PatternError {
    /// The expression.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A regular expression over whole topic names.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles an expression.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        let refuse = |reason: String| PatternError { pattern: pattern.to_owned(), reason };
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(refuse(format!("it is longer than {PATTERN_BYTES_MAX} bytes")));
        }
        let text = without_quotes(pattern);
        // Alone first: what is closed only by the parentheses around it is not valid.
        let compile = |text: &str| RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).build();
        compile(&text).map_err(|error| refuse(error.to_string()))?;
        let whole = compile(&format!(r"\A(?:{text})\z"));
        whole.map(Self).map_err(|error| refuse(error.to_string()))
    }

    /// The topics whose names it matches.
    pub fn matches(&self, topics: &Topics) -> BTreeSet<String> {
        topics.names().filter(|name| self.0.is_match(name)).map(str::to_owned).collect()
    }
}

/// The expression with what stands between `\Q` and `\E` escaped letter by letter: RE2 takes that
/// text as it is, and our engine does not know these marks.
fn without_quotes(pattern: &str) -> String {
    let mut plain = String::with_capacity(pattern.len());
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            plain.push(letter);
            continue;
        }
        match letters.next() {
            Some('Q') => {
                let rest = letters.as_str();
                let (quoted, after) = rest.split_once("\\E").unwrap_or((rest, ""));
                plain.push_str(&regex::escape(quoted));
                letters = after.chars();
            }
            Some(escaped) => plain.extend(['\\', escaped]),
            None => plain.push('\\'),
        }
    }
    plain
}

/// A number that stands for what a group's topics are: names, identities and partition counts. It
/// is kept with the group, so it must be the same after a restart (FNV-1a, 64 bits).
pub fn metadata_hash<'a>(subscribed: impl IntoIterator<Item = &'a String>, topics: &Topics) -> i64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut take = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for name in subscribed {
        if let Some(shape) = topics.named(name) {
            take(name.as_bytes());
            take(shape.id.as_bytes());
            take(&shape.partition_count.to_be_bytes());
        }
    }
    hash as i64
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::group::consumer::topics::Shape;

    fn topics(names: &[&str]) -> Topics {
        let shape = |at: usize| Shape {
            id: Uuid::from_u128(at as u128 + 1),
            partition_count: 1,
            is_internal: false,
        };
        Topics::new(1, names.iter().enumerate().map(|(at, name)| (name.to_string(), shape(at))))
    }

    fn matched(pattern: &str, names: &[&str]) -> Vec<String> {
        let pattern = Pattern::new(pattern).expect("a valid pattern");
        pattern.matches(&topics(names)).into_iter().collect()
    }

    #[test]
    fn an_expression_matches_whole_names_only() {
        assert_eq!(matched("a|ab", &["a", "ab", "abc", "xa"]), ["a", "ab"]);
        assert_eq!(matched("order.*", &["orders", "my-orders", "order"]), ["order", "orders"]);
        assert_eq!(matched(r"(?i)A\d+", &["a1", "A22", "a"]), ["A22", "a1"]);
        assert_eq!(matched(r"\Qa.b\E.", &["a.bc", "axbc"]), ["a.bc"]);
        assert_eq!(matched("^t$", &["t", "tt"]), ["t"]);
    }

    #[test]
    fn what_re2_does_not_take_is_refused() {
        for pattern in ["(", "a)(b", "*", r"(a)\1", "(?=a)", "(?<!a)b", "a{100000}", r"\Z"] {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
        assert!(Pattern::new(&"a".repeat(PATTERN_BYTES_MAX + 1)).is_err());
        assert!(Pattern::new(&"(a{50}){50}".repeat(40)).is_err(), "too large when compiled");
    }

    #[test]
    fn the_hash_tells_every_change_of_the_topics_and_none_other() {
        let subscribed = ["a".to_owned(), "b".to_owned()];
        let id = Uuid::from_u128;
        let of = |topics: Vec<(&str, u128, i32)>| {
            let topics = topics.into_iter().map(|(name, number, partition_count)| {
                (name.to_owned(), Shape { id: id(number), partition_count, is_internal: false })
            });
            metadata_hash(&subscribed, &Topics::new(1, topics))
        };
        let before = of(vec![("a", 1, 1)]);
        assert_eq!(of(vec![("a", 1, 1), ("c", 3, 9)]), before, "nobody subscribed to c");
        assert_ne!(of(vec![("a", 1, 2)]), before);
        assert_ne!(of(vec![("a", 2, 1)]), before);
        assert_ne!(of(vec![("a", 1, 1), ("b", 2, 1)]), before);
        assert_ne!(of(vec![]), before);
    }
}
