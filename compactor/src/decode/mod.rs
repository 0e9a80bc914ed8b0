//! Records become rows: one decoder per format, a closed list.
//!
//! ```text
//! record -> json      -> one row; or, with a decoded key and no value, one deletion
//!        -> debezium  -> the rows of the change: none, one, or a deletion and an insertion
//! ```
//!
//! What must hold: no bytes make a decoder panic or read beyond its bounds; a record is decoded
//! whole or not at all; what cannot be kept exactly is refused with a reason that names the column;
//! nothing of a record is dropped in silence, but fields that the settings say to ignore.

mod connect;
mod debezium;
mod decimal_habit;
mod encoding;
mod fitting;
mod infer;
mod json;
mod reader;
mod scalar;
pub mod scanner;

use weir_protocol::records::record::Record;
use weir_protocol::table::column::Column;
use weir_protocol::table::settings::{Format, SchemaEvolution, TableSettings};

use crate::decode::debezium::DebeziumDecoder;
use crate::decode::json::JsonDecoder;
use crate::decode::reader::RowReader;
use crate::decode::scanner::SyntaxError;
use crate::row::{Row, Value};
use crate::schema::TableSchema;
use crate::schema::evolution::evolve;

/// What a record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Rows, which were added to `out`; at least one.
    Rows,
    /// Nothing for the table, by its format's rules: the tombstone after a deletion, a heartbeat.
    Skipped,
    /// The table needs these columns first: evolve its schema to them, make a new decoder and
    /// decode the record again. `evolve` accepts them.
    NeedsSchema(Vec<Column>),
}

/// A record cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct DecodeError {
    /// Why, in one line, naming the column where there is one.
    pub reason: String,
}

impl DecodeError {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// Turns the records of a topic into rows of a table.
#[derive(Debug)]
pub enum Decoder {
    /// One JSON object for each row.
    Json(Box<JsonDecoder>),
    /// Debezium's change records.
    Debezium(Box<DebeziumDecoder>),
}

impl Decoder {
    /// A decoder into rows of this schema.
    pub fn new(settings: &TableSettings, schema: &TableSchema) -> Self {
        match settings.value_format {
            Format::Json => Decoder::Json(Box::new(JsonDecoder::new(settings, schema))),
            Format::DebeziumJson => {
                Decoder::Debezium(Box::new(DebeziumDecoder::new(settings, schema)))
            }
        }
    }

    /// Keeps what the decoder before it learned of how the topic writes its values.
    pub fn learn_from(&mut self, before: &Decoder) {
        if let (Decoder::Debezium(decoder), Decoder::Debezium(before)) = (self, before) {
            decoder.learn_from(before);
        }
    }

    /// Adds the rows of a record to `out`; on an error or `NeedsSchema` nothing is added.
    pub fn decode(&mut self, record: &Record, out: &mut Vec<Row>) -> Result<Decoded, DecodeError> {
        let before = out.len();
        let result = match self {
            Decoder::Json(decoder) => decoder.decode(record, out),
            Decoder::Debezium(decoder) => decoder.decode(record, out),
        };
        if !matches!(result, Ok(Decoded::Rows)) {
            out.truncate(before);
        }
        result
    }

    /// Columns that hold what the sample holds, in the order of appearance; none if it does not
    /// tell. Records that cannot be read are passed over: they will be bad records later on.
    pub fn infer(settings: &TableSettings, sample: &[Record]) -> Result<Vec<Column>, DecodeError> {
        let columns = match settings.value_format {
            Format::Json => json::infer(settings, sample),
            Format::DebeziumJson => debezium::infer(settings, sample),
        };
        if columns.is_empty() {
            return Ok(columns);
        }
        let keys = [&settings.primary_key, &settings.partition_by, &settings.sequence_field];
        for name in keys.into_iter().flatten() {
            if !columns.iter().any(|column| column.name == *name) {
                let count = sample.len();
                return Err(DecodeError::new(format!(
                    "the column {name} is in none of the first {count} records: declare table.schema"
                )));
            }
        }
        Ok(columns)
    }
}

/// How a table's schema follows its records.
#[derive(Debug)]
struct Evolution {
    schema: TableSchema,
    /// Unknown fields become columns.
    adds: bool,
    /// Types were inferred and may be widened.
    widens: bool,
}

impl Evolution {
    fn new(settings: &TableSettings, schema: &TableSchema) -> Self {
        let adds = settings.schema_evolution == SchemaEvolution::Add;
        Self { schema: schema.clone(), adds, widens: adds && settings.columns.is_none() }
    }

