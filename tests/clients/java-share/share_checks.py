"""Java's KafkaShareConsumer against a broker that is killed in between: one run for each `version=class path`.

    python3 share_checks.py VERSION=CLASSPATH...      The program is told by WEIR_BIN.
"""

import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from weir import binary, free_port

PATIENCE_S = 180


class Broker:
    """The broker alone, with locks of two seconds."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.port, self.http_port = free_port(), free_port()
        self.command = [
            binary(), "broker", "--data-dir", str(self.directory / "data"),
            "--listeners", f"PLAINTEXT://127.0.0.1:{self.port}",
            "--http", f"127.0.0.1:{self.http_port}",
            "--override", "group.share.record.lock.duration.ms=2000",
        ]  # fmt: skip
        self.process = None

    def start(self):
        log = open(self.directory / "broker.log", "ab")
        self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/readyz", timeout=5):
                    return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.directory / "broker.log").read_text()[-3000:]) from None
                time.sleep(0.05)

    def kill(self):
        self.process.kill()
        self.process.wait()


def run(version, class_path):
    with tempfile.TemporaryDirectory(prefix="weir-share-") as directory:
        broker = Broker(directory)
        broker.start()
        try:
            quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"
            check = subprocess.Popen(
                ["java", "-Xmx256m", quiet, "-cp", class_path, "ShareCheck", f"127.0.0.1:{broker.port}"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            alarm = threading.Timer(PATIENCE_S, check.kill)
            alarm.start()
            for line in check.stdout:
                if line.strip() == "RESTART":
                    broker.kill()
                    broker.start()
                    check.stdin.write("\n")
                    check.stdin.flush()
                else:
                    print(f"java-share {version}: {line.rstrip()}", flush=True)
            alarm.cancel()
            return check.wait()
        finally:
            broker.kill()


if __name__ == "__main__":
    results = {one: run(*one.split("=", 1)) for one in sys.argv[1:]}
    sys.exit(1 if any(results.values()) else 0)
