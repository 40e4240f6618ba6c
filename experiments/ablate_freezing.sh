#!/usr/bin/env bash
# What freezing the base is worth: pretrain_finetune with the base frozen (the default), with its embeddings and lower
# layers alone frozen, and with all of it trained, beside full_finetune. Run on a commit whose `dvc repro` is done; about
# 15 minutes on 2 cores. The table lands in experiments/ablate_freezing.md.
set -euo pipefail
cd "$(dirname "$0")/.."
source experiments/queue.sh

stages="evaluate@pretrain_finetune-vital-descriptions evaluate@pretrain_finetune-fanoutqa"
queue freezing base-trains freeze_base=false -- $stages
queue freezing base-trains-above-layer-3 freeze_base=false finetune.strategies.pretrain_finetune.freeze_layers=3 -- $stages
run_queue

python -m estimate.table freezing pretrain_finetune full_finetune --split test | tee experiments/ablate_freezing.md
