//! Paimon's BinaryRow, byte for byte: keys, partitions and statistics are kept in it. PURE.
//!
//! ```text
//! arity, 4 bytes big-endian | kind, null bits | a slot of 8 bytes per field | variable part
//!                           ^ row bytes, little-endian; offsets count from here
//! ```
//!
//! - Bit 8 + i of the null bits says that field i is null; its slot is zero.
//! - Every item of the variable part is padded with zeroes to 8 bytes.
//! - Bytes that come from storage are checked on the way out ([`BinaryRow::to_values`]).

use std::cmp::Ordering;

use bytes::Bytes;
use weir_protocol::table::column::{ColumnType, DataType};

use crate::row::Value;

const ARITY_BYTES: usize = 4;
/// Text and bytes up to this length stand in the slot itself.
const INLINE_MAX: usize = 7;

/// Bytes are not the row they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored row of {found} bytes does not hold {wanted}")]
pub struct BinaryRowError {
    /// The length of the bytes.
    pub found: usize,
    /// What was looked for.
    pub wanted: String,
}

/// A row of scalar values in Paimon's bytes, arity included.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BinaryRow(Bytes);

impl BinaryRow {
    /// The row of no fields.
    pub const EMPTY: BinaryRow = BinaryRow(Bytes::from_static(&[0; 12]));

    /// Takes bytes as they were stored, arity first.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, BinaryRowError> {
        let row = Self(bytes);
        let wanted = || "its arity and a slot per field".to_owned();
        let error = || BinaryRowError { found: row.0.len(), wanted: wanted() };
        let arity = row.0.first_chunk::<ARITY_BYTES>().ok_or_else(error)?;
        let arity = usize::try_from(i32::from_be_bytes(*arity)).map_err(|_| error())?;
        if row.0.len() - ARITY_BYTES < fixed_bytes(arity) {
            return Err(error());
        }
        Ok(row)
    }

    /// Writes scalar values of these types. A value that is not of its type is our own mistake.
    pub fn from_values(values: &[Value], types: &[ColumnType]) -> Self {
        assert_eq!(values.len(), types.len(), "one type per value");
        let mut writer = BinaryRowWriter::new(values.len());
        for (field, (value, column_type)) in values.iter().zip(types).enumerate() {
            writer.write(field, value, &column_type.data_type);
        }
        writer.finish()
    }

    /// Reads the values back.
    pub fn to_values(&self, types: &[ColumnType]) -> Result<Vec<Value>, BinaryRowError> {
        if self.arity() != types.len() {
            return Err(self.error(format!("{} fields", types.len())));
        }
        let read = |(field, column_type): (usize, &ColumnType)| {
            if self.is_null(field) {
                return Ok(Value::Null);
            }
            self.read(field, &column_type.data_type)
                .ok_or_else(|| self.error(format!("{column_type} as field {field}")))
        };
        types.iter().enumerate().map(read).collect()
    }

    /// All bytes, arity first: what is stored.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The bytes without the arity: what is hashed.
    pub fn row_bytes(&self) -> &[u8] {
        &self.0[ARITY_BYTES..]
    }

    /// The number of fields.
    pub fn arity(&self) -> usize {
        let arity =
            self.0.first_chunk::<ARITY_BYTES>().map_or(0, |arity| u32::from_be_bytes(*arity));
        arity as usize
    }

    fn is_null(&self, field: usize) -> bool {
        let bit = field + 8;
        self.row_bytes()[bit / 8] & (1 << (bit % 8)) != 0
    }

    fn slot(&self, field: usize) -> [u8; 8] {
        let start = null_bytes(self.arity()) + field * 8;
        let mut slot = [0; 8];
        slot.copy_from_slice(&self.row_bytes()[start..start + 8]);
        slot
    }

    /// The piece of the variable part that the slot points to, and the slot's low half.
    fn variable(&self, field: usize, length: impl FnOnce(u32) -> usize) -> Option<(&[u8], u32)> {
        let slot = u64::from_le_bytes(self.slot(field));
        let low = slot as u32;
        let offset = (slot >> 32) as usize;
        let end = offset.checked_add(length(low))?;
        Some((self.row_bytes().get(offset..end)?, low))
    }

    fn text(&self, field: usize) -> Option<Vec<u8>> {
        let slot = self.slot(field);
        if slot[7] & 0x80 != 0 {
            let length = usize::from(slot[7] & 0x7f);
            return slot.get(..length.min(8)).filter(|_| length <= INLINE_MAX).map(<[u8]>::to_vec);
        }
        self.variable(field, |length| length as usize).map(|(bytes, _)| bytes.to_vec())
    }

    fn read(&self, field: usize, data_type: &DataType) -> Option<Value> {
        let slot = self.slot(field);
        let long = i64::from_le_bytes(slot);
        let int = long as i32;
        Some(match data_type {
            DataType::Boolean => Value::Boolean(slot[0] != 0),
            DataType::TinyInt => Value::Int8(int as i8),
            DataType::SmallInt => Value::Int16(int as i16),
            DataType::Int => Value::Int32(int),
            DataType::BigInt => Value::Int64(long),
            DataType::Float => Value::Float32(f32::from_bits(int.cast_unsigned())),
            DataType::Double => Value::Float64(f64::from_bits(long.cast_unsigned())),
            DataType::Decimal { precision: 0..=18, .. } => Value::Decimal(i128::from(long)),
            DataType::Decimal { .. } => {
                let (bytes, _) = self.variable(field, |length| length as usize)?;
                Value::Decimal(big_endian(bytes)?)
            }
            DataType::Date => Value::Date(int),
            DataType::Time { .. } => Value::Time(int),
            DataType::Timestamp { precision: 0..=3 }
            | DataType::TimestampLtz { precision: 0..=3 } => {
                Value::Timestamp { millis: long, nanos_of_milli: 0 }
            }
            DataType::Timestamp { .. } | DataType::TimestampLtz { .. } => {
                let (bytes, nanos) = self.variable(field, |_| 8)?;
                let millis = i64::from_le_bytes(*bytes.first_chunk::<8>()?);
                let nanos_of_milli =
                    i32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000)?;
                Value::Timestamp { millis, nanos_of_milli }
            }
            DataType::Char(_) | DataType::VarChar(_) | DataType::String => {
                Value::String(String::from_utf8(self.text(field)?).ok()?)
            }
            DataType::Binary(_) | DataType::VarBinary(_) | DataType::Bytes => {
                Value::Bytes(self.text(field)?)
            }
            DataType::Array(_) | DataType::Map(..) | DataType::Row(_) => return None,
        })
    }

    fn error(&self, wanted: String) -> BinaryRowError {
        BinaryRowError { found: self.0.len(), wanted }
    }
}

