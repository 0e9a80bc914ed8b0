"""What a worker writes down, and the records that it sends: `tests/history/event.rs` tells the format.

A record's payload is its 128-bit identity, the length of its key, chance bytes, and the CRC32C of the
key and all of it: damage shows.
"""

import json
import os
import struct
import time

from aiokafka.record.util import calc_crc32c


class Diary:
    """One file of a process. Each line is handed to the system at once: SIGKILL loses none."""

    def __init__(self, folder, proc):
        self.proc = proc
        self.file = os.open(f"{folder}/{proc}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, op, phase, **fields):
        line = {"t": time.monotonic_ns(), "proc": self.proc, "op": op, "type": phase}
        line.update((name, value) for name, value in fields.items() if value is not None)
        os.write(self.file, json.dumps(line, separators=(",", ":")).encode() + b"\n")


def payload(identity, key, chance):
    body = struct.pack(">16sH", bytes.fromhex(identity), len(key)) + chance.randbytes(chance.randrange(200))
    return body + struct.pack(">I", calc_crc32c(key + body))


def identity_of(key, value):
    """The identity of a record that was read, or None if it is damaged."""
    key = key or b""
    if value is None or len(value) < 22:
        return None
    body, (crc,) = value[:-4], struct.unpack(">I", value[-4:])
    identity, key_length = struct.unpack(">16sH", body[:18])
    if key_length != len(key) or calc_crc32c(key + body) != crc:
        return None
    return identity.hex()


def place(topic, partition):
    return f"{topic}-{partition}"
