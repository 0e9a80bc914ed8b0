//! PURE. From a row to its table partition and bucket, and whether it may go there at all.

use weir_protocol::table::column::ColumnType;

use crate::binary_row::BinaryRow;
use crate::fold::outcome::BadRecord;
use crate::paimon::bucket::bucket_of;
use crate::paimon::paths::{COMPONENT_BYTES_MAX, push_component};
use crate::row::{Row, Value};
use crate::schema::TableSchema;

/// The table option that names the columns whose hash finds the bucket.
const BUCKET_KEY_OPTION: &str = "bucket-key";

/// The text of no number, day or moment is longer.
const SCALAR_BYTES_MAX: usize = 48;

/// A table partition and a bucket in it.
pub type BucketPlace = (BinaryRow, i32);

/// From a row to its bucket.
#[derive(Debug)]
pub(super) struct Route {
    names: Vec<String>,
    primary_key: Vec<usize>,
    partition: Projection,
    bucket_key: Projection,
    /// 0 or less: all rows of a table partition share one bucket.
    bucket_count: i32,
}

impl Route {
    /// The route of a table's rows.
    pub(super) fn of(schema: &TableSchema) -> Route {
        let places = |names: &[String]| -> Vec<usize> {
            let place =
                |name: &String| schema.place_of(name).expect("a schema names its own columns");
            names.iter().map(place).collect()
        };
        let bucket_key = match schema.options.get(BUCKET_KEY_OPTION) {
            Some(names) => {
                let names: Vec<String> = names.split(',').map(|name| name.trim().into()).collect();
                places(&names)
            }
            None => schema.trimmed_primary_key(),
        };
        Route {
            names: schema.columns.iter().map(|column| column.name.clone()).collect(),
            primary_key: places(&schema.primary_keys),
            partition: Projection::new(schema, schema.partition_places()),
            bucket_key: Projection::new(schema, bucket_key),
            bucket_count: schema.bucket_count(),
        }
    }

    /// Whether the row has a whole key, and its table partition a place.
    pub(super) fn check(&self, row: &Row) -> Result<(), BadRecord> {
        for &column in &self.primary_key {
            if row.values[column].is_null() {
                return Err(BadRecord::NullKey { column: self.names[column].clone() });
            }
        }
        for (&column, column_type) in self.partition.columns.iter().zip(&self.partition.types) {
            let (name, value) = (&self.names[column], &row.values[column]);
            // Escaping makes three bytes of one at most; nothing but text is long.
            let value_bytes = if let Value::String(text) = value { text.len() } else { 0 };
            if 3 * (name.len() + value_bytes.max(SCALAR_BYTES_MAX)) < COMPONENT_BYTES_MAX {
                continue;
            }
            let mut component = String::new();
            push_component(name, value, &column_type.data_type, &mut component);
            let (bytes, bytes_max) = (component.len(), COMPONENT_BYTES_MAX);
            if bytes > bytes_max {
                let column = name.clone();
                return Err(BadRecord::LongPartition { column, bytes, bytes_max });
            }
        }
        Ok(())
    }

    /// Where the row belongs.
    pub(super) fn place_of(&self, row: &Row) -> BucketPlace {
        let bucket = if self.bucket_count <= 1 {
            0
        } else {
            bucket_of(&self.bucket_key.of(row), self.bucket_count)
        };
        (self.partition.of(row), bucket)
    }
}

/// Some columns of a row.
#[derive(Debug)]
struct Projection {
    columns: Vec<usize>,
    types: Vec<ColumnType>,
}

impl Projection {
    fn new(schema: &TableSchema, columns: Vec<usize>) -> Projection {
        let column_type = |column: &usize| schema.columns[*column].column_type.clone();
        let types = columns.iter().map(column_type).collect();
        Projection { columns, types }
    }

    fn of(&self, row: &Row) -> BinaryRow {
        if self.columns.is_empty() {
            return BinaryRow::EMPTY;
        }
        let value = |column: &usize| row.values[*column].clone();
        let values: Vec<Value> = self.columns.iter().map(value).collect();
        BinaryRow::from_values(&values, &self.types)
    }
}
