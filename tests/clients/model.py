"""What a table must hold: the records of a log, folded in the plainest way, in Python.

Nothing here knows Weir's code. A column type is read from the `table.schema` text, a record is
decoded by the rules of its format, a table is a dict from key to row. Values are brought into one
form ("canonical") so that rows of three origins can be compared: the fold of the log, what pypaimon
reads from the table, and what PostgreSQL itself dumped.
"""

import base64
import collections
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
    """A column type: its word, the numbers in its brackets, its parts if it is nested.

    The parts of an ARRAY are its element, of a MAP key and value, of a ROW pairs of name and type.
    """

    word: str
    numbers: tuple = ()
    parts: tuple = ()


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
    text = text.strip().removesuffix(" NOT NULL")
    if nested := re.fullmatch(r"(ARRAY|MAP|ROW)\s*<(.*)>", text):
        parts = [part.strip() for part in split_top(nested[2])]
        if nested[1] == "ROW":
            named = (part.split(None, 1) for part in parts)
            return Type("ROW", (), tuple((name, parse_type(rest)) for name, rest in named))
        return Type(nested[1], (), tuple(parse_type(part) for part in parts))
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
    if of.word in ("ARRAY", "MAP", "ROW"):
        return nested(value, of, canonical)
    if of.word in ("BYTES", "BINARY", "VARBINARY"):
        return bytes(value)
    return value


def nested(value, of, convert):
    """Arrays, maps and rows as tuples; a map as its pairs, sorted."""
    if of.word == "ARRAY":
        return tuple(convert(one, of.parts[0]) for one in value)
    if of.word == "ROW":
        return tuple(convert(value.get(name), part) for name, part in of.parts)
    pairs = value.items() if isinstance(value, dict) else value
    return tuple(sorted((convert(k, of.parts[0]), convert(v, of.parts[1])) for k, v in pairs))


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
    if word in ("BYTES", "BINARY", "VARBINARY"):
        return base64.b64decode(value)
    if word in ("ARRAY", "MAP", "ROW"):
        return nested(value, of, from_json)
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
        return nested(value, of, from_dump)
    return from_json(value, of)


class Table:
    """The fold of a log: rows by key for a primary-key table, all rows for an append table.

    A row is a tuple in the order of the columns, a key a tuple in the order of the primary key.
    """

    def __init__(self, columns, primary_key=(), sequence_field=None):
        names = [column.name for column in columns]
        self.columns = columns
        self.key_places = [names.index(name) for name in primary_key]
        self.sequence_place = sequence_field and names.index(sequence_field)
        self.rows = {} if primary_key else collections.Counter()

    def key_of(self, row):
        return tuple(row[place] for place in self.key_places)

    def upsert(self, row):
        if not self.key_places:
            self.rows[row] += 1
            return
        key = self.key_of(row)
        if self.sequence_place is not None and key in self.rows:
            if row[self.sequence_place] < self.rows[key][self.sequence_place]:
                return
        self.rows[key] = row

    def row_of(self, document):
        return tuple(from_json(document.get(c.name), c.type) for c in self.columns)

    def delete(self, document):
        """Deletes by the key fields of a document; the other fields mean nothing."""
        columns = (self.columns[place] for place in self.key_places)
        self.rows.pop(tuple(from_json(document.get(c.name), c.type) for c in columns), None)

    def fold_json(self, key, value):
        """A plain JSON record: a row. No value: a delete, if the key says of what."""
        if value is not None:
            self.upsert(self.row_of(json.loads(value, parse_float=Decimal)))
        elif key is not None and self.key_places:
            self.delete(json.loads(key, parse_float=Decimal))

    def fold_debezium(self, _key, value):
        """A Debezium record. A tombstone follows a delete and says nothing new."""
        if value is None:
            return
        document = json.loads(value, parse_float=Decimal)
        change = document["payload"] if set(document) == {"schema", "payload"} else document
        if change["op"] in ("c", "r", "u"):
            self.upsert(self.row_of(change["after"]))
        elif change["op"] == "d":
            self.delete(change["before"])
        else:
            raise ValueError(f"no rule for op {change['op']}")

    def gather(self, rows):
        """Rows that a reader gave, in the shape of `self.rows`; a key that comes twice is an error."""
        if not self.key_places:
            return collections.Counter(rows)
        found = {}
        for row in rows:
            key = self.key_of(row)
            if key in found:
                raise AssertionError(f"the key {key} is read twice: {found[key]} and {row}")
            found[key] = row
        return found

    def compare(self, found, what):
        """Raises with a few examples if what was read is not what the log says."""
        if found == self.rows:
            return
        missing = [row for key, row in self.rows.items() if key not in found][:2]
        extra = [row for key, row in found.items() if key not in self.rows][:2]
        other = [
            [(c.name, want, have) for c, want, have in zip(self.columns, row, found[key]) if want != have]
            for key, row in self.rows.items()
            if self.key_places and key in found and found[key] != row
        ]
        raise AssertionError(
            f"{what}: {len(self.rows)} rows wanted, {len(found)} read; missing {missing}, extra {extra}, "
            f"{len(other)} differ (column, wanted, read): {other[:2]}"
        )


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
    """PostgreSQL's own last word on a table."""
    rows = []
    with gzip.open(SAMPLE / entry["final_file"], "rt", encoding="utf-8", newline="\n") as lines:
        for line in lines:
            document = json.loads(line, parse_float=Decimal)
            rows.append(tuple(from_dump(document[c.name], c.type) for c in columns))
    return rows


def key_columns(entry):
    return [name for name in entry["primary_key"].split(",") if name]
