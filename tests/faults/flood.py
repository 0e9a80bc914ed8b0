"""A flood of connections on a broker that may use 256 MiB: it lives, its producer goes on, and nothing of the flood stays.

usage: flood.py --weir PROGRAM --bench PROGRAM [--idle 10000] [--half-open 1000] [--seconds 5]

`PROGRAM`s are `weir` and `weir-bench`. Twice: with the default `max.connections`, where most of the flood is refused,
and with one that lets all of it in. The limit of memory is a control group of version 1, made and removed here; where
none can be made (no root, another version) the flood comes without it, and that is told.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

MEMORY_BYTES = 256 << 20
GROUPS = Path("/sys/fs/cgroup/memory")
# ApiVersions 0 from a client that calls itself nothing.
API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Limit:
    """A control group for the memory of one process, page cache of its log included."""

    def __init__(self):
        self.folder = GROUPS / f"weir-flood-{os.getpid()}"
        try:
            self.folder.mkdir()
            (self.folder / "memory.limit_in_bytes").write_text(str(MEMORY_BYTES))
        except OSError as error:
            print(f"WITHOUT a limit of memory: {error}", flush=True)
            self.folder = None

    def enter(self):
        if self.folder:
            (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def kills(self):
        if not self.folder:
            return 0
        lines = (self.folder / "memory.oom_control").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))

    def remove(self):
        if self.folder:
            self.folder.rmdir()


class Broker:
    def __init__(self, options, limit, settings):
        self.options, self.folder = options, tempfile.mkdtemp(prefix="weir-flood-")
        self.port, self.http = free_port(), free_port()
        command = [options.weir, "broker", "--data-dir", f"{self.folder}/data"]
        command += ["--listeners", f"PLAINTEXT://127.0.0.1:{self.port}", "--http", f"127.0.0.1:{self.http}"]
        for setting in settings:
            command += ["--override", setting]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, preexec_fn=limit.enter)
        deadline = time.monotonic() + 30
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the broker does not start")
            time.sleep(0.02)

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def memory_mib(self):
        """What is its own: pages of mapped logs are the kernel's to take back."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("no RssAnon")

    def producer(self):
        """A producer that is there before the flood, as fast as it can; ends after `--seconds`."""
        command = [self.options.bench, "produce", "--bootstrap-server", f"127.0.0.1:{self.port}", "--topic", "t"]
        command += ["--partitions", "4", "--record-size", "1024", "--acks", "all", "-o", "json"]
        return subprocess.Popen([*command, "--duration", str(self.options.seconds)], stdout=subprocess.PIPE)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(120)
        shutil.rmtree(self.folder)
        return code


def rate(producer):
    answer = producer.communicate(timeout=120)[0]
    if producer.returncode != 0:
        raise RuntimeError(f"the producer ended with {producer.returncode}")
    return json.loads(answer)["result"]["mb_per_second"]


def connect(port, count, first_bytes):
    """As many connections as the broker takes; each has sent something."""
    held = []
    for _ in range(count):
        one = socket.socket()
        one.settimeout(5)
        try:
            one.connect(("127.0.0.1", port))
            one.sendall(first_bytes)
        except OSError:
            one.close()
            continue
        one.setblocking(False)
        held.append(one)
    return held


def is_open(one):
    try:
        return one.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def flood(options, limit, settings):
    """(what went wrong, a line that tells the figures)."""
    broker = Broker(options, limit, settings)
    held = []
    try:
        for _ in range(2):
            alone = rate(broker.producer())
        files = broker.files()
        producer = broker.producer()
        time.sleep(0.5)
        held = connect(broker.port, options.half_open, API_VERSIONS[:6]) + connect(broker.port, options.idle, API_VERSIONS)
        flooded = rate(producer)
        held_open = sum(map(is_open, held))
        # A newcomer finds no place where the flood has taken all that there are.
        crowded = rate(broker.producer()) if settings else None
        memory = broker.memory_mib()
        for one in held:
            one.close()
        deadline = time.monotonic() + 20
        while broker.files() > files + 4 and time.monotonic() < deadline:
            time.sleep(0.1)
        left = broker.files() - files
        after = rate(broker.producer())
        is_ready = broker.is_ready()
    finally:
        for one in held:
            one.close()
        code = broker.stop()
    said = f"{held_open} connections open, {alone:.0f} MB/s alone, {flooded:.0f} in the flood"
    said += f", {crowded:.0f} beside it" if crowded else ""
    said += f", {after:.0f} after it; {memory:.0f} MiB of its own memory"
    wrong = []
    if limit.kills():
        wrong.append("it was killed for want of memory")
    if flooded < alone / 2:
        wrong.append(f"the producer fell from {alone:.0f} to {flooded:.0f} MB/s")
    if left > 4:
        wrong.append(f"{left} descriptors are left")
    if not is_ready or code != 0:
        wrong.append(f"it is {'ready' if is_ready else 'not ready'} and ended with {code}")
    return wrong, said


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--weir", required=True)
    parser.add_argument("--bench", required=True)
    parser.add_argument("--idle", type=int, default=10_000)
    parser.add_argument("--half-open", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=5)
    options = parser.parse_args()
    wanted = options.idle + options.half_open + 500
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < wanted:
        print(f"NOT TRIED: {wanted} open files are needed, the limit is {hard}")
        sys.exit(75)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    failed = False
    for name, settings in (("default", []), ("all let in", [f"max.connections={wanted}"])):
        limit = Limit()
        try:
            wrong, said = flood(options, limit, settings)
        finally:
            limit.remove()
        failed |= bool(wrong)
        print(f"{'FAIL' if wrong else 'ok'} flood, {name}: {said}{''.join('; ' + one for one in wrong)}", flush=True)
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
