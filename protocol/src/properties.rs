//! Settings as text: Java's `.properties`, with `[sections]` beside. PURE.
//!
//! ```text
//! # a comment, as is a line that begins with !
//! log.segment.bytes = 1048576
//! listeners : PLAINTEXT://127.0.0.1:9092
//! table.schema = id BIGINT NOT NULL, \
//!                name STRING
//! [orders]
//! table.enabled = true
//! ```
//!
//! A key ends at the first `=`, `:` or blank; `\` takes the meaning from what follows it, writes a
//! tab, a line end or `\u20ac`, or carries a line on. Values are trimmed, as Kafka trims them. Other
//! than Java, which takes the last of two, a key that comes twice is an error: one of them would be
//! ignored in silence.
use std::collections::BTreeMap;

/// What a text says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// What stands before the first section.
    pub settings: Settings,
    /// The sections by what stands between their brackets.
    pub sections: BTreeMap<String, Settings>,
}

/// The settings of one section, by key.
pub type Settings = BTreeMap<String, Setting>;

/// One setting, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// What it is set to; empty if nothing is said.
    pub value: String,
    /// The line on which it begins, from 1.
    pub line: usize,
}

/// Why a text says nothing clear.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropertiesError {
    /// A key that was set before.
    #[error("line {line}: `{key}` is set on line {first_line} already")]
    Twice {
        /// The second time.
        line: usize,
        /// The key, or the section in its brackets.
        key: String,
        /// The first time.
        first_line: usize,
    },
    /// A line without a key, or brackets without a name.
    #[error("line {line}: a name is missing")]
    NoName {
        /// Where.
        line: usize,
    },
    /// A bracket that is not closed on its line.
    #[error("line {line}: a section is `[name]` on a line of its own")]
    Section {
        /// Where.
        line: usize,
    },
    /// `\u` without four digits behind it, or half a character.
    #[error("line {line}: `\\u` needs the four hexadecimal digits of a character")]
    Unicode {
        /// Where.
        line: usize,
    },
    /// A section where there is none to be.
    #[error("line {line}: this file has no sections, found `[{name}]`")]
    Unexpected {
        /// Where its first setting stands.
        line: usize,
        /// What it is called.
        name: String,
    },
}

impl Properties {
    /// Reads a text.
    ///
    /// # Errors
    /// At the first line that is not clear.
    pub fn parse(text: &str) -> Result<Properties, PropertiesError> {
        let mut properties = Properties::default();
        let mut section = None;
        let mut section_lines: BTreeMap<String, usize> = BTreeMap::new();
        let mut lines = (1..).zip(text.lines());
        while let Some((line, first)) = lines.next() {
            let first = first.trim_start();
            if first.is_empty() || first.starts_with(['#', '!']) {
                continue;
            }
            if let Some(rest) = first.strip_prefix('[') {
                let name = section_name(rest, line)?;
                if let Some(first_line) = section_lines.insert(name.clone(), line) {
                    return Err(PropertiesError::Twice {
                        line,
                        key: format!("[{name}]"),
                        first_line,
                    });
                }
                properties.sections.insert(name.clone(), Settings::new());
                section = Some(name);
                continue;
            }
            let mut whole = first.to_owned();
            while is_carried_on(&whole) {
                whole.pop();
                let Some((_, next)) = lines.next() else { break };
                whole.push_str(next.trim_start());
            }
            let (key, value) = key_and_value(&whole, line)?;
            let settings = match &section {
                None => &mut properties.settings,
                Some(name) => properties.sections.entry(name.clone()).or_default(),
            };
            if let Some(before) = settings.get(&key) {
                return Err(PropertiesError::Twice { line, key, first_line: before.line });
            }
            settings.insert(key, Setting { value, line });
        }
        Ok(properties)
    }

    /// Reads a text that has no sections.
    ///
    /// # Errors
    /// At the first line that is not clear, or that belongs to a section.
    pub fn parse_flat(text: &str) -> Result<Settings, PropertiesError> {
        let properties = Properties::parse(text)?;
        match properties.sections.into_iter().next() {
            None => Ok(properties.settings),
            Some((name, _)) => {
                let heading = format!("[{name}]");
                let is_heading = |text: &str| text.trim() == heading;
                let line = text.lines().position(is_heading).map_or(1, |index| index + 1);
                Err(PropertiesError::Unexpected { line, name })
            }
        }
    }
}

fn section_name(rest: &str, line: usize) -> Result<String, PropertiesError> {
    let name = rest.trim_end().strip_suffix(']').ok_or(PropertiesError::Section { line })?.trim();
    match name {
        "" => Err(PropertiesError::NoName { line }),
        name => Ok(name.to_owned()),
    }
}

