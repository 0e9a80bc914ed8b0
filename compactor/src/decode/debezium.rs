//! `debezium-json`: change records as Debezium writes them, with or without the `schema` envelope.
//!
//! ```text
//! {"before": row or null, "after": row or null, "op": "r" | "c" | "u" | "d", "source": ...}
//! {"schema": what the values mean, "payload": the above}
//! ```
//!
//! | record | rows |
//! |---|---|
//! | r (read by a snapshot), c (created) | the row after |
//! | u (updated) | the row after; if its key is another than before, first a deletion of that |
//! | d (deleted) | a deletion of the key in `before`, or else in the record's key |
//! | tombstone, heartbeat, transaction mark, schema change, m (message) | skipped |
//! | anything else without op | refused |
//! | t (truncated) | refused: a table cannot be emptied by one row |
//!
//! Without the envelope a number does not say what it counts; the column's type does (see
//! `reader`), and a decimal is base64 of the unscaled number.
//!
//! Of the row before a deletion only key and sequence columns are read: where the source does not
//! log whole rows, Debezium fills the rest with nulls and made-up zeroes. A made-up sequence would
//! make the deletion older than every row, so such a row before counts as its key alone.

use weir_protocol::records::record::Record;
use weir_protocol::table::column::Column;
use weir_protocol::table::settings::TableSettings;

use crate::decode::connect::RowSchema;
use crate::decode::encoding::Encoding;
use crate::decode::infer::{Seen, merge_columns};
use crate::decode::json::check_object;
use crate::decode::reader::RowReader;
use crate::decode::scanner::{Kind, Scanner};
use crate::decode::{
    DecodeError, Decoded, DeletionRule, Evolution, Fault, check_not_null, quoted, text_of,
};
use crate::row::{Row, RowKind, Value};
use crate::schema::TableSchema;

/// Decodes change records.
#[derive(Debug)]
pub struct DebeziumDecoder {
    reader: RowReader,
    evolution: Evolution,
    settings: TableSettings,
    rule: DeletionRule,
    /// How columns are written when there is no envelope.
    bare: Vec<Encoding>,
    /// The schema of the last envelope, for it is the same over and over, and what follows from it.
    envelope: Option<(String, Vec<Encoding>)>,
}

/// The pieces of a change record, as text.
#[derive(Debug, Default)]
struct Change<'a> {
    schema: Option<&'a str>,
    before: Option<&'a str>,
    after: Option<&'a str>,
    op: Option<String>,
    /// An envelope around nothing: a tombstone.
    is_empty: bool,
    /// What there is where there is no op.
    aside: Aside,
}

/// The shape of what Debezium sends beside changes. Anything else without op is a bad record: the
/// topic may be of another format, and its records must not vanish.
#[derive(Debug, Default)]
struct Aside {
    has_time: bool,
    has_status: bool,
    has_id: bool,
    has_event_count: bool,
    has_schema_change: bool,
    has_database: bool,
    has_source: bool,
    /// A field that belongs to a transaction mark besides those above.
    has_collections: bool,
    /// A field that is none of the above.
    has_other: bool,
}

impl Aside {
    fn note(&mut self, name: &str, kind: Kind) {
        let known = match (name, kind) {
            ("ts_ms" | "ts_us" | "ts_ns", Kind::Number) => &mut self.has_time,
            ("status", Kind::String) => &mut self.has_status,
            ("id", Kind::String) => &mut self.has_id,
            ("event_count", _) => &mut self.has_event_count,
            ("data_collections", _) => &mut self.has_collections,
            ("ddl", Kind::String) | ("tableChanges", Kind::Array) => &mut self.has_schema_change,
            ("databaseName", _) => &mut self.has_database,
            ("source", Kind::Object) => &mut self.has_source,
            _ => &mut self.has_other,
        };
        *known = true;
    }

