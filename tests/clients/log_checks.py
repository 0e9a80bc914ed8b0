"""What every client must find in the log: what was written, unchanged, and Kafka's answers."""

import random
import subprocess
import time

from adapters import CODECS, SECONDS, ClientError, Record
from checks import Skipped, equal, holds, wait_until

SEED = 20131101
# Ten minutes ago: retention by time goes by the records' own timestamps.
BASE_MS = int(time.time()) * 1000 - 600_000


def varied_records(count, seed, both_null=True):
    """Records of all shapes: null and empty keys and values, headers with and without values.

    Some clients refuse to write a record without key and value: `both_null` is false for them.
    """
    chance = random.Random(seed)
    records = []
    for n in range(count):
        key = chance.choice([None, b"", f"key-{n % 37}".encode(), chance.randbytes(12), "clé-鍵".encode()])
        value = chance.choice([
            None, b"", chance.randbytes(chance.randrange(3000)), b"same again " * chance.randrange(900),
            f'{{"n":{n},"name":"Zoë 明 🙂"}}'.encode(),
        ])  # fmt: skip
        if key is None and value is None and not both_null:
            key = b""
        headers = chance.choice([
            (), (("h", b"1"),), (("h", b"1"), ("h", b"2"), ("ünï", "wërt".encode())),
            (("empty", b""), ("bytes", chance.randbytes(40))),
        ])  # fmt: skip
        # Mostly rising, some late: time indexes must not believe in order.
        timestamp = BASE_MS + n * 10 - (chance.randrange(500) if n % 7 == 0 else 0)
        records.append(Record(key, value, headers, timestamp))
    return records


def text_records(count):
    """What kcat can carry: text without line ends."""
    return [
        Record(f"k{n}".encode(), None if n % 11 == 0 else f"v{n} Zoë 明 {'x' * (n % 700)}".encode(), (), 0)
        for n in range(count)
    ]


def same_records(got, wanted, offsets):
    """Compares field by field, naming the first record that differs."""
    equal(len(got), len(wanted), "number of records")
    for have, want, offset in zip(got, wanted, offsets):
        for field in ("key", "value", "headers"):
            equal(getattr(have, field), getattr(want, field), f"{field} at offset {offset}")
        if want.timestamp_ms:
            equal(have.timestamp_ms, want.timestamp_ms, f"timestamp at offset {offset}")
        equal(have.offset, offset, "offset")


def expect_error(name, call, *arguments):
    try:
        got = call(*arguments)
    except ClientError as error:
        holds(error.name in (name if isinstance(name, tuple) else (name,)), f"wanted {name}, got {error}")
        return error
    raise AssertionError(f"wanted {name}, got the answer {got!r}")


def written_and_read(writer, readers, codec, prefix):
    topic = f"{prefix}-{writer.name}-{codec}"
    writer.create_topic(topic, 2)
    wanted = varied_records(600, f"{SEED}-{topic}", writer.writes_both_null)
    first = writer.produce(topic, 0, wanted[:400], codec)
    equal(first, list(range(400)), "offsets of partition 0")
    second = writer.produce(topic, 0, wanted[400:], codec)
    equal(second, list(range(400, 600)), "offsets of a second producer")
    other = writer.produce(topic, 1, wanted[:50], codec)
    equal(other, list(range(50)), "offsets of partition 1")
    for reader in readers:
        try:
            same_records(reader.read(topic, 0), wanted, range(600))
            same_records(reader.read(topic, 1), wanted[:50], range(50))
            same_records(reader.read(topic, 0, 417), wanted[417:], range(417, 600))
        except (AssertionError, ClientError) as error:
            raise AssertionError(f"read by {reader.name}: {error}") from None
    return f"read by {', '.join(reader.name for reader in readers)}"


def null_header_value(writer, readers, prefix):
    if not writer.writes_null_headers:
        raise Skipped(f"{writer.name} refuses to write a header without a value")
    topic = f"{prefix}-{writer.name}-null-header"
    writer.create_topic(topic)
    wanted = [Record(b"k", b"v", (("none", None), ("some", b"x")), BASE_MS)]
    writer.produce(topic, 0, wanted)
    for reader in readers:
        same_records(reader.read(topic), wanted, range(1))


def looked_up(client, prefix):
    """Ends, and offsets by timestamp: the first record with a timestamp at or after the asked one."""
    topic = f"{prefix}-{client.name}-lookup"
    client.create_topic(topic)
    equal(client.ends(topic), (0, 0), "ends of an empty log")
    equal(client.offset_for_time(topic, 0, BASE_MS), None, "lookup in an empty log")
    times = [BASE_MS + 1000 * n for n in range(10)] + [BASE_MS + 500, BASE_MS + 20_000]
    for at in range(0, 12, 3):  # four batches
        client.produce(topic, 0, [Record(b"k", b"v", (), time) for time in times[at : at + 3]])
    equal(client.ends(topic), (0, 12), "ends")
    for asked, wanted in [
        (0, 0), (BASE_MS, 0), (BASE_MS + 1, 1), (BASE_MS + 4000, 4), (BASE_MS + 4001, 5),
        (BASE_MS + 9001, 11), (BASE_MS + 20_000, 11), (BASE_MS + 20_001, None),
    ]:  # fmt: skip
        equal(client.offset_for_time(topic, 0, asked), wanted, f"offset for {asked - BASE_MS} ms")


