"""Kafka Connect: files standalone, Debezium's PostgreSQL source distributed into a table, MirrorMaker 2.

`--eos 1` has the source write in transactions; without it, it may repeat itself: the table is the same.
"""

import json
import os
import random
import subprocess
import time
import urllib.error
import urllib.request

from checks import equal, holds, wait_until
from kit import Suite, arguments
from postgres import Postgres
from weir import free_port

KAFKA, DEBEZIUM = "4.3.1", "3.6.1.Final"
JVM = ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
       "-cp", os.environ["CONNECT_CLASS_PATH"]]  # fmt: skip
WORKER = {
    "key.converter": "org.apache.kafka.connect.json.JsonConverter",
    "value.converter": "org.apache.kafka.connect.json.JsonConverter",
    "offset.flush.interval.ms": "500", "plugin.discovery": "service_load",
}  # fmt: skip


class Connect:
    """Workers and what they are told to do."""

    def __init__(self, suite):
        self.suite, self.folder = suite, suite.broker.directory
        self.processes = []
        self.rest = free_port()

    def properties(self, name, settings):
        path = self.folder / f"{name}.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return str(path)

    def start(self, main, *files):
        log = open(self.folder / f"{main}.log", "ab")
        process = subprocess.Popen([*JVM, f"org.apache.kafka.connect.{main}", *files], stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def tail(self, main):
        return (self.folder / f"{main}.log").read_text("utf-8", "replace")[-1500:]

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()

    def create_topic(self, name, **configs):
        flags = [part for key, value in configs.items() for part in ("--config", f"{key}={value}")]
        code, out, error = self.suite.broker.command(
            "topic", "create", name, "--partitions", "1", *flags, "--bootstrap-server", self.suite.bootstrap
        )
        equal(code, 0, f"weir topic create: {out}{error}")

    def standalone(self):
        """A file's lines go through a topic into another file."""
        source, sink = self.folder / "source.txt", self.folder / "sink.txt"
        source.write_text("".join(f"line {n}\n" for n in range(500)))
        worker = self.properties("standalone", {
            **WORKER, "bootstrap.servers": self.suite.bootstrap, "listeners": f"http://127.0.0.1:{free_port()}",
            "offset.storage.file.filename": self.folder / "standalone.offsets",
        })  # fmt: skip
        package = "org.apache.kafka.connect.file.FileStream"
        files = [
            self.properties("source", {
                "name": "source", "connector.class": f"{package}SourceConnector", "topic": "lines", "file": source,
            }),
            self.properties("sink", {
                "name": "sink", "connector.class": f"{package}SinkConnector", "topics": "lines", "file": sink,
                "consumer.override.heartbeat.interval.ms": 500,
            }),
        ]  # fmt: skip
        process = self.start("cli.ConnectStandalone", worker, *files)
        lines = lambda: sink.read_text().splitlines() if sink.exists() else []  # noqa: E731
        wait_until(lambda: len(lines()) >= 500, 60, lambda: f"{len(lines())} lines; {self.tail('cli.ConnectStandalone')}")
        equal(lines(), source.read_text().splitlines(), "lines")
        process.terminate()
        process.wait(30)

    def distributed_worker(self):
        worker = self.properties("distributed", {
            **WORKER, "bootstrap.servers": self.suite.bootstrap, "listeners": f"http://127.0.0.1:{self.rest}",
            "group.id": "connect", "exactly.once.source.support": "enabled" if self.suite.options.eos else "disabled", "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 1000, "scheduled.rebalance.max.delay.ms": 1000,
            **{f"{what}.storage.topic": f"connect-{what}" for what in ("offset", "config", "status")},
            **{f"{what}.storage.replication.factor": 1 for what in ("offset", "config", "status")},
        })  # fmt: skip
        return self.start("cli.ConnectDistributed", worker)

    def request(self, method, path, body=None):
        """The REST API's answer, or None while it is not there."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.rest}{path}", method=method,
                                         data=body and json.dumps(body).encode(),
                                         headers={"Content-Type": "application/json"})  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or b"true")
        except urllib.error.HTTPError as error:
            holds(error.code in (404, 409, 500, 503), f"{error.code}: {error.read()!r}")
        except OSError:
            pass
        return None

    def running(self, name):
        told = self.request("GET", f"/connectors/{name}/status")
        for task in told["tasks"] if told else []:
            holds(task["state"] != "FAILED", task.get("trace", "")[-1200:])
        return told and told["tasks"] and all(task["state"] == "RUNNING" for task in told["tasks"])

    def debezium(self):
        """PostgreSQL's table becomes a table of ours, through changes, a schema change and two kills."""
        database = Postgres()
        database.start()
        try:
            return self.captured(database)
        finally:
            self.close()
            database.stop()

    def captured(self, database):
        database.sql("CREATE TABLE items (id INT PRIMARY KEY, name TEXT NOT NULL, price NUMERIC(10, 2), note TEXT)")
        database.sql("INSERT INTO items SELECT n, 'item ' || n, n * 1.25, NULL FROM generate_series(1, 500) n")
        topic = {"table.enabled": "true", "table.name": "default.items", "table.value.format": "debezium-json",
                 "table.primary.key": "id", "table.commit.interval.ms": "300"}  # fmt: skip
        self.create_topic("shop.public.items", **topic)
        worker = self.distributed_worker()
        config = {
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector", "database.hostname": "127.0.0.1",
            "database.port": str(database.port), "database.user": "postgres", "database.password": "unused",
            "database.dbname": "postgres", "topic.prefix": "shop", "plugin.name": "pgoutput",
            "table.include.list": "public.items", "publication.autocreate.mode": "filtered", "tasks.max": "1",
            "transaction.boundary": "poll",
            "exactly.once.support": "required" if self.suite.options.eos else "requested",
        }  # fmt: skip
        asked = {"name": "items", "config": config}
        tail = lambda: self.tail("cli.ConnectDistributed")  # noqa: E731
        wait_until(lambda: self.request("POST", "/connectors", asked), 90, lambda: f"connector taken; {tail()}")
        wait_until(lambda: self.running("items"), 90, lambda: f"connector running; {tail()}")
        self.same_as(database, tail)
        chance = random.Random(11)
        for step in range(12):
            self.change(database, chance)
            if step == 3:
                database.sql("ALTER TABLE items ADD COLUMN stock INT")  # A default would fill old rows without a word.
            if step == 5:
                worker.kill()
                worker.wait()
                worker = self.distributed_worker()
            if step == 8:
                self.suite.broker.kill()
                self.suite.broker.start()
            time.sleep(0.5)
        rows = self.same_as(database, tail)
        code, out, error = self.verify("items")
        equal(code, 0, f"weir table verify: {out}{error}")
        return f"{rows} rows as PostgreSQL has them"

    def verify(self, table):
        return self.suite.broker.command(
            "table", "verify", table, "--warehouse", str(self.suite.broker.warehouse),
            "--bootstrap-server", self.suite.bootstrap,
        )  # fmt: skip

    def change(self, database, chance):
        columns = database.sql("SELECT count(*) FROM information_schema.columns WHERE table_name = 'items'")[0]
        note = "'note ' || clock_timestamp()"
        for _ in range(20):
            key = chance.randrange(1, 900)
            kind = chance.randrange(4)
            if kind == 0:
                database.sql(f"DELETE FROM items WHERE id = {key}")
            elif kind == 1 and columns == "5":
                database.sql(f"UPDATE items SET stock = {key}, note = {note} WHERE id = {key}")
            else:
                database.sql(f"INSERT INTO items (id, name, price) VALUES ({key}, 'new', {key}.5) "
                             f"ON CONFLICT (id) DO UPDATE SET price = items.price + 1, note = {note}")  # fmt: skip

    def same_as(self, database, tail):
        """Waits until the table holds what PostgreSQL's does; how many rows that is."""
        wanted = [json.loads(row) for row in database.sql("SELECT row_to_json(i) FROM items i ORDER BY id")]

        def ours():
            code, out, _ = self.suite.broker.command(
                "table", "read", "items", "-o", "json", "--warehouse", str(self.suite.broker.warehouse)
            )
            return sorted((json.loads(row) for row in out.splitlines()), key=lambda row: row["id"]) if code == 0 else []

        def plain(rows):
            return [{key: str(value) if key == "price" else value for key, value in row.items() if value is not None}
                    for row in rows]  # fmt: skip

        def difference():
            got = ours()
            odd = [pair for pair in zip(plain(got), plain(wanted)) if pair[0] != pair[1]][:2]
            return f"{len(got)} rows of {len(wanted)}, such as {odd}; {tail()}"

        wait_until(lambda: [*map(normal, plain(ours()))] == [*map(normal, plain(wanted))], 90, difference)
        return len(wanted)

    def mirror(self):
        """MirrorMaker 2 copies a topic from one Weir to another."""
        from weir import Weir, binary

        other = Weir(binary())
        other.start()
        try:
            self.suite.broker.command("topic", "create", "mirrored", "--bootstrap-server", self.suite.bootstrap)
            lines = "".join(f"line {n}\n" for n in range(300))
            subprocess.run([self.suite.broker.binary, "produce", "mirrored", "--bootstrap-server", self.suite.bootstrap],
                           input=lines, text=True, check=True, timeout=60, stdout=subprocess.DEVNULL)  # fmt: skip
            path = self.properties("mirror", {
                "clusters": "a, b", "a.bootstrap.servers": self.suite.bootstrap, "b.bootstrap.servers": other.bootstrap,
                "a->b.enabled": "true", "a->b.topics": "mirrored", "b->a.enabled": "false", "replication.factor": 1,
                "checkpoints.topic.replication.factor": 1, "heartbeats.topic.replication.factor": 1,
                "offset-syncs.topic.replication.factor": 1, "offset.storage.replication.factor": 1,
                "status.storage.replication.factor": 1, "config.storage.replication.factor": 1,
                "refresh.topics.interval.seconds": 2, "emit.heartbeats.enabled": "false",
            })  # fmt: skip
            process = self.start("mirror.MirrorMaker", path)
            end = lambda: (other.metric("kafka_topic_partition_current_offset", other.http_port, topic="a.mirrored") or 0)  # noqa: E731
            wait_until(lambda: end() >= 300, 120, lambda: f"{end()} of 300; {self.tail('mirror.MirrorMaker')}")
            process.kill()
            process.wait()
        finally:
            other.stop()


def normal(row):
    """Prices as numbers: 5 and 5.00 are the same."""
    return {key: float(value) if key == "price" else value for key, value in row.items()}


def main():
    with Suite("connect", arguments(eos=0)) as suite:
        connect = Connect(suite)
        try:
            suite.check("kafka-connect", KAFKA, "standalone", connect.standalone)
            suite.check("debezium-postgres", DEBEZIUM, "distributed-into-a-table", connect.debezium)
            suite.check("mirrormaker", KAFKA, "mirror", connect.mirror)
        finally:
            connect.close()


main()
