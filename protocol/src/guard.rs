//! Walks a request before the codec sees it, and refuses what the bytes do not bear out.
//!
//! The `kafka-protocol` crate reserves memory for as many elements as a count on the wire says; four
//! bytes can ask it for 154 GB, and the process ends. So each count and each length is held against
//! the bytes that are left and against the [`Limits`], at every level, tagged fields included. A
//! request that passes costs the codec memory in proportion to its bytes: no count is greater than
//! the bytes left divided by the least that an element takes, and all counts together stay below a
//! limit. Bytes behind the last field are not looked at, as in Kafka: librdkafka leaves three there
//! when it asks for the metadata of all topics.
//!
//! The walk follows the table in [`crate::shape`]. It allocates nothing.
use crate::api::{self, ApiRow};
use crate::shape::{self, Field, Kind, Shape};

/// What a request may ask for beside the bytes that it brings.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Array elements of a whole request, all levels together.
    pub elements_max: usize,
    /// Bytes of one string. Names that are merely too long for Kafka get an answer, so this is
    /// far above them.
    pub string_bytes_max: usize,
    /// Tagged fields of a whole request, all levels together.
    pub tagged_fields_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { elements_max: 200_000, string_bytes_max: 32_767, tagged_fields_max: 1_000 }
    }
}

/// Why a request is refused.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The field needs more bytes than are left.
    #[error("needs {needed} bytes, {left} are left")]
    Truncated {
        /// The least that it takes.
        needed: usize,
        /// What is there.
        left: usize,
    },
    /// A negative length, or null where a value must stand.
    #[error("has the length {length}")]
    Length {
        /// What the bytes say.
        length: i32,
    },
    /// Null where a value must stand, in compact form.
    #[error("is null and must not be")]
    Null,
    /// An unsigned varint with more bits than 32.
    #[error("begins with a number that is too long")]
    Number,
    /// More than the limits allow.
    #[error("asks for {count}, {count_max} are allowed")]
    Limit {
        /// What it asks for.
        count: usize,
        /// What is allowed here.
        count_max: usize,
    },
    /// A tagged field of another size than its value has.
    #[error("says its size is {announced}, its value takes {taken}")]
    TagSize {
        /// What the bytes say.
        announced: usize,
        /// What the value takes.
        taken: usize,
    },
    /// A known tagged field that this version does not have.
    #[error("has tag {tag}, which this version does not have")]
    Tag {
        /// Which.
        tag: u32,
    },
    /// No shape for this API and version: a request that the header parser would have refused.
    #[error("is not served")]
    NotServed,
}

/// A request that the codec must not see.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{api} version {version}, byte {position}: `{field}` {fault}")]
pub struct GuardError {
    /// Which API.
    pub api: &'static str,
    /// In which version.
    pub version: i16,
    /// Where in the body.
    pub position: usize,
    /// The field that begins there.
    pub field: &'static str,
    /// What is wrong with it.
    pub fault: Fault,
}

/// Lets a request body pass, or says why not.
///
/// # Errors
/// When a count or a length is not borne out by the bytes, or beyond the limits.
pub fn check(
    api_key: i16,
    api_version: i16,
    body: &[u8],
    limits: &Limits,
) -> Result<(), GuardError> {
    walk(api_key, api_version, body, limits, None)
}

/// Where a count or a length stands in a request, for tests that put something else there.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The field that it belongs to; `tagged fields` and `size of a tagged field` are two more.
    pub field: &'static str,
    /// The first byte of it.
    pub position: usize,
    /// How it is written.
    pub width: Width,
    /// Whether null may stand there.
    pub nullable: bool,
}

/// How a count or a length is written.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Width {
    /// A signed byte: whether a struct is there.
    Int8,
    /// Two bytes.
    Int16,
    /// Four bytes.
    Int32,
    /// An unsigned varint, one more than the length where that may be null.
    Varint {
        /// How many bytes it takes here.
        bytes: usize,
    },
}

/// All places of a valid request where a count or a length stands.
///
/// # Errors
/// When the request does not pass.
pub fn places(
    api_key: i16,
    api_version: i16,
    body: &[u8],
    limits: &Limits,
) -> Result<Vec<Place>, GuardError> {
    let mut places = Vec::new();
    walk(api_key, api_version, body, limits, Some(&mut places))?;
    Ok(places)
}

