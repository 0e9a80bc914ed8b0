"""A Weir of its own for the suite: started on free ports with a temporary directory, ended by pid."""

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Weir:
    """`weir up`: broker and compactor in one process."""

    def __init__(self, binary, directory=None):
        self.binary = binary
        self.directory = Path(directory or tempfile.mkdtemp(prefix="weir-clients-"))
        self.data = self.directory / "data"
        self.warehouse = self.data / "warehouse"
        self.kafka_port, self.http_port, self.compactor_port = (free_port() for _ in range(3))
        self.process = None

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.kafka_port}"

    def start(self):
        command = [
            self.binary, "up", "--data-dir", str(self.data),
            "--listeners", f"PLAINTEXT://{self.bootstrap}",
            "--http", f"127.0.0.1:{self.http_port}",
            "--compactor-http", f"127.0.0.1:{self.compactor_port}",
            "--override", "log.cleaner.backoff.ms=200",
            "--override", "group.initial.rebalance.delay.ms=200",
        ]  # fmt: skip
        self.log = open(self.directory / "weir.log", "ab")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 60
        for port in (self.http_port, self.compactor_port):
            while not self.is_ready(port):
                if self.process.poll() is not None:
                    raise RuntimeError(f"weir ended with {self.process.returncode}: {self.tail()}")
                if time.monotonic() > deadline:
                    raise RuntimeError(f"weir is not ready within 60 s: {self.tail()}")
                time.sleep(0.05)

    @staticmethod
    def is_ready(port):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def stop(self):
        """SIGTERM and a patient wait; the exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.process = None
        self.log.close()
        return code

    def kill(self):
        """SIGKILL: whatever was not synced is lost with the process, though not with the machine."""
        self.process.kill()
        self.process.wait()
        self.log.close()

    def tail(self, lines=15):
        return "\n".join((self.directory / "weir.log").read_text("utf-8", "replace").splitlines()[-lines:])

    def page(self, path, port=None):
        with urllib.request.urlopen(f"http://127.0.0.1:{port or self.compactor_port}{path}", timeout=10) as answer:
            return answer.read().decode()

    def metric(self, name, port=None, **labels):
        """The sum of all samples of a metric that bear these labels; None if there is none."""
        total = None
        for line in self.page("/metrics", port).splitlines():
            match = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if not match or match[1] != name:
                continue
            found = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
            if all(found.get(key) == value for key, value in labels.items()):
                total = (total or 0) + float(match[3])
        return total

    def command(self, *arguments):
        """A `weir` command line against this server; (exit code, stdout, stderr)."""
        done = subprocess.run(
            [self.binary, *arguments], capture_output=True, text=True, timeout=300, cwd=self.directory
        )
        return done.returncode, done.stdout, done.stderr


def binary():
    """The program under test: `WEIR_BIN`, or what `cargo build --release` leaves."""
    if path := os.environ.get("WEIR_BIN"):
        return path
    root = Path(__file__).resolve().parents[2]
    target = Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
    return str(target / "release" / "weir")
