//! Reads columns as SQL declares them: `id BIGINT NOT NULL, name STRING, r ROW<a INT, b ARRAY<STRING>>`.
//!
//! Names may stand in backquotes. An error names the place and the word that does not belong.

use crate::table::column::{Column, ColumnType, DataType, LENGTH_MAX, number_columns};

/// How deeply types may be nested.
const DEPTH_MAX: usize = 32;
/// A table that asks for more columns is a mistake.
const COLUMN_COUNT_MAX: usize = 10_000;

/// The declaration cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct SqlError {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// What is wrong, naming the offending word.
    pub message: String,
}

/// Reads a list of columns and gives them their field ids, from 0 in the order of declaration.
pub fn parse_columns(sql: &str) -> Result<Vec<Column>, SqlError> {
    let mut parser = Parser::new(sql)?;
    let mut columns = parser.column_list(0)?;
    parser.expect_end()?;
    number_columns(&mut columns, 0);
    Ok(columns)
}

/// Reads one type; members of a ROW are numbered from 0.
pub fn parse_type(sql: &str) -> Result<ColumnType, SqlError> {
    let mut parser = Parser::new(sql)?;
    let column_type = parser.column_type(0)?;
    parser.expect_end()?;
    let mut column = [Column { id: 0, name: String::new(), column_type }];
    number_columns(&mut column, -1);
    let [column] = column;
    Ok(column.column_type)
}

#[derive(Clone, Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Quoted(String),
    Number(&'a str),
    Sign(char),
    End,
}

impl Token<'_> {
    fn shown(&self) -> String {
        match self {
            Token::Word(text) | Token::Number(text) => format!("`{text}`"),
            Token::Quoted(text) => format!("`{text}`"),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::End => "the end".to_owned(),
        }
    }
}

struct Parser<'a> {
    sql: &'a str,
    tokens: Vec<(usize, Token<'a>)>,
    next: usize,
}

impl<'a> Parser<'a> {
    fn new(sql: &'a str) -> Result<Self, SqlError> {
        Ok(Self { sql, tokens: tokens_of(sql)?, next: 0 })
    }

