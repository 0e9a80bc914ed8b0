#!/usr/bin/env bash
# Flink SQL in a local mini cluster: tables over topics, changelogs into tables of ours, exactly once under kills.
# Needs a JDK (17) and Maven; librdkafka (Python) feeds and judges.
#   --kills N   so many kills of the broker under the exactly-once sinks (default 3)
# WEIR_BIN, WEIR_CACHE, WEIR_RESULTS: see ../kit.sh. Arguments go to suite.py.
set -euo pipefail
source "$(dirname "$0")/../kit.sh"
need javac default-jdk-headless
need mvn maven
classes=$WEIR_CACHE/flink
path=$(class_path "$clients/flink/pom.xml")
FLINK_CLASS_PATH=$(cat "$path"):$classes
export FLINK_CLASS_PATH
mkdir -p "$classes"
javac -nowarn -cp "$FLINK_CLASS_PATH" -d "$classes" "$clients/flink/FlinkSession.java"
python=$(client_python)
"$python" "$clients/flink/suite.py" "$@"