    /// The columns that the table would have if it took in `seen`; `None` if it has them.
    fn columns_after(&self, seen: Vec<Column>) -> Option<Vec<Column>> {
        if !self.adds {
            return None;
        }
        let mut wanted = Vec::with_capacity(seen.len());
        for column in seen {
            let known = self.schema.columns.iter().find(|known| known.name == column.name);
            wanted.extend(match known {
                None => Some(column),
                Some(known) => infer::merged_column(known, column, self.widens),
            });
        }
        evolve(&self.schema, &wanted).ok().flatten().map(|schema| schema.columns)
    }
}

/// Why a value could not be read.
#[derive(Debug)]
enum Fault {
    /// The bytes are no JSON.
    Syntax(SyntaxError),
    /// The value does not fit its column.
    Value {
        /// Names from the column down to the member.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

impl Fault {
    fn value(reason: impl Into<String>) -> Self {
        Fault::Value { path: String::new(), reason: reason.into() }
    }

    /// The fault as seen from the column or member around it.
    fn within(self, name: &str) -> Self {
        match self {
            Fault::Value { path, reason } if path.is_empty() => {
                Fault::Value { path: name.to_owned(), reason }
            }
            Fault::Value { path, reason } => {
                let dot = if path.starts_with('[') { "" } else { "." };
                Fault::Value { path: format!("{name}{dot}{path}"), reason }
            }
            other => other,
        }
    }
}

impl From<SyntaxError> for Fault {
    fn from(error: SyntaxError) -> Self {
        Fault::Syntax(error)
    }
}

impl From<Fault> for DecodeError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Syntax(error) => DecodeError::new(error.to_string()),
            Fault::Value { path, reason } if path.is_empty() => DecodeError::new(reason),
            Fault::Value { path, reason } => DecodeError::new(format!("column {path}: {reason}")),
        }
    }
}

/// The text of a key or value.
fn text_of<'a>(bytes: &'a [u8], what: &str) -> Result<&'a str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let position = error.valid_up_to();
        DecodeError::new(format!("the {what} is not UTF-8 from byte {position} on"))
    })
}

/// A piece of foreign text as it may stand in a reason: short, on one line.
fn quoted(text: &str) -> String {
    const LETTERS_MAX: usize = 60;
    let mut short: String = text.chars().take(LETTERS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// Refuses a row without value in a NOT NULL column.
fn check_not_null(row: &Row, reader: &RowReader) -> Result<(), DecodeError> {
    match reader.missing(&row.values) {
        None => Ok(()),
        Some(column) => {
            Err(DecodeError::new(format!("column {column}: it is NOT NULL and has no value")))
        }
    }
}

/// What a deletion must bring: the columns of the key, and those that tell the newest row, for
/// without them it would count as older than every row that it deletes.
#[derive(Debug)]
struct DeletionRule {
    names: Vec<String>,
    /// Whether each column is in the primary key.
    is_key: Vec<bool>,
    /// Whether each column is a key or a sequence column.
    is_needed: Vec<bool>,
}

impl DeletionRule {
    fn new(schema: &TableSchema) -> Self {
        let is_key = |column: &Column| schema.primary_keys.contains(&column.name);
        let is_key: Vec<bool> = schema.columns.iter().map(is_key).collect();
        let mut is_needed = is_key.clone();
        for place in schema.sequence_places() {
            is_needed[place] = true;
        }
        let names = schema.columns.iter().map(|column| column.name.clone()).collect();
        Self { names, is_key, is_needed }
    }

    fn has_key(&self) -> bool {
        self.is_key.contains(&true)
    }

    /// Must a deletion bring more than its key?
    fn has_sequence(&self) -> bool {
        self.is_needed != self.is_key
    }

    fn is_key_column(&self, name: &str) -> bool {
        let mut keys = self.names.iter().zip(&self.is_key).filter(|(_, is_key)| **is_key);
        keys.any(|(key, _)| key == name)
    }

    /// A key column that has no value.
    fn key_gap(&self, values: &[Value]) -> Option<&str> {
        let gap = (0..values.len()).find(|place| self.is_key[*place] && values[*place].is_null());
        gap.map(|place| self.names[place].as_str())
    }

    fn check(&self, values: &[Value]) -> Result<(), DecodeError> {
        let is_gap = |place: &usize| self.is_needed[*place] && values[*place].is_null();
        let Some(place) = (0..values.len()).find(is_gap) else { return Ok(()) };
        let name = &self.names[place];
        Err(DecodeError::new(match self.is_key[place] {
            true => format!("column {name}: the deletion does not say which row it deletes"),
            false => format!(
                "column {name}: the deletion has no value for this column of table.sequence.field"
            ),
        }))
    }
}

#[cfg(test)]
mod tests;
