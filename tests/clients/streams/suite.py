"""Kafka Streams counts words exactly once while the broker, and now and then the application, is killed."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

from checks import holds
from kit import Suite, arguments

RATE = 200
SECONDS_A_KILL = 6


class WordCount:
    def __init__(self, suite):
        self.suite = suite
        self.folder = suite.broker.directory
        self.applications = []

    def java(self, name, *words):
        log = open(self.folder / f"{name}.log", "ab")
        return subprocess.Popen(
            ["java", "-Xmx384m", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
             "-cp", os.environ["STREAMS_CLASS_PATH"], "WordCount", *map(str, words)],
            stdout=log, stderr=log, env={**os.environ, "BOOTSTRAP": self.suite.bootstrap},
        )  # fmt: skip

    def tail(self, name, lines=8):
        return "\n".join((self.folder / f"{name}.log").read_text("utf-8", "replace").splitlines()[-lines:])

    def application(self):
        self.applications.append(self.java("count", "count", self.folder / "state"))

    def run(self, kills):
        chance = random.Random(kills)
        count = RATE * (kills * SECONDS_A_KILL + 5)
        feeder = self.java("feed", "feed", count, RATE)
        while "topics made" not in self.tail("feed"):
            holds(feeder.poll() is None, f"the feeder ended: {self.tail('feed')}")
            time.sleep(0.1)
        try:
            self.application()
            for kill in range(kills):
                time.sleep(SECONDS_A_KILL * chance.uniform(0.5, 1.2))
                self.suite.broker.kill()
                if kill % 3 == 2:
                    self.applications[-1].kill()
                    self.applications[-1].wait()
                    self.application()
                time.sleep(chance.uniform(0, 0.5))
                self.suite.broker.start()
                print(f"killed {kill + 1} of {kills}", file=sys.stderr)
            holds(feeder.wait(120 + kills * SECONDS_A_KILL) == 0, f"the feeder failed: {self.tail('feed')}")
            judged = self.java("check", "check", count, 120).wait()
            holds(judged == 0, f"{self.tail('check', 3)}; the application: {self.tail('count', 20)}")
            return f"{self.tail('check', 1)}; {kills} kills of the broker, {kills // 3} of the application"
        finally:
            for process in [feeder, *self.applications]:
                if process.poll() is None:
                    process.kill()
                    process.wait()


options = arguments(kills=5)
with Suite("streams", options) as suite:
    suite.check("kafka-streams", "4.4.0", "exactly-once-v2", WordCount(suite).run, options.kills)
