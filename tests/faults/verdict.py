"""After the faults: the broker starts as if nothing had happened, and all that it acknowledged is there.

The logs are read by librdkafka, which shares no code with Weir or with `wire.py`.
"""

import time

import confluent_kafka as kafka

from broker import Died
from story import BASE_MS, GONE, PAID, PAYER, PLAIN, READER, SHORT, TIMES, TRANSACTIONAL, value_of
from wire import EARLIEST, LATEST, RETRIABLE, Gone, Refused, Silent, Wire, batch

RECOVERY_SECONDS = 5
READ_SECONDS = 15


ISOLATIONS = ("read_uncommitted", "read_committed")


def read(port, topics):
    """All records that consumers get, as (offset, value), by isolation and topic; both at once, to save time."""
    consumers = {
        isolation: kafka.Consumer({
            "bootstrap.servers": f"127.0.0.1:{port}", "group.id": "verdict", "enable.auto.commit": False,
            "enable.partition.eof": True, "auto.offset.reset": "earliest", "isolation.level": isolation,
            "check.crcs": True, "fetch.wait.max.ms": 20,
        })
        for isolation in ISOLATIONS
    }  # fmt: skip
    found = {isolation: {topic: [] for topic in topics} for isolation in ISOLATIONS}
    try:
        for consumer in consumers.values():
            consumer.assign([kafka.TopicPartition(topic, 0, kafka.OFFSET_BEGINNING) for topic in topics])
        deadline = time.monotonic() + READ_SECONDS
        for isolation, consumer in consumers.items():
            open_topics = set(topics)
            while open_topics:
                for message in consumer.consume(1000, 0.01):
                    error = message.error()
                    if error and error.code() == kafka.KafkaError._PARTITION_EOF:
                        open_topics.discard(message.topic())
                    elif error:
                        raise Broken(f"reading {message.topic()}, {isolation}: {error.str()}")
                    else:
                        found[isolation][message.topic()].append((message.offset(), message.value()))
                if time.monotonic() > deadline:
                    raise Broken(f"reading {sorted(open_topics)}, {isolation}, does not come to an end")
    finally:
        for consumer in consumers.values():
            consumer.close()
    return found


class Broken(Exception):
    """What was promised does not hold."""


