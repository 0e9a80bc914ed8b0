"""What a table must hold: the records of a log, folded in the plainest way, in Python.

Nothing here knows Weir's code. A column type is read from the `table.schema` text, a record is
decoded by the rules of its format, a table is a dict from key to row. Values are brought into one
form ("canonical") so that rows of three origins can be compared: the fold of the log, what pypaimon
reads from the table, and what PostgreSQL itself dumped.
"""

import base64
import dataclasses
import datetime
import gzip
import json
import math
import re
import struct
from decimal import Decimal, getcontext
from pathlib import Path

getcontext().prec = 60  # the default of 28 digits would round DECIMAL(38, s)
EPOCH = datetime.datetime(1970, 1, 1)
SAMPLE = Path(__file__).resolve().parent.parent / "data"


@dataclasses.dataclass(frozen=True)
class Type:
    """A column type: its word, its numbers in brackets, its element type if it is an array."""

    word: str
    numbers: tuple = ()
    element: "Type" = None


@dataclasses.dataclass(frozen=True)
class Column:
    name: str
    type: Type
    nullable: bool


def split_top(text):
    """Splits at commas that stand outside all brackets."""
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text):
        if char in "<(":
            depth += 1
        elif char in ">)":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return parts + [text[start:]]


def parse_type(text):
    text = text.strip()
    if array := re.fullmatch(r"ARRAY\s*<(.*)>", text):
        return Type("ARRAY", (), parse_type(array[1]))
    zone = text.endswith(" WITH LOCAL TIME ZONE")
    text = text.removesuffix(" WITH LOCAL TIME ZONE")
    match = re.fullmatch(r"(\w+)(?:\s*\(([\d,\s]+)\))?", text)
    numbers = tuple(int(n) for n in match[2].split(",")) if match[2] else ()
    word = match[1].upper()
    return Type("TIMESTAMP_LTZ" if zone else word, numbers)


def parse_columns(schema):
    columns = []
    for part in split_top(schema):
        name, rest = part.strip().split(None, 1)
        nullable = not rest.endswith(" NOT NULL")
        columns.append(Column(name, parse_type(rest.removesuffix(" NOT NULL")), nullable))
    return columns


def from_micros(micros):
    return EPOCH + datetime.timedelta(microseconds=micros)


def parse_moment(text):
    """An ISO moment, with or without a zone, as UTC without one. Python 3.11 reads all forms."""
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is not None:
        moment = moment.replace(tzinfo=None) - moment.utcoffset()
    return moment


def to_float32(number):
    return struct.unpack("<f", struct.pack("<f", number))[0]


def canonical(value, of):
    """A value as a reader hands it out (Python, from Arrow), in the form that is compared."""
    if value is None:
        return None
    if of.word in ("FLOAT", "DOUBLE"):
        return "NaN" if math.isnan(value) else float(value)
    if of.word == "TIMESTAMP_LTZ" and value.tzinfo is not None:
        return value.replace(tzinfo=None) - value.utcoffset()
    if of.word == "ARRAY":
        return [canonical(one, of.element) for one in value]
    if of.word in ("BYTES", "BINARY", "VARBINARY"):
        return bytes(value)
    return value


def from_json(value, of):
    """A JSON value of a Debezium or plain JSON record, by the column's declared type."""
    word = of.word
    if value is None:
        return None
    if word in ("TINYINT", "SMALLINT", "INT", "BIGINT", "BOOLEAN", "STRING", "VARCHAR", "CHAR"):
        return value
    if word in ("FLOAT", "DOUBLE"):
        number = float(value)  # Debezium sends NaN and the infinities as strings
        number = to_float32(number) if word == "FLOAT" else number
        return canonical(number, of)
    if word == "DECIMAL":
        if isinstance(value, str) and not re.fullmatch(r"-?\d+(\.\d+)?", value):
            unscaled = int.from_bytes(base64.b64decode(value), "big", signed=True)
            return Decimal(unscaled).scaleb(-of.numbers[1])
        return Decimal(str(value))
    if word == "DATE":
        if isinstance(value, str):
            return datetime.date.fromisoformat(value.removesuffix("Z"))
        return EPOCH.date() + datetime.timedelta(days=value)
    if word == "TIME":
        if isinstance(value, str):
            return datetime.time.fromisoformat(value.removesuffix("Z"))
        return (EPOCH + datetime.timedelta(milliseconds=value)).time()
    if word in ("TIMESTAMP", "TIMESTAMP_LTZ"):
        if isinstance(value, str):
            return parse_moment(value)
        precision = of.numbers[0] if of.numbers else 6
        return from_micros(value * 1000 if precision <= 3 else value)
    if word == "BYTES":
        return base64.b64decode(value)
    if word == "ARRAY":
        return [from_json(one, of.element) for one in value]
    raise ValueError(f"no rule for {of}")


