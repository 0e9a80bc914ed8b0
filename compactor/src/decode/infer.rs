//! What columns values would need. PURE.
//!
//! Integers are BIGINT (beyond 64 bits DECIMAL(38, 0)), numbers with a fraction DOUBLE (STRING where
//! no column could hold them), objects ROW, empty arrays `ARRAY<STRING>`. Strings stay STRING: nobody
//! guesses moments from text. Kinds that do not agree are STRING too, which takes any JSON, and so is
//! what is nested too deeply. Null tells nothing.

use weir_protocol::table::column::{Column, DataType, number_columns};
use weir_protocol::table::settings::{SchemaEvolution, TableSettings};

use crate::decode::Fault;
use crate::decode::scanner::{Kind, Scanner};
use crate::schema::evolution::{holds, promotes};

/// An object of more members is data, not structure: it is kept as text.
const MEMBER_COUNT_MAX: usize = 2_000;
/// What is nested deeper is kept as text. Each level takes up to three in the schema's JSON, and
/// readers of JSON end at 128.
const DEPTH_MAX: usize = 32;

/// What was seen in one place of some records.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Seen {
    #[default]
    Nothing,
    Boolean,
    Integer,
    LargeInteger,
    Fraction,
    Text,
    Array(Box<Seen>),
    Object(Vec<(String, Seen)>),
}

impl Seen {
    /// Looks at the next value.
    pub(super) fn of(scanner: &mut Scanner<'_>) -> Result<Seen, Fault> {
        Self::at_depth(scanner, 0)
    }

    fn at_depth(scanner: &mut Scanner<'_>, depth: usize) -> Result<Seen, Fault> {
        Ok(match scanner.peek()? {
            Kind::Null => scanner.null().map(|()| Seen::Nothing)?,
            Kind::Boolean => scanner.boolean().map(|_| Seen::Boolean)?,
            Kind::Number => number(scanner.number()?),
            Kind::String => scanner.skip().map(|_| Seen::Text)?,
            Kind::Array | Kind::Object if depth > DEPTH_MAX => {
                scanner.skip().map(|_| Seen::Text)?
            }
            Kind::Array => {
                let mut element = Seen::Nothing;
                let mut first = true;
                scanner.enter_array()?;
                while scanner.next_element(first)? {
                    element = element.and(Seen::at_depth(scanner, depth + 1)?);
                    first = false;
                }
                Seen::Array(Box::new(element))
            }
            Kind::Object => {
                let mut members = Vec::new();
                let mut first = true;
                scanner.enter_object()?;
                while let Some(name) = scanner.next_key(first)? {
                    let seen = Seen::at_depth(scanner, depth + 1)?;
                    add_member(&mut members, name.into_owned(), seen);
                    first = false;
                }
                Seen::Object(members)
            }
        })
    }

    /// What was seen here or there.
    pub(super) fn and(self, other: Seen) -> Seen {
        match (self, other) {
            (Seen::Nothing, seen) | (seen, Seen::Nothing) => seen,
            (Seen::Integer | Seen::LargeInteger, Seen::LargeInteger)
            | (Seen::LargeInteger, Seen::Integer) => Seen::LargeInteger,
            (Seen::Integer | Seen::LargeInteger, Seen::Fraction)
            | (Seen::Fraction, Seen::Integer | Seen::LargeInteger) => Seen::Fraction,
            (Seen::Array(left), Seen::Array(right)) => Seen::Array(Box::new(left.and(*right))),
            (Seen::Object(mut members), Seen::Object(others)) => {
                for (name, seen) in others {
                    add_member(&mut members, name, seen);
                }
                Seen::Object(members)
            }
            (left, right) if left == right => left,
            _ => Seen::Text,
        }
    }

    /// The columns of the object that was seen.
    pub(super) fn into_columns(self, settings: &TableSettings) -> Vec<Column> {
        let Seen::Object(members) = self else { return Vec::new() };
        // Where no column can be added later, nulls must find a column now.
        let of_nothing = match settings.schema_evolution {
            SchemaEvolution::Add => None,
            SchemaEvolution::None => Some(DataType::String),
        };
        let mut columns = Vec::with_capacity(members.len());
        for (name, seen) in members {
            let data_type = seen.into_type().or_else(|| of_nothing.clone());
            columns.extend(data_type.and_then(|data_type| column(name, data_type)));
        }
        number_columns(&mut columns, 0);
        columns
    }