/// Whether a line ends with a backslash that no other one takes the meaning from.
fn is_carried_on(line: &str) -> bool {
    line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

fn key_and_value(line_text: &str, line: usize) -> Result<(String, String), PropertiesError> {
    let mut is_escaped = false;
    let end = line_text.find(|c: char| {
        let ends = !is_escaped && (c == '=' || c == ':' || c.is_whitespace());
        is_escaped = c == '\\' && !is_escaped;
        ends
    });
    let (key, rest) = line_text.split_at(end.unwrap_or(line_text.len()));
    let rest = rest.trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim();
    if key.is_empty() {
        return Err(PropertiesError::NoName { line });
    }
    Ok((unescaped(key, line)?, unescaped(value, line)?))
}

fn unescaped(text: &str, line: usize) -> Result<String, PropertiesError> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            None => {}
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\u{c}'),
            Some('u') => {
                let unit = utf16_unit(&mut chars).ok_or(PropertiesError::Unicode { line })?;
                let mut units = vec![unit];
                if (0xd800..0xdc00).contains(&unit) {
                    let is_followed = chars.next() == Some('\\') && chars.next() == Some('u');
                    let low = is_followed.then(|| utf16_unit(&mut chars)).flatten();
                    units.push(low.ok_or(PropertiesError::Unicode { line })?);
                }
                let character = String::from_utf16(&units);
                plain.push_str(&character.map_err(|_| PropertiesError::Unicode { line })?);
            }
            Some(other) => plain.push(other),
        }
    }
    Ok(plain)
}

fn utf16_unit(chars: &mut std::str::Chars<'_>) -> Option<u16> {
    let mut unit = 0;
    for _ in 0..4 {
        unit = unit * 16 + chars.next()?.to_digit(16)?;
    }
    u16::try_from(unit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(text: &str) -> Vec<(String, String, usize)> {
        let settings = Properties::parse_flat(text).unwrap();
        let mut settings: Vec<_> =
            settings.into_iter().map(|(key, set)| (key, set.value, set.line)).collect();
        settings.sort_by_key(|(_, _, line)| *line);
        settings
    }

    fn one(text: &str) -> (String, String) {
        let mut settings = flat(text);
        assert_eq!(settings.len(), 1, "{text}");
        let (key, value, _) = settings.remove(0);
        (key, value)
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn keys_end_where_java_ends_them() {
        for text in ["a.b=c d", "a.b = c d", "  a.b:c d  ", "a.b\tc d", "a.b  :  c d\r\n"] {
            assert_eq!(one(text), pair("a.b", "c d"), "{text:?}");
        }
        assert_eq!(one("a"), pair("a", ""));
        assert_eq!(one("a="), pair("a", ""));
        assert_eq!(one("a==b"), pair("a", "=b"));
        assert_eq!(one("url=http://host:1/x=y"), pair("url", "http://host:1/x=y"));
        assert_eq!(one(r"a\=b\:c\ d = e"), pair("a=b:c d", "e"));
    }

    #[test]
    fn comments_and_empty_lines_say_nothing() {
        let text = "\n# a=1\n  ! b=2\n \t \nc=3 # part of the value\n";
        assert_eq!(flat(text), [("c".into(), "3 # part of the value".into(), 5)]);
        assert_eq!(flat(""), []);
    }

    #[test]
    fn a_backslash_carries_a_line_on() {
        let text = "schema = id INT, \\\n    # name STRING\\\n\nnext=1\\\\\nlast=2\\";
        let expected = [
            ("schema".into(), "id INT, # name STRING".into(), 1),
            ("next".into(), "1\\".into(), 4),
            ("last".into(), "2".into(), 5),
        ];
        assert_eq!(flat(text), expected);
    }

    #[test]
    fn escapes_write_what_cannot_stand_in_a_line() {
        assert_eq!(one(r"a=x\ty\n\\\#\q"), pair("a", "x\ty\n\\#q"));
        assert_eq!(one(r"\u20ac=\ud83d\ude00!"), pair("€", "😀!"));
        for text in [r"a=\u12", r"a=\uzzzz", r"a=\ud83d", r"a=\ud83dx", r"a=\ude00"] {
            let refused = Properties::parse(text);
            assert_eq!(refused, Err(PropertiesError::Unicode { line: 1 }), "{text}");
        }
    }

    #[test]
    fn sections_hold_what_follows_them() {
        let text = "a=1\n[orders]\na=2\n\n [ flights ] \n[empty]\n";
        let properties = Properties::parse(text).unwrap();
        assert_eq!(properties.settings["a"], Setting { value: "1".into(), line: 1 });
        assert_eq!(properties.sections["orders"]["a"], Setting { value: "2".into(), line: 3 });
        let names: Vec<_> = properties.sections.keys().map(String::as_str).collect();
        assert_eq!(names, ["empty", "flights", "orders"]);
        let unexpected = PropertiesError::Unexpected { line: 2, name: "orders".into() };
        assert_eq!(Properties::parse_flat("a=1\n[orders]\n"), Err(unexpected));
    }

    #[test]
    fn what_is_not_clear_is_an_error_with_its_line() {
        let said = |text| Properties::parse(text).unwrap_err().to_string();
        assert_eq!(said("a=1\n\na=1"), "line 3: `a` is set on line 1 already");
        assert_eq!(said("[x]\n[y]\n[x]"), "line 3: `[x]` is set on line 1 already");
        assert_eq!(said("\n = 1"), "line 2: a name is missing");
        assert_eq!(said("[ ]"), "line 1: a name is missing");
        assert_eq!(said("[x] y"), "line 1: a section is `[name]` on a line of its own");
    }
}