/// The order of two rows of these types: column by column, null first, text by its bytes.
pub fn compare(
    left: &BinaryRow,
    right: &BinaryRow,
    types: &[ColumnType],
) -> Result<Ordering, BinaryRowError> {
    let (left, right) = (left.to_values(types)?, right.to_values(types)?);
    let orders = left.iter().zip(&right).map(|(left, right)| compare_values(left, right));
    Ok(orders.fold(Ordering::Equal, Ordering::then))
}

/// The order of two scalar values of one type, null first. Floats are ordered as Java orders them.
pub fn compare_values(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        (Value::Boolean(left), Value::Boolean(right)) => left.cmp(right),
        (Value::Int8(left), Value::Int8(right)) => left.cmp(right),
        (Value::Int16(left), Value::Int16(right)) => left.cmp(right),
        (Value::Int32(left), Value::Int32(right))
        | (Value::Date(left), Value::Date(right))
        | (Value::Time(left), Value::Time(right)) => left.cmp(right),
        (Value::Int64(left), Value::Int64(right)) => left.cmp(right),
        (Value::Float32(left), Value::Float32(right)) => left.total_cmp(right),
        (Value::Float64(left), Value::Float64(right)) => left.total_cmp(right),
        (Value::Decimal(left), Value::Decimal(right)) => left.cmp(right),
        (
            Value::Timestamp { millis: left, nanos_of_milli: left_nanos },
            Value::Timestamp { millis: right, nanos_of_milli: right_nanos },
        ) => (left, left_nanos).cmp(&(right, right_nanos)),
        (Value::String(left), Value::String(right)) => left.as_bytes().cmp(right.as_bytes()),
        (Value::Bytes(left), Value::Bytes(right)) => left.cmp(right),
        _ => panic!("values of one column have one scalar type"),
    }
}

/// Fills a [`BinaryRow`], field by field.
#[derive(Debug)]
pub struct BinaryRowWriter {
    arity: usize,
    bytes: Vec<u8>,
}

impl BinaryRowWriter {
    /// A row of `arity` fields, all of them zero.
    pub fn new(arity: usize) -> Self {
        let mut bytes = vec![0; ARITY_BYTES + fixed_bytes(arity)];
        bytes[..ARITY_BYTES].copy_from_slice(&(arity as u32).to_be_bytes());
        Self { arity, bytes }
    }