def from_dump(value, of):
    """A JSON value of PostgreSQL's `to_json`, numbers read as Decimal."""
    word = of.word
    if value is None:
        return None
    if word in ("FLOAT", "DOUBLE"):
        number = float(value)
        return canonical(to_float32(number) if word == "FLOAT" else number, of)
    if word == "BIGINT" and isinstance(value, str):  # a time(6), which Debezium counts in micros
        time = datetime.datetime.combine(EPOCH, datetime.time.fromisoformat(value))
        return (time - EPOCH) // datetime.timedelta(microseconds=1)
    if word in ("TINYINT", "SMALLINT", "INT", "BIGINT"):
        return int(value)
    if word == "BYTES":
        return bytes.fromhex(value.removeprefix("\\x"))
    if word == "ARRAY":
        return [from_dump(one, of.element) for one in value]
    return from_json(value, of)


class Table:
    """The fold of a log: rows by key for a primary-key table, all rows for an append table."""

    def __init__(self, columns, primary_key):
        self.columns = columns
        self.primary_key = primary_key
        self.rows = {} if primary_key else []

    def key_of(self, row):
        return tuple(row[name] for name in self.primary_key)

    def upsert(self, row):
        if self.primary_key:
            self.rows[self.key_of(row)] = row
        else:
            self.rows.append(row)

    def delete(self, row):
        self.rows.pop(self.key_of(row), None)

    def row_of(self, document):
        return {c.name: from_json(document.get(c.name), c.type) for c in self.columns}

    def key_row_of(self, document):
        return {
            c.name: from_json(document.get(c.name), c.type)
            for c in self.columns
            if c.name in self.primary_key
        }

    def fold_json(self, value):
        """A plain JSON record: a row; no value: nothing."""
        if value is not None:
            self.upsert(self.row_of(json.loads(value, parse_float=Decimal)))

    def fold_debezium(self, value):
        """A Debezium record. A tombstone follows a delete and says nothing new."""
        if value is None:
            return
        document = json.loads(value, parse_float=Decimal)
        change = document["payload"] if set(document) == {"schema", "payload"} else document
        if change["op"] in ("c", "r", "u"):
            self.upsert(self.row_of(change["after"]))
        elif change["op"] == "d":
            self.delete(self.key_row_of(change["before"]))
        else:
            raise ValueError(f"no rule for op {change['op']}")

    def sorted_rows(self):
        rows = self.rows.values() if self.primary_key else self.rows
        return sorted_rows(rows, self.columns)


def sorted_rows(rows, columns):
    """Rows as tuples in an order that does not depend on where they came from."""
    tuples = [tuple(row[c.name] for c in columns) for row in rows]
    return sorted(tuples, key=lambda row: tuple((v is not None, str(type(v)), repr(v)) for v in row))


def first_differences(wanted, got, limit=3):
    """A few rows that stand on one side only, for the line of a failed check."""
    missing = [row for row in wanted if row not in got][:limit] if len(wanted) < 20000 else []
    extra = [row for row in got if row not in wanted][:limit] if len(got) < 20000 else []
    if not missing and not extra:
        pairs = [(w, g) for w, g in zip(wanted, got) if repr(w) != repr(g)][:limit]
        return f"{len(wanted)} rows wanted, {len(got)} read; first pairs that differ: {pairs}"
    return f"{len(wanted)} rows wanted, {len(got)} read; missing {missing}; extra {extra}"


def sample_tables():
    """The catalogue of the bundled sample."""
    return json.loads((SAMPLE / "tables.json").read_text())


def sample_records(entry):
    """(key, value, timestamp ms) of each captured record, in order; key and value bytes or None."""
    with gzip.open(SAMPLE / entry["records_file"], "rt", encoding="utf-8", newline="\n") as lines:
        for line in lines:
            record = json.loads(line)
            yield (
                record["key"] and record["key"].encode(),
                record["value"] and record["value"].encode(),
                record["timestamp"],
            )


def sample_final(entry, columns):
    """PostgreSQL's own last word on a table, as sorted tuples."""
    rows = []
    with gzip.open(SAMPLE / entry["final_file"], "rt", encoding="utf-8", newline="\n") as lines:
        for line in lines:
            document = json.loads(line, parse_float=Decimal)
            rows.append({c.name: from_dump(document[c.name], c.type) for c in columns})
    return sorted_rows(rows, columns)


def key_columns(entry):
    return [name for name in entry["primary_key"].split(",") if name]
