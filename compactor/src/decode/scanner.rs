//! Walks over a JSON text without building a tree: the caller says what it expects next. PURE.
//!
//! What must hold: exactly the texts of RFC 8259 are taken, nesting ends at [`DEPTH_MAX`], nothing
//! is allocated but strings that hold escapes, and no text makes it panic.

use std::borrow::Cow;

/// How deeply arrays and objects may be nested.
pub const DEPTH_MAX: u32 = 64;

/// The text is not JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no valid JSON at byte {position}: {wanted}")]
pub struct SyntaxError {
    /// The byte, from 0.
    pub position: usize,
    /// What is wrong, or should stand there.
    pub wanted: &'static str,
}

/// What kind of value comes next.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl Kind {
    /// For messages.
    pub fn shown(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Boolean => "a boolean",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::Array => "an array",
            Kind::Object => "an object",
        }
    }
}

/// A place in a JSON text.
#[derive(Clone, Debug)]
pub struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    position: usize,
    depth: u32,
}

impl<'a> Scanner<'a> {
    /// At the start of the text.
    pub fn new(text: &'a str) -> Self {
        Self { text, bytes: text.as_bytes(), position: 0, depth: 0 }
    }

    /// The kind of the next value; blanks before it are passed.
    pub fn peek(&mut self) -> Result<Kind, SyntaxError> {
        self.skip_blanks();
        match self.bytes.get(self.position) {
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b't' | b'f') => Ok(Kind::Boolean),
            Some(b'n') => Ok(Kind::Null),
            Some(_) => Err(self.error("a value should stand here")),
            None => Err(self.error("the text ends too early")),
        }
    }

    /// Passes `null`.
    pub fn null(&mut self) -> Result<(), SyntaxError> {
        self.literal("null")
    }

    /// Passes `true` or `false`.
    pub fn boolean(&mut self) -> Result<bool, SyntaxError> {
        if self.bytes.get(self.position) == Some(&b't') {
            return self.literal("true").map(|()| true);
        }
        self.literal("false").map(|()| false)
    }

    /// Passes a number; its text as it stands there.
    pub fn number(&mut self) -> Result<&'a str, SyntaxError> {
        let start = self.position;
        self.take(b'-');
        if !self.take(b'0') && self.digits() == 0 {
            return Err(self.error("a digit should stand here"));
        }
        if self.take(b'.') && self.digits() == 0 {
            return Err(self.error("a digit should follow the point"));
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            if self.digits() == 0 {
                return Err(self.error("a digit should stand in the exponent"));
            }
        }
        Ok(&self.text[start..self.position])
    }

    /// Passes a string; borrowed unless it holds escapes.
    pub fn string(&mut self) -> Result<Cow<'a, str>, SyntaxError> {
        if !self.take(b'"') {
            return Err(self.error("a string should stand here"));
        }
        let start = self.position;
        self.plain_text();
        match self.bytes.get(self.position) {
            Some(b'"') => {
                self.position += 1;
                Ok(Cow::Borrowed(&self.text[start..self.position - 1]))
            }
            _ => self.string_with_escapes(start).map(Cow::Owned),
        }
    }

    /// Enters an object; then [`Self::next_key`].
    pub fn enter_object(&mut self) -> Result<(), SyntaxError> {
        self.enter(b'{', "an object should stand here")
    }

    /// The next key of the object that was entered, standing before its value; `None` when it has
    /// ended. `first` is true before the first key.
    pub fn next_key(&mut self, first: bool) -> Result<Option<Cow<'a, str>>, SyntaxError> {
        if self.leave(b'}', first)? {
            return Ok(None);
        }
        self.skip_blanks();
        let key = self.string()?;
        self.skip_blanks();
        if !self.take(b':') {
            return Err(self.error("a colon should stand here"));
        }
        Ok(Some(key))
    }

    /// Enters an array; then [`Self::next_element`].
    pub fn enter_array(&mut self) -> Result<(), SyntaxError> {
        self.enter(b'[', "an array should stand here")
    }

    /// Whether the array that was entered has another element, which stands there next.
    pub fn next_element(&mut self, first: bool) -> Result<bool, SyntaxError> {
        Ok(!self.leave(b']', first)?)
    }

    /// Passes the next value, whatever it is; its text.
    pub fn skip(&mut self) -> Result<&'a str, SyntaxError> {
        self.skip_blanks();
        let start = self.position;
        self.skip_value()?;
        Ok(&self.text[start..self.position])
    }

    /// Nothing but blanks may be left.
    pub fn end(&mut self) -> Result<(), SyntaxError> {
        self.skip_blanks();
        match self.position == self.bytes.len() {
            true => Ok(()),
            false => Err(self.error("the text should end here")),
        }
    }

    fn skip_value(&mut self) -> Result<(), SyntaxError> {
        match self.peek()? {
            Kind::Null => self.null(),
            Kind::Boolean => self.boolean().map(drop),
            Kind::Number => self.number().map(drop),
            Kind::String => self.skip_string(),
            Kind::Array => {
                self.enter_array()?;
                let mut first = true;
                while self.next_element(first)? {
                    self.skip_value()?;
                    first = false;
                }
                Ok(())
            }
            Kind::Object => {
                self.enter_object()?;
                let mut first = true;
                while !self.leave(b'}', first)? {
                    self.skip_blanks();
                    self.skip_string()?;
                    self.skip_blanks();
                    if !self.take(b':') {
                        return Err(self.error("a colon should stand here"));
                    }
                    self.skip_value()?;
                    first = false;
                }
                Ok(())
            }
        }
    }

    fn skip_string(&mut self) -> Result<(), SyntaxError> {
        let start = self.position;
        if !self.take(b'"') {
            return Err(self.error("a string should stand here"));
        }
        self.plain_text();
        if self.take(b'"') {
            return Ok(());
        }
        self.position = start;
        self.string().map(drop)
    }

    fn enter(&mut self, bracket: u8, wanted: &'static str) -> Result<(), SyntaxError> {
        self.skip_blanks();
        if !self.take(bracket) {
            return Err(self.error(wanted));
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error("it is nested more than 64 deep"));
        }
        Ok(())
    }

    /// Passes the closing bracket, or the comma before another member.
    fn leave(&mut self, bracket: u8, first: bool) -> Result<bool, SyntaxError> {
        self.skip_blanks();
        if self.take(bracket) {
            self.depth = self.depth.saturating_sub(1);
            return Ok(true);
        }
        if first || self.take(b',') {
            return Ok(false);
        }
        Err(self.error("a comma or a closing bracket should stand here"))
    }

    /// Passes text up to a quote, an escape, a control character or the end.
    fn plain_text(&mut self) {
        let rest = &self.bytes[self.position..];
        let is_plain = |byte: &u8| *byte != b'"' && *byte != b'\\' && *byte >= 0x20;
        self.position += rest.iter().position(|byte| !is_plain(byte)).unwrap_or(rest.len());
    }

    fn string_with_escapes(&mut self, start: usize) -> Result<String, SyntaxError> {
        let mut string = String::with_capacity(self.position - start + 16);
        let mut plain = start;
        loop {
            self.plain_text();
            string.push_str(&self.text[plain..self.position]);
            match self.bytes.get(self.position) {
                Some(b'"') => {
                    self.position += 1;
                    return Ok(string);
                }
                Some(b'\\') => {
                    self.position += 1;
                    string.push(self.escape()?);
                    plain = self.position;
                }
                Some(_) => return Err(self.error("a control character must be escaped")),
                None => return Err(self.error("the text ends inside a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, SyntaxError> {
        let escaped = self.bytes.get(self.position).copied();
        self.position += 1;
        Ok(match escaped {
            Some(letter @ (b'"' | b'\\' | b'/')) => char::from(letter),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.escaped_unit(),
            _ => {
                self.position -= 1;
                return Err(self.error("no such escape"));
            }
        })
    }

    fn escaped_unit(&mut self) -> Result<char, SyntaxError> {
        let unit = self.hexadecimal()?;
        let code = match unit {
            0xd800..=0xdbff => {
                if !(self.take(b'\\') && self.take(b'u')) {
                    return Err(self.error("a surrogate stands alone"));
                }
                let low = self.hexadecimal()?;
                if !(0xdc00..=0xdfff).contains(&low) {
                    return Err(self.error("a surrogate stands alone"));
                }
                0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
            }
            other => other,
        };
        char::from_u32(code).ok_or_else(|| self.error("a surrogate stands alone"))
    }

    fn hexadecimal(&mut self) -> Result<u32, SyntaxError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit =
                self.bytes.get(self.position).and_then(|byte| char::from(*byte).to_digit(16));
            let digit =
                digit.ok_or_else(|| self.error("four hexadecimal digits should stand here"))?;
            code = code * 16 + digit;
            self.position += 1;
        }
        Ok(code)
    }

    fn digits(&mut self) -> usize {
        let rest = &self.bytes[self.position..];
        let count = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        self.position += count;
        count
    }

    fn literal(&mut self, literal: &'static str) -> Result<(), SyntaxError> {
        if self.bytes[self.position..].starts_with(literal.as_bytes()) {
            self.position += literal.len();
            return Ok(());
        }
        Err(self.error("true, false or null should stand here"))
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.bytes.get(self.position) == Some(&byte);
        self.position += usize::from(found);
        found
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.position) {
            self.position += 1;
        }
    }

    fn error(&self, wanted: &'static str) -> SyntaxError {
        SyntaxError { position: self.position, wanted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn skips(text: &str) -> bool {
        let mut scanner = Scanner::new(text);
        scanner.skip().and_then(|_| scanner.end()).is_ok()
    }

    /// Rebuilds the text as a tree, to be compared with another reader's.
    fn tree(scanner: &mut Scanner<'_>) -> Result<serde_json::Value, SyntaxError> {
        Ok(match scanner.peek()? {
            Kind::Null => scanner.null().map(|()| serde_json::Value::Null)?,
            Kind::Boolean => scanner.boolean()?.into(),
            Kind::Number => serde_json::from_str(scanner.number()?).unwrap(),
            Kind::String => scanner.string()?.into(),
            Kind::Array => {
                scanner.enter_array()?;
                let mut elements = Vec::new();
                while scanner.next_element(elements.is_empty())? {
                    elements.push(tree(scanner)?);
                }
                elements.into()
            }
            Kind::Object => {
                scanner.enter_object()?;
                let mut members = serde_json::Map::new();
                let mut first = true;
                while let Some(key) = scanner.next_key(first)? {
                    members.insert(key.into_owned(), tree(scanner)?);
                    first = false;
                }
                members.into()
            }
        })
    }

    fn agrees(text: &str) {
        let theirs = serde_json::from_str::<serde_json::Value>(text).ok();
        let mut scanner = Scanner::new(text);
        let ours = tree(&mut scanner).and_then(|tree| scanner.end().map(|()| tree)).ok();
        assert_eq!(ours, theirs, "{text:?}");
        assert_eq!(skips(text), theirs.is_some(), "{text:?}");
    }

    #[test]
    fn it_takes_what_serde_takes_and_reads_the_same() {
        for text in [
            "",
            " ",
            "nul",
            "null",
            "nulll",
            "tru",
            "true ",
            "-",
            "-0",
            "01",
            "1.",
            ".5",
            "1e",
            "1E+5",
            "1e-",
            "-1.25e3",
            "\"",
            "\"a",
            "\"a\\",
            "\"\\u12\"",
            "\"\\u00e9\\n\\/\"",
            "\"\\ud83d\\ude42\"",
            "\"\\ud83d\"",
            "\"\\ude42\"",
            "\"\\ud83d\\u0041\"",
            "\"\\x\"",
            "\"\t\"",
            "[",
            "[]",
            "[1,]",
            "[1 2]",
            "[1,2",
            "{}",
            "{\"a\"}",
            "{\"a\":1,}",
            "{,}",
            "{\"a\":1 \"b\":2}",
            "{1:2}",
            "NaN",
            "[[[]]]",
            "{\"a\":{\"b\":[1,{\"c\":null}]}}",
            "[1]]",
            "\u{feff}1",
            "'a'",
            "[}",
            "{]",
        ] {
            agrees(text);
        }
    }

    #[test]
    fn nesting_has_an_end() {
        assert!(skips(&format!("{}{}", "[".repeat(64), "]".repeat(64))));
        assert!(!skips(&format!("{}{}", "[".repeat(65), "]".repeat(65))));
        assert!(!skips(&"{\"a\":".repeat(100_000)));
    }

    proptest! {
        #[test]
        fn it_agrees_with_serde_on_near_json(text in "[\\[\\]{}:,\"\\\\u0-9a-fnrtlse.+ -]{0,24}") {
            agrees(&text);
        }

        #[test]
        fn it_never_panics(text in ".{0,64}") {
            agrees(&text);
        }
    }
}
