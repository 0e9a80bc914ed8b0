#!/usr/bin/env bash
# Apache Kafka's own Java client, the newest and the last of 3.x, through the plot. Needs a JDK (17) and Maven.
# WEIR_BIN, WEIR_CACHE, WEIR_RESULTS: see ../kit.sh. Arguments go to suite.py.
set -euo pipefail
source "$(dirname "$0")/../kit.sh"
KAFKA_CLASS_PATH=$(class_path "$clients/tools/pom.xml")
export KAFKA_CLASS_PATH
plots=()
for version in 4.4.0 3.9.2; do
    plot=$(compiled "java-$version" "$clients/java/Plot.java" "$clients/java/pom.xml" "-Dkafka.version=$version")
    plots+=("$version=$plot")
done
python3 "$clients/java/suite.py" "${@}" -- "${plots[@]}"
