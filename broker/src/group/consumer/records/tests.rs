//! The bytes are Kafka's, and what cannot be read is not taken for something else.

use super::*;

fn partition(topic: u128, index: i32) -> TopicPartition {
    TopicPartition::new(Uuid::from_u128(topic), index)
}

fn all() -> Vec<Record> {
    let profile = Profile {
        instance_id: Some("i".into()),
        rack_id: None,
        client_id: "c".into(),
        client_host: "/h".into(),
        topic_names: BTreeSet::from(["t".to_owned()]),
        topic_regex: Some("x.*".into()),
        rebalance_timeout_ms: 300_000,
        assignor: Some("range".into()),
        classic: None,
    };
    let classic = ClassicProfile {
        session_timeout_ms: 45_000,
        protocols: vec![("range".into(), Bytes::from_static(b"\0\x01"))],
    };
    let standing = Standing {
        epoch: 7,
        previous_epoch: 6,
        state: State::UnrevokedPartitions,
        assigned: BTreeMap::from([(partition(1, 0), 3), (partition(1, 2), 7)]),
        revoking: BTreeMap::from([(partition(2, 1), 5)]),
    };
    let topics = BTreeSet::from(["x1".to_owned(), "x2".to_owned()]);
    vec![
        Record::Group(Some(GroupValue { epoch: 5, metadata_hash: -2 })),
        Record::Group(Some(GroupValue { epoch: 5, metadata_hash: 0 })),
        Record::Group(None),
        Record::Member("m".into(), Some(profile.clone())),
        Record::Member("m".into(), Some(Profile { classic: Some(classic), ..profile })),
        Record::Member("m".into(), None),
        Record::TargetEpoch(Some(9)),
        Record::TargetEpoch(None),
        Record::Target("m".into(), Some(Partitions::from([partition(1, 0), partition(2, 3)]))),
        Record::Target("m".into(), None),
        Record::Standing("m".into(), Some(standing)),
        Record::Standing("m".into(), None),
        Record::Pattern("x.*".into(), Some(Resolved { topics, version: 4, time_ms: 99 })),
        Record::Pattern("x.*".into(), None),
    ]
}

#[test]
fn what_is_written_is_read_back_and_what_is_cut_short_is_not() {
    for record in all() {
        let (key, value) = record.encode("g");
        let read = Record::decode(&key, value.as_deref());
        assert_eq!(read, Some(("g".to_owned(), record.clone())));
        for end in 0..key.len() {
            assert_eq!(Record::decode(&key[..end], value.as_deref()), None, "{record:?}");
        }
        let value = value.unwrap_or_default();
        // The epoch of a target stands before the tags, which are not looked at.
        let needed = if matches!(record, Record::TargetEpoch(_)) { 6 } else { value.len() };
        for end in 0..needed.min(value.len()) {
            assert_eq!(Record::decode(&key, Some(&value[..end])), None, "{record:?}");
        }
    }
}

#[test]
fn keys_and_values_are_kafkas_bytes() {
    let bytes = |record: &Record| {
        let (key, value) = record.encode("g");
        (key.to_vec(), value.map(|value| value.to_vec()))
    };
    let group = Record::Group(Some(GroupValue { epoch: 5, metadata_hash: 1 }));
    let value = b"\0\0\0\0\0\x05\x01\0\x08\0\0\0\0\0\0\0\x01".to_vec();
    assert_eq!(bytes(&group), (b"\0\x03\0\x01g".to_vec(), Some(value)));
    let gone = Record::Standing("m".into(), None);
    assert_eq!(bytes(&gone), (b"\0\x08\0\x01g\0\x01m".to_vec(), None));
    let target = Record::Target("m".into(), Some(Partitions::from([partition(1, 4)])));
    let mut value = b"\0\0\x02".to_vec();
    value.extend(Uuid::from_u128(1).into_bytes());
    value.extend(b"\x02\0\0\0\x04\0\0");
    assert_eq!(bytes(&target), (b"\0\x07\0\x01g\0\x01m".to_vec(), Some(value)));
    let profile = Profile {
        client_id: "c".into(),
        client_host: "h".into(),
        topic_names: BTreeSet::from(["t".to_owned()]),
        rebalance_timeout_ms: 1,
        classic: Some(ClassicProfile {
            session_timeout_ms: 2,
            protocols: vec![("r".into(), Bytes::from_static(b"z"))],
        }),
        ..Profile::default()
    };
    let value = [
        &b"\0\0\0\0\x02c\x02h\x02\x02t\0\0\0\0\x01\0"[..],
        &b"\x01\0\x0c\x01\0\0\0\x02\x02\x02r\x02z\0\0"[..],
    ];
    let member = Record::Member("m".into(), Some(profile));
    assert_eq!(bytes(&member), (b"\0\x05\0\x01g\0\x01m".to_vec(), Some(value.concat())));
    let resolved = Resolved { topics: BTreeSet::from(["t".into()]), version: 1, time_ms: 2 };
    let value = b"\0\0\x02\x02t\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0".to_vec();
    let pattern = Record::Pattern("t.".into(), Some(resolved));
    assert_eq!(bytes(&pattern), (b"\0\x10\0\x01g\0\x02t.".to_vec(), Some(value)));
}

#[test]
fn standings_without_epochs_of_their_partitions_are_of_older_brokers() {
    let mut value = b"\0\0\0\0\0\x07\0\0\0\x06\x01\x02".to_vec();
    value.extend(Uuid::from_u128(1).into_bytes());
    value.extend(b"\x02\0\0\0\x04\0\x01\0");
    let (_, record) = Record::decode(b"\0\x08\0\x01g\0\x01m", Some(&value)).expect("a record");
    let Record::Standing(_, Some(standing)) = record else { panic!("{record:?}") };
    assert_eq!(standing.assigned, BTreeMap::from([(partition(1, 4), 7)]));
}

#[test]
fn other_kinds_and_later_versions_are_passed_over() {
    assert_eq!(Record::decode(b"\0\x01\0\x01g\0\x01t\0\0\0\0", None), None);
    assert_eq!(Record::decode(b"\0\x02\0\x01g", None), None);
    assert_eq!(Record::decode(b"\0\x03\0\x01g", Some(b"\0\x01\0\0\0\x05\0")), None);
    let old = Record::decode(b"\0\x04\0\x01g", Some(b"\0\0\x01\0"));
    assert_eq!(old, Some(("g".into(), Record::PartitionMetadata)));
}
