//! PURE. Records in Avro's container files, as Paimon's manifests use them.
//!
//! Fields are found by name, so that files of older and newer writers can be read: a field that is
//! missing reads as null.

use std::collections::HashMap;

use apache_avro::types::Value;
use apache_avro::{Codec, Reader, Schema, Writer, ZstandardSettings};
use bytes::Bytes;

use crate::binary_row::{BinaryRow, BinaryRowError};
use crate::data_file::SimpleStats;

/// A manifest or manifest list cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum AvroError {
    /// Not a container file, or a damaged one.
    #[error("not a whole Avro file: {0}")]
    File(#[source] Box<apache_avro::Error>),
    /// So damaged that the decoder gave up.
    #[error("not a whole Avro file: its head makes no sense")]
    Panicked,
    /// A field is missing or of another type than Paimon's.
    #[error("field {field} is {found} rather than {wanted}")]
    Field {
        /// Name of the field.
        field: String,
        /// What was found.
        found: String,
        /// What Paimon says.
        wanted: &'static str,
    },
    /// A row inside a field is damaged.
    #[error("field {field}: {source}")]
    Row {
        /// Name of the field.
        field: String,
        /// What is wrong with it.
        source: BinaryRowError,
    },
    /// A field holds what this program must not lose and cannot keep.
    #[error("field {field} is used by another writer; this program cannot keep it")]
    Unserved {
        /// Name of the field.
        field: String,
    },
    /// A format version or kind of the future.
    #[error("field {field} has the value {found}, which this program does not know")]
    Unknown {
        /// Name of the field.
        field: String,
        /// The value.
        found: i64,
    },
}

impl From<apache_avro::Error> for AvroError {
    fn from(error: apache_avro::Error) -> Self {
        Self::File(Box::new(error))
    }
}

/// Writes records as a container file, compressed by zstandard as Paimon does by default. The
/// marker parts the blocks of the file and is drawn by the caller.
pub fn write(
    schema: &Schema,
    records: impl Iterator<Item = Value>,
    marker: [u8; 16],
) -> Result<Vec<u8>, AvroError> {
    let codec = Codec::Zstandard(ZstandardSettings::default());
    let writer = Writer::builder().schema(schema).writer(Vec::new()).codec(codec).marker(marker);
    let mut writer = writer.build();
    for record in records {
        writer.append(record)?;
    }
    Ok(writer.into_inner()?)
}

/// The records of a container file.
pub fn read(bytes: &[u8]) -> Result<Vec<Fields>, AvroError> {
    // The crate panics on some damaged schemas; nothing outlives the panic.
    let read = std::panic::catch_unwind(|| {
        let reader = Reader::new(bytes)?;
        reader.map(|record| Fields::of("record", record?)).collect()
    });
    read.unwrap_or(Err(AvroError::Panicked))
}

/// The fields of one record, taken out by name.
#[derive(Debug)]
pub struct Fields(HashMap<String, Value>);

impl Fields {
    fn of(name: &str, value: Value) -> Result<Self, AvroError> {
        match value {
            Value::Record(fields) => Ok(Self(fields.into_iter().collect())),
            other => Err(unexpected(name, &other, "a record")),
        }
    }

    fn take(&mut self, name: &str) -> Value {
        match self.0.remove(name) {
            Some(Value::Union(_, value)) => *value,
            Some(value) => value,
            None => Value::Null,
        }
    }

    /// A number that may be null.
    pub fn long_or_null(&mut self, name: &str) -> Result<Option<i64>, AvroError> {
        match self.take(name) {
            Value::Null => Ok(None),
            Value::Int(value) => Ok(Some(i64::from(value))),
            Value::Long(value) | Value::TimestampMillis(value) => Ok(Some(value)),
            other => Err(unexpected(name, &other, "a number")),
        }
    }

    /// A number.
    pub fn long(&mut self, name: &str) -> Result<i64, AvroError> {
        self.long_or_null(name)?.ok_or_else(|| unexpected(name, &Value::Null, "a number"))
    }

    /// A number of 32 bits that may be null.
    pub fn int_or_null(&mut self, name: &str) -> Result<Option<i32>, AvroError> {
        let Some(number) = self.long_or_null(name)? else { return Ok(None) };
        let fits = i32::try_from(number);
        fits.map(Some).map_err(|_| AvroError::Unknown { field: name.into(), found: number })
    }

