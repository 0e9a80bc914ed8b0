#!/usr/bin/env python3
"""The README's figures: Weir beside the floor (a server that keeps nothing), in one run, in turn.

    cargo build --release --workspace --locked
    python3 bench/figures.py [--rounds 3] [--seconds 5] [--flights flights.jsonl.gz]

`bench/flights.py` makes the flights. Every pair of runs stands side by side (A B A B ...), the median
is printed with the least and the most, and the ratio is the median of the pairs' ratios. The load
generator shares the machine's cores with the server.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FLIGHTS_KEY = "year,month,day,carrier,flight,origin"


def program(name):
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return str(target / "release" / name)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def await_port(port):
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


class Server:
    """A process on ports of its own, ended by its id; its folder goes with it."""

    def __init__(self, *arguments, ports):
        self.process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
        self.ports = ports
        for port in ports:
            await_port(port)

    @classmethod
    def weir(cls, folder, durability="fsync"):
        kafka, http, compactor = free_port(), free_port(), free_port()
        return cls(
            program("weir"), "up", "--data-dir", folder,
            "--listeners", f"PLAINTEXT://127.0.0.1:{kafka}", "--http", f"127.0.0.1:{http}",
            "--compactor-http", f"127.0.0.1:{compactor}",
            "--override", f"log.durability={durability}", ports=(kafka, http, compactor),
        )  # fmt: skip

    @classmethod
    def floor(cls, record_size):
        port = free_port()
        return cls(
            program("weir-bench"), "null-server", "--listen", f"127.0.0.1:{port}",
            "--record-size", str(record_size), ports=(port,),
        )  # fmt: skip

    def bench(self, mode, *arguments):
        command = [
            program("weir-bench"), mode, "--bootstrap-server", f"127.0.0.1:{self.ports[0]}",
            "--server-pid", str(self.process.pid), "-o", "json", *map(str, arguments),
        ]  # fmt: skip
        if mode == "fold":
            command += ["--compactor-http", f"127.0.0.1:{self.ports[2]}"]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["result"]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def spread(values, digits=0):
    def shown(value):
        return f"{value:,.{digits}f}"

    return f"{shown(statistics.median(values))} ({shown(min(values))}–{shown(max(values))})"


def ratio(ours, theirs):
    return f"{statistics.median(a / b for a, b in zip(ours, theirs)):.2f}"


def throughput(options, folder):
    """Produce and consume in MB/s, beside the floor."""
    print("\n| workload | Weir MB/s | floor MB/s | ratio | server CPU s/GB |\n|---|---|---|---|---|")
    for size in (100, 1024):
        figures = {}
        for number in range(options.rounds):
            weir, floor = Server.weir(f"{folder}/{size}-{number}"), Server.floor(size)
            for name, server in (("weir", weir), ("floor", floor)):
                made = server.bench(
                    "produce", "--topic", "t", "--partitions", 4, "--producers", 4, "--record-size", size,
                    "--acks", "all", "--duration", options.seconds,
                )  # fmt: skip
                read = server.bench(
                    "consume", "--topic", "t", "--consumers", 1, "--duration", options.seconds, "--passes", 100
                )
                for kind, found in (("produce", made), ("consume", read)):
                    figures.setdefault((kind, name), []).append(found["mb_per_second"])
                    figures.setdefault((kind, name, "cpu"), []).append(found["server"]["cpu_seconds_per_gb"])
            weir.stop()
            floor.stop()
            shutil.rmtree(f"{folder}/{size}-{number}")
        for kind, what in (("produce", "produce, acks=all"), ("consume", "consume")):
            ours, theirs = figures[kind, "weir"], figures[kind, "floor"]
            cpu = f"{spread(figures[kind, 'weir', 'cpu'], 2)}; floor {spread(figures[kind, 'floor', 'cpu'], 2)}"
            print(f"| {what}, {size} B | {spread(ours)} | {spread(theirs)} | {ratio(ours, theirs)} | {cpu} |", flush=True)


def latency(options, folder):
    """Time to the acknowledgement at a fixed rate, counted from when a record was due."""
    print("\n| publish at 10,000 records/s of 1 KiB, acks=all | p50 ms | p99 ms |\n|---|---|---|")
    for durability in ("fsync", "os"):
        p50, p99 = [], []
        for number in range(options.rounds):
            weir = Server.weir(f"{folder}/{durability}-{number}", durability)
            found = weir.bench(
                "produce", "--topic", "t", "--partitions", 4, "--record-size", 1024, "--acks", "all",
                "--rate", 10_000, "--duration", options.seconds,
            )["latency_ms"]  # fmt: skip
            p50.append(found["p50"])
            p99.append(found["p99"])
            weir.stop()
            shutil.rmtree(f"{folder}/{durability}-{number}")
        print(f"| log.durability={durability} | {spread(p50, 2)} | {spread(p99, 2)} |", flush=True)


def fold(options, folder):
    """Rows a second from the first record sent to the snapshot that holds the last."""
    workloads = [
        ("json, 1,000,000 rows, all keys new", ["--format", "json", "--rows", 1_000_000]),
        ("json, 1,000,000 rows over 100,000 keys", ["--format", "json", "--rows", 1_000_000, "--keys", 100_000]),
        ("debezium-json, 1,000,000 changes, all keys new", ["--format", "debezium-json", "--rows", 1_000_000]),
    ]
    if options.flights:
        from flights import SCHEMA

        flights = [
            "--input", options.flights, "--topic-config", f"table.schema={SCHEMA}",
            "--topic-config", f"table.primary.key={FLIGHTS_KEY}",
        ]  # fmt: skip
        workloads.append(("json, the 336,776 flights (19 columns)", flights))
    print("\n| fold, from log to committed snapshot | rows/s | MB/s of JSON | server CPU s |\n|---|---|---|---|")
    for name, arguments in workloads:
        rows, mb, cpu = [], [], []
        for number in range(options.rounds):
            weir = Server.weir(f"{folder}/fold-{number}")
            found = weir.bench("fold", "--topic", "t", "--partitions", 4, *arguments)
            rows.append(found["rows_per_second"])
            mb.append(found["mb"] / found["seconds"])
            cpu.append(found["server"]["cpu_seconds"])
            weir.stop()
            shutil.rmtree(f"{folder}/fold-{number}")
        print(f"| {name} | {spread(rows)} | {spread(mb)} | {spread(cpu, 2)} |", flush=True)


def freshness(options, folder):
    """From a record's acknowledgement to the snapshot that holds it, at a steady rate."""
    p50, p99 = [], []
    for number in range(options.rounds):
        weir = Server.weir(f"{folder}/fresh-{number}")
        found = weir.bench(
            "fold", "--topic", "t", "--partitions", 4, "--rate", 10_000, "--duration", 4 * options.seconds,
            "--keys", 1_000_000,
        )["freshness_ms"]  # fmt: skip
        p50.append(found["p50"])
        p99.append(found["p99"])
        weir.stop()
        shutil.rmtree(f"{folder}/fresh-{number}")
    print("\n| freshness at 10,000 records/s, table.commit.interval.ms=1000 | p50 ms | p99 ms |\n|---|---|---|")
    print(f"| acknowledged → in a snapshot | {spread(p50)} | {spread(p99)} |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--flights")
    options = parser.parse_args()
    cores = os.cpu_count()
    print(f"{cores} cores, {platform.system()} {platform.release()}, {options.rounds} rounds; median (least–most)")
    with tempfile.TemporaryDirectory(prefix="weir-figures-") as folder:
        throughput(options, folder)
        latency(options, folder)
        fold(options, folder)
        freshness(options, folder)


if __name__ == "__main__":
    main()
