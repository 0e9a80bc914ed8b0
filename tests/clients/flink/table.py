"""A table of ours, as `weir table` tells it. There is none where the broker is not a Weir of the suite's own."""

import json

from checks import equal, wait_until
from weir import Weir


class Table:
    """`configs` make a topic this table."""

    def __init__(self, suite, name, schema, **configs):
        self.broker, self.name, self.bootstrap = suite.broker, name, suite.bootstrap
        self.is_there = isinstance(suite.broker, Weir)
        told = {f"table.{key.replace('_', '.')}": value for key, value in configs.items()}
        self.configs = {
            "table.enabled": "true", "table.name": f"default.{name}", "table.schema": schema,
            "table.commit.interval.ms": "200", "table.snapshot.retain.min": "1000", **told,
        } if self.is_there else {}  # fmt: skip

    def rows(self):
        code, out, _ = self.command("read", self.name, "-o", "json")
        return [json.loads(row) for row in out.splitlines()] if code == 0 else []

    def command(self, *words):
        return self.broker.command("table", *words, "--warehouse", str(self.broker.warehouse))

    def holds(self, wanted):
        """Waits until its rows, sorted, are these; every snapshot must be the fold of the log up to it."""
        if not self.is_there:
            return "no table"
        wait_until(lambda: sorted(map(values, self.rows())) == wanted, 60, lambda: self.difference(wanted))
        code, out, error = self.command("verify", self.name, "--every-snapshot", "--bootstrap-server", self.bootstrap)
        equal(code, 0, f"weir table verify {self.name}: {out}{error}")
        return f"{len(wanted)} rows in the table"

    def difference(self, wanted):
        got = sorted(map(values, self.rows()))
        odd = [pair for pair in zip(got, wanted) if pair[0] != pair[1]][:2]
        return f"{self.name}: {len(got)} rows of {len(wanted)}, such as {odd}; {self.command('describe', self.name)}"


def values(row):
    return tuple(row.values())
