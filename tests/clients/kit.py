"""Runs client programs in any language against a broker of its own and counts what they say.

A program gets BOOTSTRAP in its environment and prints a line for each feature of the plot (README.md):
`ok CLIENT VERSION FEATURE`, `FAIL CLIENT VERSION FEATURE: reason` or `skip ...: reason`. Its other
lines go to standard error. The closing line is `N passed, N failed`; WEIR_RESULTS takes the JSON lines.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from weir import Weir, binary

LINE = re.compile(r"(ok|FAIL|skip) (\S+) (\S+) ([\w-]+)(?:: (.*))?")


def arguments(**further):
    """The options that every suite has; `further` are numbers with their defaults."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="runs the features whose name contains this")
    parser.add_argument("--bootstrap", help="a running broker to use instead of one of our own")
    parser.add_argument("--broker", choices=["weir", "kafka"], default="weir", help="kafka: Apache Kafka itself")
    parser.add_argument("--keep", action="store_true", help="keeps the broker's folder")
    for name, default in further.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


class Suite:
    """A broker and the lines said about it."""

    def __init__(self, name, options):
        self.name, self.options, self.lines = name, options, []
        self.broker = None

    def __enter__(self):
        if not self.options.bootstrap:
            if self.options.broker == "kafka":
                from apache_kafka import Kafka

                self.broker = Kafka(os.environ["KAFKA_CLASS_PATH"])
            else:
                self.broker = Weir(binary())
            self.broker.start()
            print(f"{self.options.broker} in {self.broker.directory}, {self.bootstrap}", file=sys.stderr)
        return self

    @property
    def bootstrap(self):
        return self.options.bootstrap or self.broker.bootstrap

    def say(self, result, client, version, feature, detail=""):
        """One line, printed and counted."""
        detail = " ".join(str(detail).split())[:1500]
        self.lines.append({
            "client": client, "version": version, "feature": feature, "result": result, "detail": detail,
        })  # fmt: skip
        print(f"{result} {client} {version} {feature}{': ' + detail if detail else ''}", flush=True)

    def check(self, client, version, feature, check, *arguments):
        """Runs a check in this process: what it returns is the line's detail."""
        if self.options.only not in feature:
            return None
        try:
            detail = check(*arguments)
        except Exception as error:
            self.say("FAIL", client, version, feature, f"{type(error).__name__}: {error}")
            return False
        self.say("ok", client, version, feature, detail or "")
        return True

    def run(self, command, seconds=600, **environment):
        """Runs a program that says lines itself; a bad end is a line too."""
        environment = {**os.environ, "BOOTSTRAP": self.bootstrap, "ONLY": self.options.only, **environment}
        name = Path(str(command[0])).name
        process = subprocess.Popen(["timeout", str(seconds), *map(str, command)], stdout=subprocess.PIPE, text=True,
                                   errors="replace", env=environment)  # fmt: skip
        said = 0
        for line in process.stdout:
            if match := LINE.fullmatch(line.strip()):
                self.say(*(part or "" for part in match.groups()))
                said += 1
            else:
                print(line, end="", file=sys.stderr)
        code = process.wait()
        if code or not (said or self.options.only):
            self.say("FAIL", name, "-", "program", f"exit code {code} after {said} lines")

    def __exit__(self, kind, error, trace):
        failed = [line for line in self.lines if line["result"] == "FAIL"]
        if error is not None:
            failed.append(error)
            print(f"FAIL {self.name} - suite: {kind.__name__}: {error}")
        if self.broker:
            code = self.broker.stop()
            if code and isinstance(self.broker, Weir):
                self.say("FAIL", "weir", "-", "stops-cleanly", f"exit code {code}: {self.broker.tail()}")
                failed.append(self.lines[-1])
            if failed:
                print(self.broker.tail(40), file=sys.stderr)
            if not self.options.keep:
                shutil.rmtree(self.broker.directory, ignore_errors=True)
        if folder := os.environ.get("WEIR_RESULTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            text = "".join(json.dumps({"suite": self.name, **line}) + "\n" for line in self.lines)
            (Path(folder) / f"{self.name}.jsonl").write_text(text)
        passed = sum(line["result"] == "ok" for line in self.lines)
        print(f"{passed} passed, {len(failed)} failed", flush=True)
        if error is None:
            sys.exit(1 if failed or not passed else 0)