fn walk(
    api_key: i16,
    version: i16,
    body: &[u8],
    limits: &Limits,
    places: Option<&mut Vec<Place>>,
) -> Result<(), GuardError> {
    let row = api::find(api_key).filter(|row| row.serves(version)).zip(shape::of(api_key));
    let Some((row, shape)) = row else {
        let field = "request";
        return Err(GuardError {
            api: "an API",
            version,
            position: 0,
            field,
            fault: Fault::NotServed,
        });
    };
    let mut walk = Walk {
        row,
        version,
        is_flexible: row.is_flexible(version),
        body,
        position: 0,
        limits,
        elements_left: limits.elements_max,
        tagged_fields_left: limits.tagged_fields_max,
        places,
    };
    walk.fields(shape)
}

struct Walk<'a, 'p> {
    row: &'static ApiRow,
    version: i16,
    is_flexible: bool,
    body: &'a [u8],
    position: usize,
    limits: &'a Limits,
    elements_left: usize,
    tagged_fields_left: usize,
    places: Option<&'p mut Vec<Place>>,
}

impl Walk<'_, '_> {
    /// Struct by struct down to the last tagged field. Its depth is that of the shape.
    fn fields(&mut self, shape: Shape) -> Result<(), GuardError> {
        let version = self.version;
        for field in shape.iter().filter(|field| field.is_plain_in(version)) {
            self.value(field.name, field.kind, field.nullable)?;
        }
        if self.is_flexible { self.tagged_fields(shape) } else { Ok(()) }
    }

    fn value(&mut self, name: &'static str, kind: Kind, nullable: bool) -> Result<(), GuardError> {
        match kind {
            Kind::Fixed(size) => self.skip(name, size),
            Kind::String => {
                let Some(length) = self.length(name, nullable, Width::Int16)? else {
                    return Ok(());
                };
                self.limit(name, length, self.limits.string_bytes_max)?;
                self.skip(name, length)
            }
            Kind::Bytes => match self.length(name, nullable, Width::Int32)? {
                Some(length) => self.skip(name, length),
                None => Ok(()),
            },
            Kind::Structs(shape) => {
                let least = self.least_of_struct(shape);
                for _ in 0..self.count(name, nullable, least)? {
                    self.fields(shape)?;
                }
                Ok(())
            }
            Kind::Values(&kind) => {
                let least = self.least(kind);
                let count = self.count(name, nullable, least)?;
                if let Kind::Fixed(size) = kind {
                    return self.skip(name, count.saturating_mul(size));
                }
                for _ in 0..count {
                    self.value(name, kind, false)?;
                }
                Ok(())
            }
            Kind::NullableStruct(shape) => {
                self.note(name, Width::Int8, true);
                match self.number::<1>(name)? {
                    [1] => self.fields(shape),
                    [0xff] => Ok(()),
                    [other] => {
                        let length = i32::from(other.cast_signed());
                        Err(self.fault(name, Fault::Length { length }))
                    }
                }
            }
            Kind::Struct(shape) => self.fields(shape),
        }
    }

    /// A count whose elements could all be there; `least` is what one of them takes at least.
    fn count(
        &mut self,
        name: &'static str,
        nullable: bool,
        least: usize,
    ) -> Result<usize, GuardError> {
        let Some(count) = self.length(name, nullable, Width::Int32)? else { return Ok(0) };
        self.limit(name, count, self.elements_left)?;
        self.elements_left -= count;
        let needed = count.saturating_mul(least.max(1));
        if needed > self.left() {
            return Err(self.fault(name, Fault::Truncated { needed, left: self.left() }));
        }
        Ok(count)
    }

