"""The scripted run: what is asked of the broker in two lives, what it acknowledges, and what then must hold.

Whatever happens, each acknowledgement is noted. `verdict.py` compares.
"""

import dataclasses
import time

from broker import Broker, Died
from gate import SYNCS, WRITES
from wire import RETRIABLE, Gone, Refused, Silent, Wire, batch

PLAIN, PAID, GONE, SHORT = "plain", "paid", "gone", "short"
MARKER = ".kafka_cleanshutdown"
READER, PAYER, TRANSACTIONAL = "reader", "payer", "pay"
# Segments of about five batches; what is deleted goes at once.
CONFIGS = {"segment.bytes": "16384", "file.delete.delay.ms": "0"}
TRIMMED_TO, PAUSE_SECONDS = 12, 0.03
# How often a request is repeated that might be answered otherwise: room comes back, a broken disk does not.
TIMES, TIMES_BROKEN, WAIT_SECONDS = 60, 8, 5
BASE_MS = int(time.time() * 1000)


def value_of(topic, number):
    return f"{topic} {number} ".encode() + bytes(65 + (number + n) % 26 for n in range(26)) * 115


@dataclasses.dataclass
class Transaction:
    numbers: list
    commits: bool
    offset: int
    asked: bool = False
    acked: bool = False


