#!/usr/bin/env bash
# Both metrics pages of a running pair, read by curl and judged by Debian's promtool.
set -euo pipefail
cd "$(dirname "$0")/../.."
target="${CARGO_TARGET_DIR:-target}"
weir="${WEIR_BIN:-$target/release/weir}"

if ! command -v promtool >/dev/null; then
  (apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus) >/dev/null 2>&1 || true
fi
if ! command -v promtool >/dev/null; then
  echo "SKIPPED: promtool cannot be installed here (Debian package prometheus)"
  exit 0
fi

folder=$(mktemp -d)
"$weir" up --data-dir "$folder/data" --listeners PLAINTEXT://127.0.0.1:0 \
  --http 127.0.0.1:0 --compactor-http 127.0.0.1:0 2>"$folder/log" &
pid=$!
trap 'kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; rm -rf "$folder"' EXIT
for _ in $(seq 100); do
  [ "$(grep -c ' ready ' "$folder/log")" -ge 2 ] && break
  sleep 0.1
done
broker=$(sed -n 's/.*broker ready.* http=\([0-9.:]*\).*/\1/p' "$folder/log")
compactor=$(sed -n 's/.*compactor ready.* http=\([0-9.:]*\).*/\1/p' "$folder/log")
kafka=$(sed -n 's/.*broker ready kafka=\([0-9.:]*\).*/\1/p' "$folder/log")
"$weir" demo --load --bootstrap-server "$kafka"
sleep 3
for page in "$broker" "$compactor"; do
  curl -sf "http://$page/metrics" >"$folder/page"
  printf '%s/metrics: %s samples, ' "$page" "$(grep -vc '^#' "$folder/page")"
  promtool check metrics <"$folder/page"
  echo "promtool content"
  curl -sf "http://$page/livez" >/dev/null && curl -sf "http://$page/readyz" >/dev/null
done
