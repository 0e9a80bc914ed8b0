"""A query whose rows come, change and go, written as upserts and as Debezium's changes; the model counts beside it.

The query runs twice from the start of its input, as after a loss of its state: the second run repeats the
changes of the first and goes on. What remains is the last row of each word, in Flink and in a table of ours.
"""

import json
import random

from checks import equal, wait_until
from table import Table

WORDS = 60
EVENTS = 2000
QUERY = "SELECT word, COUNT(*) AS times, SUM(amount) AS total FROM events GROUP BY word HAVING SUM(amount) > 0"
# A segment is closed by the second run, so that the cleaner may take it.
COMPACTED = {"cleanup.policy": "compact", "segment.ms": "500", "min.cleanable.dirty.ratio": "0.01"}


class Changelogs:
    UPSERT = "'connector' = 'upsert-kafka', 'key.format' = 'json', 'value.format' = 'json'"

    def __init__(self, suite, session, log):
        self.suite, self.session, self.log = suite, session, log
        self.events = []
        self.chance = random.Random(7)

    def feed(self):
        """As many events again; of the first time, the topic and its table too."""
        if not self.events:
            self.log.create("events", 2)
            self.session.run(f"""
                CREATE TABLE events (word STRING, amount BIGINT) WITH ('connector' = 'kafka', 'topic' = 'events',
                  {self.log.flink}, 'format' = 'json',
                  'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset')""")
        events = [(f"w{self.chance.randrange(WORDS)}", self.chance.randrange(-9, 10)) for _ in range(EVENTS)]
        self.events += events
        self.log.feed("events", [(word, {"word": word, "amount": amount}) for word, amount in events])

    def model(self):
        """The rows of the query over all events."""
        found = {}
        for word, amount in self.events:
            times, total = found.get(word, (0, 0))
            found[word] = times + 1, total + amount
        return {word: row for word, row in found.items() if row[1] > 0}

    def totals(self, topic, how, configs):
        """The sink, filled twice."""
        self.log.create(topic, 2, configs)
        self.session.run(f"""
            CREATE TABLE `{topic}` (word STRING, times BIGINT, total BIGINT, PRIMARY KEY (word) NOT ENFORCED)
            WITH ('topic' = '{topic}', {self.log.flink}, {how}, 'scan.bounded.mode' = 'latest-offset')""")
        for _ in range(2):
            self.feed()
            self.session.run(f"INSERT INTO `{topic}` {QUERY}")

    def same_in_flink(self, topic):
        """Folds what Flink reads of the topic."""
        kinds, rows = set(), {}
        for kind, (word, *row) in self.session.changes(f"SELECT word, times, total FROM `{topic}`"):
            kinds.add(kind)
            if kind in ("+I", "+U"):
                rows[word] = tuple(row)
            elif rows.get(word) == tuple(row):
                del rows[word]
        equal(rows, self.model(), f"rows of {topic} in Flink")
        return kinds

    def upsert(self):
        """A null value is a delete; the last value of each key is its row, before and after the cleaner came."""
        self.totals("totals", self.UPSERT, COMPACTED)
        equal(self.same_in_flink("totals"), {"+I", "-U", "+U", "-D"}, "kinds of changes")
        written = sum(self.log.ends("totals").values())
        left = lambda: len(self.log.read("totals"))  # noqa: E731
        wait_until(lambda: left() < written, 60, f"the cleaner takes some of {written} records")
        rows = {}
        for one in self.log.read("totals"):
            value = one.value and json.loads(one.value)
            rows[json.loads(one.key)["word"]] = value and (value["times"], value["total"])
        deleted = sum(row is None for row in rows.values())
        equal({word: row for word, row in rows.items() if row}, self.model(), "rows by librdkafka")
        self.same_in_flink("totals")
        return f"{len(self.model())} rows, {deleted} words deleted; {left()} of {written} records are left"

    def upsert_table(self):
        """The topic of upserts as a table of ours: the key's fields are columns, a null value deletes."""
        return self.same_in_weir("upserts", self.UPSERT, key_format="json")

    def debezium_table(self):
        """The same query as Debezium's changes: an update is the old row's delete and the new row's insert."""
        how = ("'connector' = 'kafka', 'key.format' = 'json', 'key.fields' = 'word', 'value.format' = 'debezium-json', "
               "'scan.startup.mode' = 'earliest-offset'")  # fmt: skip
        return self.same_in_weir("changes", how, value_format="debezium-json")

    def same_in_weir(self, topic, how, **configs):
        table = Table(self.suite, topic, "word STRING NOT NULL, times BIGINT, total BIGINT", primary_key="word", **configs)
        self.totals(topic, how, table.configs)
        self.same_in_flink(topic)
        return table.holds(sorted((word, *row) for word, row in self.model().items()))