class Story:
    def __init__(self, folder, gate=None):
        self.broker, self.gate = Broker(folder), gate
        self.failures, self.acks, self.given_up = [], [], []
        self.life, self.born, self.refuses, self.was_refused = 0, 0.0, False, False
        self.plain = self.short = self.has_read_in = None
        self.acked = {topic: {} for topic in (PLAIN, PAID, SHORT)}
        self.next = {PLAIN: 0, SHORT: 0}
        self.trim_asked, self.trim_acked, self.gone = 0, 0, "not made"
        self.offsets_asked, self.offset_acked = {-1}, -1
        self.transactions = []
        self.made = set()
        self.wire = Wire(self.broker)

    # What is asked.

    def run(self):
        try:
            for life in (self.first_life, self.second_life):
                self.life += 1
                self.refuses, self.born = False, time.monotonic()
                try:
                    self.start()
                    life()
                    self.read_what_is_acked()
                    self.stop()
                except NoLife:
                    self.was_refused = True
                except Died as death:
                    if self.is_killed():
                        return
                    self.fail(f"the broker ended by itself: {death}: {self.broker.tail()}")
                finally:
                    self.wire.close()
        except (TimeoutError, Silent) as error:
            self.fail(str(error))
        finally:
            self.broker.kill()

    def fail(self, text):
        self.failures.append(f"life {self.life}: {text}")

    def start(self):
        try:
            self.broker.start(self.gate)
        except Died as death:
            # A start that cannot write may be refused, if it says why.
            if not self.fired() or self.broker.process.returncode != 1:
                raise
            if "cannot" not in self.broker.tail() and "rror" not in self.broker.tail():
                self.fail(f"it gave up without a word: {death}: {self.broker.tail()}")
            raise NoLife from None

    def first_life(self):
        for topic, configs in ((PLAIN, {}), (PAID, {}), (GONE, {}), (SHORT, {"retention.bytes": "20000"})):
            self.make(topic, configs)
        self.plain = self.act("producer id", lambda: self.wire.producer())
        self.short = self.act("producer id", lambda: self.wire.producer())
        if GONE in self.made:
            self.act("gone", lambda: self.wire.produce(GONE, batch(b"gone", BASE_MS)))
        self.produce(PLAIN, 25)
        self.transact([0, 1], True)
        self.transact([2, 3], False)
        self.transact([4, 5], False, ends=False)
        self.commit_offset(10)
        self.trim()
        self.produce(PLAIN, 25)
        self.produce(SHORT, 20)
        self.await_retention()
        self.commit_offset(40)
        if GONE in self.made:
            self.gone = "asked"
            if self.act("delete topic", lambda: self.wire.delete_topic(GONE), (3,)) is not None:
                self.gone = "acked"

    def second_life(self):
        for topic in (PLAIN, PAID):
            self.make(topic, {})
        if self.plain is None:
            self.plain = self.act("producer id", lambda: self.wire.producer())
        self.produce(PLAIN, 5)
        self.transact([6], True)
        self.commit_offset(50)

    def make(self, topic, configs):
        if topic not in self.made:
            made = self.act(f"create {topic}", lambda: self.wire.create_topic(topic, {**CONFIGS, **configs}), (36,))
            if made is not None:
                self.made.add(topic)

    def produce(self, topic, count):
        """Goes on where the last acknowledgement was; ends at the first batch that is not taken."""
        producer = self.plain if topic == PLAIN else self.short
        if producer is None or topic not in self.made:
            return
        for number in range(self.next[topic], self.next[topic] + count):
            records = batch(value_of(topic, number), BASE_MS + number, producer, number)
            offset = self.act(f"{topic} {number}", lambda: self.wire.produce(topic, records))
            if offset is None:
                return
            if offset != number:
                self.fail(f"{topic} {number} was acknowledged at offset {offset}")
            self.acked[topic][number] = value_of(topic, number)
            self.next[topic] = number + 1

    def transact(self, numbers, commits, ends=True):
        producer = self.act("transactional id", lambda: self.wire.producer(TRANSACTIONAL))
        if producer is None or PAID not in self.made:
            return
        transaction = Transaction(numbers, commits, 100 + numbers[0])
        names = (TRANSACTIONAL, producer)
        if self.act("add partition", lambda: self.wire.add_partition(*names, PAID)) is None:
            return
        self.transactions.append(transaction)
        for sequence, number in enumerate(numbers):
            value = value_of(PAID, number)
            records = batch(value, BASE_MS, producer, sequence, True)
            offset = self.act(f"paid {number}", lambda: self.wire.produce(PAID, records, TRANSACTIONAL))
            if offset is None:
                return
            self.acked[PAID][offset] = value
        if self.act("add offsets", lambda: self.wire.add_offsets(*names, PAYER)) is None:
            return
        place = (PAYER, PLAIN, transaction.offset)
        if self.act("offset in transaction", lambda: self.wire.transaction_offset(*names, *place)) is None:
            return
        if not ends:
            return
        transaction.asked = True
        ended = self.act("end transaction", lambda: self.wire.end_transaction(*names, commits))
        transaction.acked = ended is not None

    def commit_offset(self, offset):
        if PLAIN not in self.made:
            return
        self.offsets_asked.add(offset)
        if self.act("commit offset", lambda: self.wire.commit_offset(READER, PLAIN, offset)) is not None:
            self.offset_acked, self.offsets_asked = offset, {offset}

    def trim(self):
        if self.next[PLAIN] < TRIMMED_TO:
            return
        self.trim_asked = TRIMMED_TO
        low = self.act("delete records", lambda: self.wire.delete_records(PLAIN, TRIMMED_TO))
        if low is not None:
            self.trim_acked = low
            if low != TRIMMED_TO:
                self.fail(f"records deleted to {low}")
            self.wait_until(lambda: not self.first_segment(PLAIN))

    def await_retention(self):
        if self.next[SHORT] > 0:
            self.wait_until(lambda: not self.first_segment(SHORT))

    def first_segment(self, topic):
        return (self.broker.data / f"{topic}-0" / f"{0:020}.log").exists()

    def wait_until(self, holds):
        """What the broker does by itself; whether it does is checked at the end of a run without fault."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not holds() and self.broker.is_alive() and not self.refuses and time.monotonic() < deadline:
            time.sleep(0.01)

    def act(self, what, call, done=()):
        """Asks until it is acknowledged, as long as a client would go on; never None, but when it is given up.

        `done`: errors that mean, at a second time, that the first was done.
        """
        last = None
        fault = self.gate and self.gate.fault
        times = TIMES_BROKEN if fault and fault.what == "EIO" else TIMES
        for again in range(1 if self.refuses else times):
            if again:
                time.sleep(PAUSE_SECONDS)
            asked = time.monotonic()
            try:
                result = call()
            except Refused as refused:
                last = refused
                self.read_once_in_trouble()
                if not (again and refused.code in done):
                    if refused.code not in RETRIABLE:
                        self.fail(f"{what}: {refused}")
                        break
                    continue
                result = None
            except Gone as gone:
                if self.broker.has_died(2):
                    raise Died(f"exit code {self.broker.process.returncode}") from None
                self.fail(f"{what}: {gone}, although the broker lives")
                break
            self.note(what, asked)
            return True if result is None else result
        self.given_up.append(f"{what}: {last}")
        self.refuses = True
        return None

    def read_once_in_trouble(self):
        if self.fired() and self.has_read_in != self.life:
            self.has_read_in = self.life
            self.read_what_is_acked()

    def note(self, what, asked):
        self.acks.append((self.life, what, asked))
        lost = self.sync_failed()
        if lost and asked > lost:
            self.fail(f"{what} was acknowledged after a sync or write had failed")

    def fired(self):
        return bool(self.gate and self.gate.fired)

    def sync_failed(self):
        """When this life's directory should have gone offline, if it should."""
        fault = self.gate and self.gate.fault
        if not fault or fault.what not in ("EIO", "ENOSPC"):
            return None
        if fault.kind not in SYNCS and not (fault.kind in WRITES and fault.what == "EIO"):
            return None
        return next((call.at for call in self.gate.fired if call.at > self.born), None)

    def check_no_loss_of_service(self):
        """A fault that passes has cost nothing but repetition."""
        if self.given_up:
            self.fail(f"given up: {', '.join(self.given_up[:3])}")
        for topic in (PLAIN, SHORT):
            if self.first_segment(topic):
                self.fail(f"the first segment of {topic} is still there")

    def is_killed(self):
        return self.fired() and self.gate.fault.what in ("KILL", "TORN")

    def read_what_is_acked(self):
        """Reading goes on whatever has happened to writing."""
        for number in sorted(self.acked[PLAIN])[-1:]:
            try:
                if self.acked[PLAIN][number] not in self.wire.fetch(PLAIN, number):
                    self.fail(f"a fetch does not give {PLAIN} {number}, which was acknowledged")
            except (Refused, Gone) as error:
                if self.broker.has_died(0.5):
                    raise Died(f"exit code {self.broker.process.returncode}") from None
                self.fail(f"fetch of {PLAIN} {number}: {error}")

    def stop(self):
        code = self.broker.stop()
        is_final = self.sync_failed() is not None
        clean = (self.broker.data / MARKER).exists()
        if self.is_killed():
            raise Died("killed while it stopped")
        if is_final and (code == 0 or clean and not self.is_marked_before_failure()):
            self.fail(f"after a failed sync it ended with code {code}, clean marker: {clean}")
        if not self.fired() and (code != 0 or not clean):
            self.fail(f"it ended with code {code}, clean marker: {clean}: {self.broker.tail()}")


    def is_marked_before_failure(self):
        """The marker comes when all else is durable: it may stay when its own sync fails."""
        marked = [call.at for call in self.gate.calls if (call.kind, call.path) == ("creat", MARKER)]
        return bool(marked) and self.born < marked[-1] < self.sync_failed()


class NoLife(Exception):
    """The start was refused in order."""
