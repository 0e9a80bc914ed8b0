//! What a record says of a row, by the format's rules as the settings document them.

use std::collections::BTreeSet;

use arrow_array::{ArrayRef, RecordBatch};
use serde_json::Value as Json;
use weir_protocol::records::record::Record;
use weir_protocol::table::settings::{Format, TableSettings};
use weir_protocol::table::types::Column;

use crate::data_file::values::value_at;
use crate::schema::TableSchema;
use crate::verify::cell::Cell;
use crate::verify::coerce::{Coercion, Fields, Wire, missing, parsed};

/// What a record says.
#[derive(Debug)]
pub(super) enum Said {
    /// It is no change of a row.
    Nothing,
    /// A key has this row now.
    Upsert(Vec<Cell>),
    /// A key has no row any more.
    Delete(Vec<Cell>),
    /// An update that moved a row to another key.
    Move(Vec<Cell>, Vec<Cell>),
}

/// Reads records and rows of one table.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    format: Format,
    decodes_key: bool,
    columns: Vec<Column>,
    key_places: Vec<usize>,
    age_places: Vec<usize>,
    coercion: Coercion,
    /// The schema of the last envelope: it is the same over and over.
    envelope: Option<(String, Json)>,
}

impl Reading {
    pub(super) fn new(settings: &TableSettings, schema: &TableSchema) -> Reading {
        let place = |name: &String| schema.columns.iter().position(|it| it.name == *name);
        Reading {
            format: settings.value_format,
            decodes_key: settings.key_format == Some(Format::Json),
            columns: schema.columns.clone(),
            key_places: schema.primary_keys.iter().filter_map(place).collect(),
            age_places: settings.sequence_field.iter().filter_map(place).collect(),
            coercion: Coercion::default(),
            envelope: None,
        }
    }

    pub(super) fn has_key(&self) -> bool {
        !self.key_places.is_empty()
    }

    /// The primary key of a row.
    pub(super) fn key_of(&self, row: &[Cell]) -> Vec<Cell> {
        self.key_places.iter().map(|at| row[*at].clone()).collect()
    }

    /// The sequence fields of a row.
    pub(super) fn age_of(&self, row: &[Cell]) -> Vec<Cell> {
        self.age_places.iter().map(|at| row[*at].clone()).collect()
    }

    /// A row as a reader of the table sees it.
    pub(super) fn row_of(&self, batch: &RecordBatch, row: usize) -> Vec<Cell> {
        let columns = self.columns.iter().zip(batch.columns());
        let cell = |(column, array): (&Column, &ArrayRef)| {
            Cell::of(value_at(array, row, &column.column_type.data_type))
        };
        columns.map(cell).collect()
    }

    /// What a record says.
    pub(super) fn said(&mut self, record: &Record) -> Result<Said, String> {
        match self.format {
            Format::Json => self.said_in_json(record),
            Format::DebeziumJson => self.said_by_debezium(record),
        }
    }

    fn said_in_json(&mut self, record: &Record) -> Result<Said, String> {
        let value = record.value.as_deref().map(text_of).transpose()?;
        let key = match &record.key {
            Some(key) if self.decodes_key => Some(parsed::<Fields>(text_of(key)?)),
            _ => None,
        };
        let Some(value) = value.filter(|value| value.trim() != "null") else {
            if !self.has_key() {
                return Ok(Said::Nothing);
            }
            let Some(key) = key.transpose()? else { return Ok(Said::Nothing) };
            let row = self.coercion.row(&key, &self.columns, Wire::Plain, |_| true)?;
            return self.deletion(row).map(Said::Delete);
        };
        let mut fields: Fields = parsed(value)?;
        // Where both name a column, the key is right.
        fields.extend(key.transpose()?.into_iter().flatten());
        let row = self.coercion.row(&fields, &self.columns, Wire::Plain, |_| true)?;
        missing(&row, &self.columns)?;
        Ok(Said::Upsert(row))
    }

