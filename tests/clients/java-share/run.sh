#!/usr/bin/env bash
# Share groups (KIP-932) through Apache Kafka's own Java client, oldest and newest with stable share groups. Needs a
# JDK (17) and Maven. WEIR_BIN, WEIR_CACHE: see ../kit.sh.
set -euo pipefail
source "$(dirname "$0")/../kit.sh"
need javac default-jdk-headless
need mvn maven
checks=()
for version in 4.1.0 4.4.0; do
    path=$(class_path "$clients/java-share/pom.xml" "-Dkafka.version=$version")
    classes=$WEIR_CACHE/java-share-$version
    mkdir -p "$classes"
    javac -nowarn -cp "$(cat "$path")" -d "$classes" "$clients/java-share/ShareCheck.java"
    checks+=("$version=$(cat "$path"):$classes")
done
python3 "$clients/java-share/share_checks.py" "${checks[@]}"
