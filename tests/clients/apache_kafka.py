"""A real Apache Kafka for the suites: one KRaft node from Maven's jars, with Weir's face (weir.py).

It proves the suites themselves right: `--broker kafka` runs a suite against it instead of Weir.
"""

import subprocess
import tempfile
import time
from pathlib import Path

from weir import free_port

SETTINGS = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""


class Kafka:
    """`kafka.Kafka`: broker and controller in one process."""

    def __init__(self, class_path, directory=None):
        self.class_path = Path(class_path).read_text().strip()
        self.directory = Path(directory or tempfile.mkdtemp(prefix="weir-clients-kafka-"))
        self.data = self.directory / "data"
        self.port, self.controller = free_port(), free_port()
        self.settings = self.directory / "server.properties"
        self.process = None

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        self.log = open(self.directory / "kafka.log", "ab")
        starts = self.starts()
        if not self.settings.exists():
            text = SETTINGS.format(port=self.port, controller=self.controller, data=self.data)
            self.settings.write_text(text)
            self.java("kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", self.settings).wait()
        self.process = self.java("kafka.Kafka", self.settings)
        deadline = time.monotonic() + 60
        while self.starts() == starts:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Kafka did not start: {self.tail()}")
            time.sleep(0.2)

    def starts(self):
        """How often it was ready so far: the log goes on from one start to the next."""
        return (self.directory / "kafka.log").read_text("utf-8", "replace").count("Kafka Server started")

    def java(self, *arguments):
        command = ["java", "-Xmx768m", "-cp", self.class_path, *map(str, arguments)]
        return subprocess.Popen(command, stdout=self.log, stderr=self.log)

    def stop(self):
        if self.process is None:
            return 0
        self.process.terminate()
        code = self.process.wait(60)
        self.process = None
        self.log.close()
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def tail(self, lines=15):
        return "\n".join((self.directory / "kafka.log").read_text("utf-8", "replace").splitlines()[-lines:])
