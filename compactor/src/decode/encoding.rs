//! How values are written in JSON, where the column's type alone does not say it. PURE.

use std::collections::HashMap;

/// How a value is written in JSON, beyond what its column's type says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Encoding {
    /// As the table above says.
    #[default]
    Plain,
    /// As Debezium writes by default: decimals are base64 of the unscaled number.
    Debezium,
    /// As the table says; Debezium's own schema names no other way.
    Typed,
    /// Base64 of an unscaled number with this scale.
    Unscaled(i32),
    /// An object of a scale and the base64 of an unscaled number.
    VariableScale,
    /// A number of this many units in a second: a time of day or a moment.
    PerSecond(i64),
    /// Elements, or values of a map.
    Elements(Box<Encoding>),
    /// Members of a row by name.
    Members(HashMap<String, Encoding>),
}

impl Encoding {
    /// The encoding of an array's elements or a map's values.
    pub(super) fn of_elements(&self) -> &Encoding {
        match self {
            Encoding::Elements(encoding) => encoding,
            Encoding::Debezium => self,
            _ => &Encoding::Plain,
        }
    }

    /// The encoding of a row's member.
    pub(super) fn of_member(&self, name: &str) -> &Encoding {
        match self {
            Encoding::Members(encodings) => encodings.get(name).unwrap_or(&Encoding::Plain),
            Encoding::Debezium => self,
            _ => &Encoding::Plain,
        }
    }
}
