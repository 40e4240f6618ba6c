#!/usr/bin/env bash
# How the defaults of smart_hybrid were chosen: one thing changed at a time around them, judged by the mean of the two
# benchmarks' dev NDCG@10, with an IsoScore of the corpus of at least .40. Run on a commit whose `dvc repro` is done;
# about 22 minutes on 2 cores. The table lands in experiments/choose_defaults.md.
set -euo pipefail
cd "$(dirname "$0")/.."

source experiments/try.sh

try choose gamma-0 whitening=0
try choose gamma-.25 whitening=0.25
try choose gamma-.3 whitening=0.3
try choose gamma-.4 whitening=0.4
try choose gamma-.5 whitening=0.5
try choose lr-1e-3 finetune.smart_hybrid.projection_learning_rate=1e-3
try choose lr-4e-3 finetune.smart_hybrid.projection_learning_rate=4e-3
try choose temperature-.03 finetune.shared.temperature=0.03
try choose temperature-.07 finetune.shared.temperature=0.07
try choose store-negatives-1024 finetune.shared.store_negatives=1024
try choose hard-negatives-4 finetune.shared.negatives=4
try choose isotropy-1 finetune.shared.isotropy_weight=1
try choose isotropy-10 finetune.shared.isotropy_weight=10
try choose epochs-2 finetune.shared.epochs=2
try choose epochs-6 finetune.shared.epochs=6
try choose euclidean similarity=euclidean
try choose dropout-.1 dropout=0.1
try choose random-projection projection_init=random

python experiments/table.py smart_hybrid choose > experiments/choose_defaults.md
cat experiments/choose_defaults.md
