"""Two exactly-once sinks copy one input while the broker is killed, one for each way to name transactions.

`INCREMENTING` (Flink's default) takes a new transactional id for each checkpoint and, after a restart, aborts what
may linger by probing ids; `POOLING` uses few ids again and asks the broker which transactions linger.
"""

import collections
import random
import sys
import threading
import time

from checks import equal, holds, wait_until
from table import Table

RATE = 200
SECONDS_A_KILL = 6
PARTITIONS = 4
STRATEGIES = ("INCREMENTING", "POOLING")
SETTINGS = {
    "execution.checkpointing.interval": "1s", "restart-strategy.type": "fixed-delay",
    "restart-strategy.fixed-delay.attempts": "1000", "restart-strategy.fixed-delay.delay": "500ms",
    "execution.checkpointing.timeout": "5s",
}  # fmt: skip
# A job fails when a checkpoint takes longer than its timeout, or when a record waits so long to be written: a broker
# that is away for longer makes Flink restart. `max.block.ms` stays longer than that (a minute, by default): a sink
# that cannot abort its transaction while its task is cancelled takes its task manager down.
DELIVERY_SECONDS = 4
AWAY_SECONDS = 9


class ExactlyOnce:
    def __init__(self, suite, session, log):
        self.suite, self.session, self.log = suite, session, log
        self.tables = {}

    def input(self):
        self.log.create("numbers", PARTITIONS)
        self.session.run(f"""
            CREATE TABLE numbers (n BIGINT) WITH ('connector' = 'kafka', 'topic' = 'numbers', {self.log.flink},
              'format' = 'json', 'properties.group.id' = 'flink-numbers', 'scan.startup.mode' = 'earliest-offset')""")

    def output(self, strategy):
        """A topic, our table of it, Flink's table of it, the job that fills it."""
        topic = f"once-{strategy.lower()}"
        table = self.tables[topic] = Table(self.suite, topic.replace("-", "_"), "n BIGINT")
        self.log.create(topic, PARTITIONS, table.configs)
        self.session.run(f"""
            CREATE TABLE `{topic}` (n BIGINT) WITH ('connector' = 'kafka', 'topic' = '{topic}', {self.log.flink},
              'format' = 'json', 'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset',
              'properties.isolation.level' = 'read_committed',
              'sink.delivery-guarantee' = 'exactly-once', 'sink.transactional-id-prefix' = '{topic}',
              'sink.transaction-naming-strategy' = '{strategy}', 'properties.transaction.timeout.ms' = '60000',
              'properties.delivery.timeout.ms' = '{DELIVERY_SECONDS * 1000}', 'properties.request.timeout.ms' = '2000',
              'properties.reconnect.backoff.max.ms' = '500')""")
        return self.session.begin(f"INSERT INTO `{topic}` SELECT n FROM numbers")

    def feed(self, count):
        """RATE a second, through all kills."""
        producer, began = self.log.producer(), time.monotonic()
        for n in range(count):
            producer.produce("numbers", f'{{"n": {n}}}')
            producer.poll(0)
            time.sleep(max(0, began + n / RATE - time.monotonic()))
        self.unsent = producer.flush(120)

    def run(self, kills):
        count = RATE * (kills * SECONDS_A_KILL + 5)
        self.input()
        for setting in SETTINGS.items():
            self.session.set(*setting)
        jobs = [self.output(strategy) for strategy in STRATEGIES]
        feeder = threading.Thread(target=self.feed, args=[count], daemon=True)
        feeder.start()
        self.kill(kills)
        feeder.join(180)
        equal((feeder.is_alive(), self.unsent), (False, 0), "records of the input that are not written")
        wait_until(lambda: all(len(self.log.read(topic)) >= count for topic in self.tables), 120, self.told)
        equal([self.session.status(job) for job in jobs], ["RUNNING"] * len(jobs), "jobs")
        for job in jobs:
            self.session.cancel(job)
        restarts = self.session.restarts()
        holds(restarts or kills < 2, "Flink has never restarted a job")
        return (f"{count} records twice, {kills} kills, {restarts} restarts, {self.session.replaced()} task managers lost; "
                f"{self.judge(count)}")  # fmt: skip

    def kill(self, kills):
        """Now and then the broker stays away until the sinks give up."""
        chance = random.Random(kills)
        for kill in range(kills):
            time.sleep(SECONDS_A_KILL * chance.uniform(0.5, 1.2))
            self.suite.broker.kill()
            time.sleep(AWAY_SECONDS if kill % 3 == 1 else chance.uniform(0, 0.5))
            self.suite.broker.start()
            print(f"killed {kill + 1} of {kills}, {self.session.restarts()} restarts", file=sys.stderr)

    def told(self):
        have = {topic: len(self.log.read(topic)) for topic in self.tables}
        return f"committed {have}; ends {[self.log.ends(topic) for topic in self.tables]}; {self.session.log()[-1500:]}"

    def judge(self, count):
        """Each record once: by librdkafka, by Flink in batch, by our tables."""
        wanted = [(n,) for n in range(count)]
        for topic, table in self.tables.items():
            found = collections.Counter(one.value for one in self.log.read(topic))
            wrong = {value: times for value, times in found.items() if times != 1}
            equal((len(found), wrong), (count, {}), f"{topic}: different records, and those not once")
            equal(sorted(self.session.rows(f"SELECT n FROM `{topic}`")), wanted, f"{topic} by Flink")
            said = table.holds(wanted)
        return said
