#!/usr/bin/env bash
# The real broker under every fault of its disk: it is killed, or refused (EIO, ENOSPC), at the N-th system call of a
# scripted run and of a recovery; its disk is full, out of inodes, slow. Whatever it acknowledged must be there then.
#
#   --points N          how many calls are hit (120), spread over all kinds of calls and faults; --full: each one
#   --shift 0..1        which ones of a sample
#   --only POINT        one of them, told by FAIL lines, such as pwritev:37:EIO, recovery/fsync:3:KILL or disk-full;
#                       prints the broker's log; --keep keeps the folder
#
#   WEIR_BIN, WEIR_CACHE   as in ../clients/kit.sh
#
# What a point is: gate.py. What is asked of the broker: story.py. What must hold: verdict.py.
# Exit status 75: this machine lets no process watch another's system calls (seccomp's user notification).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../clients/kit.sh
. "$here/../clients/kit.sh"
python=$(client_python)
"$python" "$here/drive.py" "$@"