    fn said_by_debezium(&mut self, record: &Record) -> Result<Said, String> {
        let Some(value) = &record.value else { return Ok(Said::Nothing) };
        let mut change: Fields = parsed(text_of(value)?)?;
        let schema = change.remove("schema").filter(|raw| raw.get().starts_with('{'));
        if let Some(schema) = &schema {
            self.learn(schema.get())?;
        }
        match change.get("payload").map(|raw| raw.get()) {
            Some("null") => return Ok(Said::Nothing),
            Some(payload) if payload.starts_with('{') => change = parsed(payload)?,
            _ => {}
        }
        let op = change.get("op").map(|raw| parsed::<Option<String>>(raw.get())).transpose()?;
        let Some(op) = op.flatten() else {
            let asides = ["ts_ms", "status", "ddl", "tableChanges", "message"];
            let is_aside = asides.iter().any(|name| change.contains_key(*name));
            return if is_aside { Ok(Said::Nothing) } else { Err("it has no op".to_owned()) };
        };
        let object = |name: &str| -> Result<Option<Fields>, String> {
            change.get(name).map_or(Ok(None), |raw| parsed(raw.get()))
        };
        let (before, after) = (object("before")?, object("after")?);
        let has_schema = schema.is_some();
        match op.as_str() {
            "r" | "c" | "u" => {
                let after = after.ok_or("it has no row after the change")?;
                let row = self.change_row(&after, "after", has_schema, false)?;
                missing(&row, &self.columns)?;
                let old = match (op.as_str(), before) {
                    ("u", Some(before)) => {
                        Some(self.change_row(&before, "before", has_schema, true)?)
                    }
                    _ => None,
                };
                let moved = old.filter(|old| {
                    let key = self.key_of(old);
                    !key.contains(&Cell::Null) && key != self.key_of(&row)
                });
                Ok(match moved {
                    Some(old) => Said::Move(old, row),
                    None => Said::Upsert(row),
                })
            }
            "d" => {
                let row = match before {
                    Some(before) => self.change_row(&before, "before", has_schema, true)?,
                    None => vec![Cell::Null; self.columns.len()],
                };
                let row = self.with_key(row, record)?;
                self.deletion(row).map(Said::Delete)
            }
            "m" => Ok(Said::Nothing),
            other => Err(format!("op {other} is no change of a row")),
        }
    }

    /// A row of a change record; of a row before, only key and sequence fields are true.
    fn change_row(
        &mut self,
        fields: &Fields,
        side: &str,
        has_schema: bool,
        is_before: bool,
    ) -> Result<Vec<Cell>, String> {
        let envelope = self.envelope.as_ref().filter(|_| has_schema);
        let wire = match envelope {
            Some((_, schema)) => match Wire::Connect(schema).member(side) {
                Wire::Plain => Wire::Bare,
                known => known,
            },
            None => Wire::Bare,
        };
        let kept = self.key_places.iter().chain(&self.age_places);
        let kept: BTreeSet<&str> = kept.map(|at| self.columns[*at].name.as_str()).collect();
        let is_wanted = |column: &Column| !is_before || kept.contains(column.name.as_str());
        self.coercion.row(fields, &self.columns, wire, is_wanted)
    }

    /// Fills the key in from the record's key, if the row does not have it.
    fn with_key(&mut self, mut row: Vec<Cell>, record: &Record) -> Result<Vec<Cell>, String> {
        if !self.key_of(&row).contains(&Cell::Null) {
            return Ok(row);
        }
        let Some(key) = &record.key else { return Ok(row) };
        let outer: Fields = parsed(text_of(key)?)?;
        let schema: Option<Json> = outer.get("schema").map(|raw| parsed(raw.get())).transpose()?;
        let (fields, wire) = match outer.get("payload") {
            Some(payload) => {
                (parsed(payload.get())?, schema.as_ref().map_or(Wire::Bare, Wire::Connect))
            }
            None => (outer, Wire::Bare),
        };
        let key = self.coercion.row(&fields, &self.columns, wire, |_| true)?;
        for at in &self.key_places {
            if key[*at] != Cell::Null {
                row[*at] = key[*at].clone();
            }
        }
        Ok(row)
    }

    fn deletion(&self, row: Vec<Cell>) -> Result<Vec<Cell>, String> {
        match self.key_places.iter().find(|at| row[**at] == Cell::Null) {
            Some(at) => Err(format!("no key: column {} is null", self.columns[*at].name)),
            None => Ok(row),
        }
    }

    fn learn(&mut self, schema: &str) -> Result<(), String> {
        if self.envelope.as_ref().is_none_or(|(known, _)| known != schema) {
            self.envelope = Some((schema.to_owned(), parsed(schema)?));
        }
        Ok(())
    }
}

fn text_of(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| error.to_string())
}
