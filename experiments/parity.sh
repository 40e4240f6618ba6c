#!/usr/bin/env bash
# Export models, and put how near each file is to its model into docs/serving.md. After `make repro` and
# `pip install -r requirements-export.txt`; about two minutes a model on 2 cores.
#
# Usage: bash experiments/parity.sh [MODEL...]
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
for model in "${@:-smart_hybrid}"; do
    python -m ragcun.cli export "models/$model" "$folder/$model"
done
python -m tests.clients.table --parity "$folder" experiments/parity.json docs/serving.md
