#!/usr/bin/env bash
# Kafka Connect, standalone and distributed: files, Debezium's PostgreSQL source into a table, MirrorMaker 2.
# Needs a JDK (17) and Maven; PostgreSQL is installed (Debian: postgresql) where it is missing.
# WEIR_BIN, WEIR_CACHE, WEIR_RESULTS: see ../kit.sh. Arguments go to suite.py.
set -euo pipefail
source "$(dirname "$0")/../kit.sh"
if ! ls -d /usr/lib/postgresql/*/bin >/dev/null 2>&1; then
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql) >/dev/null 2>&1 ||
        echo "PostgreSQL could not be installed"
fi
path=$(class_path "$clients/connect/pom.xml")
CONNECT_CLASS_PATH=$(cat "$path")
export CONNECT_CLASS_PATH
python3 "$clients/connect/suite.py" "$@"
