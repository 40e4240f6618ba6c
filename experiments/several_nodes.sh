#!/usr/bin/env bash
# One training over several machines. Run on every node, in one project folder that all of them see, with RAGCUN_CACHE on a
# file system that all of them see, after `dvc repro` of what the training reads (docs/scale.md says how).
#
#   static:   NNODES=2 NODE_RANK=0 HEAD=node0:29500 bash experiments/several_nodes.sh finetune full_finetune --init models/base --freeze-base false
#             (NODE_RANK=1 on the second node, and so on)
#   elastic:  NNODES=1:4 HEAD=node0:29500 RUN_ID=mine bash experiments/several_nodes.sh pretrain
#             nodes may come and go; whoever is left goes on from the last checkpoint
#
# NPROC: processes on a node (gpu: one for each GPU). MAX_RESTARTS: of an elastic run, 3 unless told.
set -euo pipefail
cd "$(dirname "$0")/.."

: "${NNODES:?how many nodes, or MIN:MAX}" "${HEAD:?host:port of the first node}"
stage=${1:?a stage: pretrain, or finetune with its arguments}

if [[ $NNODES == *:* ]]; then
    rendezvous=(--rdzv-backend=c10d --rdzv-endpoint="$HEAD" --rdzv-id="${RUN_ID:-ragcun}" --max-restarts="${MAX_RESTARTS:-3}")
else
    rendezvous=(--node-rank="${NODE_RANK:?this node, from 0}" --master-addr="${HEAD%:*}" --master-port="${HEAD##*:}")
fi
exec python -m stages.launch --nnodes="$NNODES" --nproc-per-node="${NPROC:-gpu}" "${rendezvous[@]}" -m "stages.$stage" "${@:2}"