    fn peek(&self) -> &Token<'a> {
        self.tokens.get(self.next).map_or(&Token::End, |(_, token)| token)
    }

    fn advance(&mut self) -> Token<'a> {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn error<T>(&self, message: String) -> Result<T, SqlError> {
        let position = self.tokens.get(self.next).map_or(self.sql.len(), |(position, _)| *position);
        Err(error_at(self.sql, position, message))
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(text) if text.eq_ignore_ascii_case(word))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.next += usize::from(found);
        found
    }

    fn take_sign(&mut self, sign: char) -> bool {
        let found = *self.peek() == Token::Sign(sign);
        self.next += usize::from(found);
        found
    }

    fn expect_sign(&mut self, sign: char) -> Result<(), SqlError> {
        if self.take_sign(sign) {
            return Ok(());
        }
        self.error(format!("expected `{sign}`, found {}", self.peek().shown()))
    }

    fn expect_word(&mut self, word: &str) -> Result<(), SqlError> {
        if self.take_word(word) {
            return Ok(());
        }
        self.error(format!("expected {word}, found {}", self.peek().shown()))
    }

    fn expect_end(&self) -> Result<(), SqlError> {
        match self.peek() {
            Token::End => Ok(()),
            other => self.error(format!("expected a comma or the end, found {}", other.shown())),
        }
    }

    fn column_list(&mut self, depth: usize) -> Result<Vec<Column>, SqlError> {
        let mut columns: Vec<Column> = Vec::new();
        loop {
            let place = self.next;
            let name = self.name()?;
            if columns.iter().any(|column| column.name == name) {
                self.next = place;
                return self.error(format!("column `{name}` is declared twice"));
            }
            let column_type = self.column_type(depth)?;
            columns.push(Column { id: 0, name, column_type });
            if columns.len() > COLUMN_COUNT_MAX {
                return self.error(format!("more than {COLUMN_COUNT_MAX} columns"));
            }
            if !self.take_sign(',') {
                return Ok(columns);
            }
        }
    }

    fn name(&mut self) -> Result<String, SqlError> {
        let name = match self.peek() {
            Token::Word(text)
                if text.eq_ignore_ascii_case("PRIMARY")
                    && matches!(self.tokens.get(self.next + 1), Some((_, Token::Word(key))) if key.eq_ignore_ascii_case("KEY")) =>
            {
                return self
                    .error("PRIMARY KEY is not part of it: use table.primary.key".to_owned());
            }
            Token::Word(text) => (*text).to_owned(),
            Token::Quoted(text) if !text.is_empty() => text.clone(),
            other => return self.error(format!("expected a column name, found {}", other.shown())),
        };
        self.next += 1;
        Ok(name)
    }

    fn column_type(&mut self, depth: usize) -> Result<ColumnType, SqlError> {
        let data_type = self.data_type(depth)?;
        let mut nullable = true;
        if self.take_word("NOT") {
            self.expect_word("NULL")?;
            nullable = false;
        } else {
            self.take_word("NULL");
        }
        Ok(ColumnType { data_type, nullable })
    }

    fn data_type(&mut self, depth: usize) -> Result<DataType, SqlError> {
        if depth > DEPTH_MAX {
            return self.error(format!("types are nested more than {DEPTH_MAX} deep"));
        }
        let Token::Word(word) = self.peek().clone() else {
            return self.error(format!("expected a type, found {}", self.peek().shown()));
        };
        let place = self.next;
        self.next += 1;
        let data_type = match word.to_ascii_uppercase().as_str() {
            "BOOLEAN" | "BOOL" => DataType::Boolean,
            "TINYINT" => DataType::TinyInt,
            "SMALLINT" => DataType::SmallInt,
            "INT" | "INTEGER" => DataType::Int,
            "BIGINT" => DataType::BigInt,
            "FLOAT" | "REAL" => DataType::Float,
            "DOUBLE" => {
                self.take_word("PRECISION");
                DataType::Double
            }
            "DECIMAL" | "DEC" | "NUMERIC" => self.decimal()?,
            "DATE" => DataType::Date,
            "TIME" => {
                let precision = self.precision("TIME", 0, 3)?;
                if self.take_word("WITHOUT") {
                    self.expect_word("TIME")?;
                    self.expect_word("ZONE")?;
                }
                DataType::Time { precision }
            }
            "CHAR" => DataType::Char(self.length("CHAR", "STRING")?),
            "VARCHAR" => match self.length("VARCHAR", "STRING")? {
                LENGTH_MAX => DataType::String,
                length => DataType::VarChar(length),
            },
            "STRING" | "TEXT" => DataType::String,
            "BINARY" => DataType::Binary(self.length("BINARY", "BYTES")?),
            "VARBINARY" => match self.length("VARBINARY", "BYTES")? {
                LENGTH_MAX => DataType::Bytes,
                length => DataType::VarBinary(length),
            },
            "BYTES" => DataType::Bytes,
            "TIMESTAMP" => self.timestamp()?,
            "TIMESTAMP_LTZ" => {
                DataType::TimestampLtz { precision: self.precision("TIMESTAMP_LTZ", 6, 6)? }
            }
            "ARRAY" => {
                self.expect_sign('<')?;
                let element = self.column_type(depth + 1)?;
                self.expect_sign('>')?;
                DataType::Array(Box::new(element))
            }
            "MAP" => self.map(depth)?,
            "ROW" => {
                let close = if self.take_sign('(') { ')' } else { '>' };
                if close == '>' {
                    self.expect_sign('<')?;
                }
                let members = self.column_list(depth + 1)?;
                self.expect_sign(close)?;
                DataType::Row(members)
            }
            "MULTISET" | "VARIANT" | "BLOB" | "VECTOR" | "INTERVAL" => {
                self.next = place;
                return self.error(format!("type {word} is not supported by this version"));
            }
            _ => {
                self.next = place;
                return self.error(format!("unknown type `{word}`"));
            }
        };
        Ok(data_type)
    }

    fn map(&mut self, depth: usize) -> Result<DataType, SqlError> {
        self.expect_sign('<')?;
        let place = self.next;
        let key = self.column_type(depth + 1)?;
        if key.data_type.is_nested() {
            self.next = place;
            return self.error("the key of a MAP cannot be an ARRAY, a MAP or a ROW".to_owned());
        }
        self.expect_sign(',')?;
        let value = self.column_type(depth + 1)?;
        self.expect_sign('>')?;
        Ok(DataType::Map(Box::new(key), Box::new(value)))
    }

    fn timestamp(&mut self) -> Result<DataType, SqlError> {
        let precision = self.precision("TIMESTAMP", 6, 6)?;
        if self.take_word("WITHOUT") {
            self.expect_word("TIME")?;
            self.expect_word("ZONE")?;
        } else if self.take_word("WITH") {
            self.expect_word("LOCAL")?;
            self.expect_word("TIME")?;
            self.expect_word("ZONE")?;
            return Ok(DataType::TimestampLtz { precision });
        }
        Ok(DataType::Timestamp { precision })
    }

    fn decimal(&mut self) -> Result<DataType, SqlError> {
        if !self.take_sign('(') {
            return Ok(DataType::Decimal { precision: 10, scale: 0 });
        }
        let precision = self.number("the precision of DECIMAL", 1, 38)? as u8;
        let mut scale = 0;
        if self.take_sign(',') {
            scale = self.number("the scale of DECIMAL", 0, u32::from(precision))? as u8;
        }
        self.expect_sign(')')?;
        Ok(DataType::Decimal { precision, scale })
    }

    fn precision(&mut self, of: &str, default: u8, max: u8) -> Result<u8, SqlError> {
        if !self.take_sign('(') {
            return Ok(default);
        }
        let precision = self.number(&format!("the precision of {of}"), 0, u32::from(max))? as u8;
        self.expect_sign(')')?;
        Ok(precision)
    }

    fn length(&mut self, of: &str, unbounded: &str) -> Result<u32, SqlError> {
        if *self.peek() != Token::Sign('(') {
            return self
                .error(format!("{of} needs a length, {of}(n); without a bound it is {unbounded}"));
        }
        self.next += 1;
        let length = self.number(&format!("the length of {of}"), 1, LENGTH_MAX)?;
        self.expect_sign(')')?;
        Ok(length)
    }

    fn number(&mut self, what: &str, min: u32, max: u32) -> Result<u32, SqlError> {
        let place = self.next;
        let token = self.advance();
        let number = match &token {
            Token::Number(text) => text.parse::<u32>().ok(),
            _ => None,
        };
        match number {
            Some(number) if (min..=max).contains(&number) => Ok(number),
            _ => {
                self.next = place;
                self.error(format!("{what} is a number from {min} to {max}, not {}", token.shown()))
            }
        }
    }
}

