"""One point: a fault at one call of the story or of a recovery, and what came of it."""

import contextlib
import dataclasses
import shutil
import signal
import tempfile
from pathlib import Path

from broker import Died
from gate import READS, SYNCS, Fault, Gate
from story import PLAIN, SHORT, Story
from verdict import Verdict

# Nothing here takes ten seconds on an idle machine.
POINT_SECONDS = 120
# The write that is torn before recoveries are tried: far into the first life.
TORN_WRITE = 45


@dataclasses.dataclass
class Outcome:
    failures: list
    fired: int
    path: str = ""
    log: str = ""
    folder: str = ""
    skipped: str = ""


@contextlib.contextmanager
def alarm(seconds):
    def ring(_signal, _frame):
        raise TimeoutError(f"hangs: not done after {seconds} s")

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def passes(fault):
    """Whether the broker must go on by itself after the fault."""
    return fault.what == "SHORT" or fault.what == "ENOSPC" and fault.kind not in SYNCS


def try_point(text, torn_write, keeps=False):
    """`KIND:NUMBER:FAULT`, and `recovery/` before it when it is a start after a crash that is hit."""
    folder = tempfile.mkdtemp(prefix="weir-faults-")
    scenario, _, text = text.rpartition("/")
    fault = Fault.parse(text)
    story = None
    try:
        with alarm(POINT_SECONDS):
            if scenario == "recovery":
                story, gates = crash(folder, torn_write), []
                recover(story, fault, gates)
            else:
                gates = [Gate(Path(folder) / "data", fault)]
                story = Story(folder, gates[0])
                story.run()
                if passes(fault) and not any("gave up" in failure for failure in story.failures):
                    if not story.was_refused:
                        story.check_no_loss_of_service()
            failures = Verdict(story).find()
    except Exception as error:
        failures = [*(story.failures if story else []), f"{type(error).__name__}: {error}"]
        gates = []
    finally:
        if story:
            story.broker.kill()
    fired = [call for gate in gates for call in gate.fired]
    log = story.broker.said().decode("utf-8", "replace") if story else ""
    if not keeps:
        shutil.rmtree(folder, ignore_errors=True)
    return Outcome(failures, len(fired), fired[0].path if fired else "", log, f"in {folder}" if keeps else "")


def crash(folder, torn_write):
    """A directory that was left in the middle of a write."""
    story = Story(folder, Gate(Path(folder) / "data", Fault("pwritev", torn_write, "TORN")))
    story.run()
    return story


def recover(story, fault, gates):
    """Two starts that are hit at the same call."""
    for _ in range(2):
        gate = Gate(story.broker.data, fault)
        gates.append(gate)
        try:
            story.broker.start(gate)
        except Died as death:
            if fault.what in ("KILL", "TORN"):
                continue
            if story.broker.process.returncode != 1 or "cannot" not in story.broker.tail():
                story.fail(f"recovery ends without a word: {death}: {story.broker.tail()}")
            continue
        finally:
            if fault.what in ("KILL", "TORN"):
                story.broker.kill()
        if story.broker.is_alive():
            story.broker.stop()


def census():
    """How often each kind is called in the story and in a recovery, and the write that is to be torn."""
    with tempfile.TemporaryDirectory(prefix="weir-faults-") as folder, alarm(POINT_SECONDS):
        gate = Gate(Path(folder) / "data")
        story = Story(folder, gate)
        story.run()
        story.check_no_loss_of_service()
        failures = Verdict(story).find()
        log = story.broker.said().decode("utf-8", "replace")
        counts = {("story", kind): count for kind, count in gate.counts.items()}
        writes = [
            call.number for call in gate.calls
            if call.kind == "pwritev" and call.path.startswith(f"{PLAIN}-0/") and call.path.endswith(".log")
        ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="weir-faults-") as folder, alarm(POINT_SECONDS):
        story = crash(folder, writes[TORN_WRITE])
        gate = Gate(story.broker.data)
        story.broker.start(gate)
        story.broker.kill()
        counts.update({("recovery", kind): count for kind, count in dict(gate.counts).items()})
    return counts, writes[TORN_WRITE], failures, log


def is_loss_found():
    """Whether the verdict misses what the suite itself makes up: records, a commit and an offset never taken."""
    with tempfile.TemporaryDirectory(prefix="weir-faults-") as folder, alarm(POINT_SECONDS):
        story = Story(folder)
        story.run()
        if story.failures:
            return False
        for topic in (PLAIN, SHORT):
            story.next[topic] += 2
        next(part for part in story.transactions if not part.commits).commits = True
        story.transactions[1].acked, story.offsets_asked = True, {999}
        found = " ".join(Verdict(story).find())
        return all(text in found for text in (f"{PLAIN} ends", f"{SHORT} ends", "acknowledged as committed", "at 50"))


def faults_of(kind):
    """What can befall a kind of call."""
    if kind in READS:
        return ("EIO",)
    if kind in SYNCS:
        return ("KILL", "EIO", "EIO+", "ENOSPC")
    if kind == "pwritev":
        return ("KILL", "TORN", "SHORT", "EIO", "ENOSPC", "ENOSPC*10")
    if kind in ("creat", "mkdir", "rename", "fallocate"):
        return ("KILL", "EIO", "ENOSPC", "ENOSPC*10")
    return ("KILL", "EIO")
