//! PURE. What a consumer subscribes to, read from the bytes that members of the protocol type
//! `consumer` send (Kafka's ConsumerProtocolSubscription): version i16, then the topics' names.

use std::collections::BTreeSet;

use bytes::{Buf, Bytes};

use crate::group::classic::ClassicGroup;
use crate::group::offset_records::take_string;

/// The protocol type of consumers.
pub const CONSUMER: &str = "consumer";

/// The topics that the members of a group read. `None`: they are no consumers, or say it in a way
/// that we cannot read.
#[must_use]
pub fn subscribed_topics(group: &ClassicGroup) -> Option<BTreeSet<String>> {
    if group.protocol_type() != Some(CONSUMER) {
        return None;
    }
    let mut all = BTreeSet::new();
    for member in group.members().values() {
        let (_, first) = member.protocols.first()?;
        let bytes = match group.protocol() {
            Some(protocol) => member.metadata(protocol),
            None => first.clone(),
        };
        all.extend(topics_in(&bytes)?);
    }
    Some(all)
}

fn topics_in(bytes: &Bytes) -> Option<Vec<String>> {
    let mut from = &bytes[..];
    from.try_get_i16().ok()?;
    let count = usize::try_from(from.try_get_i32().ok()?).ok()?;
    if count > from.len() / 2 {
        return None;
    }
    (0..count).map(|_| take_string(&mut from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_and_nonsense_is_refused() {
        let good = Bytes::from_static(b"\0\x01\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff\0\0\0\0");
        assert_eq!(topics_in(&good), Some(vec!["a".to_owned(), "bc".to_owned()]));
        assert_eq!(topics_in(&Bytes::from_static(b"\0\x01\x7f\xff\xff\xff")), None);
        assert_eq!(topics_in(&Bytes::new()), None);
    }
}
