//! PURE. What the values of single settings must be; an error says what was expected.

use crate::config::address_limits::parse_address_limits;
use crate::config::listener::parse_listeners;
use crate::config::setting;

pub(super) fn present<T>(
    check: impl Fn(&T) -> Result<(), String>,
) -> impl Fn(&Option<T>) -> Result<(), String> {
    move |value| value.as_ref().map_or(Ok(()), &check)
}

#[expect(clippy::ptr_arg, reason = "a check takes the setting's own type")]
pub(super) fn is_listeners(value: &String) -> Result<(), String> {
    parse_listeners(value).map(drop)
}

#[expect(clippy::ptr_arg, reason = "a check takes the setting's own type")]
pub(super) fn is_address_limits(value: &String) -> Result<(), String> {
    parse_address_limits(value).map(drop)
}

pub(super) fn is_advertised(value: &Option<String>) -> Result<(), String> {
    let Some(value) = value else { return Ok(()) };
    let listeners = parse_listeners(value)?;
    match listeners.as_slice() {
        [one] if one.is_wildcard() => Err("expected an address that clients can dial".into()),
        [_] => Ok(()),
        _ => Err("expected exactly one PLAINTEXT://host:port".into()),
    }
}

#[expect(clippy::ptr_arg, reason = "a check takes the setting's own type")]
pub(super) fn is_socket_address(value: &String) -> Result<(), String> {
    let expected = || "expected address:port, for instance 127.0.0.1:9644".to_owned();
    value.parse::<std::net::SocketAddr>().map(drop).map_err(|_| expected())
}

pub(super) fn is_one_folder(value: &Vec<String>) -> Result<(), String> {
    match value.as_slice() {
        [_] => Ok(()),
        _ => Err("expected exactly one folder (several data directories are not served)".into()),
    }
}

#[expect(clippy::ptr_arg, reason = "a check takes the setting's own type")]
pub(super) fn is_cleanup_policy(value: &String) -> Result<(), String> {
    setting::check_cleanup_policy(value)
}
