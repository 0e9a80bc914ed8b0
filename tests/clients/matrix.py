"""The table of clients, of what the suites wrote into WEIR_RESULTS: Markdown on standard output.

usage: matrix.py FOLDER [--jsonl FILE] [--write FILE.md]

A row is a client in a version, a column a feature of the plot; what only one client has is told in the
last column. `--jsonl` writes the same as a file of JSON lines, one for each client and feature; `--write`
puts the table between the two marks of a Markdown file.
"""

import argparse
import json
import sys
from pathlib import Path

PLOT = ("admin", "codecs", "records", "timestamp", "group", "resume", "transaction", "errors")
BEGIN, END = "<!-- clients: by matrix.py -->", "<!-- clients: end -->"
MARKS = {"ok": "✓", "FAIL": "**✗**", "skip": "–", None: ""}
# What the Python suite calls them.
PYTHON = {
    **dict.fromkeys(("none", "gzip", "snappy", "lz4", "zstd"), "codecs"), "null-header": "records", "lookup": "timestamp",
    "committed": "resume", "group-grows-and-shrinks": "group", "group-cooperative": "group",
    "transaction-ends-as-told": "transaction",
}  # fmt: skip


def read(folder):
    """(client, version) -> feature -> (result, detail); one failure makes a feature fail."""
    found = {}
    for path in sorted(Path(folder).glob("*.jsonl")):
        for line in map(json.loads, path.read_text().splitlines()):
            feature = PYTHON.get(line["feature"], line["feature"])
            features = found.setdefault((line["client"], line["version"]), {})
            worst = features.get(feature, (None, ""))
            if worst[0] != "FAIL" and (worst[0] != "ok" or line["result"] == "FAIL"):
                features[feature] = (line["result"], line.get("detail", ""))
    return found


def markdown(found):
    lines = ["| client | version | " + " | ".join(PLOT) + " | and |", "|---" * (len(PLOT) + 3) + "|"]
    reasons = []
    for (client, version), features in sorted(found.items()):
        marks = [MARKS[features.get(feature, (None,))[0]] for feature in PLOT]
        further = [f"{name} {MARKS[result]}" for name, (result, _) in features.items() if name not in PLOT]
        lines.append(f"| {client} | {version} | " + " | ".join(marks) + f" | {', '.join(further)} |")
        for name, (result, detail) in features.items():
            if result != "ok":
                said = {"FAIL": "failed", "skip": "skipped"}[result]
                reasons.append(f"- {client} {version}, {name}, {said}: {detail}")
    return "\n".join([*lines, "", *reasons])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--jsonl")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    found = read(options.folder)
    if options.jsonl:
        rows = [
            {"client": client, "version": version, "feature": name, "result": result, "detail": detail}
            for (client, version), features in sorted(found.items())
            for name, (result, detail) in features.items()
        ]
        Path(options.jsonl).write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(markdown(found))
    if options.write:
        before, rest = options.write.read_text().split(BEGIN)
        after = rest.split(END)[1]
        options.write.write_text(f"{before}{BEGIN}\n{markdown(found).strip()}\n{END}{after}")
    failed = any(result == "FAIL" for features in found.values() for result, _ in features.values())
    sys.exit(1 if failed or not found else 0)


if __name__ == "__main__":
    main()
