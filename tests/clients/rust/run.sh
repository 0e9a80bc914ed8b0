#!/usr/bin/env bash
# The `rdkafka` crate through the plot. It builds librdkafka from its sources (minutes): part of the nightly command.
# WEIR_BIN, WEIR_CACHE, WEIR_RESULTS: see ../kit.sh. Arguments go to suite.py.
set -euo pipefail
source "$(dirname "$0")/../kit.sh"
export CARGO_TARGET_DIR=$WEIR_CACHE/rust-target
cargo build --quiet --locked --manifest-path "$clients/rust/Cargo.toml"
python3 "$clients/rust/suite.py" "$CARGO_TARGET_DIR/debug/client-plot" "$@"
