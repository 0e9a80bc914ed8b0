"""Counts checks and says one line about each.

A check is a function that raises when something does not hold. `run` catches, prints `ok`, `FAIL`
or `skip` with the name, and goes on, so that one broken client does not hide the others. The
suite's last line is `N passed, N failed`, alone.
"""

import sys
import time
import traceback


class Skipped(Exception):
    """Raised by a check that cannot run here; its text says why."""


class Checks:
    def __init__(self, wanted=""):
        self.wanted = wanted
        self.passed = 0
        self.failed = []
        self.skipped = []

    def run(self, name, check, *arguments):
        """Runs one check unless it was not asked for; tells whether it held."""
        if self.wanted not in name:
            return True
        started = time.monotonic()
        try:
            detail = check(*arguments)
        except Skipped as reason:
            self.skipped.append(name)
            print(f"skip {name}: {reason}", flush=True)
            return False
        except Exception as error:
            self.failed.append(name)
            reason = " ".join(str(error).split()) or "assertion"
            print(f"FAIL {name}: {type(error).__name__}: {reason[:1500]}", flush=True)
            traceback.print_exc(limit=-3, file=sys.stderr)
            return False
        self.passed += 1
        detail = f" ({detail})" if isinstance(detail, str) else ""
        print(f"ok   {name}{detail} {time.monotonic() - started:.1f}s", flush=True)
        return True

    def close(self):
        """The closing line; the exit code."""
        for name in self.failed:
            print(f"failed: {name}")
        for name in self.skipped:
            print(f"skipped: {name}")
        print(f"{self.passed} passed, {len(self.failed)} failed")
        return 1 if self.failed or not self.passed else 0


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
