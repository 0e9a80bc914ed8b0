#!/usr/bin/env bash
# Share groups (KIP-932) through Apache Kafka's own Java client, oldest and newest with stable share groups. Needs a
# JDK (17) and Maven. WEIR_BROKER: the program; if unset it is built. WEIR_CACHE: keeps the clients between runs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ -z "${WEIR_BROKER:-}" ]; then
    (cd "$here/../../.." && cargo build --release --locked --quiet --package weir-broker --bin weir-broker)
    WEIR_BROKER=${CARGO_TARGET_DIR:-$here/../../../target}/release/weir-broker
fi
if [ -z "${WEIR_CACHE:-}" ]; then
    WEIR_CACHE=$(mktemp -d)
    trap 'rm -rf "$WEIR_CACHE"' EXIT
fi
checks=()
for version in 4.1.0 4.4.0; do
    classes=$WEIR_CACHE/java-share-$version
    mkdir -p "$classes"
    if [ ! -e "$classes/class-path" ]; then
        mvn -B -q -f "$here/pom.xml" "-Dkafka.version=$version" -Dmaven.repo.local="$WEIR_CACHE/m2" \
            -Dmdep.outputFile="$classes/class-path" dependency:build-classpath >&2
    fi
    javac -nowarn -cp "$(cat "$classes/class-path")" -d "$classes" "$here/ShareCheck.java"
    checks+=("$version=$(cat "$classes/class-path"):$classes")
done
python3 "$here/share_checks.py" "$WEIR_BROKER" "${checks[@]}"
