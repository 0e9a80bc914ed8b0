#!/usr/bin/env bash
# Clients of librdkafka and Java under kill -9, pauses and restarts of the broker; then their history is
# checked. Arguments go to drive.py: `--kills N`, `--minutes M`, `--seed S`.
#
#   WEIR_BIN      the program under test; if unset, `cargo build --release --locked` builds it
#   WEIR_CACHE    folder that keeps the venv and the Java classes; if unset, a temporary one
#
# Without a JDK and Maven the Java clients stay away, and it says so.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../kit.sh
. "$here/../kit.sh"

if [ -z "${WEIR_HISTORY_CHECK:-}" ]; then
    (cd "$root" && cargo build --release --locked --quiet --example history-check)
    WEIR_HISTORY_CHECK=${CARGO_TARGET_DIR:-$root/target}/release/examples/history-check
    export WEIR_HISTORY_CHECK
fi
if command -v javac >/dev/null && command -v mvn >/dev/null; then
    WEIR_HISTORY_JAVA=$(compiled history "$here/HistoryWorker.java" "$here/pom.xml")
    export WEIR_HISTORY_JAVA
else
    echo "WITHOUT Java clients: javac or mvn is missing"
fi
python=$(client_python)
"$python" "$here/drive.py" "$@"
