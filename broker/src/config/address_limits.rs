//! Limits by address: `10.0.0.1:100,[::1]:5`, as Kafka writes them.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::config::setting::list;

/// Reads a list of addresses with a number each; the error says what was expected.
pub fn parse_address_limits(text: &str) -> Result<HashMap<IpAddr, i32>, String> {
    let mut limits = HashMap::new();
    for one in list(text) {
        let expected = || format!("expected address:number, not {one}; names are not looked up");
        let (address, number) = one.rsplit_once(':').ok_or_else(expected)?;
        let address = address.trim().trim_start_matches('[').trim_end_matches(']');
        let address: IpAddr = address.parse().map_err(|_| expected())?;
        let number: Option<i32> = number.trim().parse().ok();
        let number = number.filter(|number| *number >= 0).ok_or_else(expected)?;
        if limits.insert(address.to_canonical(), number).is_some() {
            return Err(format!("{address} stands there twice"));
        }
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_number_each() {
        let limits = parse_address_limits("10.0.0.1:100, [::1]:5 ,::2:0").expect("three limits");
        let of = |address: &str| limits.get(&address.parse().expect("an address")).copied();
        assert_eq!((of("10.0.0.1"), of("::1"), of("::2")), (Some(100), Some(5), Some(0)));
        assert!(parse_address_limits("").expect("none").is_empty());
        for bad in ["10.0.0.1", "10.0.0.1:x", "10.0.0.1:-1", "localhost:5", "10.0.0.1:1,10.0.0.1:2"]
        {
            assert!(parse_address_limits(bad).is_err(), "{bad}");
        }
    }
}
