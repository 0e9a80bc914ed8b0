#!/usr/bin/env bash
# Kafka Streams, exactly_once_v2: a word count while the broker is killed again and again. Needs a JDK (17) and Maven.
#   --kills N   so many kills of the broker; each third kills the application too (default 5)
# WEIR_BIN, WEIR_CACHE, WEIR_RESULTS: see ../kit.sh. Arguments go to suite.py.
set -euo pipefail
source "$(dirname "$0")/../kit.sh"
need javac default-jdk-headless
need mvn maven
classes=$WEIR_CACHE/streams
path=$(class_path "$clients/streams/pom.xml")
STREAMS_CLASS_PATH=$(cat "$path"):$classes
export STREAMS_CLASS_PATH
mkdir -p "$classes"
javac -nowarn -cp "$STREAMS_CLASS_PATH" -d "$classes" "$clients/streams/WordCount.java"
python3 "$clients/streams/suite.py" "$@"