fn tokens_of(sql: &str) -> Result<Vec<(usize, Token<'_>)>, SqlError> {
    let mut tokens = Vec::new();
    let mut chars = sql.char_indices().peekable();
    while let Some((start, first)) = chars.next() {
        if first.is_whitespace() {
            continue;
        }
        if matches!(first, ',' | '(' | ')' | '<' | '>') {
            tokens.push((start, Token::Sign(first)));
            continue;
        }
        if first == '`' {
            let mut name = String::new();
            loop {
                match chars.next() {
                    Some((_, '`')) if chars.peek().is_some_and(|(_, next)| *next == '`') => {
                        chars.next();
                        name.push('`');
                    }
                    Some((_, '`')) => break,
                    Some((_, other)) => name.push(other),
                    None => return Err(error_at(sql, start, "the backquote is not closed".into())),
                }
            }
            tokens.push((start, Token::Quoted(name)));
            continue;
        }
        if !(first.is_alphanumeric() || first == '_') {
            return Err(error_at(sql, start, format!("`{first}` does not belong here")));
        }
        let mut end = start + first.len_utf8();
        while let Some((position, next)) = chars.peek() {
            if !(next.is_alphanumeric() || *next == '_') {
                break;
            }
            end = position + next.len_utf8();
            chars.next();
        }
        let text = &sql[start..end];
        let is_number = first.is_ascii_digit();
        tokens.push((start, if is_number { Token::Number(text) } else { Token::Word(text) }));
    }
    Ok(tokens)
}

