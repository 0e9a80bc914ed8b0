//! A listener: `PLAINTEXT://host:port`, as Kafka writes it.

use std::fmt;

/// One address, to bind or to tell to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Name or address; empty: every address of the machine.
    pub host: String,
    /// Port; 0: any free one.
    pub port: u16,
}

impl Listener {
    /// Whether it stands for every address of the machine, and so for none that can be dialled.
    pub fn is_wildcard(&self) -> bool {
        matches!(self.host.as_str(), "" | "0.0.0.0" | "::")
    }

    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "PLAINTEXT://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "PLAINTEXT://{}:{}", self.host, self.port)
        }
    }
}

/// Reads a list of listeners; the error says what was expected.
pub fn parse_listeners(text: &str) -> Result<Vec<Listener>, String> {
    let listeners: Result<Vec<_>, _> = crate::config::setting::list(text).map(parse).collect();
    let listeners = listeners?;
    if listeners.is_empty() {
        return Err("expected at least one PLAINTEXT://host:port".into());
    }
    Ok(listeners)
}

fn parse(text: &str) -> Result<Listener, String> {
    let Some((protocol, address)) = text.split_once("://") else {
        return Err("expected PLAINTEXT://host:port".into());
    };
    if !protocol.eq_ignore_ascii_case("PLAINTEXT") {
        return Err(format!("expected PLAINTEXT:// ({protocol} is not served yet)"));
    }
    let Some((host, port)) = address.rsplit_once(':') else {
        return Err("expected PLAINTEXT://host:port".into());
    };
    let port = port.parse().map_err(|_| "expected a port of 0 to 65535".to_owned())?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok(Listener { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_as_kafka_writes_them() {
        let listeners = parse_listeners("PLAINTEXT://127.0.0.1:9092, plaintext://[::1]:0");
        let listeners = listeners.expect("two listeners");
        assert_eq!(listeners[0], Listener { host: "127.0.0.1".into(), port: 9092 });
        assert_eq!(listeners[1].to_string(), "PLAINTEXT://[::1]:0");
        assert!(listeners.iter().all(Listener::is_loopback));
        assert!(parse_listeners("PLAINTEXT://:9092").expect("every address")[0].is_wildcard());
    }

    #[test]
    fn what_is_not_a_listener_is_refused() {
        for text in ["", "127.0.0.1:9092", "SSL://h:1", "PLAINTEXT://h", "PLAINTEXT://h:70000"] {
            assert!(parse_listeners(text).is_err(), "{text}");
        }
    }
}
