#!/usr/bin/env bash
# Go's clients through the plot: franz-go, sarama, segmentio's kafka-go. Needs Go; with --broker kafka also Maven.
# WEIR_BIN, WEIR_CACHE, WEIR_RESULTS: see ../kit.sh. Arguments go to suite.py.
set -euo pipefail
source "$(dirname "$0")/../kit.sh"
need go golang-go
export GOMODCACHE=$WEIR_CACHE/go-modules GOCACHE=$WEIR_CACHE/go-build GOFLAGS="-modcacherw -mod=readonly"
(cd "$clients/go" && go mod download >&2) || cannot_have "Go's clients"
(cd "$clients/go" && go build -o "$WEIR_CACHE/go-plot" .)
python3 "$clients/go/suite.py" "$@"
