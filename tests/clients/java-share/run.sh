#!/usr/bin/env bash
# Share groups (KIP-932) through Apache Kafka's own Java client, oldest and newest with stable share groups. Needs a
# JDK (17) and Maven. WEIR_BIN, WEIR_CACHE: see ../kit.sh.
set -euo pipefail
source "$(dirname "$0")/../kit.sh"
checks=()
for version in 4.1.0 4.4.0; do
    source=$clients/java-share/ShareCheck.java
    check=$(compiled "java-share-$version" "$source" "$clients/java-share/pom.xml" "-Dkafka.version=$version")
    checks+=("$version=$check")
done
python3 "$clients/java-share/share_checks.py" "${checks[@]}"
