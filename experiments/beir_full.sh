#!/usr/bin/env bash
# The strategies on all fifteen public sets of BEIR: 11 GB to download, 34 million documents. Further settings may follow,
# such as --set-param ddp.nproc_per_node=gpu.
set -euo pipefail
cd "$(dirname "$0")/.."

sets=msmarco,trec-covid,nfcorpus,nq,hotpotqa,fiqa,arguana,webis-touche2020,cqadupstack,quora,dbpedia-entity,scidocs,fever
dvc exp run --set-param "data.benchmarks=[$sets,climate-fever,scifact]" "$@"