    fn is_known(&self) -> bool {
        let is_mark = self.has_status && self.has_id && self.has_event_count;
        let is_foreign = self.has_other || self.has_source || self.has_database;
        let has_mark = self.has_status || self.has_id || self.has_event_count;
        let is_heartbeat = self.has_time && !has_mark && !self.has_collections;
        match self.has_schema_change {
            true => self.has_database && self.has_source,
            false => !is_foreign && (is_heartbeat || is_mark),
        }
    }
}

impl DebeziumDecoder {
    pub(super) fn new(settings: &TableSettings, schema: &TableSchema) -> Self {
        Self {
            reader: RowReader::new(&schema.columns),
            evolution: Evolution::new(settings, schema),
            settings: settings.clone(),
            rule: DeletionRule::new(schema),
            bare: vec![Encoding::Debezium; schema.columns.len()],
            envelope: None,
        }
    }

    pub(super) fn learn_from(&mut self, before: &DebeziumDecoder) {
        self.reader.habit = before.reader.habit;
    }

    pub(super) fn decode(
        &mut self,
        record: &Record,
        out: &mut Vec<Row>,
    ) -> Result<Decoded, DecodeError> {
        let Some(value) = &record.value else { return Ok(Decoded::Skipped) };
        let change = change_of(text_of(value, "value")?)?;
        if change.is_empty {
            return Ok(Decoded::Skipped);
        }
        let Some(op) = &change.op else {
            return match change.aside.is_known() {
                true => Ok(Decoded::Skipped),
                false => Err(DecodeError::new("it has no op: it is no change record of Debezium")),
            };
        };
        if let Some(columns) = self.learn(change.schema) {
            return Ok(Decoded::NeedsSchema(columns));
        }
        match op.as_str() {
            "r" | "c" => self.upsert(&change, RowKind::Insert, out),
            "u" => self.upsert(&change, RowKind::UpdateAfter, out),
            "d" => self.delete(&change, record, out),
            "m" => Ok(Decoded::Skipped),
            "t" => Err(DecodeError::new("op t: the source was truncated, which no row can say")),
            other => Err(DecodeError::new(format!("op {} is unknown", quoted(other)))),
        }
    }

    /// Takes in the schema of an envelope; the columns that the table lacks for it, if any.
    fn learn(&mut self, schema: Option<&str>) -> Option<Vec<Column>> {
        let schema = schema?;
        if self.envelope.as_ref().is_some_and(|(known, _)| known == schema) {
            return None;
        }
        let row = RowSchema::in_envelope(schema, "after");
        let row = row.or_else(|| RowSchema::in_envelope(schema, "before"))?;
        let columns = &self.evolution.schema.columns;
        let encoding = |column: &Column| {
            row.encodings.get(&column.name).cloned().unwrap_or(Encoding::Debezium)
        };
        self.envelope = Some((schema.to_owned(), columns.iter().map(encoding).collect()));
        self.evolution.columns_after(row.columns)
    }

    fn upsert(
        &mut self,
        change: &Change<'_>,
        kind: RowKind,
        out: &mut Vec<Row>,
    ) -> Result<Decoded, DecodeError> {
        let Some(after) = change.after else {
            return Err(DecodeError::new("it has no row after the change"));
        };
        self.reader.met_unknown = false;
        let mut row = Row { kind, values: self.reader.empty_row() };
        let read = self.read(after, change.schema.is_some(), |_| true, &mut row.values);
        let may_evolve = match &read {
            Ok(()) => self.reader.met_unknown && self.evolution.adds,
            Err(Fault::Value { .. }) => self.evolution.widens && change.schema.is_none(),
            Err(Fault::Syntax(_)) => false,
        };
        if may_evolve && change.schema.is_none() {
            let seen = Seen::of(&mut Scanner::new(after))?;
            if let Some(columns) = self.evolution.columns_after(seen.into_columns(&self.settings)) {
                return Ok(Decoded::NeedsSchema(columns));
            }
        }
        read?;
        check_not_null(&row, &self.reader)?;
        if kind == RowKind::UpdateAfter
            && let Some(deletion) = self.moved_from(change, &row)?
        {
            out.push(deletion);
        }
        out.push(row);
        Ok(Decoded::Rows)
    }

