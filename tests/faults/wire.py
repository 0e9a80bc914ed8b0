"""Kafka's protocol, as little of it as the story needs: every answer is seen as it is, nothing is retried."""

import functools
import socket
import struct

NAMES = {
    -1: "UNKNOWN_SERVER_ERROR", 0: "NONE", 1: "OFFSET_OUT_OF_RANGE", 3: "UNKNOWN_TOPIC_OR_PARTITION", 6: "NOT_LEADER_OR_FOLLOWER",
    7: "REQUEST_TIMED_OUT", 14: "COORDINATOR_LOAD_IN_PROGRESS", 15: "COORDINATOR_NOT_AVAILABLE",
    16: "NOT_COORDINATOR", 36: "TOPIC_ALREADY_EXISTS", 45: "OUT_OF_ORDER_SEQUENCE_NUMBER",
    46: "DUPLICATE_SEQUENCE_NUMBER", 47: "INVALID_PRODUCER_EPOCH", 48: "INVALID_TXN_STATE",
    49: "INVALID_PRODUCER_ID_MAPPING", 51: "CONCURRENT_TRANSACTIONS", 56: "KAFKA_STORAGE_ERROR",
    59: "UNKNOWN_PRODUCER_ID", 90: "PRODUCER_FENCED",
}  # fmt: skip
# What a client of Kafka tries again.
RETRIABLE = (7, 14, 15, 16, 51, 56)
EARLIEST, LATEST = -2, -1


class Refused(Exception):
    """The broker answered with an error."""

    def __init__(self, code):
        super().__init__(NAMES.get(code, f"error {code}"))
        self.code = code


class Gone(Exception):
    """The connection broke, or there is none."""


class Silent(Exception):
    """The broker does not answer."""


def crc_table():
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


CRC = list(crc_table())


@functools.lru_cache(16)
def crc_after(data):
    """The checksum's state; kept, because the records that fill a disk begin alike."""
    return crc_on(0xFFFFFFFF, data)