def refused(client, prefix):
    """Each mistake gets Kafka's own error code."""
    topic = f"{prefix}-{client.name}-errors"
    client.create_topic(topic, 2, {"max.message.bytes": "10000"})
    expect_error("TOPIC_ALREADY_EXISTS", client.create_topic, topic)
    expect_error(("INVALID_TOPIC", "TOPIC_EXCEPTION"), client.create_topic, "no spaces allowed")
    expect_error("INVALID_PARTITIONS", client.create_topic, topic + "-2", 0)
    expect_error("INVALID_CONFIG", client.create_topic, topic + "-3", 1, {"no.such.config": "1"})
    expect_error("INVALID_CONFIG", client.create_topic, topic + "-4", 1, {"retention.ms": "soon"})
    expect_error(("UNKNOWN_TOPIC_OR_PARTITION", "UNKNOWN_TOPIC_OR_PART"), client.delete_topic, topic + "-none")
    expect_error("INVALID_PARTITIONS", client.create_partitions, topic, 1)
    big = Record(b"k", random.Random(SEED).randbytes(50_000), (), BASE_MS)
    expect_error(("MESSAGE_SIZE_TOO_LARGE", "MSG_SIZE_TOO_LARGE"), client.produce, topic, 0, [big])
    small = Record(b"k", b"v", (), BASE_MS)
    equal(client.produce(topic, 0, [small]), [0], "offset after a refusal")
    equal(client.ends(topic), (0, 1), "ends after a refusal")


def administered(client, prefix):
    topic = f"{prefix}-{client.name}-admin"
    client.create_topic(topic, 2, {"retention.ms": "3600000", "cleanup.policy": "delete"})
    configs = client.describe_configs(topic)
    equal(configs.get("retention.ms"), "3600000", "retention.ms")
    equal(configs.get("cleanup.policy"), "delete", "cleanup.policy")
    holds("max.message.bytes" in configs and "segment.bytes" in configs, f"defaults shown: {sorted(configs)}")
    equal(client.topics().get(topic), 2, "partitions")
    client.create_partitions(topic, 5)
    wait_until(lambda: client.topics().get(topic) == 5, 10, "five partitions")
    records = [Record(b"k", b"v%d" % n, (), BASE_MS + n) for n in range(20)]
    equal(client.produce(topic, 4, records), list(range(20)), "offsets in a new partition")
    equal(client.delete_records(topic, 4, 7), 7, "low watermark")
    equal(client.ends(topic, 4), (7, 20), "ends after DeleteRecords")
    same_records(client.read(topic, 4), records[7:], range(7, 20))
    expect_error("OFFSET_OUT_OF_RANGE", client.delete_records, topic, 4, 21)
    client.delete_topic(topic)
    wait_until(lambda: topic not in client.topics(), 10, "the topic is gone")
    client.create_topic(topic, 1)
    wait_until(lambda: client.topics().get(topic) == 1, 10, "the topic is there again")
    equal(client.ends(topic), (0, 0), "a topic created again is empty")


def librdkafka_only(client, prefix):
    """What only librdkafka's interface reaches."""
    topic = f"{prefix}-only"
    client.create_topic(topic)
    client.alter_config(topic, "retention.ms", "7200000")
    equal(client.describe_configs(topic).get("retention.ms"), "7200000", "altered config")
    error = expect_error("INVALID_CONFIG", client.alter_config, topic, "retention.ms", "soon")
    client.produce(topic, 0, [Record(b"k", b"v", (), BASE_MS)])
    expect_error("OFFSET_OUT_OF_RANGE", lambda: rejected_offset(client, topic, 99))
    unknown = client.kafka.TopicCollection([prefix + "-never-made"])
    expect_error("UNKNOWN_TOPIC_OR_PART", client.result, client.admin.describe_topics(unknown))
    cluster = client.admin.describe_cluster().result(SECONDS)
    equal(len(cluster.nodes), 1, "nodes")
    holds(cluster.cluster_id, "a cluster id")
    return str(error)[:80]


def rejected_offset(client, topic, offset):
    """librdkafka reports an offset out of range as its own `AUTO_OFFSET_RESET` with the reason."""
    try:
        return client.read(topic, 0, offset)
    except ClientError as error:
        if error.name in ("AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE"):
            raise ClientError("OFFSET_OUT_OF_RANGE", str(error)) from None
        raise