    /// The deletion of the key before an update, if it was another one.
    fn moved_from(&mut self, change: &Change<'_>, after: &Row) -> Result<Option<Row>, DecodeError> {
        let Some(before) = change.before else { return Ok(None) };
        let deletion = self.deletion(before, change.schema.is_some())?;
        // A key that the record does not know did not change.
        if self.rule.key_gap(&deletion.values).is_some() {
            return Ok(None);
        }
        let mut places = (0..deletion.values.len()).filter(|place| self.rule.is_key[*place]);
        if places.all(|place| deletion.values[place] == after.values[place]) {
            return Ok(None);
        }
        self.check_deletion(&deletion, change.before)?;
        Ok(Some(deletion))
    }

    fn delete(
        &mut self,
        change: &Change<'_>,
        record: &Record,
        out: &mut Vec<Row>,
    ) -> Result<Decoded, DecodeError> {
        let mut deletion = match change.before {
            Some(before) => self.deletion(before, change.schema.is_some())?,
            None => Row { kind: RowKind::Delete, values: self.reader.empty_row() },
        };
        if self.rule.key_gap(&deletion.values).is_some()
            && let Some(key) = &record.key
        {
            self.read_key(text_of(key, "key")?, &mut deletion.values)?;
        }
        self.check_deletion(&deletion, change.before)?;
        out.push(deletion);
        Ok(Decoded::Rows)
    }

    fn deletion(&mut self, before: &str, has_schema: bool) -> Result<Row, DecodeError> {
        let mut values = self.reader.empty_row();
        let is_needed = std::mem::take(&mut self.rule.is_needed);
        let read = self.read(before, has_schema, |place| is_needed[place], &mut values);
        self.rule.is_needed = is_needed;
        read?;
        if self.rule.has_sequence() && self.is_key_only(before)? {
            for (value, is_key) in values.iter_mut().zip(&self.rule.is_key) {
                if !is_key {
                    *value = Value::Null;
                }
            }
        }
        Ok(Row { kind: RowKind::Delete, values })
    }