class Verdict:
    def __init__(self, story):
        self.story, self.broker = story, story.broker
        self.wire, self.found = Wire(self.broker), {}

    def find(self):
        """The failures, those of the story among them."""
        found = self.story.failures
        try:
            took = self.broker.start()
            if took > RECOVERY_SECONDS:
                found.append(f"recovery took {took:.1f} s")
            for check in (self.open_transaction, self.read_logs, self.plain, self.short, self.paid, self.offsets, 
                          self.gone, self.new_writes):  # fmt: skip
                try:
                    check()
                except (Broken, Refused) as broken:
                    found.append(f"{check.__name__}: {broken}")
                    if check == self.read_logs:
                        break
            self.wire.close()
            code = self.broker.stop()
            if code != 0:
                found.append(f"the start without faults ends with code {code}: {self.broker.tail()}")
        except (Died, Gone, Silent, TimeoutError) as error:
            found.append(f"the start without faults: {error}: {self.broker.tail()}")
        finally:
            self.wire.close()
            self.broker.kill()
        return found

    def patiently(self, call):
        for _ in range(TIMES - 1):
            try:
                return call()
            except Refused as refused:
                if refused.code not in RETRIABLE:
                    raise
                time.sleep(0.05)
        return call()

    def open_transaction(self):
        """The next producer of the id ends what the last one left."""
        if self.story.transactions:
            self.patiently(lambda: self.wire.producer(TRANSACTIONAL))

    def read_logs(self):
        self.found = read(self.broker.port, sorted(self.story.made & {PLAIN, PAID, SHORT}))

    def sequence(self, topic, start_max):
        """One record an offset, each as it was sent; then the batch that was under way is sent once more."""
        story = self.story
        if topic not in story.made:
            return
        found = self.found["read_uncommitted"][topic]
        start = found[0][0] if found else self.wire.offset_at(topic, LATEST)
        if start > start_max:
            raise Broken(f"{topic} begins at {start}, past {start_max}")
        for index, (offset, value) in enumerate(found):
            if offset != start + index or value != value_of(topic, offset):
                raise Broken(f"{topic} has at {start + index}: offset {offset}, {value[:20]}")
        end = start + len(found)
        acked = story.next[topic]
        if not acked <= end <= acked + 1:
            raise Broken(f"{topic} ends at {end}; {acked} were acknowledged")
        producer = story.plain if topic == PLAIN else story.short
        if producer is None:
            return
        # A producer that got no answer asks again, and must not be doubled nor forgotten.
        number = acked
        records = batch(value_of(topic, number), BASE_MS + number, producer, number)
        offset = self.patiently(lambda: self.wire.produce(topic, records))
        if offset != number:
            raise Broken(f"{topic} {number}, sent again, was acknowledged at {offset}; the log ended at {end}")
        if (after := self.wire.offset_at(topic, LATEST)) != number + 1:
            raise Broken(f"{topic} ends at {after} after {number} was sent again")

    def plain(self):
        story = self.story
        if PLAIN in story.made and (start := self.wire.offset_at(PLAIN, EARLIEST)) < story.trim_acked:
            raise Broken(f"{PLAIN} begins at {start}; it was trimmed to {story.trim_acked}")
        self.sequence(PLAIN, story.trim_asked)

    def short(self):
        # Retention keeps 20,000 bytes at least: six records.
        self.sequence(SHORT, max(self.story.next[SHORT] - 5, 0))

    def paid(self):
        story = self.story
        if PAID not in story.made:
            return
        all_records = dict(self.found["read_uncommitted"][PAID])
        for offset, value in story.acked[PAID].items():
            if all_records.get(offset) != value:
                raise Broken(f"{PAID} has at {offset}: {all_records.get(offset)}")
        known = {value_of(PAID, number): number for part in story.transactions for number in part.numbers}
        numbers = [known.get(value) for _, value in self.found["read_committed"][PAID]]
        if None in numbers or sorted(set(numbers)) != numbers:
            raise Broken(f"{PAID} shows {numbers}")
        offset = self.wire.committed_offset(PAYER, PLAIN)
        paid_offsets = [-1]
        for part in story.transactions:
            seen = [number for number in part.numbers if number in numbers]
            if part.commits and part.acked and seen != part.numbers:
                raise Broken(f"{PAID} shows {seen} of {part.numbers}, acknowledged as committed")
            if seen and (seen != part.numbers or not part.commits or not part.asked):
                raise Broken(f"{PAID} shows {seen} of {part}")
            if seen:
                paid_offsets.append(part.offset)
        if offset != paid_offsets[-1]:
            raise Broken(f"{PAYER} stands at {offset}, its transactions at {paid_offsets}")

    def offsets(self):
        if PLAIN not in self.story.made:
            return
        offset = self.wire.committed_offset(READER, PLAIN)
        if offset not in self.story.offsets_asked:
            raise Broken(f"{READER} stands at {offset}, not at one of {sorted(self.story.offsets_asked)}")

    def gone(self):
        try:
            self.wire.offset_at(GONE, LATEST)
        except Refused:
            if self.story.gone == "not made" and GONE in self.story.made:
                raise Broken(f"{GONE} is gone, and nobody deleted it") from None
        else:
            if self.story.gone == "acked":
                raise Broken(f"{GONE} is there, though its deletion was acknowledged")

    def new_writes(self):
        try:
            self.patiently(lambda: self.wire.create_topic("new", {}))
        except Refused as refused:
            raise Broken(f"a new topic: {refused}") from None
        producer = self.patiently(lambda: self.wire.producer())
        for number in range(3):
            offset = self.patiently(lambda: self.wire.produce("new", batch(b"new", BASE_MS, producer, number)))
            if offset != number:
                raise Broken(f"a new record {number} was acknowledged at {offset}")