def committed(client, others, prefix):
    """An offset that one client leaves for a group is found by all, and nothing else is."""
    topic, group = f"{prefix}-{client.name}-committed", f"{prefix}-group-of-{client.name}"
    client.create_topic(topic, 2)
    equal(client.committed_offset(group, topic, 0), None, "committed before")
    client.commit_offset(group, topic, 0, 5)
    client.commit_offset(group, topic, 0, 3)
    for reader in others:
        equal(reader.committed_offset(group, topic, 0), 3, f"committed, read by {reader.name}")
        equal(reader.committed_offset(group, topic, 1), None, f"the other partition, read by {reader.name}")
        equal(reader.committed_offset(group + "-2", topic, 0), None, f"another group, read by {reader.name}")


def auto_created(client, prefix):
    """A producer to an unknown topic makes it, as Kafka does by default."""
    topic = f"{prefix}-{client.name}-auto"
    equal(client.produce(topic, 0, [Record(b"k", b"v", (), BASE_MS)]), [0], "offset")
    holds(topic in client.topics(), "the topic is there")


def large_log(client, prefix):
    """Some tens of MB through one partition in all codecs: several fetches, several requests in flight."""
    topic = f"{prefix}-large"
    client.create_topic(topic)
    chance = random.Random(SEED)
    noise = chance.randbytes(1 << 20)
    records = []
    for n in range(40_000):
        at = chance.randrange(1 << 19)
        records.append(Record(b"%d" % n, noise[at : at + 300] + b"." * 300, (), BASE_MS + n))
    for n, codec in enumerate(CODECS):
        part = records[n * 8000 : (n + 1) * 8000]
        equal(client.produce(topic, 0, part, codec), list(range(n * 8000, (n + 1) * 8000)), "offsets")
    same_records(client.read(topic), records, range(40_000))


def through_kcat(kcat, adapters, codec, prefix):
    """What kcat writes all read, and what the others write kcat reads."""
    topic = f"{prefix}-kcat-{codec}"
    adapters[0].create_topic(topic, 1 + len(adapters))
    wanted = text_records(700)
    kcat.produce(topic, 0, wanted, codec)
    for reader in [*adapters, kcat]:
        same_records(reader.read(topic), wanted, range(700))
    same_records(kcat.read(topic, 0, 650), wanted[650:], range(650, 700))
    for partition, writer in enumerate(adapters, 1):
        writer.produce(topic, partition, wanted, codec)
        same_records(kcat.read(topic, partition), wanted, range(700))


def kcat_only(kcat, maker, prefix):
    topic = f"{prefix}-kcat-only"
    maker.create_topic(topic, 3)
    equal(kcat.topics().get(topic), 3, "partitions in kcat -L")
    kcat.produce(topic, 1, [Record(b"k", b"v")], headers=[("a", "1"), ("b", "zwei")])
    got = kcat.read(topic, 1)
    equal([(r.key, r.value, r.headers) for r in got], [(b"k", b"v", (("a", b"1"), ("b", b"zwei")))], "record")
    equal(kcat.offset_for_time(topic, 1, got[0].timestamp_ms), 0, "kcat -Q")
    equal(kcat.offset_for_time(topic, 1, got[0].timestamp_ms + 1), None, "kcat -Q after the end")
    tail = subprocess.run(
        [kcat.program, "-b", kcat.bootstrap, "-C", "-t", topic, "-p", "1", "-o", "-1", "-e", "-q", "-f", "%k=%s"],
        capture_output=True, timeout=SECONDS,
    )  # fmt: skip
    equal(tail.stdout, b"k=v", "kcat -o -1")


def run_log_checks(checks, adapters, kcat, prefix="log"):
    for client in adapters:
        for codec in CODECS:
            checks.run(f"log/{client.name}/{codec}", written_and_read, client, adapters, codec, prefix)
        checks.run(f"log/{client.name}/null-header", null_header_value, client, adapters, prefix)
        checks.run(f"log/{client.name}/lookup", looked_up, client, prefix)
        checks.run(f"log/{client.name}/errors", refused, client, prefix)
        checks.run(f"log/{client.name}/admin", administered, client, prefix)
        checks.run(f"log/{client.name}/committed", committed, client, adapters, prefix)
        checks.run(f"log/{client.name}/auto-create", auto_created, client, prefix)
    checks.run("log/librdkafka/only", librdkafka_only, adapters[0], prefix)
    checks.run("log/librdkafka/large", large_log, adapters[0], prefix)
    for codec in CODECS if kcat else ():
        checks.run(f"log/kcat/{codec}", through_kcat, kcat, adapters, codec, prefix)
    if kcat:
        checks.run("log/kcat/only", kcat_only, kcat, adapters[0], prefix)
