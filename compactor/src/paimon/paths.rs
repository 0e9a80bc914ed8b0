//! PURE. Where each file of a table lies, below the root of the store.
//!
//! The place of a data file is written down nowhere: every reader works it out from partition,
//! bucket and name. So the text of a partition must be, letter by letter, what Paimon makes of it
//! with `partition.legacy-name=false`.

use weir_protocol::table::column::{Column, DataType};

use crate::binary_row::BinaryRow;
use crate::row::Value;

/// No file system takes a longer name for a file or folder.
pub const COMPONENT_BYTES_MAX: usize = 255;
/// What stands in a path for a partition value that is null or blank.
pub const DEFAULT_PARTITION: &str = "__DEFAULT_PARTITION__";

/// A name or partition that has no place in a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A type whose text differs between readers.
    #[error("column {column} of type {data_type} cannot be a partition key")]
    Type {
        /// Name of the column.
        column: String,
        /// Its type.
        data_type: String,
    },
    /// The partition's row does not fit the table's partition keys.
    #[error("the partition of a file does not fit the table's partition keys: {0}")]
    Row(String),
    /// A name taken from a file that would lead out of its folder.
    #[error("{name:?} is no name of a file of this table")]
    Name {
        /// The name.
        name: String,
    },
}

/// The places of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePaths {
    root: String,
    partition_columns: Vec<Column>,
}

impl TablePaths {
    /// The places of `database.table` in a store that is a warehouse. Partition columns in the
    /// order of the partition keys.
    pub fn new(
        database: &str,
        table: &str,
        partition_columns: Vec<Column>,
    ) -> Result<Self, PathError> {
        for name in [database, table] {
            check_name(name)?;
        }
        let root = format!("{database}.db/{table}");
        Self { root, partition_columns: Vec::new() }.with_partition_columns(partition_columns)
    }

    /// The same places for a table with these partition columns.
    pub fn with_partition_columns(&self, columns: Vec<Column>) -> Result<Self, PathError> {
        if let Some(column) = columns.iter().find(|it| !it.column_type.data_type.has_one_text()) {
            let data_type = column.column_type.to_string();
            return Err(PathError::Type { column: column.name.clone(), data_type });
        }
        Ok(Self { root: self.root.clone(), partition_columns: columns })
    }

    /// The table's folder.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The columns that part the table.
    pub fn partition_columns(&self) -> &[Column] {
        &self.partition_columns
    }

    /// A folder of the table: `schema`, `snapshot`, `manifest`, `tag`, `consumer`, `quarantine`.
    pub fn folder(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }

    /// The file of a schema.
    pub fn schema(&self, id: i64) -> String {
        format!("{}/schema/schema-{id}", self.root)
    }

    /// The file of a snapshot.
    pub fn snapshot(&self, id: i64) -> String {
        format!("{}/snapshot/snapshot-{id}", self.root)
    }

    /// The hint that names the newest snapshot.
    pub fn latest_hint(&self) -> String {
        format!("{}/snapshot/LATEST", self.root)
    }

    /// The hint that names the oldest snapshot.
    pub fn earliest_hint(&self) -> String {
        format!("{}/snapshot/EARLIEST", self.root)
    }

    /// A manifest, manifest list or index manifest. The name may come from a file of others.
    pub fn manifest(&self, name: &str) -> Result<String, PathError> {
        check_name(name)?;
        Ok(format!("{}/manifest/{name}", self.root))
    }

    /// A file of quarantined records, or the list of them.
    pub fn quarantine(&self, name: &str) -> Result<String, PathError> {
        check_name(name)?;
        Ok(format!("{}/quarantine/{name}", self.root))
    }

    /// A data file. The name may come from a manifest of others.
    pub fn data_file(
        &self,
        partition: &BinaryRow,
        bucket: i32,
        name: &str,
    ) -> Result<String, PathError> {
        check_name(name)?;
        let partition = self.partition(partition)?;
        Ok(format!("{}/{partition}bucket-{bucket}/{name}", self.root))
    }

    /// `key=value/` for each partition key; nothing for a table without.
    pub fn partition(&self, partition: &BinaryRow) -> Result<String, PathError> {
        let types: Vec<_> =
            self.partition_columns.iter().map(|column| column.column_type.clone()).collect();
        let values =
            partition.to_values(&types).map_err(|error| PathError::Row(error.to_string()))?;
        let mut path = String::new();
        for (column, value) in self.partition_columns.iter().zip(&values) {
            push_component(&column.name, value, &column.column_type.data_type, &mut path);
            path.push('/');
        }
        Ok(path)
    }
}

