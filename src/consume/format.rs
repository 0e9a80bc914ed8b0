//! PURE. How a record is printed: by a format, or as JSON.

use serde_json::{Map, Value as Json, json};
use weir_protocol::records::record::Record;

/// A format, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    Value,
    Headers,
}

impl std::str::FromStr for Format {
    type Err = String;

    /// Reads `%t %p %o %d %k %v %h %%` and `\n \t \r \\`.
    fn from_str(text: &str) -> Result<Format, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            let piece = match letter {
                '%' => match letters.next() {
                    Some('t') => Piece::Topic,
                    Some('p') => Piece::Partition,
                    Some('o') => Piece::Offset,
                    Some('d') => Piece::Timestamp,
                    Some('k') => Piece::Key,
                    Some('v') => Piece::Value,
                    Some('h') => Piece::Headers,
                    Some('%') => {
                        plain.push('%');
                        continue;
                    }
                    other => {
                        let got = other.map(String::from).unwrap_or_default();
                        return Err(format!(
                            "%{got} means nothing; use %t %p %o %d %k %v %h or %%"
                        ));
                    }
                },
                '\\' => {
                    match letters.next() {
                        Some('n') => plain.push('\n'),
                        Some('t') => plain.push('\t'),
                        Some('r') => plain.push('\r'),
                        Some('\\') => plain.push('\\'),
                        other => {
                            let got = other.map(String::from).unwrap_or_default();
                            return Err(format!("\\{got} means nothing; use \\n \\t \\r or \\\\"));
                        }
                    }
                    continue;
                }
                other => {
                    plain.push(other);
                    continue;
                }
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(piece);
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Format(pieces))
    }
}

impl Format {
    /// Adds one record to `out`; keys and values as they are, null as nothing.
    pub(crate) fn print(&self, topic: &str, partition: i32, record: &Record, out: &mut Vec<u8>) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Topic => out.extend_from_slice(topic.as_bytes()),
                Piece::Partition => out.extend_from_slice(partition.to_string().as_bytes()),
                Piece::Offset => out.extend_from_slice(record.offset.0.to_string().as_bytes()),
                Piece::Timestamp => {
                    out.extend_from_slice(record.timestamp_ms.to_string().as_bytes());
                }
                Piece::Key => out.extend_from_slice(record.key.as_deref().unwrap_or_default()),
                Piece::Value => out.extend_from_slice(record.value.as_deref().unwrap_or_default()),
                Piece::Headers => {
                    let headers = record.headers.iter().flatten().map(|(name, value)| {
                        let name = String::from_utf8_lossy(&name).into_owned();
                        format!("{name}={}", String::from_utf8_lossy(&value.unwrap_or_default()))
                    });
                    let headers: Vec<String> = headers.collect();
                    out.extend_from_slice(headers.join(",").as_bytes());
                }
            }
        }
    }
}

/// A record as one JSON object: text where it is UTF-8, else base64 under another name.
pub(crate) fn json_of(topic: &str, partition: i32, record: &Record) -> Json {
    let mut object = Map::new();
    object.insert("topic".into(), topic.into());
    object.insert("partition".into(), partition.into());
    object.insert("offset".into(), record.offset.0.into());
    object.insert("timestamp_ms".into(), record.timestamp_ms.into());
    put(&mut object, "key", record.key.as_deref());
    put(&mut object, "value", record.value.as_deref());
    let headers = record.headers.iter().flatten().map(|(name, value)| {
        let mut header = Map::new();
        header.insert("name".into(), json!(String::from_utf8_lossy(&name)));
        put(&mut header, "value", value.as_deref());
        Json::Object(header)
    });
    let headers: Vec<Json> = headers.collect();
    if !headers.is_empty() {
        object.insert("headers".into(), headers.into());
    }
    Json::Object(object)
}

fn put(object: &mut Map<String, Json>, name: &str, bytes: Option<&[u8]>) {
    use base64::Engine;
    match bytes.map(std::str::from_utf8) {
        None => object.insert(name.into(), Json::Null),
        Some(Ok(text)) => object.insert(name.into(), text.into()),
        Some(Err(_)) => {
            let text = base64::engine::general_purpose::STANDARD.encode(bytes.unwrap_or_default());
            object.insert(format!("{name}_base64"), text.into())
        }
    };
}

#[cfg(test)]
mod tests {
    use weir_protocol::records::batch::RecordBatch;
    use weir_protocol::records::builder::BatchBuilder;
    use weir_protocol::records::compression::Compression;

    use super::*;

    fn record(key: Option<&[u8]>, value: Option<&[u8]>) -> Record {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.append(7, key, value, &[("h", Some(b"1")), ("h", None)]);
        let batch = RecordBatch::parse(builder.finish()).unwrap();
        batch.records(1 << 10).unwrap().next().unwrap().unwrap()
    }

    #[test]
    fn a_format_prints_what_it_names() {
        let format: Format = r"%t-%p@%o %d\t%k=%v [%h] 100%%\n".parse().unwrap();
        let mut out = Vec::new();
        format.print("orders", 3, &record(Some(b"k"), None), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "orders-3@0 7\tk= [h=1,h=] 100%\n");
        for wrong in ["%x", "%", r"\q", r"\"] {
            assert!(wrong.parse::<Format>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn json_keeps_null_and_empty_apart_and_bytes_whole() {
        let shown = json_of("t", 0, &record(None, Some(b"\xff\x00")));
        assert_eq!(shown["key"], Json::Null);
        assert_eq!(shown["value_base64"], "/wA=");
        assert_eq!(
            shown["headers"],
            json!([{"name": "h", "value": "1"}, {"name": "h", "value": null}])
        );
        assert_eq!(json_of("t", 0, &record(Some(b""), None))["key"], "");
    }
}
