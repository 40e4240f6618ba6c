#!/usr/bin/env bash
# How the defaults of smart_hybrid were chosen: one thing changed at a time around them, judged by the mean of the two
# benchmarks' dev NDCG@10, with an IsoScore of the corpus of at least .40. Run on a commit whose `dvc repro` is done;
# about 15 minutes on 2 cores. The table lands in experiments/choose_defaults.md.
set -euo pipefail
cd "$(dirname "$0")/.."

try() {
    local name=$1
    shift
    dvc exp remove --quiet "choose-$name" 2>/dev/null || true
    dvc exp run --name "choose-$name" "${@/#/--set-param=}"
    git checkout --quiet -- . && dvc checkout --quiet --force
}

try gamma-0 whitening=0
try gamma-.25 whitening=0.25
try gamma-.3 whitening=0.3
try gamma-.4 whitening=0.4
try gamma-.5 whitening=0.5
try lr-1e-3 finetune.smart_hybrid.projection_learning_rate=1e-3
try lr-4e-3 finetune.smart_hybrid.projection_learning_rate=4e-3
try temperature-.03 finetune.shared.temperature=0.03
try temperature-.07 finetune.shared.temperature=0.07
try store-negatives-1024 finetune.shared.store_negatives=1024
try hard-negatives-4 finetune.shared.negatives=4
try isotropy-1 finetune.shared.isotropy_weight=1
try isotropy-10 finetune.shared.isotropy_weight=10
try epochs-2 finetune.shared.epochs=2
try epochs-6 finetune.shared.epochs=6
try euclidean similarity=euclidean
try dropout-.1 dropout=0.1
try random-projection projection_init=random

python experiments/table.py smart_hybrid choose > experiments/choose_defaults.md
cat experiments/choose_defaults.md
