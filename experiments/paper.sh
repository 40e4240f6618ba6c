#!/usr/bin/env bash
# The three strategies at full scale: MS MARCO's pairs, Wikipedia's passages, BEIR's scifact, nfcorpus, arguana, fiqa and
# trec-covid, all-mpnet-base-v2 to 512 dimensions. Then pretrain_finetune with a base that trains, and two more seeds.
# Each experiment runs what the ones before it have not. The table lands in experiments/paper.md.
#
# Usage: bash experiments/paper.sh [--dry] [N_GPUS]
# --dry runs nothing and needs no network: it prints the stages of each experiment and what they would take, estimated.
set -euo pipefail
cd "$(dirname "$0")/.."
dry=false
if [[ ${1:-} == --dry ]]; then
    dry=true
    shift
fi
gpus=${1:-gpu}

# All that differs from params.yaml.
settings=(
    base_model=sentence-transformers/all-mpnet-base-v2
    output_dim=512
    ddp.nproc_per_node="$gpus"
    # Every process reads and hashes the store, some 18 GB: one with a slow disk is late, not dead.
    ddp.timeout=3600

    data.pairs=msmarco
    data.passages=wikipedia
    # One for each pair of the pretraining.
    data.wikipedia.num_passages=1000000
    # BM25's index of all passages would take some 15 GB, and MS MARCO brings hard negatives of its own.
    data.mined_negatives=0
    "data.benchmarks=[scifact,nfcorpus,arguana,fiqa,trec-covid]"

    # Three digits are enough, and a GPU is several times as fast; it also wants more texts at a time.
    embed.dtype=bfloat16
    embed.batch_tokens=65536

    # One pair from each passage, each seen once: as many steps as three epochs of half of them would be.
    pretrain.num_pairs=1000000
    pretrain.epochs=1
    pretrain.batch_size=1024
    pretrain.store_negatives=16384
    # Without bounds every evaluation would rank 50,000 queries over 1,000,000 crops.
    ++pretrain.dev_queries=5000
    ++pretrain.dev_passages=200000

    # With more data, larger batches and more of the store as negatives; both are cheap on stored vectors.
    finetune.shared.batch_size=1024
    finetune.shared.store_negatives=16384
    finetune.shared.negatives=4
    # All 5,600 dev queries; of the six million passages as many as the processes can hold while they rank.
    ++finetune.shared.dev_passages=500000

    # Where the base trains: all pairs, as often as the others see them, and texts as long as evaluation reads them.
    finetune.live.max_pairs=null
    finetune.live.epochs=3
    finetune.live.dtype=bfloat16
    finetune.live.max_length=null
    # It has no store: the batch's negatives and one hard one for each query, so the batch is large; caching lets it fit any GPU, for a third more work.
    finetune.live.batch_size=1024
    finetune.live.negatives=1
    finetune.live.cache_gradients=true
    # Every evaluation encodes its passages again: enough of them to tell checkpoints apart, no more.
    finetune.live.evaluations=6
    finetune.live.dev_queries=2000
    finetune.live.dev_passages=50000
)
models=(base pretrain smart_hybrid full_finetune pretrain_finetune)

if $dry; then
    source experiments/dry.sh
else
    source experiments/queue.sh
fi

queue paper seed-42 "${settings[@]}"
queue paper base-trains "${settings[@]}" freeze_base=false
queue paper seed-1 "${settings[@]}" seed=1
queue paper seed-2 "${settings[@]}" seed=2
run_queue

python -m estimate.table paper "${models[@]}" --split test --baseline seed-42 | tee experiments/paper.md
