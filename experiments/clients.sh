#!/usr/bin/env bash
# Load the export of a trained model with every client, and put the figures into docs/serving.md. After `make repro`.
set -euo pipefail
cd "$(dirname "$0")/.."
export RAGCUN_CLIENTS_FIGURES="$PWD/experiments/clients.json"
export RAGCUN_CLIENTS_BENCHMARK="$PWD/data/benchmarks/vital-descriptions"
make clients MODEL=models/smart_hybrid
.venv/bin/python -m tests.clients.table experiments/clients.json docs/serving.md
