#!/usr/bin/env bash
# What the base's Normalize and the second layer of the projection are worth: smart_hybrid without the Normalize, and with a
# linear projection at several learning rates. Run on a commit whose `dvc repro` is done; about 15 minutes on 2 cores, for
# without the Normalize every text is encoded again. The tables, by dev and then by test, land in experiments/ablate_projection.md.
set -euo pipefail
cd "$(dirname "$0")/.."
source experiments/queue.sh

stages="evaluate@smart_hybrid-vital-descriptions evaluate@smart_hybrid-fanoutqa"
queue projection drop normalize_base=drop -- $stages
queue projection linear-lr-5e-3 projection=linear finetune.strategies.smart_hybrid.projection_learning_rate=5e-3 -- $stages
queue projection linear-lr-1e-2 projection=linear finetune.strategies.smart_hybrid.projection_learning_rate=1e-2 -- $stages
queue projection linear-lr-2e-2 projection=linear finetune.strategies.smart_hybrid.projection_learning_rate=2e-2 -- $stages
queue projection linear-lr-4e-2 projection=linear finetune.strategies.smart_hybrid.projection_learning_rate=4e-2 -- $stages
run_queue

for split in dev test; do
    python -m estimate.table projection smart_hybrid --split "$split"
    echo
done | tee experiments/ablate_projection.md
