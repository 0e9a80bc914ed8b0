#!/usr/bin/env bash
# Every client suite at full length, one after another, and the table of clients at the end. Takes about an hour.
#
#   WEIR_RESULTS   folder for the JSON lines and the table (clients.md); if unset, a temporary one
# WEIR_BIN, WEIR_CACHE: see kit.sh.
set -uo pipefail
source "$(dirname "$0")/kit.sh"
export WEIR_RESULTS=${WEIR_RESULTS:-$(mktemp -d)}
failed=0
suite() {
    printf '\n== %s\n' "$*"
    bash "$clients/$1" "${@:2}" || failed=$((failed + 1))
}
suite run.sh
suite java/run.sh
suite go/run.sh
suite node/run.sh
suite tools/run.sh
suite streams/run.sh --kills 20
suite connect/run.sh --eos 1
suite flink/run.sh --kills 12
suite rust/run.sh
suite java-share/run.sh
suite history/run.sh --kills 100
printf '\n'
python3 "$clients/matrix.py" "$WEIR_RESULTS" --jsonl "$WEIR_RESULTS/clients.json-lines" | tee "$WEIR_RESULTS/clients.md"
printf '\n%s suites failed; the table is in %s\n' "$failed" "$WEIR_RESULTS/clients.md"
exit $((failed > 0))
