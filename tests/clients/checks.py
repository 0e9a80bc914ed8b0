"""Counts checks and says one line about each.

A check is a function that raises when something does not hold. `run` catches, prints `ok`, `FAIL`
or `skip` with the name, and goes on, so that one broken client does not hide the others. The
suite's last line is `N passed, N failed`, alone. WEIR_RESULTS takes the checks of clients as JSON lines.
"""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import time
import traceback
from pathlib import Path

PACKAGES = {"librdkafka": "confluent-kafka", "aiokafka": "aiokafka", "kafka-python": "kafka-python"}


class Skipped(Exception):
    """Raised by a check that cannot run here; its text says why."""


class Checks:
    def __init__(self, wanted=""):
        self.wanted = wanted
        self.passed = 0
        self.failed = []
        self.skipped = []
        self.said = {}

    def run(self, name, check, *arguments):
        """Runs one check unless it was not asked for; tells whether it held."""
        if self.wanted not in name:
            return True
        started = time.monotonic()
        try:
            detail = check(*arguments)
        except Skipped as reason:
            self.skipped.append(name)
            self.said[name] = ("skip", str(reason))
            print(f"skip {name}: {reason}", flush=True)
            return False
        except Exception as error:
            self.failed.append(name)
            reason = " ".join(str(error).split()) or "assertion"
            self.said[name] = ("FAIL", reason[:1500])
            print(f"FAIL {name}: {type(error).__name__}: {reason[:1500]}", flush=True)
            traceback.print_exc(limit=-3, file=sys.stderr)
            return False
        self.passed += 1
        self.said[name] = ("ok", "")
        detail = f" ({detail})" if isinstance(detail, str) else ""
        print(f"ok   {name}{detail} {time.monotonic() - started:.1f}s", flush=True)
        return True

    def close(self):
        """The closing line; the exit code."""
        for name in self.failed:
            print(f"failed: {name}")
        for name in self.skipped:
            print(f"skipped: {name}")
        self.tell()
        print(f"{self.passed} passed, {len(self.failed)} failed")
        return 1 if self.failed or not self.passed else 0

    def tell(self):
        """A JSON line for each check of a client: `log/CLIENT/FEATURE`, `group/CLIENT/FEATURE`."""
        if not (folder := os.environ.get("WEIR_RESULTS")):
            return
        lines = []
        for name, (result, detail) in self.said.items():
            if match := re.fullmatch(r"(log|group|transaction)/([^/]+)(?:/(.+))?", name):
                room, client, feature = match[1], match[2], match[3] or "plot"
                if client not in PACKAGES and client != "kcat":
                    continue  # a check of several clients together
                lines.append({
                    "suite": "python", "client": client, "version": version(client), "result": result, "detail": detail,
                    "feature": feature if room == "log" else f"{room}-{feature}",
                })  # fmt: skip
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "python.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def version(client):
    if client in PACKAGES:
        return importlib.metadata.version(PACKAGES[client])
    said = subprocess.run([client, "-V"], capture_output=True, text=True).stdout
    found = re.search(r"[Vv]ersion (\S+)", said)
    return found[1] if found else "-"


def equal(got, wanted, what="value"):
    if got != wanted:
        raise AssertionError(f"{what}: wanted {wanted!r}, got {got!r}"[:1500])


def holds(condition, what):
    if not condition:
        raise AssertionError(what)


def wait_until(condition, seconds, what):
    """Asks until the answer is true; the answer. The only place that waits by the clock."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what()if callable(what) else what}")
        time.sleep(0.05)
