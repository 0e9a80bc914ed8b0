"""Weir goes down under a client that keeps writing, and comes back: nothing is lost, nothing is doubled."""

import random

from adapters import SECONDS, Record
from checks import equal, holds, wait_until
from log_checks import SEED, same_records
from table_checks import Case, TableCheck, as_json

TIMES = 3


def written_through(weir, client, topic, records, go_down, await_progress):
    """One idempotent producer writes all records while Weir goes down and up again `TIMES` times.

    Each time some records of this life are folded before, and others are still under way.
    """
    producer = client.producer("lz4", **{"message.timeout.ms": 120_000, "reconnect.backoff.max.ms": 500})
    errors = []
    part = len(records) // (TIMES + 1) + 1
    for n, record in enumerate(records):
        if n % part == part // 2:
            await_progress(producer)
        if n and n % part == 0:
            go_down()
            weir.start()
        while True:
            try:
                producer.produce(
                    topic, record.value, record.key,
                    on_delivery=lambda error, _: errors.append(error) if error else None,
                )  # fmt: skip
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    equal(producer.flush(2 * SECONDS), 0, "records without an answer")
    equal([str(error) for error in errors[:3]], [], "errors")


def survived(weir, client, name, go_down):
    """The log holds each record once, in order; the table is its fold at every snapshot."""
    chance = random.Random(SEED)
    records = [
        Record(b"%d" % key, as_json({"id": key, "n": n, "text": "x" * chance.randrange(200)}))
        for n in range(20_000)
        for key in [chance.randrange(3000)]
    ]
    case = Case(
        name=name, schema="id INT NOT NULL, n INT, text STRING", primary_key=("id",), records=records,
        compacts=False,
    )  # fmt: skip
    check = TableCheck(case, weir, [client], None)
    client.create_topic(case.topic, 1, case.configs())

    def await_progress(producer):
        before = len(check.snapshots.ids())
        producer.poll(0.1)
        wait_until(lambda: len(check.snapshots.ids()) > before, 60, lambda: f"no fold: {weir.tail(5)}")

    written_through(weir, client, case.topic, records, go_down, await_progress)
    same_records(client.read(case.topic), records, range(len(records)))
    check.await_fold()
    return check.every_snapshot()


def orderly(weir):
    code = weir.stop()
    holds(code == 0, f"exit code {code} after SIGTERM: {weir.tail()}")


def run_restart_checks(checks, weir, client):
    checks.run("restart/killed", survived, weir, client, "killed", weir.kill)
    checks.run("restart/stopped", survived, weir, client, "stopped", lambda: orderly(weir))
