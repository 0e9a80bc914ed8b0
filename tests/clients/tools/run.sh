#!/usr/bin/env bash
# Kafka's command-line tools against a Weir: their output must make sense. Needs a JDK (17) and Maven.
# WEIR_BIN, WEIR_CACHE, WEIR_RESULTS: see ../kit.sh. Arguments go to suite.py.
set -euo pipefail
source "$(dirname "$0")/../kit.sh"
KAFKA_CLASS_PATH=$(class_path "$clients/tools/pom.xml")
export KAFKA_CLASS_PATH
python3 "$clients/tools/suite.py" "$@"
