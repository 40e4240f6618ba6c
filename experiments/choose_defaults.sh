#!/usr/bin/env bash
# How the defaults of the strategies were chosen: one thing changed at a time around them, judged by the mean of the two
# benchmarks' dev NDCG@10, with an IsoScore of the corpus of at least .40 where the base is frozen. Run on a commit whose
# `dvc repro` is done. The tables land in experiments/choose_defaults/.
#
# Usage: bash experiments/choose_defaults.sh [smart_hybrid] [pretrain_finetune] [full_finetune]
# On 2 cores about 20 minutes each.
set -euo pipefail
cd "$(dirname "$0")/.."
source experiments/queue.sh

smart_hybrid() {
    queue smart gamma-0 whitening=0 -- $stages
    queue smart gamma-.25 whitening=0.25 -- $stages
    queue smart gamma-.3 whitening=0.3 -- $stages
    queue smart gamma-.4 whitening=0.4 -- $stages
    queue smart gamma-.5 whitening=0.5 -- $stages
    queue smart lr-1e-3 finetune.strategies.smart_hybrid.projection_learning_rate=1e-3 -- $stages
    queue smart lr-4e-3 finetune.strategies.smart_hybrid.projection_learning_rate=4e-3 -- $stages
    queue smart temperature-.03 finetune.shared.temperature=0.03 -- $stages
    queue smart temperature-.07 finetune.shared.temperature=0.07 -- $stages
    queue smart store-negatives-1024 finetune.shared.store_negatives=1024 -- $stages
    queue smart hard-negatives-4 finetune.shared.negatives=4 -- $stages
    queue smart isotropy-1 finetune.shared.isotropy_weight=1 -- $stages
    queue smart isotropy-10 finetune.shared.isotropy_weight=10 -- $stages
    queue smart epochs-2 finetune.shared.epochs=2 -- $stages
    queue smart epochs-6 finetune.shared.epochs=6 -- $stages
    queue smart euclidean similarity=euclidean -- $stages
    queue smart dropout-.1 dropout=0.1 -- $stages
    queue smart random-projection projection_init=random -- $stages
}

# Both halves of the strategy: what pretraining is made of and how it trains, and the rate of what follows.
pretrain_finetune() {
    queue pretrained pairs-inverse_cloze pretrain.pairs=inverse_cloze -- $stages
    queue pretrained pairs-title_body pretrain.pairs=title_body -- $stages
    queue pretrained isotropy-0 pretrain.isotropy_weight=0 -- $stages
    queue pretrained isotropy-10 pretrain.isotropy_weight=10 -- $stages
    queue pretrained lr-2e-4 pretrain.projection_learning_rate=2e-4 -- $stages
    queue pretrained lr-1e-3 pretrain.projection_learning_rate=1e-3 -- $stages
    queue pretrained finetune-lr-1e-3 finetune.strategies.pretrain_finetune.projection_learning_rate=1e-3 -- $stages
}

# A base that trains: rates, and what the few texts of a run on 2 cores are spent on.
full_finetune() {
    queue full base-lr-6e-5 finetune.strategies.full_finetune.base_learning_rate=6e-5 -- $stages
    queue full hard-negatives-1-of-half-the-pairs-base-lr-6e-5 finetune.live.negatives=1 finetune.live.max_pairs=1280 finetune.strategies.full_finetune.base_learning_rate=6e-5 -- $stages
    queue full pairs-3840 finetune.live.max_pairs=3840 -- $stages
}

declare -A group=([smart_hybrid]=smart [pretrain_finetune]=pretrained [full_finetune]=full)
declare -A also=([pretrain_finetune]=pretrain)
chosen=${*:-smart_hybrid pretrain_finetune full_finetune}
for strategy in $chosen; do
    # Up to the strategy's evaluations: the others' would follow from what they share.
    stages=""
    for model in "$strategy" ${also[$strategy]:-}; do
        stages+=" evaluate@$model-vital-descriptions evaluate@$model-fanoutqa"
    done
    "$strategy"
done
run_queue
for strategy in $chosen; do
    python -m estimate.table "${group[$strategy]}" "$strategy" ${also[$strategy]:-} |
        tee "experiments/choose_defaults/$strategy.md"
done