    fn into_type(self) -> Option<DataType> {
        Some(match self {
            Seen::Nothing => return None,
            Seen::Boolean => DataType::Boolean,
            Seen::Integer => DataType::BigInt,
            Seen::LargeInteger => DataType::Decimal { precision: 38, scale: 0 },
            Seen::Fraction => DataType::Double,
            Seen::Text => DataType::String,
            Seen::Array(element) => {
                let element = element.into_type().unwrap_or(DataType::String);
                DataType::Array(Box::new(element.nullable()))
            }
            Seen::Object(members) if members.len() > MEMBER_COUNT_MAX => DataType::String,
            Seen::Object(members) => {
                let member = |(name, seen): (String, Seen)| column(name, seen.into_type()?);
                let members: Vec<Column> = members.into_iter().filter_map(member).collect();
                if members.is_empty() {
                    return None;
                }
                DataType::Row(members)
            }
        })
    }
}

fn add_member(members: &mut Vec<(String, Seen)>, name: String, seen: Seen) {
    // Beyond the bound it will be text, whatever else comes.
    let is_full = members.len() > MEMBER_COUNT_MAX;
    match members.iter_mut().find(|(known, _)| *known == name) {
        Some((_, known)) => *known = std::mem::take(known).and(seen),
        None if is_full => {}
        None => members.push((name, seen)),
    }
}

/// A nullable column; none for names that a table cannot have.
pub(super) fn column(name: String, data_type: DataType) -> Option<Column> {
    let is_reserved = name.is_empty()
        || name.starts_with("_KEY_")
        || matches!(
            name.as_str(),
            "_SEQUENCE_NUMBER" | "_VALUE_KIND" | "_LEVEL" | "_ROW_ID" | "rowkind"
        );
    (!is_reserved).then(|| Column { id: 0, name, column_type: data_type.nullable() })
}

fn number(text: &str) -> Seen {
    if text.contains(['.', 'e', 'E']) {
        let is_finite = text.parse().is_ok_and(f64::is_finite);
        return if is_finite { Seen::Fraction } else { Seen::Text };
    }
    match text.parse::<i64>() {
        Ok(_) => Seen::Integer,
        Err(_) if text.trim_start_matches('-').len() <= 38 => Seen::LargeInteger,
        Err(_) => Seen::Text,
    }
}

/// The known column with what was seen besides: members that it lacks and, if types may be
/// `widened`, types that hold both. `None` if nothing changes.
pub(super) fn merged_column(known: &Column, seen: Column, widened: bool) -> Option<Column> {
    let data_type = merged(&known.column_type.data_type, &seen.column_type.data_type, widened);
    if data_type == known.column_type.data_type {
        return None;
    }
    let mut column = known.clone();
    column.column_type.data_type = data_type;
    Some(column)
}

fn merged(known: &DataType, seen: &DataType, widened: bool) -> DataType {
    match (known, seen) {
        (DataType::Row(members), DataType::Row(others)) => {
            let mut members = members.clone();
            for other in others {
                match members.iter_mut().find(|member| member.name == other.name) {
                    None => members.push(other.clone()),
                    Some(member) => {
                        let known = &mut member.column_type.data_type;
                        *known = merged(known, &other.column_type.data_type, widened);
                    }
                }
            }
            DataType::Row(members)
        }
        (DataType::Array(known), DataType::Array(seen)) => {
            let mut element = known.clone();
            element.data_type = merged(&known.data_type, &seen.data_type, widened);
            DataType::Array(element)
        }
        (DataType::Map(key, known), DataType::Map(_, seen)) => {
            let mut value = known.clone();
            value.data_type = merged(&known.data_type, &seen.data_type, widened);
            DataType::Map(key.clone(), value)
        }
        _ if widened && (holds(seen, known) || promotes(seen, known)) => seen.clone(),
        _ => known.clone(),
    }
}

/// Columns of many records become one list, in the order of appearance.
pub(super) fn merge_columns(columns: &mut Vec<Column>, seen: Vec<Column>) {
    for column in seen {
        match columns.iter_mut().find(|known| known.name == column.name) {
            None => columns.push(column),
            Some(known) => {
                if let Some(merged) = merged_column(known, column, true) {
                    *known = merged;
                }
            }
        }
    }
}