/// Appends `key=value`, the name of a partition column's folder.
pub fn push_component(name: &str, value: &Value, data_type: &DataType, path: &mut String) {
    escape(name, path);
    path.push('=');
    let text = text_of(value, data_type);
    match text.trim().is_empty() {
        true => path.push_str(DEFAULT_PARTITION),
        false => escape(&text, path),
    }
}

/// Refuses what is not a plain, visible name: file names also come from files that others wrote.
pub fn check_name(name: &str) -> Result<(), PathError> {
    let is_plain = |c: char| !c.is_control() && !matches!(c, '/' | '\\' | '#' | '?');
    let is_visible = !name.is_empty() && !name.starts_with('.');
    if is_visible && name.len() <= COMPONENT_BYTES_MAX && name.chars().all(is_plain) {
        return Ok(());
    }
    Err(PathError::Name { name: name.chars().take(100).collect() })
}

/// The number in `<prefix><number>`: the id of a snapshot or schema by its file's name.
pub fn numbered(name: &str, prefix: &str) -> Option<i64> {
    let digits = name.strip_prefix(prefix)?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}

/// Hive's way: what a path or a shell might misread becomes `%XX`.
fn escape(text: &str, path: &mut String) {
    for c in text.chars() {
        if c.is_ascii_control() || "\"#%'*/:=?\\{}[]^".contains(c) {
            path.push_str(&format!("%{:02X}", c as u32));
        } else {
            path.push(c);
        }
    }
}

/// A value as Paimon casts it to STRING.
fn text_of(value: &Value, data_type: &DataType) -> String {
    match value {
        Value::Boolean(value) => value.to_string(),
        Value::Int8(value) => value.to_string(),
        Value::Int16(value) => value.to_string(),
        Value::Int32(value) => value.to_string(),
        Value::Int64(value) => value.to_string(),
        Value::Decimal(unscaled) => match data_type {
            DataType::Decimal { scale, .. } => decimal_text(*unscaled, usize::from(*scale)),
            _ => unscaled.to_string(),
        },
        Value::Date(days) => date_text(i64::from(*days)),
        Value::Time(millis) => match data_type {
            DataType::Time { precision } => time_text(*millis, usize::from(*precision)),
            _ => time_text(*millis, 3),
        },
        Value::Timestamp { millis, nanos_of_milli } => match data_type {
            DataType::Timestamp { precision } => {
                timestamp_text(*millis, *nanos_of_milli, usize::from(*precision))
            }
            _ => timestamp_text(*millis, *nanos_of_milli, 9),
        },
        Value::String(text) => text.clone(),
        // Refused when the table's paths were made; a null has no text.
        _ => String::new(),
    }
}

fn decimal_text(unscaled: i128, scale: usize) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