def crc_on(crc, data):
    for byte in data:
        crc = CRC[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc


def crc32c(data):
    return crc_on(crc_after(data[:-64]), data[-64:]) ^ 0xFFFFFFFF


def varint(number):
    number = number << 1 ^ number >> 63
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def batch(value, now_ms, producer=(-1, -1), sequence=-1, transactional=False):
    """A record batch with one record."""
    record = b"\0" + varint(0) + varint(0) + varint(-1) + varint(len(value)) + value + varint(0)
    record = varint(len(record)) + record
    body = struct.pack(">hiqqqhii", 0x10 if transactional else 0, 0, now_ms, now_ms, *producer, sequence, 1)
    body += record
    return struct.pack(">qiibI", 0, len(body) + 9, -1, 2, crc32c(body)) + body


def string(text):
    return struct.pack(">h", -1) if text is None else struct.pack(">h", len(text)) + text.encode()


def array(*items):
    return struct.pack(">i", len(items)) + b"".join(items)


class Answer:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        found = struct.unpack_from(">" + form, self.data, self.at)
        self.at += struct.calcsize(">" + form)
        return found[0] if len(found) == 1 else found

    def text(self):
        size = self.take("h")
        return None if size < 0 else self.bytes(size).decode()

    def bytes(self, size):
        self.at += size
        return self.data[self.at - size : self.at]

    def one_topic(self):
        """Enters the only element of the only topic."""
        assert self.take("i") == 1, "one topic was asked for"
        self.text()
        assert self.take("i") == 1, "one partition was asked for"


def check(code):
    if code != 0:
        raise Refused(code)


class Wire:
    """One connection; made again when it broke."""

    def __init__(self, broker, seconds=15):
        # Its port is another after each start.
        self.broker, self.seconds, self.socket = broker, seconds, None

    def close(self):
        if self.socket:
            self.socket.close()
        self.socket = None

    def ask(self, key, version, body):
        frame = struct.pack(">hhi", key, version, 7) + string("faults") + body
        try:
            if self.socket is None:
                self.socket = socket.create_connection(("127.0.0.1", self.broker.port), self.seconds)
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.sendall(struct.pack(">i", len(frame)) + frame)
            (size,) = struct.unpack(">i", self.read(4))
            return Answer(self.read(size)[4:])
        except TimeoutError:
            self.close()
            raise Silent(f"no answer to request {key} within {self.seconds} s") from None
        except OSError as error:
            self.close()
            raise Gone(str(error)) from None

    def read(self, size):
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                self.close()
                raise Gone("the broker closed the connection")
            data += more
        return data

    def create_topic(self, topic, configs):
        settings = array(*(string(name) + string(value) for name, value in configs.items()))
        new = string(topic) + struct.pack(">ih", 1, 1) + array() + settings
        answer = self.ask(19, 2, array(new) + struct.pack(">i?", 10_000, False))
        answer.take("ii")
        answer.text()
        check(answer.take("h"))

    def delete_topic(self, topic):
        answer = self.ask(20, 1, array(string(topic)) + struct.pack(">i", 10_000))
        answer.take("ii")
        answer.text()
        check(answer.take("h"))

    def delete_records(self, topic, offset):
        place = array(string(topic) + array(struct.pack(">iq", 0, offset)))
        answer = self.ask(21, 0, place + struct.pack(">i", 10_000))
        answer.take("i")
        answer.one_topic()
        _, low, code = answer.take("iqh")
        check(code)
        return low

    def producer(self, transactional=None):
        answer = self.ask(22, 0, string(transactional) + struct.pack(">i", 60_000))
        answer.take("i")
        code, identity, epoch = answer.take("hqh")
        check(code)
        return identity, epoch

    def produce(self, topic, records, transactional=None, acks=-1):
        data = array(struct.pack(">ii", 0, len(records)) + records)
        place = string(transactional) + struct.pack(">hi", acks, 10_000)
        answer = self.ask(0, 4, place + array(string(topic) + data))
        answer.one_topic()
        _, code, offset, _ = answer.take("ihqq")
        check(code)
        return offset

    def fetch(self, topic, offset, bytes_max=1 << 20):
        """The bytes from an offset on."""
        place = array(string(topic) + array(struct.pack(">iqqi", 0, offset, -1, bytes_max)))
        answer = self.ask(1, 6, struct.pack(">iiiib", -1, 100, 0, bytes_max, 0) + place)
        answer.take("i")
        answer.one_topic()
        _, code, _, _, _, aborted = answer.take("ihqqqi")
        check(code)
        for _ in range(aborted):
            answer.take("qq")
        return answer.bytes(max(answer.take("i"), 0))

    def offset_at(self, topic, timestamp):
        place = array(string(topic) + array(struct.pack(">iq", 0, timestamp)))
        answer = self.ask(2, 1, struct.pack(">i", -1) + place)
        answer.one_topic()
        _, code, _, offset = answer.take("ihqq")
        check(code)
        return offset

    def add_partition(self, name, producer, topic):
        place = array(string(topic) + array(struct.pack(">i", 0)))
        answer = self.ask(24, 0, string(name) + struct.pack(">qh", *producer) + place)
        answer.take("i")
        answer.one_topic()
        check(answer.take("ih")[1])

    def add_offsets(self, name, producer, group):
        answer = self.ask(25, 0, string(name) + struct.pack(">qh", *producer) + string(group))
        check(answer.take("ih")[1])

    def transaction_offset(self, name, producer, group, topic, offset):
        place = array(string(topic) + array(struct.pack(">iq", 0, offset) + string("")))
        answer = self.ask(28, 0, string(name) + string(group) + struct.pack(">qh", *producer) + place)
        answer.take("i")
        answer.one_topic()
        check(answer.take("ih")[1])

    def end_transaction(self, name, producer, commits):
        answer = self.ask(26, 0, string(name) + struct.pack(">qh?", *producer, commits))
        check(answer.take("ih")[1])

    def commit_offset(self, group, topic, offset):
        place = array(string(topic) + array(struct.pack(">iq", 0, offset) + string("")))
        answer = self.ask(8, 2, string(group) + struct.pack(">i", -1) + string("") + struct.pack(">q", -1) + place)
        answer.one_topic()
        check(answer.take("ih")[1])

    def committed_offset(self, group, topic):
        place = array(string(topic) + array(struct.pack(">i", 0)))
        answer = self.ask(9, 1, string(group) + place)
        answer.one_topic()
        _, offset = answer.take("iq")
        answer.text()
        check(answer.take("h"))
        return offset
