"""The broker under test, behind a gate or without one."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

from weir import binary

# Far above what a start takes on a busy machine; the directory is tiny.
START_SECONDS = 20
SETTINGS = (
    "offsets.topic.num.partitions=1", "transaction.state.log.num.partitions=1",
    "group.initial.rebalance.delay.ms=0", "log.retention.check.interval.ms=250",
)  # fmt: skip

READY = re.compile(rb"broker ready kafka=127\.0\.0\.1:(\d+) http=")


class Died(Exception):
    """The process has ended."""


class Broker:
    def __init__(self, folder):
        self.data = Path(folder) / "data"
        self.log_file = Path(folder) / "weir.log"
        self.port = self.process = None

    def start(self, gate=None, settings=()):
        """Returns once it serves, and how long that took; `Died` when it gives up."""
        command = [
            binary(), "broker", "--data-dir", str(self.data),
            "--listeners", "PLAINTEXT://127.0.0.1:0", "--http", "127.0.0.1:0",
        ]  # fmt: skip
        for setting in (*SETTINGS, *settings):
            command += ["--override", setting]
        began = time.monotonic()
        with open(self.log_file, "ab") as log:
            start = log.tell()
            start_process = gate.start if gate else subprocess.Popen
            # A group of its own, so that Ctrl-C reaches only the suite, which ends it in order.
            self.process = start_process(command, stdout=log, stderr=log, start_new_session=True)
        while not (ready := READY.search(self.said(start))):
            if self.process.poll() is not None:
                raise Died(f"exit code {self.process.returncode}")
            if time.monotonic() - began > START_SECONDS:
                raise TimeoutError(f"the broker does not serve within {START_SECONDS} s")
            time.sleep(0.005)
        self.port = int(ready[1])
        return time.monotonic() - began

    def said(self, start=0):
        with open(self.log_file, "rb") as log:
            log.seek(start)
            return log.read()

    def tail(self, lines=3):
        return " | ".join(self.said().decode("utf-8", "replace").splitlines()[-lines:])

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def has_died(self, seconds):
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, seconds=30):
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(f"the broker does not stop within {seconds} s of SIGTERM") from None

    def kill(self):
        if self.is_alive():
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
