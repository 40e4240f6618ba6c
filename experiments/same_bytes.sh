#!/usr/bin/env bash
# Embed the pairs of pretraining anew: from an empty row cache and from a half-full one, with two threads and with one, and on two
# processes. The hash of the bytes must be the same each time; `dvc status` tells whether they are those of dvc.lock too, as they
# are on the kind of processor that made it. After `make repro`; on 2 cores about 4 minutes.
#
# Usage: bash experiments/same_bytes.sh
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
out=data/embeddings/pairs/pretrain

embed() { # NAME THREADS PROCESSES CACHE
    rm -rf "$out"
    RAGCUN_CACHE="$folder/$4" OMP_NUM_THREADS="$2" \
        python -m stages.launch --nproc-per-node="$3" -m stages.embed_pairs pretrain > "$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
    printf '%-30s %s\n' "$1" "$(cat "$out"/* | sha256sum | cut -c 1-16)"
}

embed 'empty cache, 2 threads' 2 1 whole
# Every second row of what that left.
python - "$folder/whole/rows.sqlite" << 'EOF'
import sqlite3
import sys

with sqlite3.connect(sys.argv[1]) as cache:
    cache.execute("DELETE FROM rows WHERE id % 2 = 0")
    print(cache.execute("SELECT COUNT(*) FROM rows").fetchone()[0], "rows are left")
EOF
embed 'half-full cache, 2 threads' 2 1 whole
embed 'empty cache, 1 thread' 1 1 one
embed 'empty cache, 2 processes' 1 2 two
dvc status embed_pairs@pretrain