    /// A number of 32 bits.
    pub fn int(&mut self, name: &str) -> Result<i32, AvroError> {
        self.int_or_null(name)?.ok_or_else(|| unexpected(name, &Value::Null, "a number"))
    }

    /// Text.
    pub fn text(&mut self, name: &str) -> Result<String, AvroError> {
        match self.take(name) {
            Value::String(text) => Ok(text),
            other => Err(unexpected(name, &other, "text")),
        }
    }

    /// Texts, or null.
    pub fn texts_or_null(&mut self, name: &str) -> Result<Option<Vec<String>>, AvroError> {
        let values = match self.take(name) {
            Value::Null => return Ok(None),
            Value::Array(values) => values,
            other => return Err(unexpected(name, &other, "a list of text")),
        };
        let text_of = |value| match value {
            Value::String(text) => Ok(text),
            other => Err(unexpected(name, &other, "text")),
        };
        values.into_iter().map(text_of).collect::<Result<_, _>>().map(Some)
    }

    /// A row in Paimon's binary form.
    pub fn row(&mut self, name: &str) -> Result<BinaryRow, AvroError> {
        match self.take(name) {
            Value::Bytes(bytes) => BinaryRow::from_bytes(Bytes::from(bytes))
                .map_err(|source| AvroError::Row { field: name.into(), source }),
            other => Err(unexpected(name, &other, "bytes")),
        }
    }

    /// A record inside this one.
    pub fn record(&mut self, name: &str) -> Result<Fields, AvroError> {
        let value = self.take(name);
        Fields::of(name, value)
    }

    /// Smallest and largest values and null counts.
    pub fn stats(&mut self, name: &str) -> Result<SimpleStats, AvroError> {
        let mut fields = self.record(name)?;
        let (min, max) = (fields.row("_MIN_VALUES")?, fields.row("_MAX_VALUES")?);
        let count_of = |value| match value {
            Value::Union(_, inner) => match *inner {
                Value::Null => Ok(None),
                Value::Long(count) => Ok(Some(count)),
                other => Err(unexpected("_NULL_COUNTS", &other, "a number")),
            },
            Value::Long(count) => Ok(Some(count)),
            other => Err(unexpected("_NULL_COUNTS", &other, "a number")),
        };
        let null_counts = match fields.take("_NULL_COUNTS") {
            Value::Null => Vec::new(),
            Value::Array(values) => values.into_iter().map(count_of).collect::<Result<_, _>>()?,
            other => return Err(unexpected("_NULL_COUNTS", &other, "a list")),
        };
        Ok(SimpleStats { min, max, null_counts })
    }

    /// Refuses a field that is used, because it would be lost when the record is written again.
    pub fn refuse(&mut self, name: &str) -> Result<(), AvroError> {
        match self.take(name) {
            Value::Null => Ok(()),
            _ => Err(AvroError::Unserved { field: name.into() }),
        }
    }
}

fn unexpected(field: &str, found: &Value, wanted: &'static str) -> AvroError {
    let mut found = format!("{found:?}");
    if let Some((cut, _)) = found.char_indices().nth(80) {
        found.truncate(cut);
    }
    AvroError::Field { field: field.into(), found, wanted }
}

/// A value of a nullable field: null is always the first branch.
pub fn nullable(value: Option<Value>) -> Value {
    match value {
        None => Value::Union(0, Box::new(Value::Null)),
        Some(value) => Value::Union(1, Box::new(value)),
    }
}

/// A row's bytes.
pub fn row(row: &BinaryRow) -> Value {
    Value::Bytes(row.bytes().to_vec())
}

/// A list of texts.
pub fn texts(texts: &[String]) -> Value {
    Value::Array(texts.iter().cloned().map(Value::String).collect())
}

/// Smallest and largest values and null counts.
pub fn stats(stats: &SimpleStats) -> Value {
    let counts = stats.null_counts.iter().map(|count| nullable(count.map(Value::Long))).collect();
    Value::Record(vec![
        ("_MIN_VALUES".into(), row(&stats.min)),
        ("_MAX_VALUES".into(), row(&stats.max)),
        ("_NULL_COUNTS".into(), nullable(Some(Value::Array(counts)))),
    ])
}
