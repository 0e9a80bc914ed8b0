//! `json`: the value is an object, each field a column.
//!
//! With `table.key.format=json` the key is an object too; its fields are columns, and where both
//! name a column the key is right: a deletion knows nothing else. A null value with such a key
//! deletes the row; any other null value is skipped.

use weir_protocol::records::record::Record;
use weir_protocol::table::column::Column;
use weir_protocol::table::settings::{Format, TableSettings};

use crate::decode::infer::Seen;
use crate::decode::reader::RowReader;
use crate::decode::scanner::{Kind, Scanner};
use crate::decode::{
    DecodeError, Decoded, DeletionRule, Evolution, Fault, check_not_null, text_of,
};
use crate::row::{Row, RowKind, Value};
use crate::schema::TableSchema;

/// Decodes objects.
#[derive(Debug)]
pub struct JsonDecoder {
    reader: RowReader,
    evolution: Evolution,
    decodes_key: bool,
    deletion: DeletionRule,
}

impl JsonDecoder {
    pub(super) fn new(settings: &TableSettings, schema: &TableSchema) -> Self {
        Self {
            reader: RowReader::new(&schema.columns),
            evolution: Evolution::new(settings, schema),
            decodes_key: settings.key_format == Some(Format::Json),
            deletion: DeletionRule::new(schema),
        }
    }

    pub(super) fn decode(
        &mut self,
        record: &Record,
        out: &mut Vec<Row>,
    ) -> Result<Decoded, DecodeError> {
        let value = match &record.value {
            Some(value) => text_of(value, "value")?,
            None => return self.delete(record, out),
        };
        let key = match &record.key {
            Some(key) if self.decodes_key => Some(text_of(key, "key")?),
            _ => None,
        };
        if is_null(value) {
            return self.delete(record, out);
        }
        self.reader.met_unknown = false;
        let mut row = Row { kind: RowKind::Insert, values: self.reader.empty_row() };
        let read = self.read(value, "value", &mut row.values);
        let read = read.and_then(|()| match key {
            Some(key) => self.read(key, "key", &mut row.values),
            None => Ok(()),
        });
        match read {
            Ok(()) if !(self.reader.met_unknown && self.evolution.adds) => {}
            Err(Fault::Value { .. }) if self.evolution.widens => {
                if let Some(columns) = self.columns_after(value, key) {
                    return Ok(Decoded::NeedsSchema(columns));
                }
            }
            Ok(()) => {
                if let Some(columns) = self.columns_after(value, key) {
                    return Ok(Decoded::NeedsSchema(columns));
                }
            }
            Err(_) => {}
        }
        read?;
        check_not_null(&row, &self.reader)?;
        out.push(row);
        Ok(Decoded::Rows)
    }

    /// A record without value: with a decoded key the end of that key's row.
    fn delete(&mut self, record: &Record, out: &mut Vec<Row>) -> Result<Decoded, DecodeError> {
        let key = match &record.key {
            Some(key) if self.decodes_key && self.deletion.has_key() => text_of(key, "key")?,
            _ => return Ok(Decoded::Skipped),
        };
        let mut values = self.reader.empty_row();
        self.read(key, "key", &mut values)?;
        self.deletion.check(&values)?;
        out.push(Row { kind: RowKind::Delete, values });
        Ok(Decoded::Rows)
    }

    fn read(&mut self, text: &str, what: &str, values: &mut [Value]) -> Result<(), Fault> {
        let mut scanner = Scanner::new(text);
        check_object(&mut scanner, what)?;
        self.reader.read(&mut scanner, &[], |_| true, values)?;
        Ok(scanner.end()?)
    }

    fn columns_after(&self, value: &str, key: Option<&str>) -> Option<Vec<Column>> {
        let seen = seen(value, key).ok()?;
        self.evolution.columns_after(seen.into_columns(&settings_that_add()))
    }
}

/// Evolution never adds columns of which nothing but null is known.
fn settings_that_add() -> TableSettings {
    TableSettings::parse("topic", &std::collections::BTreeMap::new())
        .expect("the defaults are valid settings")
}

/// Columns of the fields of a sample.
pub(super) fn infer(settings: &TableSettings, sample: &[Record]) -> Vec<Column> {
    let mut all = Seen::Nothing;
    for record in sample {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let Some(value) = record.value.as_deref().and_then(text) else { continue };
        let key = match settings.key_format {
            Some(_) => record.key.as_deref().and_then(text),
            None => None,
        };
        if let Ok(seen @ Seen::Object(_)) = seen(value, key) {
            all = all.and(seen);
        }
    }
    all.into_columns(settings)
}

fn seen(value: &str, key: Option<&str>) -> Result<Seen, Fault> {
    let seen_in = |text: &str| {
        let mut scanner = Scanner::new(text);
        let seen = Seen::of(&mut scanner)?;
        scanner.end()?;
        Ok::<_, Fault>(seen)
    };
    let seen = seen_in(value)?;
    Ok(match key {
        Some(key) => seen_in(key)?.and(seen),
        None => seen,
    })
}

fn is_null(text: &str) -> bool {
    text.len() < 16 && text.trim() == "null"
}

pub(super) fn check_object(scanner: &mut Scanner<'_>, what: &str) -> Result<(), Fault> {
    match scanner.peek()? {
        Kind::Object => Ok(()),
        kind => Err(Fault::value(format!("the {what} is {}, not an object", kind.shown()))),
    }
}
