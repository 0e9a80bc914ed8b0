"""Disks as operators have them: full, out of inodes, slow. Each scene returns what went wrong.

The full ones are tmpfs, mounted in a mount namespace of the scene's own process: however that ends, nothing
stays mounted.
"""

import contextlib
import ctypes
import math
import multiprocessing
import os
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from broker import Broker, Died
from gate import Fault, Gate
from point import Outcome, alarm
from story import BASE_MS
from verdict import read
from wire import RETRIABLE, Gone, Refused, Silent, Wire, batch

CLONE_NEWNS = 0x20000
STORAGE_ERROR = 56
KEPT, SPENT = "kept", "spent"
SCENE_SECONDS = 120
# The slow disk: what each sync takes, how long it is watched, the one stall, and what a read may take.
SYNC_SECONDS, WATCH_SECONDS, STALL_SECONDS, HOT_SECONDS = 0.2, 4, 5, 0.1


class Skipped(Exception):
    """This machine does not let the scene be set."""


def mount(folder, options):
    """A tmpfs that this process and its children see, nobody else."""
    Path(folder).mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise Skipped(f"a mount namespace: {os.strerror(ctypes.get_errno())}")
    for command in (["mount", "--make-rprivate", "/"], ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise Skipped(f"{' '.join(command[:3])}: {done.stderr.strip()}")


class Scene:
    """A broker, what it acknowledged, what it did wrong."""

    def __init__(self, folder, gate=None):
        self.broker, self.gate, self.failures = Broker(folder), gate, []
        self.wire = Wire(self.broker)
        self.acked, self.starts = {KEPT: {}, SPENT: {}}, {KEPT: 0, SPENT: 0}

    def expect(self, holds, text):
        if not holds:
            self.failures.append(text)

    def start(self):
        self.wire.close()
        self.broker.start(self.gate)

    def write(self, topic, size, patience=0.0):
        """One record; the error when it is refused for as long as that."""
        offset = max(self.acked[topic], default=self.starts[topic] - 1) + 1
        value = b"x" * size + f" {topic} {offset:6}".encode()
        records, deadline = batch(value, BASE_MS), time.monotonic() + patience
        while True:
            try:
                given = self.wire.produce(topic, records)
            except Refused as refused:
                if refused.code in RETRIABLE and time.monotonic() < deadline:
                    time.sleep(0.05)
                    continue
                return refused
            self.expect(given == offset, f"{topic} {offset} was acknowledged at {given}")
            self.acked[topic][given] = value
            return None

    def fill(self, topic, size, records_max):
        """Writes until it is refused; how many were taken."""
        for count in range(records_max):
            if refused := self.write(topic, size):
                self.expect(refused.code == STORAGE_ERROR, f"a full disk is told as {refused}")
                return count
        self.failures.append(f"{records_max} records of {size} bytes do not fill the disk")
        return records_max

    def is_trimmed(self, topic):
        """Whether the first segment goes; an orderly stop, too, needs some room."""
        first = self.broker.data / f"{topic}-0" / f"{0:020}.log"
        deadline = time.monotonic() + 5
        while first.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        return not first.exists()

    def compare(self, when):
        """All that was acknowledged and not trimmed is there, and nothing else."""
        found = read(self.broker.port, [topic for topic in self.acked])["read_committed"]
        for topic, acked in self.acked.items():
            wanted = {offset: value for offset, value in acked.items() if offset >= self.starts[topic]}
            have = {offset: value for offset, value in found[topic] if offset >= self.starts[topic]}
            self.expect(have == wanted, f"{when}: {topic} has {len(have)} records, {len(wanted)} were acknowledged")

    def refill(self, size, records_max, when):
        """Service has come back by itself; then it is full again."""
        refused = self.write(KEPT, size, 5)
        self.expect(refused is None, f"{when}, no more is taken: {refused}")
        if refused is None:
            self.expect(self.broker.is_alive(), f"{when}, the broker is gone")
            self.fill(KEPT, size, records_max)


def full(folder, options="size=24m", size=64 << 10, segment_bytes=1 << 20, records_max=1000):
    mounted = str(Path(folder) / "disk")
    mount(mounted, options)
    scene = Scene(folder)
    scene.broker.data = Path(mounted) / "data"
    with standing(scene):
        for topic in (KEPT, SPENT):
            scene.wire.create_topic(topic, {"segment.bytes": str(segment_bytes), "file.delete.delay.ms": "0"})
        for _ in range(40):
            scene.write(KEPT, size)
        scene.expect(scene.fill(SPENT, size, records_max) > 20, "it was full too soon")
        scene.compare("on the full disk")
        # A crash there: what is read at the start needs no room.
        scene.broker.kill()
        scene.start()
        scene.compare("started on the full disk")
        middle = len(scene.acked[SPENT]) // 2
        scene.wire.delete_records(SPENT, middle)
        scene.starts[SPENT] = middle
        scene.refill(size, records_max, "after records were deleted")
        scene.compare("full for the second time")
        scene.wire.delete_topic(SPENT)
        del scene.acked[SPENT]
        scene.refill(size, records_max, "after a topic was deleted")
        scene.compare("full for the third time")
        scene.wire.delete_records(KEPT, 20)
        scene.starts[KEPT] = 20
        scene.expect(scene.is_trimmed(KEPT), "the segments of deleted records stay")
        refused = scene.write(KEPT, size, 5)
        scene.expect(refused is None, f"with room, no more is taken: {refused}")
        code = scene.broker.stop()
        scene.expect(code == 0, f"it stops with code {code}")
        scene.start()
        scene.compare("started again")
    return scene


def out_of_inodes(folder):
    """Each segment takes five files: this ends when no more can be made, with room for bytes."""
    return full(folder, "size=64m,nr_inodes=200", 3000, 16 << 10, 2000)


@contextlib.contextmanager
def standing(scene):
    try:
        scene.start()
        yield
    except (Died, Gone, Silent, Refused, TimeoutError) as error:
        scene.failures.append(f"{type(error).__name__}: {error}: {scene.broker.tail()}")
    finally:
        scene.wire.close()
        scene.broker.kill()


def watch_reads(scene, until):
    """How long fetches of the newest records take, one after the other."""
    wire, took = Wire(scene.broker), []
    while not until.is_set():
        began = time.monotonic()
        data = wire.fetch(KEPT, max(scene.acked[KEPT]))
        took.append(time.monotonic() - began)
        scene.expect(data, "a fetch of what was acknowledged gives nothing")
        time.sleep(0.01)
    wire.close()
    return took


def slow(folder, fault, write):
    """Writes late, reads at once: `write` goes on beside the reads."""
    gate = Gate(Path(folder) / "data", fault(0))
    scene = Scene(folder, gate)
    gate.fault = None
    with standing(scene):
        scene.wire.create_topic(KEPT, {})
        del scene.acked[SPENT]
        for _ in range(10):
            scene.write(KEPT, 1000)
        gate.fault = fault(gate.counts["fdatasync"] + 1)
        until = threading.Event()
        took = []
        reader = threading.Thread(target=lambda: took.extend(watch_reads(scene, until)))
        reader.start()
        try:
            write(scene)
        finally:
            until.set()
            reader.join()
        scene.expect(gate.fired, "no sync was slow")
        median = statistics.median(took) if took else math.inf
        scene.expect(median < HOT_SECONDS, f"a fetch took {median * 1000:.0f} ms (median)")
        gate.fault = None
        scene.compare("after the slow syncs")
        code = scene.broker.stop()
        scene.expect(code == 0, f"it stops with code {code}")
    return scene


def slow_disk(folder):
    def write(scene):
        deadline = time.monotonic() + WATCH_SECONDS
        while time.monotonic() < deadline:
            began = time.monotonic()
            refused = scene.write(KEPT, 1000)
            scene.expect(refused is None, f"slow syncs give {refused}")
            took = time.monotonic() - began
            scene.expect(took > SYNC_SECONDS * 0.9, f"acknowledged after {took:.3f} s, before its sync")

    return slow(folder, lambda first: Fault("fdatasync", first, "DELAY", math.inf, SYNC_SECONDS), write)


def stall(folder):
    def write(scene):
        began = time.monotonic()
        refused = scene.write(KEPT, 1000)
        took = time.monotonic() - began
        scene.expect(refused is None, f"a stall gives {refused}")
        scene.expect(took > STALL_SECONDS * 0.9, f"acknowledged after {took:.3f} s, before its sync")
        for _ in range(5):
            scene.expect(scene.write(KEPT, 1000) is None, "after the stall nothing is taken")

    return slow(folder, lambda first: Fault("fdatasync", first, "DELAY", 1, STALL_SECONDS), write)


SCENES = {"disk-full": full, "inodes-gone": out_of_inodes, "disk-slow": slow_disk, "disk-stalls": stall}


def try_scene(name):
    """In a process of its own, since mounts come with it."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=lambda: theirs.send(set_scene(name)))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        return Outcome(["the scene's process has died"], 1)
    finally:
        process.join()


def set_scene(name):
    with tempfile.TemporaryDirectory(prefix="weir-faults-") as folder, alarm(SCENE_SECONDS):
        try:
            scene = SCENES[name](folder)
        except Skipped as reason:
            return Outcome([], 0, skipped=str(reason))
        except Exception as error:
            return Outcome([f"{type(error).__name__}: {error}"], 1)
        finally:
            disk = Path(folder) / "disk"
            if disk.is_mount():
                subprocess.run(["umount", "--lazy", str(disk)], capture_output=True)
        return Outcome(scene.failures, 1, log=scene.broker.said().decode("utf-8", "replace"))
