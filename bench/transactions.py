#!/usr/bin/env python3
"""Transactions a second: Weir beside Apache Kafka, in one run, in turn (A B A B ...).

    cargo build --release --workspace --locked
    python3 bench/transactions.py --kafka-class-path FILE [--rounds 3] [--seconds 5]

FILE holds the class path of Apache Kafka's jars, as `tests/clients/tools/run.sh` lets Maven resolve it.
Kafka does not sync its logs before it answers; Weir does by default, and is measured without it too.
"""

import argparse
import os
import platform
import shutil
import statistics
import sys
import tempfile

from figures import ROOT, Server, ratio, spread

sys.path.insert(0, str(ROOT / "tests" / "clients"))
from apache_kafka import Kafka

PRODUCERS = (1, 16)


class KafkaServer(Server):
    """The same face for Apache Kafka."""

    def __init__(self, class_path, folder):
        self.kafka = Kafka(class_path, folder)
        self.kafka.start()
        self.process, self.ports = self.kafka.process, [self.kafka.port]

    def stop(self):
        self.kafka.stop()


def measure(server, producers, seconds):
    """Once to warm up, once for the figure."""
    for time in (seconds, seconds):
        found = server.bench(
            "transactions", "--topic", f"t{producers}", "--partitions", 4, "--producers", producers, "--duration", time,
        )  # fmt: skip
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kafka-class-path", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, {platform.machine()}; {options.rounds} rounds of {options.seconds} s")
    figures = {}
    for number in range(options.rounds):
        folder = tempfile.mkdtemp(prefix="weir-bench-")
        systems = {
            "fsync": lambda: Server.weir(f"{folder}/fsync"),
            "os": lambda: Server.weir(f"{folder}/os", "os"),
            "kafka": lambda: KafkaServer(options.kafka_class_path, f"{folder}"),
        }
        for name, start in systems.items():
            server = start()
            for producers in PRODUCERS:
                found = measure(server, producers, options.seconds)
                figures.setdefault((name, producers, "rate"), []).append(found["transactions_per_second"])
                figures.setdefault((name, producers, "p50"), []).append(found["latency_ms"]["p50"])
                figures.setdefault((name, producers, "p99"), []).append(found["latency_ms"]["p99"])
            server.stop()
        shutil.rmtree(folder)
    print("\n| producers | system | transactions/s | p50 ms | p99 ms | ratio to Kafka |\n|---|---|---|---|---|---|")
    names = {"fsync": "Weir, synced before each answer", "os": "Weir, log.durability=os", "kafka": "Apache Kafka"}
    for producers in PRODUCERS:
        for name, shown in names.items():
            rate = figures[name, producers, "rate"]
            p50, p99 = (statistics.median(figures[name, producers, q]) for q in ("p50", "p99"))
            to_kafka = ratio(rate, figures["kafka", producers, "rate"])
            print(f"| {producers} | {shown} | {spread(rate)} | {p50:.2f} | {p99:.2f} | {to_kafka} |")


if __name__ == "__main__":
    main()
