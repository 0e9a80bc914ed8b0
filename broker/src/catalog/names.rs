//! PURE. What a topic may be called, how many partitions it may have, and fixed names.

use crate::config::PARTITIONS_PER_TOPIC_MAX;

/// The file that holds the catalog.
pub const FILE: &str = "weir-catalog";
/// The newest format of it that is known.
pub const VERSION: u32 = 1;
/// The internal topic of committed offsets.
pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";
/// The internal topic of transactional ids.
pub const TRANSACTION_STATE: &str = "__transaction_state";
/// The topics that belong to the broker.
pub const INTERNAL: &[&str] = &[CONSUMER_OFFSETS, TRANSACTION_STATE, "__share_group_state"];
/// Those of them of which only the newest record of each key counts.
const COMPACTED: &[&str] = &[CONSUMER_OFFSETS, TRANSACTION_STATE];
const NAME_BYTES_MAX: usize = 249;

/// What holds for an internal topic whenever it was made: the log cleaner looks after those that are
/// compacted, and an older program did that in another way.
pub fn internal_policy(name: &str) -> Option<(String, String)> {
    let is_compacted = COMPACTED.contains(&name);
    is_compacted.then(|| ("cleanup.policy".to_owned(), "compact".to_owned()))
}

/// Bounds of the number of partitions.
pub fn check_count(count: i32) -> Result<(), String> {
    if count < 1 {
        return Err("Number of partitions must be larger than 0.".into());
    }
    if count > PARTITIONS_PER_TOPIC_MAX {
        return Err(format!("More than {PARTITIONS_PER_TOPIC_MAX} partitions are not served."));
    }
    Ok(())
}

/// Kafka's rules for topic names.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        return Err("the empty string is not allowed".into());
    }
    if name == "." || name == ".." {
        return Err(format!("'{name}' is not allowed"));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(format!(
            "the length of '{name}' is longer than the max allowed length {NAME_BYTES_MAX}"
        ));
    }
    if !name.chars().all(is_legal) {
        return Err(format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' \
             and '-'"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rules() {
        for good in ["a", "A-b_c.9", &"x".repeat(249)] {
            check_name(good).expect(good);
        }
        for bad in ["", ".", "..", "a b", "ä", "a/b", &"x".repeat(250)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
