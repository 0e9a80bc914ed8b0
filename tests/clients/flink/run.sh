#!/usr/bin/env bash
# Flink SQL in a local mini cluster: tables over topics, changelogs into tables of ours, exactly once under kills.
# Needs a JDK (17) and Maven; librdkafka (Python) feeds and judges.
#   --kills N   so many kills of the broker under the exactly-once sinks (default 3)
# WEIR_BIN, WEIR_CACHE, WEIR_RESULTS: see ../kit.sh. Arguments go to suite.py.
set -euo pipefail
source "$(dirname "$0")/../kit.sh"
FLINK_CLASS_PATH=$(compiled flink "$clients/flink/FlinkSession.java" "$clients/flink/pom.xml")
export FLINK_CLASS_PATH
python=$(client_python)
"$python" "$clients/flink/suite.py" "$@"
