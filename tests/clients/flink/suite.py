"""Flink SQL over topics: what it writes, Flink and librdkafka read back, and tables of ours are folded from."""

import tempfile
from pathlib import Path

from changelogs import Changelogs
from exactly_once import ExactlyOnce
from kafka_table import KafkaTable
from kit import Suite, arguments
from log import Log
from session import Session

VERSION = "2.2.1"

options = arguments(kills=3)
with Suite("flink", options) as suite, tempfile.TemporaryDirectory() as folder:
    session = Session(Path(suite.broker.directory if suite.broker else folder) / "flink.log")
    log = Log(suite.bootstrap)
    table, changelogs = KafkaTable(session, log), Changelogs(suite, session, log)
    try:
        for feature, check in {
            "records": table.records, "codecs": table.codecs, "timestamp": table.timestamp, "resume": table.resume,
            "upsert-kafka": changelogs.upsert, "upsert-into-a-table": changelogs.upsert_table,
            "debezium-json-into-a-table": changelogs.debezium_table,
        }.items():  # fmt: skip
            suite.check("flink", VERSION, feature, check)
        if suite.broker:
            suite.check("flink", VERSION, "exactly-once", ExactlyOnce(suite, session, log).run, options.kills)
    finally:
        session.close()
