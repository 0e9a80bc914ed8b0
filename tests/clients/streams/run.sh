#!/usr/bin/env bash
# Kafka Streams, exactly_once_v2: a word count while the broker is killed again and again. Needs a JDK (17) and Maven.
#   --kills N   so many kills of the broker; each third kills the application too (default 5)
# WEIR_BIN, WEIR_CACHE, WEIR_RESULTS: see ../kit.sh. Arguments go to suite.py.
set -euo pipefail
source "$(dirname "$0")/../kit.sh"
STREAMS_CLASS_PATH=$(compiled streams "$clients/streams/WordCount.java" "$clients/streams/pom.xml")
export STREAMS_CLASS_PATH
python3 "$clients/streams/suite.py" "$@"
