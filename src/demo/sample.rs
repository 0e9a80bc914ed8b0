//! The bundled sample: change records that Debezium captured from a real PostgreSQL
//! (`tests/data/README.md` says how), and how their tables are declared.

use std::io::{BufRead, BufReader};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;

use crate::failure::Failure;

/// The catalogue of all sets.
const CATALOGUE: &str = include_str!("../../tests/data/tables.json");

/// The sets of the demo: a shop's tables, and pgbench's own.
const SETS: &[(&str, &[u8])] = &[
    ("customers", include_bytes!("../../tests/data/customers.debezium.jsonl.gz")),
    ("products", include_bytes!("../../tests/data/products.debezium.jsonl.gz")),
    ("orders", include_bytes!("../../tests/data/orders.debezium.jsonl.gz")),
    ("order_items", include_bytes!("../../tests/data/order_items.debezium.jsonl.gz")),
    ("pgbench_accounts", include_bytes!("../../tests/data/pgbench_accounts.debezium.jsonl.gz")),
    ("pgbench_tellers", include_bytes!("../../tests/data/pgbench_tellers.debezium.jsonl.gz")),
    ("pgbench_branches", include_bytes!("../../tests/data/pgbench_branches.debezium.jsonl.gz")),
];

/// One table and the records that make it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Set {
    pub(super) name: String,
    pub(super) topic: String,
    /// Number of records.
    pub(super) records: u64,
    /// Rows that PostgreSQL held in the end.
    pub(super) rows: usize,
    schema: String,
    primary_key: String,
    #[serde(skip)]
    lines: &'static [u8],
}

/// One change record.
#[derive(Debug, Deserialize)]
pub(super) struct Change {
    pub(super) key: Option<String>,
    pub(super) value: Option<String>,
    pub(super) timestamp: i64,
}

/// The sets in the order in which they are sent.
pub(super) fn sets() -> Vec<Set> {
    let known: Vec<Set> = serde_json::from_str(CATALOGUE).expect("the catalogue is bundled");
    let set = |(name, lines): &(&str, &'static [u8])| {
        let set =
            known.iter().find(|set| set.name == *name).expect("every set is in the catalogue");
        Set { lines, ..set.clone() }
    };
    SETS.iter().map(set).collect()
}

impl Set {
    /// The table, `database.table`.
    pub(super) fn table(&self) -> String {
        format!("shop.{}", self.name)
    }

    /// The topic's configs: what makes it a table.
    pub(super) fn configs(&self) -> Vec<(&'static str, String)> {
        vec![
            ("table.enabled", "true".to_owned()),
            ("table.name", self.table()),
            ("table.value.format", "debezium-json".to_owned()),
            ("table.schema", self.schema.clone()),
            ("table.primary.key", self.primary_key.clone()),
        ]
    }

    /// Its records in the order of capture.
    pub(super) fn changes(&self) -> impl Iterator<Item = Result<Change, Failure>> + use<> {
        let name = self.name.clone();
        BufReader::new(MultiGzDecoder::new(self.lines)).lines().map(move |line| {
            let damaged = |why: String| Failure::new(format!("the sample {name}: {why}"));
            let line = line.map_err(|error| damaged(error.to_string()))?;
            serde_json::from_str(&line).map_err(|error| damaged(error.to_string()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_holds_what_the_catalogue_says() {
        for set in sets() {
            let count = set.changes().map(|change| change.map(drop)).collect::<Result<Vec<_>, _>>();
            assert_eq!(count.expect("every line is a change").len() as u64, set.records);
            assert!(!set.primary_key.is_empty(), "change records need a key");
        }
    }
}
