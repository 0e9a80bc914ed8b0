"""Kafka's command-line tools, run by class from its jars; what they print is checked for sense.

Each check is named as the script that Kafka ships for the class.
"""

import json
import os
import re
import subprocess
import time
from pathlib import Path

from checks import equal, holds
from kit import Suite, arguments

VERSION = "4.4.0"
CLASS_PATH = Path(os.environ["KAFKA_CLASS_PATH"]).read_text().strip()
JVM = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto",
       "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", CLASS_PATH]  # fmt: skip
TOPIC = "tools"


class Tools:
    def __init__(self, suite):
        self.suite = suite
        self.bootstrap = suite.bootstrap

    def run(self, name, *arguments, stdin="", code=0, seconds=60):
        """Runs a class; its standard output. `code` None takes any exit code, and standard error too."""
        command = [*JVM, name, *map(str, arguments)]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds)
        if code is None:
            return done.stdout + done.stderr
        holds(done.returncode == code, f"{name} exit code {done.returncode}: {(done.stdout + done.stderr)[-1200:]}")
        return done.stdout

    def tool(self, name, *arguments, **how):
        return self.run(f"org.apache.kafka.tools.{name}", "--bootstrap-server", self.bootstrap, *arguments, **how)

    def topics(self):
        self.tool("TopicCommand", "--create", "--topic", TOPIC, "--partitions", 2, "--config", "retention.ms=7200000")
        told = self.tool("TopicCommand", "--describe", "--topic", TOPIC)
        holds(re.search(rf"Topic: {TOPIC}\s+TopicId: \S+\s+PartitionCount: 2\s+ReplicationFactor: 1", told), told)
        equal(len(re.findall(r"Partition: \d\s+Leader: \d+\s+Replicas: \d+\s+Isr: \d+", told)), 2, "partitions told")
        self.tool("TopicCommand", "--alter", "--topic", TOPIC, "--partitions", 3)
        holds(TOPIC in self.tool("TopicCommand", "--list").split(), "the topic is listed")
        equal(self.tool("TopicCommand", "--describe", "--under-replicated-partitions").strip(), "", "under-replicated")
        holds("already exists" in self.tool("TopicCommand", "--create", "--topic", TOPIC, code=None), "twice")

    def configs(self):
        one = ["--entity-type", "topics", "--entity-name", TOPIC]
        self.tool("ConfigCommand", *one, "--alter", "--add-config", "retention.ms=8000000")
        told = self.tool("ConfigCommand", *one, "--describe")
        holds("retention.ms=8000000" in told and "DYNAMIC_TOPIC_CONFIG" in told, told)
        everything = self.tool("ConfigCommand", *one, "--describe", "--all")
        holds("cleanup.policy=delete" in everything and "DEFAULT_CONFIG" in everything, everything)
        self.tool("ConfigCommand", *one, "--alter", "--delete-config", "retention.ms")
        holds("retention.ms=8000000" not in self.tool("ConfigCommand", *one, "--describe"), "deleted")
        broker = self.tool("ConfigCommand", "--entity-type", "brokers", "--entity-name", self.broker(), "--describe", "--all")
        holds("log.retention" in broker, broker)

    def broker(self):
        told = self.tool("TopicCommand", "--describe", "--topic", TOPIC)
        return re.search(r"Leader: (\d+)", told)[1]

    def console(self):
        lines = "".join(f"k{n}:v{n}\n" for n in range(100))
        self.tool("ConsoleProducer", "--topic", TOPIC, "--reader-property", "parse.key=true",
                  "--reader-property", "key.separator=:", stdin=lines)  # fmt: skip
        got = self.tool("consumer.ConsoleConsumer", "--topic", TOPIC, "--from-beginning", "--max-messages", 100,
                        "--timeout-ms", 20000, "--group", "tools-console", "--formatter-property", "print.key=true",
                        "--formatter-property", "key.separator=:")  # fmt: skip
        equal(sorted(got.split()), sorted(lines.split()), "lines")

    def groups(self):
        told = self.tool("consumer.group.ConsumerGroupCommand", "--describe", "--group", "tools-console")
        rows = re.findall(rf"tools-console\s+{TOPIC}\s+\d\s+(\d+)\s+(\d+)\s+0\s", told)
        equal(sum(int(row[0]) for row in rows), 100, "committed")
        holds("tools-console" in self.tool("consumer.group.ConsumerGroupCommand", "--list"), "listed")
        state = self.tool("consumer.group.ConsumerGroupCommand", "--describe", "--group", "tools-console", "--state")
        holds("Empty" in state, state)
        reset = ["--reset-offsets", "--to-earliest", "--topic", TOPIC, "--group", "tools-console", "--execute"]
        self.tool("consumer.group.ConsumerGroupCommand", *reset)
        told = self.tool("consumer.group.ConsumerGroupCommand", "--describe", "--group", "tools-console")
        equal(sum(int(lag) for lag in re.findall(rf"{TOPIC}\s+\d\s+\d+\s+\d+\s+(\d+)", told)), 100, "lag")
        self.tool("consumer.group.ConsumerGroupCommand", "--delete", "--group", "tools-console")
        holds("tools-console" not in self.tool("GroupsCommand", "--list"), "deleted")

    def offsets(self, when, wanted):
        got = self.tool("GetOffsetShell", "--topic", TOPIC, "--time", when)
        rows = re.findall(rf"{TOPIC}:\d+:(-?\d+)", got)
        equal(sum(map(int, rows)), wanted, f"offsets {when}: {got}")

    def get_offsets(self):
        self.offsets("latest", 100)
        self.offsets("earliest", 0)
        self.offsets("earliest-local", 0)
        self.tool("GetOffsetShell", "--topic", TOPIC, "--time", "max-timestamp")

    def latest_tiered(self):
        """-5 is the last offset that the table holds; -1 where there is no table."""
        if self.suite.options.broker == "kafka" or self.suite.options.bootstrap:
            return self.tool("GetOffsetShell", "--topic", TOPIC, "--time", "latest-tiered").replace("\n", " ")
        # Kafka's own tool knows Kafka's topic configs alone and refuses all others before it asks the broker.
        table = "tools-table"
        configs = ["table.enabled=true", "table.primary.key=id", "table.commit.interval.ms=200"]
        code, out, error = self.suite.broker.command(
            "topic", "create", table, "--partitions", "1", "--bootstrap-server", self.bootstrap,
            *[part for config in configs for part in ("--config", config)],
        )  # fmt: skip
        equal(code, 0, f"weir topic create: {out}{error}")
        rows = "".join(f'{{"id":{n},"item":"i"}}\n' for n in range(50))
        self.tool("ConsoleProducer", "--topic", table, stdin=rows)
        deadline = time.monotonic() + 30
        while True:
            got = self.tool("GetOffsetShell", "--topic", table, "--time", "latest-tiered").strip()
            if got == f"{table}:0:49":
                return got
            holds(time.monotonic() < deadline, f"{table}:0:49 wanted, got {got!r}")

    def log_dirs(self):
        told = self.tool("LogDirsCommand", "--describe", "--topic-list", TOPIC)
        document = json.loads(told[told.index("{") :])
        partitions = [p for broker in document["brokers"] for one in broker["logDirs"] for p in one["partitions"]]
        mine = [p for p in partitions if p["partition"].startswith(f"{TOPIC}-")]
        equal(len(mine), 3, "partitions")
        holds(sum(p["size"] for p in mine) > 1000, f"sizes {mine}")

    def transactions(self):
        self.run("org.apache.kafka.tools.ProducerPerformance", "--topic", TOPIC, "--num-records", 200, "--record-size", 50,
                 "--throughput", 1000, "--bootstrap-server", self.bootstrap, "--transactional-id", "tools-id",
                 "--transaction-duration-ms", 100)  # fmt: skip
        listed = self.tool("TransactionsCommand", "list")
        holds(re.search(r"tools-id\s+\d+\s+\d+\s+CompleteCommit", listed), listed)
        holds("tools-id" in self.tool("TransactionsCommand", "describe", "--transactional-id", "tools-id"), "described")
        told = self.tool("TransactionsCommand", "describe-producers", "--topic", TOPIC, "--partition", 0)
        holds("ProducerId" in told, told)
        hanging = self.tool("TransactionsCommand", "find-hanging", "--topic", TOPIC, "--broker-id", self.broker())
        holds("tools-id" not in hanging, hanging)

    def dump_log(self):
        logs = [log for log in Path(self.suite.broker.data).rglob("*.log") if log.parent.name == f"{TOPIC}-0"]
        holds(logs, "a segment of the topic")
        told = self.run("org.apache.kafka.tools.DumpLogSegments", "--files", logs[0], "--print-data-log", "--deep-iteration")
        holds(re.search(r"baseOffset: 0 .*isvalid: true", told), told)
        holds("payload: v" in told and "isvalid: false" not in told, told[-800:])
        index = logs[0].with_suffix(".index")
        if index.exists():
            told = self.run("org.apache.kafka.tools.DumpLogSegments", "--files", index)
            holds("Mismatches" not in told, told)
        return f"{told.count('offset: ')} records of {logs[0].name}"

    def perf(self):
        told = self.run("org.apache.kafka.tools.ProducerPerformance", "--topic", TOPIC, "--num-records", 20000,
                        "--record-size", 100, "--throughput", -1, "--bootstrap-server", self.bootstrap)  # fmt: skip
        holds(re.search(r"20000 records sent, .* records/sec", told), told)
        read = self.run("org.apache.kafka.tools.ConsumerPerformance", "--bootstrap-server", self.bootstrap, "--topic",
                        TOPIC, "--num-records", 10000, "--timeout", 30000)  # fmt: skip
        holds(re.search(r"\d+, \d+\.\d+", read), read)
        return " ".join(re.findall(r"20000 records sent, ([^,]*)", told))

    def verifiable(self):
        sent = self.tool("VerifiableProducer", "--topic", TOPIC, "--max-messages", 200, "--throughput", -1)
        final = json.loads(sent.strip().splitlines()[-1])
        equal((final["sent"], final["acked"]), (200, 200), "sent and acknowledged")
        read = self.tool("VerifiableConsumer", "--topic", TOPIC, "--group-id", "tools-verifiable", "--max-messages", 200,
                         "--reset-policy", "earliest")  # fmt: skip
        rows = [json.loads(line) for line in read.splitlines()]
        holds(sum(row["count"] for row in rows if row["name"] == "records_consumed") >= 200, read[-500:])
        holds(any(row["name"] == "offsets_committed" and row["success"] for row in rows), read[-500:])

    def delete_records(self):
        path = Path(os.environ["WEIR_CACHE"]) / "delete-records.json"
        place = {"topic": TOPIC, "partition": 0, "offset": 3}
        path.write_text(json.dumps({"partitions": [place], "version": 1}))
        told = self.tool("DeleteRecordsCommand", "--offset-json-file", path)
        holds("low_watermark: 3" in told, told)

    def api_versions(self):
        told = self.tool("BrokerApiVersionsCommand")
        holds(re.search(r"Produce\(0\): .*\[usable: 1\d\]", told) and "Fetch(1): " in told, told)

    def quorum(self):
        told = self.tool("MetadataQuorumCommand", "describe", "--status")
        holds(re.search(r"LeaderId:\s+\d+", told) and re.search(r"CurrentVoters:\s+\[", told), told)

    def features(self):
        told = self.tool("FeatureCommand", "describe")
        holds("Feature: " in told, told)
        return re.sub(r"\s+", " ", told)

    def leader_election(self):
        told = self.tool("LeaderElectionCommand", "--election-type", "preferred", "--topic", TOPIC, "--partition", 0)
        holds("Successfully completed" in told or "already" in told or "Valid replica already elected" in told, told)

    def reassign(self):
        holds("No partition reassignments found." in self.tool("reassign.ReassignPartitionsCommand", "--list"), "none going on")

    def cluster(self):
        told = self.run("org.apache.kafka.tools.ClusterTool", "cluster-id", "--bootstrap-server", self.bootstrap)
        holds(re.search(r"Cluster ID: \S+", told), told)


def main():
    with Suite("tools", arguments()) as suite:
        tools = Tools(suite)
        for script, check in {
            "kafka-topics": tools.topics, "kafka-configs": tools.configs, "kafka-console": tools.console,
            "kafka-consumer-groups": tools.groups, "kafka-get-offsets": tools.get_offsets,
            "kafka-get-offsets-latest-tiered": tools.latest_tiered, "kafka-log-dirs": tools.log_dirs,
            "kafka-dump-log": tools.dump_log, "kafka-transactions": tools.transactions,
            "kafka-producer-perf-test": tools.perf, "kafka-verifiable": tools.verifiable,
            "kafka-delete-records": tools.delete_records, "kafka-broker-api-versions": tools.api_versions,
            "kafka-metadata-quorum": tools.quorum, "kafka-features": tools.features,
            "kafka-leader-election": tools.leader_election, "kafka-reassign-partitions": tools.reassign,
            "kafka-cluster": tools.cluster,
        }.items():  # fmt: skip
            suite.check("kafka-tools", VERSION, script, check)


main()
