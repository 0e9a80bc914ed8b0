#!/usr/bin/env bash
# The client suite in a venv of its own: real clients write and read, pypaimon reads the tables.
#
#   WEIR_BIN      the program under test; if unset, `cargo build --release --locked` builds it
#   WEIR_CACHE    folder that keeps the venv from one run to the next; if unset, a temporary one
#
# Arguments go to suite.py. The last line is `N passed, N failed`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

if [ -z "${WEIR_BIN:-}" ]; then
    (cd "$here/../.." && cargo build --release --locked --quiet --bin weir)
fi

if ! command -v kcat >/dev/null && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    # A failure is no failure of the suite: it says `skip log/kcat` then.
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq kcat) >/dev/null 2>&1 ||
        echo "kcat could not be installed"
fi

if [ -n "${WEIR_CACHE:-}" ]; then
    mkdir -p "$WEIR_CACHE"
    cache=$(cd "$WEIR_CACHE" && pwd)
else
    cache=$(mktemp -d)
    trap 'rm -rf "$cache"' EXIT
fi
# One venv for each state of the list of packages.
venv=$cache/clients-$(sha256sum "$here/requirements.txt" | cut -c1-12)
if [ ! -e "$venv/complete" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    touch "$venv/complete"
fi
cd "$here/../.."
PYTHONDONTWRITEBYTECODE=1 "$venv/bin/python" "$here/suite.py" "$@"
