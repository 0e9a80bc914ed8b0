"""One client in a process of its own, until SIGTERM: it does its work and writes down all of it."""

import argparse
import os
import random
import signal
import threading
import time

from confluent_kafka import (
    OFFSET_BEGINNING, OFFSET_INVALID, Consumer, IsolationLevel, KafkaError, KafkaException, Producer, TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec
from diary import Diary, identity_of, payload, place

# Nothing a client sends may be given up while the broker is down.
PATIENCE_MS = 300_000
# After this a transaction is aborted by the broker, so that nobody need wait longer for a call that belongs to one.
TRANSACTION_S = 20


class Worker:
    def __init__(self, options):
        self.options = options
        self.proc = f"{options.role}-{options.number}-{options.life}"
        self.diary = Diary(options.folder, self.proc)
        self.chance = random.Random(f"{options.seed}/{self.proc}")
        self.goes_on = True
        self.assignment = 0
        # What is worked off now was polled under an assignment that is over.
        self.is_over = False
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "goes_on", False))

    def settings(self, **more):
        settings = {
            "bootstrap.servers": self.options.bootstrap, "client.id": self.proc, "log_level": 2,
            "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 20,
            "retry.backoff.max.ms": 200, "socket.timeout.ms": 10_000,
        }  # fmt: skip
        return settings | {name.replace("_", "."): value for name, value in more.items()}

    # Producers.

    def send(self, producer, topic, mode, txn=None, source=None):
        identity = f"{self.chance.getrandbits(128):032x}"
        partition = self.chance.randrange(self.options.partitions)
        key = b"%d" % self.chance.randrange(1000)
        record = payload(identity, key, self.chance)
        self.diary.note(
            "send", "invoke", tp=place(topic, partition), value=identity, prod=self.proc, mode=mode, txn=txn,
            **{"from": source},
        )  # fmt: skip

        def answered(error, message):
            if error is None:
                self.diary.note("send", "ok", value=identity, offset=message.offset())
            else:
                is_undone = error.code() in (KafkaError._PURGE_QUEUE, KafkaError.MSG_SIZE_TOO_LARGE)
                phase = "fail" if is_undone else "info"
                self.diary.note("send", phase, value=identity, err=str(error))

        while True:
            try:
                producer.produce(topic, record, key, partition, on_delivery=answered)
                return
            except BufferError:
                producer.poll(0.1)

    def produce(self, mode, settings):
        producer = Producer(self.settings(**settings))
        while self.goes_on:
            for _ in range(self.chance.randrange(1, 30)):
                self.send(producer, "input", mode)
            producer.poll(self.chance.uniform(0, 0.1))
        producer.flush(60)

    def idempotent(self):
        codec = self.chance.choice(["none", "lz4", "zstd", "snappy", "gzip"])
        self.produce("idempotent", {
            "enable_idempotence": True, "message_timeout_ms": PATIENCE_MS, "linger_ms": 5,
            "compression_type": codec,
        })  # fmt: skip

    def once(self):
        self.produce("once", {
            "retries": 0, "max_in_flight": 1, "acks": "all", "message_timeout_ms": 5000, "linger_ms": 5,
        })  # fmt: skip

    # Consumers.

    def note_polls(self, messages, iso, group=None, txn=None):
        found = {}
        for message in messages:
            record = [message.offset(), identity_of(message.key(), message.value())]
            found.setdefault(place(message.topic(), message.partition()), []).append(record)
        for tp, values in found.items():
            self.diary.note(
                "poll", "ok", tp=tp, iso=iso, values=values, assign=str(self.assignment), group=group, txn=txn
            )

    def reader(self, iso):
        level = {"ru": "read_uncommitted", "rc": "read_committed"}[iso]
        return self.settings(
            group_id=f"none-{self.proc}", isolation_level=level, enable_auto_commit=False,
            auto_offset_reset="earliest", fetch_wait_max_ms=50, fetch_error_backoff_ms=50,
        )  # fmt: skip

    def assigned(self):
        """Reads on from some offset, and now and then begins anew from another."""
        iso = "rc" if self.options.number % 2 else "ru"
        consumer = Consumer(self.reader(iso))
        partitions = [(topic, p) for topic in self.options.topics for p in range(self.options.partitions)]
        reached = dict.fromkeys(partitions, 0)
        while self.goes_on:
            self.assignment += 1
            starts = {tp: max(0, at - self.chance.randrange(3000)) for tp, at in reached.items()}
            for (topic, p), start in starts.items():
                self.diary.note("assign", "ok", tp=place(topic, p), assign=str(self.assignment), offset=start)
            consumer.assign([TopicPartition(topic, p, start) for (topic, p), start in starts.items()])
            until = time.monotonic() + self.chance.uniform(1, 8)
            while self.goes_on and time.monotonic() < until:
                messages = [m for m in consumer.consume(500, 0.2) if m.error() is None]
                self.note_polls(messages, iso)
                for m in messages:
                    reached[m.topic(), m.partition()] = m.offset()
        consumer.close()

    def member(self, group, topics, iso, settings):
        """A consumer that notes what it is given and what is taken from it."""
        mine = {}

        def given(_, partitions):
            self.assignment += 1
            for p in partitions:
                tp = place(p.topic, p.partition)
                mine[p.topic, p.partition] = None
                self.diary.note("assign", "ok", tp=tp, assign=str(self.assignment), group=group)

        def taken(_, partitions):
            for p in partitions:
                tp = place(p.topic, p.partition)
                mine.pop((p.topic, p.partition), None)
                self.diary.note("revoke", "ok", tp=tp, assign=str(self.assignment), group=group)

        more = self.settings(group_id=group, session_timeout_ms=6000, heartbeat_interval_ms=500, **settings)
        consumer = Consumer(self.reader(iso) | more)
        consumer.subscribe(topics, on_assign=given, on_revoke=taken, on_lost=taken)
        return consumer, mine

    def poll_some(self, consumer, mine, count):
        """Up to `count` records of one assignment; none of a partition that was taken meanwhile."""
        messages, assignment = [], self.assignment
        for _ in range(count):
            message = consumer.poll(0.05)
            if self.assignment != assignment:
                # What was polled before belongs to the assignment that is over.
                newest, self.assignment = self.assignment, assignment
                self.is_over = True
                yield messages
                messages, self.assignment, self.is_over = [], newest, False
                assignment = newest
            if message is None:
                break
            if message.error() is None:
                mine[message.topic(), message.partition()] = message.offset() + 1
                messages.append(message)
        yield messages

    def commit(self, consumer, mine, group):
        offsets = [TopicPartition(t, p, at) for (t, p), at in mine.items() if at is not None]
        if not offsets:
            return
        for o in offsets:
            self.diary.note("commit", "invoke", tp=place(o.topic, o.partition), group=group, offset=o.offset)
        try:
            done = consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            self.diary.note("commit", "info", group=group, err=str(error))
            return
        for o in done:
            phase = "ok" if o.error is None else "info"
            self.diary.note("commit", phase, tp=place(o.topic, o.partition), group=group, offset=o.offset)

    def group(self):
        group = "readers"
        while self.goes_on:
            consumer, mine = self.member(group, self.options.topics, "ru", {})
            until = time.monotonic() + self.chance.uniform(10, 40)
            while self.goes_on and time.monotonic() < until:
                for messages in self.poll_some(consumer, mine, 300):
                    self.note_polls(messages, "ru", group)
                if self.chance.random() < 0.3:
                    self.commit(consumer, mine, group)
            self.commit(consumer, mine, group)
            consumer.close()

    # Transactions: what is read from `input` is written to `output`, once.

    def transactions(self):
        tid = f"mover-{self.options.number}"
        producer = Producer(self.settings(
            transactional_id=tid, transaction_timeout_ms=TRANSACTION_S * 1000, message_timeout_ms=TRANSACTION_S * 1000,
            linger_ms=5,
        ))  # fmt: skip
        producer.init_transactions(60)
        self.diary.note("init", "ok", tid=tid, epoch=self.options.life)
        consumer, mine = self.member("movers", ["input"], "rc", {})
        count = 0
        while self.goes_on:
            for messages in self.poll_some(consumer, mine, 1000):
                if self.is_over:
                    # Whoever has the partitions now begins where the group committed last, which was before these.
                    continue
                count += 1
                txn = f"{self.proc}/{count}"
                self.note_polls(messages, "rc", "movers", txn)
                if messages and not self.move(consumer, producer, messages, tid, txn):
                    self.go_back(consumer, mine, messages)
        consumer.close()

    def end(self, producer, tid, txn, commit):
        self.diary.note("txn_end", "invoke", txn=txn, tid=tid, commit=commit)
        try:
            (producer.commit_transaction if commit else producer.abort_transaction)(60)
        except KafkaException as error:
            self.diary.note("txn_end", "info", txn=txn, tid=tid, commit=commit, err=str(error))
            raise
        self.diary.note("txn_end", "ok", txn=txn, tid=tid, commit=commit, epoch=self.options.life)

    def move(self, consumer, producer, messages, tid, txn):
        """One transaction; false if it was aborted. Whoever was fenced ends."""
        producer.begin_transaction()
        try:
            for message in messages:
                source = identity_of(message.key(), message.value())
                self.send(producer, "output", "idempotent", txn, source)
                producer.poll(0)
            ends = {(m.topic(), m.partition()): m.offset() + 1 for m in messages}
            offsets = [TopicPartition(topic, p, end) for (topic, p), end in ends.items()]
            self.send_offsets(producer, offsets, consumer.consumer_group_metadata())
            if self.chance.random() < 0.2:
                self.end(producer, tid, txn, commit=False)
                return False
            self.end(producer, tid, txn, commit=True)
            return True
        except KafkaException as error:
            if not error.args[0].txn_requires_abort():
                raise
            self.end(producer, tid, txn, commit=False)
            return False

    def send_offsets(self, producer, offsets, group):
        """librdkafka can wait here for ever, whatever time it is given (its issues 5456 and 5511): its coordinator came back
        before it looked. It would hold up its group, so this process then ends, as if it had been killed."""
        watchdog = threading.Timer(TRANSACTION_S + 5, os._exit, [3])
        watchdog.start()
        try:
            producer.send_offsets_to_transaction(offsets, group, TRANSACTION_S)
        finally:
            watchdog.cancel()

    def go_back(self, consumer, mine, messages):
        self.assignment += 1
        first = {}
        for m in messages:
            first.setdefault((m.topic(), m.partition()), m.offset())
        for (topic, p), offset in first.items():
            if (topic, p) in mine:
                tp = place(topic, p)
                self.diary.note("assign", "ok", tp=tp, assign=str(self.assignment), group="movers", offset=offset)
                consumer.seek(TopicPartition(topic, p, offset))

    # Whoever asks for ends.

    def prober(self):
        admin = AdminClient(self.settings())
        consumer = Consumer(self.settings(group_id="readers"))
        everything = [TopicPartition(t, p) for t in self.options.topics for p in range(self.options.partitions)]
        asked = [
            ("start", OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED),
            ("hw", OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED),
            ("lso", OffsetSpec.latest(), IsolationLevel.READ_COMMITTED),
        ]
        while self.goes_on:
            name, spec, level = self.chance.choice(asked)
            began = time.monotonic_ns()
            answers = admin.list_offsets(dict.fromkeys(everything, spec), isolation_level=level, request_timeout=5)
            for tp, answer in answers.items():
                try:
                    offset = answer.result().offset
                except KafkaException:
                    continue
                # librdkafka's word for a partition whose leader went away meanwhile.
                if offset == OFFSET_INVALID:
                    continue
                self.diary.note(
                    "list_offsets", "ok", tp=place(tp.topic, tp.partition), began=began, **{name: offset}
                )
            self.committed(consumer, everything)
            time.sleep(self.chance.uniform(0, 0.1))

    def committed(self, consumer, everything):
        for tp in everything:
            self.diary.note("committed", "invoke", tp=place(tp.topic, tp.partition), group="readers")
        try:
            answers = consumer.committed(everything, 5)
        except KafkaException:
            answers = []
        for tp in answers:
            if tp.error is None and tp.offset >= 0:
                name = place(tp.topic, tp.partition)
                self.diary.note("committed", "ok", tp=name, group="readers", offset=tp.offset)

    def probe(self):
        """Ends well if the broker has transactions."""
        producer = Producer(self.settings(transactional_id="probe"))
        producer.init_transactions(10)
        producer.begin_transaction()
        producer.abort_transaction(10)

    # The last read.

    def last(self):
        for iso in ("ru", "rc"):
            consumer = Consumer(self.reader(iso) | {"enable.partition.eof": True})
            for topic in self.options.topics:
                for partition in range(self.options.partitions):
                    self.read_all(consumer, topic, partition, iso)
            consumer.close()

    def read_all(self, consumer, topic, partition, iso):
        start, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), 30)
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
        is_over, deadline = False, time.monotonic() + 120
        while not is_over:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{topic}-{partition} is not read to its end {end} within 120 s")
            values = []
            for message in consumer.consume(5000, 0.3):
                error = message.error()
                if error is None:
                    values.append([message.offset(), identity_of(message.key(), message.value())])
                elif error.code() == KafkaError._PARTITION_EOF:
                    is_over = True
                else:
                    raise KafkaException(error)
            self.diary.note(
                "final", "ok", tp=place(topic, partition), iso=iso, start=start, end=end, values=values
            )


def main():
    parser = argparse.ArgumentParser()
    for name in ("role", "folder", "bootstrap", "seed"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("number", "life", "partitions"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--topics", type=lambda text: text.split(","), required=True)
    options = parser.parse_args()
    getattr(Worker(options), options.role)()


if __name__ == "__main__":
    main()
