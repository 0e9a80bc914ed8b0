#!/usr/bin/env bash
# Node's clients through the plot: kafkajs, @platformatic/kafka. Needs npm; Node 24 comes as a package (x86-64).
# WEIR_BIN, WEIR_CACHE, WEIR_RESULTS: see ../kit.sh. Arguments go to suite.py.
set -euo pipefail
source "$(dirname "$0")/../kit.sh"
need npm npm
modules=$WEIR_CACHE/node-$(sha256sum "$clients/node/package.json" | cut -c1-12)
if [ ! -e "$modules/complete" ]; then
    mkdir -p "$modules"
    cp "$clients/node/package.json" "$modules"
    (cd "$modules" && npm install --no-audit --no-fund --silent >&2) || cannot_have "Node's clients"
    touch "$modules/complete"
fi
cp "$clients"/node/*.mjs "$modules"
NODE_MODULES_FOLDER=$modules python3 "$clients/node/suite.py" "$@"
