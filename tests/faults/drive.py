"""Chooses the points, tries them two at a time, and tells what came of them."""

import argparse
import concurrent.futures
import functools
import signal
import sys
import time

from disks import SCENES, try_scene
from gate import Impossible
from point import census, faults_of, is_loss_found, try_point

PARALLEL = 2


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=120, help="how many system calls are hit, spread evenly")
    parser.add_argument("--full", action="store_true", help="hits all of them")
    parser.add_argument("--shift", type=float, default=0.5, help="0 to 1: which ones of a sample")
    parser.add_argument("--only", help="a point, such as pwritev:37:EIO, or the name of a scene in disks.py")
    parser.add_argument("--keep", action="store_true", help="with --only: keeps the folder")
    return parser.parse_args()


def shares(rows, points):
    """How many points each row gets: the same for all, as long as a row has so many calls."""
    left, share = dict(rows), dict.fromkeys(rows, 0)
    while points > 0 and left:
        for row in sorted(left, reverse=True):
            share[row] += 1
            points -= 1
            if share[row] >= left[row]:
                del left[row]
            if points <= 0:
                break
    return share


def choose(counts, options):
    """The points of each row (scenario, kind, fault)."""
    rows = {(scenario, kind, fault): count for (scenario, kind), count in counts.items() for fault in faults_of(kind)}
    share = rows if options.full else shares(rows, max(options.points, len(rows)))
    for row, count in sorted(rows.items()):
        scenario, kind, fault = row
        for n in range(share[row]):
            number = min(int((n + options.shift) * count / share[row]), count - 1) + 1
            yield row, f"{'recovery/' if scenario == 'recovery' else ''}{kind}:{number}:{fault}"


def tell(text, outcome):
    for failure in outcome.failures:
        print(f"FAIL {text} {outcome.path and f'({outcome.path})'}: {failure}", flush=True)


def try_all(tasks):
    """The table: row -> [tried, failed, fired, skipped]."""
    table, began = {}, time.monotonic()
    pool = concurrent.futures.ProcessPoolExecutor(PARALLEL)
    try:
        running = {pool.submit(task, text): (row, text) for row, text, task in tasks}
        for done, future in enumerate(concurrent.futures.as_completed(running), 1):
            row, text = running[future]
            outcome = future.result()
            entry = table.setdefault(row, [0, 0, 0, ""])
            entry[0] += 1
            entry[1] += bool(outcome.failures)
            entry[2] += outcome.fired > 0
            entry[3] = outcome.skipped
            tell(text, outcome)
            if done % 100 == 0:
                print(f"     {done} of {len(running)} points after {time.monotonic() - began:.0f} s", flush=True)
    finally:
        pool.shutdown(cancel_futures=True)
    return table


def print_table(table):
    print(f"\n{'during':9} {'call':11} {'fault':10} {'points':>6} {'fired':>6} {'failed':>6}")
    silent = False
    for (scenario, kind, fault), (tried, failed, fired, skipped) in sorted(table.items(), reverse=True):
        note = f"  skipped: {skipped}" if skipped else "" if fired else "  NEVER FIRED"
        silent |= not fired and not skipped
        print(f"{scenario:9} {kind:11} {fault:10} {tried:6} {fired:6} {failed:6}{note}")
    total = [sum(entry[n] for entry in table.values()) for n in range(3)]
    print(f"{'all':32} {total[0]:6} {total[2]:6} {total[1]:6}")
    return total[1] > 0 or silent


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        counts, torn_write, failures, log = census()
    except Impossible as reason:
        print(f"NOT TRIED: {reason}", file=sys.stderr)
        return 75
    if not failures and not is_loss_found():
        failures = ["what was made up is not missed: verdict.py does not look"]
    if failures:
        print(log)
        for failure in failures:
            print(f"FAIL without any fault: {failure}")
        return 1
    tasks = [(("disk", name, ""), name, try_scene) for name in SCENES]
    point = functools.partial(try_point, torn_write=torn_write)
    if options.only:
        outcome = try_scene(options.only) if options.only in SCENES else point(options.only, keeps=options.keep)
        print(outcome.log)
        tell(options.only, outcome)
        print(f"fired {outcome.fired} times, {len(outcome.failures)} failures {outcome.skipped}{outcome.folder}")
        return int(bool(outcome.failures) or not (outcome.fired or outcome.skipped))
    told = ", ".join(f"{kind} {count}" for (scenario, kind), count in sorted(counts.items()) if scenario == "story")
    print(f"the story's calls on its directory: {told}", flush=True)
    tasks += [(row, text, point) for row, text in choose(counts, options)]
    return int(print_table(try_all(tasks)))


if __name__ == "__main__":
    sys.exit(main())
