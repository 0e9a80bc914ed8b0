//! From one schema to the next: columns are added, types widened, NOT NULL lifted. PURE.
//!
//! What must hold: columns keep id, place and name; nothing is dropped; a value of the old type is
//! a value of the new one, so that old files are read by the new schema; keys keep their types.

use weir_protocol::table::column::{Column, ColumnType, DataType, number_columns};

use crate::schema::TableSchema;

/// The wanted columns cannot follow the current ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvolutionError {
    /// No value of the old type would be read as the new one.
    #[error("column {column} of type {current} cannot become {wanted}")]
    Type {
        /// The column, or the path to a member.
        column: String,
        /// Its type.
        current: String,
        /// The type it should get.
        wanted: String,
    },
    /// Old rows have no value for it.
    #[error("the new column {column} is NOT NULL: rows that are there have no value for it")]
    NotNull {
        /// The column.
        column: String,
    },
    /// Keys are what rows are sorted and found by.
    #[error("column {column} is a key: its type {current} cannot change to {wanted}")]
    Key {
        /// The column.
        column: String,
        /// Its type.
        current: String,
        /// The type it should get.
        wanted: String,
    },
}

/// The schema that has the wanted columns as well; `None` if the current one has them all.
///
/// Columns are matched by name. Those that `wanted` does not name stay as they are. The number of
/// the schema is one higher; its time stays and is for the caller to set.
pub fn evolve(
    current: &TableSchema,
    wanted: &[Column],
) -> Result<Option<TableSchema>, EvolutionError> {
    let mut next = current.clone();
    let mut next_id = current.highest_field_id + 1;
    for column in wanted {
        let is_key = current.primary_keys.contains(&column.name)
            || current.partition_keys.contains(&column.name);
        match next.columns.iter_mut().find(|known| known.name == column.name) {
            Some(known) if is_key => check_key(known, column)?,
            Some(known) => {
                next_id =
                    widen(&column.name, &mut known.column_type, &column.column_type, next_id)?;
            }
            None => next_id = add(&column.name, &mut next.columns, column, next_id)?,
        }
    }
    if next.columns == current.columns {
        return Ok(None);
    }
    next.highest_field_id = next_id - 1;
    next.id += 1;
    Ok(Some(next))
}

fn check_key(known: &Column, wanted: &Column) -> Result<(), EvolutionError> {
    let mut data_type = known.column_type.data_type.clone();
    match widened(&mut data_type, &wanted.column_type.data_type) {
        Some(false) => Ok(()),
        _ => Err(EvolutionError::Key {
            column: known.name.clone(),
            current: known.column_type.data_type.to_string(),
            wanted: wanted.column_type.data_type.to_string(),
        }),
    }
}

fn add(
    path: &str,
    columns: &mut Vec<Column>,
    wanted: &Column,
    next_id: i32,
) -> Result<i32, EvolutionError> {
    if !wanted.column_type.nullable {
        return Err(EvolutionError::NotNull { column: path.to_owned() });
    }
    let mut column = [wanted.clone()];
    let next_id = number_columns(&mut column, next_id);
    columns.extend(column);
    Ok(next_id)
}

/// Makes `known` hold what `wanted` holds as well; returns the next free field id.
fn widen(
    path: &str,
    known: &mut ColumnType,
    wanted: &ColumnType,
    mut next_id: i32,
) -> Result<i32, EvolutionError> {
    known.nullable |= wanted.nullable;
    match (&mut known.data_type, &wanted.data_type) {
        (DataType::Array(known), DataType::Array(wanted)) => {
            widen(&format!("{path}.element"), known, wanted, next_id)
        }
        (DataType::Map(known_key, known), DataType::Map(wanted_key, wanted))
            if known_key.data_type == wanted_key.data_type =>
        {
            widen(&format!("{path}.value"), known, wanted, next_id)
        }
        (DataType::Row(known), DataType::Row(wanted)) => {
            for member in wanted {
                let path = format!("{path}.{}", member.name);
                next_id = match known.iter_mut().find(|known| known.name == member.name) {
                    Some(known) => {
                        widen(&path, &mut known.column_type, &member.column_type, next_id)?
                    }
                    None => add(&path, known, member, next_id)?,
                };
            }
            Ok(next_id)
        }
        (known, wanted) => match widened(known, wanted) {
            Some(_) => Ok(next_id),
            None => Err(EvolutionError::Type {
                column: path.to_owned(),
                current: known.to_string(),
                wanted: wanted.to_string(),
            }),
        },
    }
}

/// Widens a scalar type in place. `Some(true)`: it changed; `Some(false)`: it holds the wanted
/// already; `None`: neither holds the other.
fn widened(known: &mut DataType, wanted: &DataType) -> Option<bool> {
    if holds(known, wanted) {
        return Some(false);
    }
    if !holds(wanted, known) && !promotes(wanted, known) {
        return None;
    }
    *known = wanted.clone();
    Some(true)
}

/// Whether every value of `small` is a value of `large`.
pub fn holds(large: &DataType, small: &DataType) -> bool {
    use DataType as T;
    if large == small {
        return true;
    }
    match (large, small) {
        (T::SmallInt | T::Int | T::BigInt | T::Float | T::Double, T::TinyInt)
        | (T::Int | T::BigInt | T::Float | T::Double, T::SmallInt)
        | (T::BigInt | T::Double, T::Int)
        | (T::Double, T::Float)
        | (T::String, T::Char(_) | T::VarChar(_))
        | (T::Bytes, T::Binary(_) | T::VarBinary(_)) => true,
        (T::Decimal { precision, scale }, T::TinyInt) => precision - scale >= 3,
        (T::Decimal { precision, scale }, T::SmallInt) => precision - scale >= 5,
        (T::Decimal { precision, scale }, T::Int) => precision - scale >= 10,
        (T::Decimal { precision, scale }, T::BigInt) => precision - scale >= 19,
        (T::VarChar(large), T::Char(small) | T::VarChar(small))
        | (T::VarBinary(large), T::Binary(small) | T::VarBinary(small)) => large >= small,
        (
            T::Decimal { precision: large, scale: large_scale },
            T::Decimal { precision: small, scale: small_scale },
        ) => large_scale == small_scale && large >= small,
        (T::Timestamp { precision: large }, T::Timestamp { precision: small })
        | (T::TimestampLtz { precision: large }, T::TimestampLtz { precision: small })
        | (T::Time { precision: large }, T::Time { precision: small }) => large >= small,
        _ => false,
    }
}

/// Whether a number becomes the nearest one of a floating-point type, as in SQL: wanted by whoever
/// declares it, and by records that bring fractions where there were none.
pub fn promotes(large: &DataType, small: &DataType) -> bool {
    use DataType as T;
    matches!((large, small), (T::Float | T::Double, T::Int | T::BigInt | T::Decimal { .. }))
}
