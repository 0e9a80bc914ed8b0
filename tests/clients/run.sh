#!/usr/bin/env bash
# The client suite in a venv of its own: real clients write and read, pypaimon reads the tables.
#
#   WEIR_BIN      the program under test; if unset, `cargo build --release --locked` builds it
#   WEIR_CACHE    folder that keeps the venv from one run to the next; if unset, a temporary one
#
# Arguments go to suite.py. The last line is `N passed, N failed`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

# shellcheck source=kit.sh
. "$here/kit.sh"

if ! command -v kcat >/dev/null && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    # A failure is no failure of the suite: it says `skip log/kcat` then.
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq kcat) >/dev/null 2>&1 ||
        echo "kcat could not be installed"
fi

python=$(client_python)
cd "$root"
"$python" "$here/suite.py" "$@"
