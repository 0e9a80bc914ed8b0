"""The `kafka` connector: JSON rows with key, headers and timestamp, read from every place and up to every end."""

import datetime
import json

from checks import equal, wait_until

ROWS = 3000
PARTITIONS = 3
BASE = 1_700_000_000
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


class KafkaTable:
    def __init__(self, session, log):
        self.session, self.log = session, log

    def orders(self, topic):
        """A topic of three partitions and the table over it."""
        self.log.create(topic, PARTITIONS, {"retention.ms": "-1"})  # The rows say that they are old.
        self.session.run(f"""
            CREATE TABLE `{topic}` (
              id BIGINT, item STRING, total DECIMAL(10, 2),
              written TIMESTAMP_LTZ(3) METADATA FROM 'timestamp', headers MAP<STRING, BYTES> METADATA,
              place INT METADATA FROM 'partition' VIRTUAL, `offset` BIGINT METADATA VIRTUAL,
              kind STRING METADATA FROM 'timestamp-type' VIRTUAL)
            WITH ('connector' = 'kafka', 'topic' = '{topic}', {self.log.flink},
              'key.format' = 'json', 'key.fields' = 'id', 'value.format' = 'json',
              'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset')""")

    def insert(self, topic, first, last, codec="none"):
        """Rows `first` to `last`, a second apart; by one task, so that the times of a partition ascend."""
        numbers = f"{topic}_from_{first}"
        self.session.run(f"""
            CREATE TEMPORARY TABLE `{numbers}` (id BIGINT) WITH ('connector' = 'datagen',
              'fields.id.kind' = 'sequence', 'fields.id.start' = '{first}', 'fields.id.end' = '{last}')""")
        self.session.set("parallelism.default", 1)
        self.session.run(f"""
            INSERT INTO `{topic}` /*+ OPTIONS('properties.compression.type' = '{codec}') */
            SELECT id, IF(MOD(id, 10) = 0, CAST(NULL AS STRING), 'item ' || CAST(id AS STRING)), id * 0.25,
              TO_TIMESTAMP_LTZ({BASE} + id, 0), MAP['n', CAST(CAST(id AS STRING) AS BYTES)] FROM `{numbers}`""")
        self.session.set("parallelism.default", 2)

    def ids(self, topic, options):
        """The ids that a scan with these options finds, in order."""
        told = ", ".join(f"'{name}' = '{value}'" for name, value in options.items())
        hint = f"/*+ OPTIONS({told}) */" if told else ""  # With an empty hint Flink forgets the bound.
        return sorted(row[0] for row in self.session.rows(f"SELECT id FROM `{topic}` {hint}"))

    def records(self):
        """What Flink reads is what the model says; librdkafka finds the same at the same places."""
        self.orders("orders")
        self.insert("orders", 1, ROWS)
        rows = sorted(self.session.rows("SELECT id, item, total, written, headers, kind, place, `offset` FROM orders"))
        equal([row[:6] for row in rows], [model(n) for n in range(1, ROWS + 1)], "rows")
        records = self.log.read("orders")
        equal(sorted((json.loads(one.key)["id"], one.partition, one.offset) for one in records),
              [(row[0], *row[6:]) for row in rows], "places")  # fmt: skip
        for one in records:
            row = json.loads(one.value)
            n = row["id"]
            equal((one.timestamp, one.headers, row["item"], row["total"]),
                  ((BASE + n) * 1000, {"n": str(n)}, model(n)[1], n * 0.25), f"record of {n}")  # fmt: skip
        return f"{len(rows)} rows in {len({one.partition for one in records})} partitions"

    def codecs(self):
        """Batches of each codec, one after the other in one topic."""
        self.orders("packed")
        for at, codec in enumerate(CODECS):
            self.insert("packed", at * 300 + 1, at * 300 + 300, codec)
        equal(self.ids("packed", {}), [*range(1, 300 * len(CODECS) + 1)], "ids")
        return " ".join(CODECS)

    def timestamp(self):
        """From a time, from an offset, from one time to another."""
        self.orders("timed")
        self.insert("timed", 1, ROWS)
        time = {"scan.startup.mode": "timestamp", "scan.startup.timestamp-millis": (BASE + 1200) * 1000 - 1}
        equal(self.ids("timed", time), [*range(1200, ROWS + 1)], "from a time")
        end = {"scan.bounded.mode": "timestamp", "scan.bounded.timestamp-millis": (BASE + 1500) * 1000}
        equal(self.ids("timed", time | end), [*range(1200, 1500)], "from a time to a time")
        late = {"scan.startup.mode": "timestamp", "scan.startup.timestamp-millis": (BASE + ROWS + 1) * 1000}
        equal(self.ids("timed", late), [], "from a time after the last")
        middle = {n: end // 2 for n, end in self.log.ends("timed").items()}
        places = ";".join(f"partition:{n},offset:{offset}" for n, offset in middle.items())
        wanted = [json.loads(one.key)["id"] for one in self.log.read("timed") if one.offset >= middle[one.partition]]
        given = {"scan.startup.mode": "specific-offsets", "scan.startup.specific-offsets": places}
        equal(self.ids("timed", given), sorted(wanted), "from the middle")

    def resume(self):
        """A group commits with its checkpoints; one scan goes on there, another ends there.

        The scan that commits goes on until it is cancelled: one that ends may lose its last commit, with Kafka too.
        """
        self.orders("resumed")
        self.insert("resumed", 1, 1000)
        self.session.run("CREATE TABLE nothing (id BIGINT) WITH ('connector' = 'blackhole')")
        ends, committed = self.log.ends("resumed"), lambda: self.log.committed("flink-resume")
        job = self.session.begin("""
            INSERT INTO nothing SELECT id FROM resumed /*+ OPTIONS('scan.startup.mode' = 'group-offsets',
              'scan.bounded.mode' = 'unbounded', 'properties.group.id' = 'flink-resume',
              'properties.auto.offset.reset' = 'earliest') */""")
        wait_until(lambda: committed() == ends, 30, lambda: f"committed {committed()} of {ends}")
        self.session.cancel(job)
        self.insert("resumed", 1001, 1500)
        group = {"properties.group.id": "flink-resume", "properties.commit.offsets.on.checkpoint": "false"}
        equal(self.ids("resumed", group | {"scan.startup.mode": "group-offsets"}), [*range(1001, 1501)], "from there on")
        equal(self.ids("resumed", group | {"scan.bounded.mode": "group-offsets"}), [*range(1, 1001)], "up to there")
        equal(committed(), ends, "committed, still")


def model(n):
    """The row of a number."""
    written = datetime.datetime.fromtimestamp(BASE + n, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return n, None if n % 10 == 0 else f"item {n}", n * 0.25, written, {"n": str(n)}, "CreateTime"