    /// Writes one field, once.
    pub fn write(&mut self, field: usize, value: &Value, data_type: &DataType) {
        match value {
            Value::Null => self.set_null(field),
            Value::Boolean(value) => self.set_slot(field, u64::from(*value)),
            Value::Int8(value) => self.set_slot(field, u64::from(value.cast_unsigned())),
            Value::Int16(value) => self.set_slot(field, u64::from(value.cast_unsigned())),
            Value::Int32(value) | Value::Date(value) | Value::Time(value) => {
                self.set_slot(field, u64::from(value.cast_unsigned()));
            }
            Value::Int64(value) => self.set_slot(field, value.cast_unsigned()),
            Value::Float32(value) => self.set_slot(field, u64::from(value.to_bits())),
            Value::Float64(value) => self.set_slot(field, value.to_bits()),
            Value::Decimal(value) => self.write_decimal(field, *value, data_type),
            Value::Timestamp { millis, nanos_of_milli } => match data_type {
                DataType::Timestamp { precision: 0..=3 }
                | DataType::TimestampLtz { precision: 0..=3 } => {
                    self.set_slot(field, millis.cast_unsigned());
                }
                _ => {
                    let nanos = nanos_of_milli.cast_unsigned();
                    self.push_variable(field, &millis.to_le_bytes(), 8, nanos);
                }
            },
            Value::String(text) => self.write_bytes(field, text.as_bytes()),
            Value::Bytes(bytes) => self.write_bytes(field, bytes),
            Value::Array(_) | Value::Map(_) | Value::Row(_) => {
                panic!("field {field} is nested, a BinaryRow here holds scalars")
            }
        }
    }

    /// The row.
    pub fn finish(self) -> BinaryRow {
        BinaryRow(self.bytes.into())
    }

    fn set_null(&mut self, field: usize) {
        let bit = field + 8;
        self.bytes[ARITY_BYTES + bit / 8] |= 1 << (bit % 8);
    }

    fn set_slot(&mut self, field: usize, slot: u64) {
        let start = ARITY_BYTES + null_bytes(self.arity) + field * 8;
        self.bytes[start..start + 8].copy_from_slice(&slot.to_le_bytes());
    }

    /// Appends an item of `room` bytes, padded, and points the field's slot to it.
    fn push_variable(&mut self, field: usize, item: &[u8], room: usize, low: u32) {
        let offset = self.bytes.len() - ARITY_BYTES;
        self.bytes.extend_from_slice(item);
        self.bytes.resize(ARITY_BYTES + offset + room.next_multiple_of(8), 0);
        let offset = u32::try_from(offset).expect("a row of keys or statistics is far below 4 GiB");
        self.set_slot(field, u64::from(offset) << 32 | u64::from(low));
    }

    fn write_bytes(&mut self, field: usize, bytes: &[u8]) {
        if bytes.len() <= INLINE_MAX {
            let mut slot = [0; 8];
            slot[..bytes.len()].copy_from_slice(bytes);
            slot[7] = 0x80 | bytes.len() as u8;
            self.set_slot(field, u64::from_le_bytes(slot));
            return;
        }
        let length = u32::try_from(bytes.len()).expect("one value is far below 4 GiB");
        self.push_variable(field, bytes, bytes.len(), length);
    }

    fn write_decimal(&mut self, field: usize, unscaled: i128, data_type: &DataType) {
        match data_type {
            DataType::Decimal { precision: 0..=18, .. } => {
                let unscaled = i64::try_from(unscaled).expect("18 digits fit into 64 bits");
                self.set_slot(field, unscaled.cast_unsigned());
            }
            _ => {
                let bytes = unscaled.to_be_bytes();
                let minimal = &bytes[redundant_bytes(&bytes)..];
                self.push_variable(field, minimal, 16, minimal.len() as u32);
            }
        }
    }
}

/// Leading bytes that only repeat the sign.
fn redundant_bytes(bytes: &[u8; 16]) -> usize {
    let repeats = |pair: &[u8]| {
        (pair[0] == 0 && pair[1] & 0x80 == 0) || (pair[0] == 0xff && pair[1] & 0x80 != 0)
    };
    bytes.windows(2).take_while(|pair| repeats(pair)).count()
}

