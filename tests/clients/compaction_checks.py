"""Compacted topics as a client meets them: the last value of each key, tombstones for a while, keys."""

import time

from adapters import Record
from checks import equal, holds, wait_until
from log_checks import expect_error

KEYS = 7
UPDATES = 420
# One batch of them fits into a segment.
PART = 20
# The cleaner leaves the active segment alone; fewer of these fit into it.
VALUE_BYTES = 500
ACTIVE_MAX = 64
CONFIGS = {
    "cleanup.policy": "compact", "segment.bytes": "16384", "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "3000",
}  # fmt: skip


def run_compaction_checks(checks, adapters):
    """For a broker whose `log.cleaner.backoff.ms` is small."""
    prefix = f"compaction-{time.time_ns() // 1_000_000}"
    for client in adapters:
        checks.run(f"compaction/{client.name}/last-value-of-each-key", last_values, client, prefix)
    checks.run("compaction/policies", policies, adapters[0], prefix)


def last_values(client, prefix):
    topic = f"{prefix}-{client.name}"
    client.create_topic(topic, 1, CONFIGS)
    # aiokafka knows no name for this code.
    expect_error(("INVALID_RECORD", "UNKNOWN"), client.produce, topic, 0, [record(None, 0)])
    expected = {}
    for first in range(0, UPDATES, PART):
        part = [record(n % KEYS, n) for n in range(first, first + PART)]
        client.produce(topic, 0, part, ("none", "gzip", "lz4", "zstd")[first // PART % 4])
        expected.update({one.key: one.value for one in part})
    gone = [b"key-0", b"key-1"]
    client.produce(topic, 0, [Record(key, None, (), now_ms()) for key in gone])
    for first in range(UPDATES, UPDATES + 2 * ACTIVE_MAX, 8):
        fillers = [record(2, n) for n in range(first, first + 8)]
        client.produce(topic, 0, fillers)
        expected[fillers[-1].key] = fillers[-1].value
    (_, end) = client.ends(topic)

    def cleaned():
        """Never a wrong answer on the way; true once little more than the last values is left."""
        records = client.read(topic, 0)
        known = {}
        for one in records:
            known[one.key] = one.value
        equal({key: value for key, value in known.items() if value is not None},
              {key: value for key, value in expected.items() if key not in gone}, "last values")  # fmt: skip
        holds([one.offset for one in records] == sorted({one.offset for one in records}), "offsets ascend")
        tombstones = [one.key for one in records if one.value is None]
        return len(records) < KEYS + 2 * ACTIVE_MAX and not tombstones

    wait_until(cleaned, 60, lambda: f"{len(client.read(topic, 0))} records of {end} are left")
    equal(client.ends(topic), (0, end), "ends")
    return f"{len(client.read(topic, 0))} of {end} records are left"


def policies(client, prefix):
    topic = f"{prefix}-policies"
    client.create_topic(topic, 1, {"cleanup.policy": "compact,delete"})
    equal(client.describe_configs(topic).get("cleanup.policy"), "compact,delete", "policy")
    client.alter_config(topic, "cleanup.policy", "compact")
    equal(client.describe_configs(topic).get("cleanup.policy"), "compact", "policy as Connect wants it")
    expect_error("INVALID_CONFIG", client.alter_config, topic, "cleanup.policy", "shred")


def record(key, n):
    key = None if key is None else b"key-%d" % key
    return Record(key, b"%0*d" % (VALUE_BYTES, n), (), now_ms())


def now_ms():
    return time.time_ns() // 1_000_000