fn error_at(sql: &str, position: usize, message: String) -> SqlError {
    let before = &sql[..position];
    let line = before.matches('\n').count() + 1;
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    SqlError { line, column: before[line_start..].chars().count() + 1, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(sql: &str) -> String {
        parse_columns(sql).unwrap_err().to_string()
    }

    #[test]
    fn every_type_reads_back_from_what_it_displays() {
        let sql = "a BOOLEAN, b TINYINT, c SMALLINT, d INT NOT NULL, e BIGINT, f FLOAT, g DOUBLE, \
            h DECIMAL(38, 10), i DATE, j TIME(3), k CHAR(3), l VARCHAR(20), m STRING, n BINARY(4), \
            o VARBINARY(9), p BYTES, q TIMESTAMP(3), r TIMESTAMP(6) WITH LOCAL TIME ZONE, \
            s ARRAY<INT NOT NULL>, t MAP<STRING, DOUBLE> NOT NULL, \
            u ROW<x INT, `the y` ARRAY<ROW<z STRING>>>";
        let columns = parse_columns(sql).unwrap();
        let shown: Vec<String> = columns.iter().map(ToString::to_string).collect();
        assert_eq!(parse_columns(&shown.join(",\n")).unwrap(), columns);
        assert_eq!(shown[7], "`h` DECIMAL(38, 10)");
        assert_eq!(shown[18], "`s` ARRAY<INT NOT NULL>");
        for column in &columns {
            let again = parse_type(&column.column_type.to_string()).unwrap();
            assert_eq!(again.to_string(), column.column_type.to_string());
        }
    }

    #[test]
    fn members_of_rows_take_ids_from_the_same_counter() {
        let columns = parse_columns("a INT, r ROW<x INT, y MAP<INT, ROW<z INT>>>, b INT").unwrap();
        let ids: Vec<i32> = columns.iter().map(|column| column.id).collect();
        assert_eq!(ids, [0, 1, 5]);
        let DataType::Row(members) = &columns[1].column_type.data_type else { panic!() };
        assert_eq!((members[0].id, members[1].id), (2, 3));
    }

    #[test]
    fn shorter_writings_mean_what_flink_and_paimon_mean() {
        let shown = |sql: &str| parse_type(sql).unwrap().to_string();
        assert_eq!(shown("decimal"), "DECIMAL(10, 0)");
        assert_eq!(shown("numeric(5)"), "DECIMAL(5, 0)");
        assert_eq!(shown("timestamp"), "TIMESTAMP(6)");
        assert_eq!(
            shown("timestamp_ltz(3) not null"),
            "TIMESTAMP(3) WITH LOCAL TIME ZONE NOT NULL"
        );
        assert_eq!(shown("varchar(2147483647)"), "STRING");
        assert_eq!(shown("double precision null"), "DOUBLE");
        assert_eq!(shown("row(a int, b text)"), "ROW<`a` INT, `b` STRING>");
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        assert_eq!(message("id BIGINT,\n  name STRNG"), "line 2, column 8: unknown type `STRNG`");
        assert_eq!(message(""), "line 1, column 1: expected a column name, found the end");
        assert_eq!(message("a INT,"), "line 1, column 7: expected a column name, found the end");
        assert_eq!(message("a"), "line 1, column 2: expected a type, found the end");
        assert_eq!(
            message("a INT b INT"),
            "line 1, column 7: expected a comma or the end, found `b`"
        );
        assert_eq!(message("a INT, a INT"), "line 1, column 8: column `a` is declared twice");
        assert_eq!(message("a INT NOT"), "line 1, column 10: expected NULL, found the end");
        assert_eq!(
            message("a DECIMAL(39)"),
            "line 1, column 11: the precision of DECIMAL is a number from 1 to 38, not `39`"
        );
        assert_eq!(
            message("a TIMESTAMP(9)"),
            "line 1, column 13: the precision of TIMESTAMP is a number from 0 to 6, not `9`"
        );
        assert_eq!(message("a INT; b INT"), "line 1, column 6: `;` does not belong here");
        assert_eq!(message("`a INT"), "line 1, column 1: the backquote is not closed");
        assert_eq!(
            message("a INT, PRIMARY KEY (a)"),
            "line 1, column 8: PRIMARY KEY is not part of it: use table.primary.key"
        );
        assert!(message("a VARCHAR").contains("needs a length"));
        assert!(message("m MAP<ARRAY<INT>, INT>").contains("key of a MAP"));
        assert!(message(&format!("a {}INT", "ARRAY<".repeat(100_000))).contains("nested"));
    }
}