/// Two's complement, big-endian, of 1 to 16 bytes.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    let first = *bytes.first()?;
    let mut whole = [if first & 0x80 != 0 { 0xff } else { 0 }; 16];
    let start = whole.len().checked_sub(bytes.len())?;
    whole[start..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(whole))
}

fn null_bytes(arity: usize) -> usize {
    (arity + 63 + 8) / 64 * 8
}

fn fixed_bytes(arity: usize) -> usize {
    null_bytes(arity).saturating_add(arity.saturating_mul(8))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use weir_protocol::table::sql::parse_type;

    /// Bytes and hashes that Paimon's own Java code made.
    pub(crate) struct Golden {
        pub(crate) name: &'static str,
        pub(crate) types: Vec<ColumnType>,
        pub(crate) values: Vec<Value>,
        pub(crate) hex: &'static str,
        pub(crate) hash: i32,
        pub(crate) buckets: Option<(i32, i32)>,
    }

    impl Golden {
        pub(crate) fn row(&self) -> BinaryRow {
            BinaryRow::from_values(&self.values, &self.types)
        }
    }

    fn one(
        sql: &'static str,
        value: Value,
        hex: &'static str,
        hash: i32,
        of_4: i32,
        of_7: i32,
    ) -> Golden {
        let types = vec![golden_type(sql)];
        Golden { name: sql, types, values: vec![value], hex, hash, buckets: Some((of_4, of_7)) }
    }

    /// The parser refuses precisions beyond microseconds, the byte format does not.
    fn golden_type(sql: &str) -> ColumnType {
        match sql {
            "LTZ(9)" => DataType::TimestampLtz { precision: 9 }.nullable(),
            other => parse_type(other).unwrap(),
        }
    }

    pub(crate) fn golden_vectors() -> Vec<Golden> {
        let text = |text: &str| Value::String(text.to_owned());
        let at = |millis, nanos_of_milli| Value::Timestamp { millis, nanos_of_milli };
        let mut vectors = vec![
            one(
                "INT",
                Value::Int32(1),
                "0000000100000000000000000100000000000000",
                1465514398,
                2,
                5,
            ),
            one(
                "INT",
                Value::Int32(-1),
                "000000010000000000000000ffffffff00000000",
                1133687267,
                3,
                6,
            ),
            one("INT", Value::Null, "0000000100010000000000000000000000000000", -1748325344, 0, 3),
            one(
                "BIGINT",
                Value::Int64(42),
                "0000000100000000000000002a00000000000000",
                907821237,
                1,
                1,
            ),
            one(
                "BIGINT",
                Value::Int64(i64::MAX),
                "000000010000000000000000ffffffffffffff7f",
                -1566569095,
                3,
                0,
            ),
            one(
                "SMALLINT",
                Value::Int16(7),
                "0000000100000000000000000700000000000000",
                -348168691,
                3,
                3,
            ),
            one(
                "TINYINT",
                Value::Int8(-3),
                "000000010000000000000000fd00000000000000",
                -1390933618,
                2,
                4,
            ),
            one(
                "BOOLEAN",
                Value::Boolean(true),
                "0000000100000000000000000100000000000000",
                1465514398,
                2,
                5,
            ),
            one(
                "FLOAT",
                Value::Float32(1.5),
                "0000000100000000000000000000c03f00000000",
                -173842779,
                3,
                5,
            ),
            one("STRING", text(""), "0000000100000000000000000000000000000080", 302122119, 3, 5),
            one(
                "STRING",
                text("abcdefg"),
                "0000000100000000000000006162636465666787",
                -1431907323,
                3,
                0,
            ),
            one(
                "STRING",
                text("abcdefgh"),
                "00000001000000000000000008000000100000006162636465666768",
                -843760178,
                2,
                2,
            ),
            one(
                "STRING",
                text("abcdefghi"),
                "000000010000000000000000090000001000000061626364656667686900000000000000",
                890550442,
                2,
                5,
            ),
            one("STRING", text("é水"), "000000010000000000000000c3a9e6b0b4000085", 393201437, 1, 6),
            one(
                "BYTES",
                Value::Bytes(vec![1, 2, 255]),
                "0000000100000000000000000102ff0000000083",
                2036400951,
                3,
                4,
            ),
            one(
                "BYTES",
                Value::Bytes((0..10).collect()),
                "0000000100000000000000000a0000001000000000010203040506070809000000000000",
                1822312655,
                3,
                2,
            ),
            one(
                "DECIMAL(10, 2)",
                Value::Decimal(12345),
                "0000000100000000000000003930000000000000",
                767607022,
                2,
                0,
            ),
            one(
                "DECIMAL(18, 0)",
                Value::Decimal(-1),
                "000000010000000000000000ffffffffffffffff",
                -821098432,
                0,
                0,
            ),
            one(
                "DECIMAL(38, 4)",
                Value::Decimal(123456789),
                "0000000100000000000000000400000010000000075bcd15000000000000000000000000",
                1069058403,
                3,
                0,
            ),
            one(
                "DECIMAL(38, 4)",
                Value::Decimal(-10000),
                "0000000100000000000000000200000010000000d8f00000000000000000000000000000",
                1045104933,
                1,
                5,
            ),
            one(
                "DATE",
                Value::Date(20000),
                "000000010000000000000000204e000000000000",
                1668009018,
                2,
                4,
            ),
            one(
                "TIME(3)",
                Value::Time(1234),
                "000000010000000000000000d204000000000000",
                -1096042293,
                1,
                3,
            ),
            one(
                "TIMESTAMP(3)",
                at(1700000000123, 0),
                "0000000100000000000000007b68e5cf8b010000",
                -1285420957,
                1,
                2,
            ),
            one(
                "TIMESTAMP(6)",
                at(1700000000123, 456_000),
                "00000001000000000000000040f50600100000007b68e5cf8b010000",
                1196670069,
                1,
                0,
            ),
            one(
                "LTZ(9)",
                at(-1, 999_999),
                "0000000100000000000000003f420f0010000000ffffffffffffffff",
                61627685,
                1,
                0,
            ),
        ];
        let types = ["INT", "STRING", "BIGINT", "STRING"];
        vectors.push(Golden {
            name: "four fields",
            types: types.into_iter().map(golden_type).collect(),
            values: vec![Value::Int32(1), text("hello world"), Value::Null, text("hi")],
            hex: "00000004000400000000000001000000000000000b000000280000000000000000000000\
                  686900000000008268656c6c6f20776f726c640000000000",
            hash: -1312138350,
            buckets: Some((2, 5)),
        });
        vectors.push(Golden {
            name: "no field",
            types: Vec::new(),
            values: Vec::new(),
            hex: "000000000000000000000000",
            hash: -1670924195,
            buckets: None,
        });
        vectors
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn every_golden_vector_is_written_and_read_byte_for_byte() {
        for vector in golden_vectors() {
            let row = vector.row();
            assert_eq!(hex(row.bytes()), vector.hex, "{}", vector.name);
            let stored = BinaryRow::from_bytes(row.bytes().clone()).unwrap();
            assert_eq!(stored.to_values(&vector.types).unwrap(), vector.values, "{}", vector.name);
        }
        assert_eq!(BinaryRow::EMPTY, BinaryRow::from_values(&[], &[]));
    }

    #[test]
    fn torn_or_hostile_bytes_are_refused() {
        let types = [parse_type("STRING").unwrap()];
        let whole = BinaryRow::from_values(&[Value::String("abcdefghi".into())], &types);
        for length in 0..whole.bytes().len() {
            let cut = BinaryRow::from_bytes(whole.bytes().slice(..length));
            let values = cut.and_then(|row| row.to_values(&types));
            assert!(values.is_err() || length >= 4 + 8 + 8 + 9, "cut at {length}");
        }
        let mut huge = whole.bytes().to_vec();
        huge[16..20].copy_from_slice(&[0xff; 4]);
        let huge = BinaryRow::from_bytes(huge.into()).unwrap();
        assert!(huge.to_values(&types).is_err());
        assert!(BinaryRow::from_bytes(Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff])).is_err());
    }

    #[test]
    fn rows_are_ordered_as_their_values_null_first() {
        let types = [parse_type("STRING").unwrap(), parse_type("DECIMAL(30, 2)").unwrap()];
        let row = |text: Option<&str>, number: i128| {
            let text = text.map_or(Value::Null, |text| Value::String(text.to_owned()));
            BinaryRow::from_values(&[text, Value::Decimal(number)], &types)
        };
        let sorted = [
            row(None, 5),
            row(Some("a"), -300),
            row(Some("a"), 7),
            row(Some("ab"), -1),
            row(Some("b"), 0),
            row(Some("é"), 0),
        ];
        for (place, left) in sorted.iter().enumerate() {
            for (other, right) in sorted.iter().enumerate() {
                assert_eq!(compare(left, right, &types).unwrap(), place.cmp(&other));
            }
        }
    }
}
