#!/usr/bin/env bash
# Both metrics pages, fetched by curl from a Weir that holds the demo's tables, read by Prometheus's
# own `promtool check metrics`. promtool comes from Debian's package `prometheus`, unpacked, not installed.
#
#   WEIR_BIN   the program under test; if unset, `cargo build --release --locked` builds it
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
weir_pid=
clean_up() {
    if [ -n "$weir_pid" ]; then
        kill "$weir_pid" 2>/dev/null || true
        wait "$weir_pid" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap clean_up EXIT

if [ -z "${WEIR_BIN:-}" ]; then
    (cd "$root" && cargo build --release --locked --quiet --bin weir)
    WEIR_BIN=${CARGO_TARGET_DIR:-$root/target}/release/weir
fi
promtool=$(command -v promtool || true)
if [ -z "$promtool" ]; then
    (cd "$work" && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } &&
        dpkg -x prometheus_*.deb unpacked) >/dev/null 2>&1 || true
    promtool=$(ls "$work/unpacked/usr/bin/promtool" 2>/dev/null || true)
fi

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
kafka=$(free_port) broker=$(free_port) compactor=$(free_port)
(cd "$work" && "$WEIR_BIN" demo --exit --data-dir "$work/data" >"$work/demo.out" 2>&1) ||
    { cat "$work/demo.out"; echo "weir demo failed"; exit 1; }
"$WEIR_BIN" up --data-dir "$work/data" --listeners "PLAINTEXT://127.0.0.1:$kafka" \
    --http "127.0.0.1:$broker" --compactor-http "127.0.0.1:$compactor" >"$work/weir.out" 2>&1 &
weir_pid=$!
for port in "$broker" "$compactor"; do
    for _ in $(seq 300); do
        if curl -fs "http://127.0.0.1:$port/readyz" >/dev/null; then break; fi
        sleep 0.2
    done
    curl -fsS "http://127.0.0.1:$port/livez" >/dev/null || { cat "$work/weir.out"; exit 1; }
done
# The tables show up once the compactor has opened them.
for _ in $(seq 300); do
    if curl -fs "http://127.0.0.1:$compactor/metrics" | grep -q '^weir_table_snapshot_id'; then break; fi
    sleep 0.2
done

failed=0
page() { # page <name> <port> <metrics that must be there...>
    local name=$1 port=$2 metric
    shift 2
    curl -fsS "http://127.0.0.1:$port/metrics" >"$work/$name.metrics"
    for metric in "$@"; do
        grep -q "^$metric[{ ]" "$work/$name.metrics" || { echo "FAIL $name: no metric $metric"; failed=1; }
    done
    if [ -z "$promtool" ]; then
        echo "skip $name: promtool is not installed and could not be fetched (Debian: prometheus)"
    elif "$promtool" check metrics <"$work/$name.metrics" >"$work/$name.said" 2>&1; then
        echo "ok   $name: promtool is content with $(grep -vc '^#' "$work/$name.metrics") samples"
    else
        echo "FAIL $name: promtool says:"
        cat "$work/$name.said"
        failed=1
    fi
}
page broker "$broker" kafka_topic_partition_current_offset kafka_topic_partition_oldest_offset \
    kafka_log_log_size weir_request_seconds_count
page compactor "$compactor" weir_table_fold_lag_records weir_table_fold_lag_seconds weir_table_rows \
    weir_table_files weir_table_snapshot_id
exit $failed