    /// Is all that a row before holds besides its key nothing, or what Debezium puts there for
    /// nothing?
    fn is_key_only(&self, before: &str) -> Result<bool, Fault> {
        let mut scanner = Scanner::new(before);
        let mut first = true;
        scanner.enter_object()?;
        while let Some(name) = scanner.next_key(first)? {
            first = false;
            let is_key = self.rule.is_key_column(&name);
            let text = scanner.skip()?;
            if !is_key && !is_made_up(text) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Refuses a deletion that lacks its key or sequence.
    fn check_deletion(&self, deletion: &Row, before: Option<&str>) -> Result<(), DecodeError> {
        self.rule.check(&deletion.values).map_err(|error| match before {
            Some(_) if self.rule.key_gap(&deletion.values).is_none() => DecodeError::new(format!(
                "{error}, or a made-up one: give the source table REPLICA IDENTITY FULL"
            )),
            _ => error,
        })
    }

    /// The record's key: an object of the key's columns, perhaps in an envelope of its own.
    fn read_key(&mut self, key: &str, values: &mut [Value]) -> Result<(), DecodeError> {
        let mut scanner = Scanner::new(key);
        check_object(&mut scanner, "key").map_err(DecodeError::from)?;
        let mut payload = None;
        let mut first = true;
        let mut whole = scanner.clone();
        let mut enter = || {
            scanner.enter_object()?;
            while let Some(name) = scanner.next_key(first)? {
                first = false;
                let text = scanner.skip()?;
                if name == "payload" {
                    payload = Some(text);
                }
            }
            scanner.end()
        };
        enter().map_err(|error| DecodeError::from(Fault::from(error)))?;
        let fields = payload.unwrap_or(match whole.skip() {
            Ok(text) => text,
            Err(error) => return Err(Fault::from(error).into()),
        });
        let is_key = std::mem::take(&mut self.rule.is_key);
        let read = self.read(fields, payload.is_some(), |place| is_key[place], values);
        self.rule.is_key = is_key;
        Ok(read?)
    }

    fn read(
        &mut self,
        row: &str,
        has_schema: bool,
        wanted: impl Fn(usize) -> bool,
        values: &mut [Value],
    ) -> Result<(), Fault> {
        let encodings = match &self.envelope {
            Some((_, encodings)) if has_schema => encodings,
            _ => &self.bare,
        };
        let mut scanner = Scanner::new(row);
        check_object(&mut scanner, "row")?;
        self.reader.read(&mut scanner, encodings, wanted, values)
    }
}

/// Is a JSON value null, or the zero that Debezium makes up for a NOT NULL column which the log
/// does not hold?
fn is_made_up(json: &str) -> bool {
    let text = json.trim_matches('"');
    let is_zero_number = |text: &str| {
        text.contains('0') && text.bytes().all(|byte| matches!(byte, b'0' | b'.' | b'-'))
    };
    // Base64 of an unscaled zero; midnight and the first moment of 1970.
    let is_zero_text =
        matches!(text, "null" | "false" | "" | "AA==" | "[]" | "{}" | "PT0S" | "P0Y0M0DT0H0M0S")
            || text.starts_with("1970-01-01T00:00:00")
            || text.starts_with("00:00:00");
    is_zero_text || is_zero_number(text)
}

/// Columns of the rows of a sample: from the envelope's schema, else from the values.
pub(super) fn infer(settings: &TableSettings, sample: &[Record]) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    let mut all = Seen::Nothing;
    let mut last_schema = "";
    for record in sample {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let Some(value) = record.value.as_deref().and_then(text) else { continue };
        let Ok(change) = change_of(value) else { continue };
        if let Some(schema) = change.schema {
            if schema != last_schema {
                last_schema = schema;
                let row = RowSchema::in_envelope(schema, "after").unwrap_or_default();
                merge_columns(&mut columns, row.columns);
            }
        } else if let Some(after) = change.after
            && let Ok(seen) = Seen::of(&mut Scanner::new(after))
        {
            all = all.and(seen);
        }
    }
    merge_columns(&mut columns, all.into_columns(settings));
    columns
}

fn change_of(value: &str) -> Result<Change<'_>, DecodeError> {
    let mut change = Change::default();
    let mut scanner = Scanner::new(value);
    let read = check_object(&mut scanner, "value")
        .and_then(|()| read_change(&mut scanner, &mut change, true))
        .and_then(|()| Ok(scanner.end()?));
    read.map_err(DecodeError::from)?;
    Ok(change)
}

fn read_change<'a>(
    scanner: &mut Scanner<'a>,
    change: &mut Change<'a>,
    may_be_envelope: bool,
) -> Result<(), Fault> {
    scanner.enter_object()?;
    let mut first = true;
    while let Some(name) = scanner.next_key(first)? {
        first = false;
        let kind = scanner.peek()?;
        match (name.as_ref(), kind) {
            ("schema", Kind::Object) if may_be_envelope => change.schema = Some(scanner.skip()?),
            ("schema", Kind::Null) if may_be_envelope => scanner.null()?,
            ("payload", Kind::Object) if may_be_envelope => read_change(scanner, change, false)?,
            ("payload", Kind::Null) if may_be_envelope => {
                scanner.null()?;
                change.is_empty = true;
            }
            ("before", Kind::Object) => change.before = Some(scanner.skip()?),
            ("after", Kind::Object) => change.after = Some(scanner.skip()?),
            ("op", Kind::String) => change.op = Some(scanner.string()?.into_owned()),
            (name, kind) => {
                change.aside.note(name, kind);
                scanner.skip()?;
            }
        }
    }
    Ok(())
}