    /// A length or a count; `None` is null. In versions that are not flexible it has that width.
    fn length(
        &mut self,
        name: &'static str,
        nullable: bool,
        width: Width,
    ) -> Result<Option<usize>, GuardError> {
        if self.is_flexible {
            return match self.varint(name, nullable)? {
                0 if nullable => Ok(None),
                0 => Err(self.fault(name, Fault::Null)),
                length => Ok(Some(length as usize - 1)),
            };
        }
        self.note(name, width, nullable);
        let length = match width {
            Width::Int16 => i32::from(i16::from_be_bytes(self.number(name)?)),
            _ => i32::from_be_bytes(self.number(name)?),
        };
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 && nullable => Ok(None),
            Err(_) => Err(self.fault(name, Fault::Length { length })),
        }
    }

    fn tagged_fields(&mut self, shape: Shape) -> Result<(), GuardError> {
        const COUNT: &str = "tagged fields";
        const SIZE: &str = "size of a tagged field";
        let count = self.varint(COUNT, false)? as usize;
        self.limit(COUNT, count, self.tagged_fields_left)?;
        self.tagged_fields_left -= count;
        // A tag and a size take a byte each at least.
        if count.saturating_mul(2) > self.left() {
            let fault = Fault::Truncated { needed: count.saturating_mul(2), left: self.left() };
            return Err(self.fault(COUNT, fault));
        }
        for _ in 0..count {
            let tag = self.bare_varint("tag")?;
            let size = self.varint(SIZE, false)? as usize;
            let start = self.position;
            let known = shape.iter().find(|field| field.tag == Some(tag));
            match known {
                None => self.skip(SIZE, size)?,
                Some(field) => {
                    self.known_tagged_field(field, tag)?;
                    let taken = self.position - start;
                    if taken != size {
                        let fault = Fault::TagSize { announced: size, taken };
                        return Err(self.fault(field.name, fault));
                    }
                }
            }
        }
        Ok(())
    }

    fn known_tagged_field(&mut self, field: &Field, tag: u32) -> Result<(), GuardError> {
        if field.since > self.version {
            return Err(self.fault(field.name, Fault::Tag { tag }));
        }
        self.value(field.name, field.kind, field.nullable)
    }

    /// The least bytes that a value takes in this version.
    fn least(&self, kind: Kind) -> usize {
        match (kind, self.is_flexible) {
            (Kind::Fixed(size), _) => size,
            (Kind::String | Kind::Bytes | Kind::Structs(_) | Kind::Values(_), true) => 1,
            (Kind::String, false) => 2,
            (Kind::Bytes | Kind::Structs(_) | Kind::Values(_), false) => 4,
            (Kind::NullableStruct(_), _) => 1,
            (Kind::Struct(shape), _) => self.least_of_struct(shape),
        }
    }

    fn least_of_struct(&self, shape: Shape) -> usize {
        let plain = shape.iter().filter(|field| field.is_plain_in(self.version));
        plain.map(|field| self.least(field.kind)).sum::<usize>() + usize::from(self.is_flexible)
    }

    /// A varint that is a count or a length, or one more than that.
    fn varint(&mut self, name: &'static str, nullable: bool) -> Result<u32, GuardError> {
        let position = self.position;
        let value = self.bare_varint(name)?;
        let bytes = self.position - position;
        if let Some(places) = &mut self.places {
            places.push(Place { field: name, position, width: Width::Varint { bytes }, nullable });
        }
        Ok(value)
    }

    fn bare_varint(&mut self, name: &'static str) -> Result<u32, GuardError> {
        let mut value = 0u32;
        for index in 0..5 {
            let [byte] = self.number(name)?;
            let bits = u32::from(byte & 0x7f);
            let shifted = bits << (7 * index);
            if shifted >> (7 * index) != bits {
                break;
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.fault(name, Fault::Number))
    }

    fn number<const N: usize>(&mut self, name: &'static str) -> Result<[u8; N], GuardError> {
        let fault = Fault::Truncated { needed: N, left: self.left() };
        let bytes = self.body[self.position..].first_chunk::<N>();
        let bytes = *bytes.ok_or_else(|| self.fault(name, fault))?;
        self.position += N;
        Ok(bytes)
    }

    fn skip(&mut self, name: &'static str, needed: usize) -> Result<(), GuardError> {
        if needed > self.left() {
            return Err(self.fault(name, Fault::Truncated { needed, left: self.left() }));
        }
        self.position += needed;
        Ok(())
    }

    fn limit(&self, name: &'static str, count: usize, count_max: usize) -> Result<(), GuardError> {
        if count > count_max {
            return Err(self.fault(name, Fault::Limit { count, count_max }));
        }
        Ok(())
    }

    fn note(&mut self, field: &'static str, width: Width, nullable: bool) {
        let position = self.position;
        if let Some(places) = &mut self.places {
            places.push(Place { field, position, width, nullable });
        }
    }

    fn left(&self) -> usize {
        self.body.len() - self.position
    }

    fn fault(&self, field: &'static str, fault: Fault) -> GuardError {
        let Walk { row, version, position, .. } = *self;
        GuardError { api: row.name, version, position, field, fault }
    }
}

#[cfg(test)]
pub(crate) mod oracle;
#[cfg(test)]
mod tests;
