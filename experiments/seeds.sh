#!/usr/bin/env bash
# What the seed of training changes: the trained models again with other seeds, on the same data (data.seed stays), beside those
# of the last commit. Run on a commit whose `dvc repro` is done; on 2 cores 15 minutes a seed, beside other work. The tables land in
# docs/seeds.md.
#
# Usage: bash experiments/seeds.sh [SEED...]
set -euo pipefail
cd "$(dirname "$0")/.."
source experiments/queue.sh

seeds=${*:-1 2}
stages=""
for model in $(python -c 'from estimate.seeds import trained_models; from ragcun.params import load_params; print(*trained_models(load_params()))'); do
    for benchmark in $(python -c 'from ragcun.params import load_params; print(*load_params().data.benchmarks)'); do
        stages+=" evaluate@$model-$benchmark"
    done
done
for seed in $seeds; do
    queue seeds "$seed" seed="$seed" -- $stages
done
run_queue

python -m estimate.seeds seeds $seeds --page docs/seeds.md