/// `yyyy-MM-dd` of a day counted from 1970-01-01 (Howard Hinnant's civil calendar).
fn date_text(days: i64) -> String {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

fn clock_text(second_of_day: i64) -> String {
    let (hour, minute) = (second_of_day / 3600, second_of_day / 60 % 60);
    format!("{hour:02}:{minute:02}:{:02}", second_of_day % 60)
}

/// The fraction is cut to the precision; then zeros at its end are kept (Java stops only once
/// nothing but zeros is left).
fn time_text(millis: i32, precision: usize) -> String {
    let clock = clock_text(i64::from(millis) / 1000);
    let mut left = millis % 1000;
    let mut fraction = String::new();
    for _ in 0..precision {
        fraction.push_str(&(left / 100).to_string());
        left = left % 100 * 10;
        if left == 0 {
            break;
        }
    }
    if fraction.is_empty() { clock } else { format!("{clock}.{fraction}") }
}

/// Nine digits of fraction, less zeros at its end down to the precision.
fn timestamp_text(millis: i64, nanos_of_milli: i32, precision: usize) -> String {
    let nanos = millis.rem_euclid(1000) * 1_000_000 + i64::from(nanos_of_milli);
    let second = millis.div_euclid(1000);
    let mut fraction = format!("{nanos:09}");
    while fraction.len() > precision && fraction.ends_with('0') {
        fraction.pop();
    }
    let date = date_text(second.div_euclid(86_400));
    let clock = clock_text(second.rem_euclid(86_400));
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{date} {clock}{point}{fraction}")
}

#[cfg(test)]
mod tests {
    use weir_protocol::table::column::ColumnType;

    use super::*;

    fn path_of(value: Value, data_type: DataType) -> String {
        let column_type = ColumnType { data_type, nullable: true };
        let partition = BinaryRow::from_values(&[value], std::slice::from_ref(&column_type));
        let column = Column { id: 0, name: "p".into(), column_type };
        let paths = TablePaths::new("default", "t", vec![column]).unwrap();
        paths.partition(&partition).unwrap()
    }

    fn text(text: &str) -> Value {
        Value::String(text.into())
    }

    #[test]
    fn a_table_without_partitions_has_its_buckets_at_the_top() {
        let paths = TablePaths::new("default", "orders", vec![]).unwrap();
        let path = paths.data_file(&BinaryRow::EMPTY, 3, "data-x-0.parquet").unwrap();
        assert_eq!(path, "default.db/orders/bucket-3/data-x-0.parquet");
        assert_eq!(paths.snapshot(7), "default.db/orders/snapshot/snapshot-7");
    }

    #[test]
    fn partition_values_are_written_as_paimon_casts_them() {
        assert_eq!(path_of(text("2026"), DataType::String), "p=2026/");
        assert_eq!(path_of(Value::Int32(-5), DataType::Int), "p=-5/");
        assert_eq!(path_of(Value::Boolean(true), DataType::Boolean), "p=true/");
        assert_eq!(path_of(Value::Date(20_414), DataType::Date), "p=2025-11-22/");
        assert_eq!(path_of(Value::Date(-1), DataType::Date), "p=1969-12-31/");
        assert_eq!(path_of(Value::Date(11_016), DataType::Date), "p=2000-02-29/");
        let decimal = DataType::Decimal { precision: 10, scale: 2 };
        assert_eq!(path_of(Value::Decimal(-5), decimal.clone()), "p=-0.05/");
        assert_eq!(path_of(Value::Decimal(12_345), decimal), "p=123.45/");
    }

    #[test]
    fn times_keep_as_many_digits_as_paimon_keeps() {
        let at = |millis, nanos_of_milli, precision| {
            let value = Value::Timestamp { millis, nanos_of_milli };
            path_of(value, DataType::Timestamp { precision })
        };
        assert_eq!(at(1_700_000_000_120, 0, 0), "p=2023-11-14 22%3A13%3A20.12/");
        assert_eq!(at(1_700_000_000_120, 0, 3), "p=2023-11-14 22%3A13%3A20.120/");
        assert_eq!(at(1_700_000_000_000, 0, 0), "p=2023-11-14 22%3A13%3A20/");
        assert_eq!(at(-1, 999_000, 6), "p=1969-12-31 23%3A59%3A59.999999/");
        let time = |millis, precision| path_of(Value::Time(millis), DataType::Time { precision });
        assert_eq!(time(101, 2), "p=00%3A00%3A00.10/");
        assert_eq!(time(86_399_000, 3), "p=23%3A59%3A59.0/");
        assert_eq!(time(100, 0), "p=00%3A00%3A00/");
    }

    #[test]
    fn null_and_blank_values_go_to_the_default_partition() {
        for value in [Value::Null, text(""), text(" \t\n")] {
            assert_eq!(path_of(value, DataType::String), "p=__DEFAULT_PARTITION__/");
        }
    }

    #[test]
    fn what_a_path_might_misread_is_escaped_and_the_rest_is_kept() {
        assert_eq!(path_of(text("a/b=c%d:e"), DataType::String), "p=a%2Fb%3Dc%25d%3Ae/");
        assert_eq!(path_of(text("..\u{1}\u{7f}"), DataType::String), "p=..%01%7F/");
        assert_eq!(path_of(text("é 水"), DataType::String), "p=é 水/");
    }

    #[test]
    fn types_whose_text_differs_between_readers_are_refused() {
        let instant = DataType::TimestampLtz { precision: 3 };
        for data_type in [DataType::Float, DataType::Double, DataType::Bytes, instant] {
            let column = Column { id: 0, name: "p".into(), column_type: data_type.nullable() };
            let refused = TablePaths::new("default", "t", vec![column]);
            assert!(matches!(refused, Err(PathError::Type { .. })));
        }
    }

    #[test]
    fn names_from_foreign_files_cannot_leave_their_folder() {
        let paths = TablePaths::new("default", "t", vec![]).unwrap();
        for name in ["", "..", "../x", "a/b", "/etc/passwd", ".hidden", "a\\b", "a\0", "a\n"] {
            assert!(paths.manifest(name).is_err(), "{name:?}");
            assert!(paths.data_file(&BinaryRow::EMPTY, 0, name).is_err(), "{name:?}");
            assert!(TablePaths::new(name, "t", vec![]).is_err(), "{name:?}");
        }
        paths.manifest("manifest-list-0f-1").unwrap();
    }

    #[test]
    fn numbers_of_snapshots_are_read_strictly() {
        assert_eq!(numbered("snapshot-12", "snapshot-"), Some(12));
        for name in ["snapshot-", "snapshot-+1", "snapshot-1#1", "LATEST", "snapshot-1.tmp"] {
            assert_eq!(numbered(name, "snapshot-"), None, "{name}");
        }
        assert_eq!(numbered("snapshot-99999999999999999999", "snapshot-"), None);
    }
}
