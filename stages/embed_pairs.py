"""models/base and the texts of data/pairs/TASK → data/embeddings/pairs/TASK: the store.

Usage: python -m stages.launch --nproc-per-node=1 -m stages.embed_pairs {finetune|pretrain}
"""

import sys
from pathlib import Path

from ragcun import distributed
from ragcun.data.pairs import read_texts
from ragcun.encode.base import load_base
from ragcun.encode.encoder import TextEncoder
from ragcun.encode.store import Texts, write_embeddings
from ragcun.params import load_params
from stages.launch import run_stage


def main() -> None:
    (task,) = sys.argv[1:]
    params = load_params()
    with distributed.process_group(params.ddp.timeout):
        device = str(distributed.device())
        model = load_base("models/base", normalize=params.normalize_base, device=device)
        encoder = TextEncoder.of(model, params.embed)
        texts = read_texts(Path("data/pairs", task))
        lists = {"texts": Texts(texts["text"].tolist(), texts["role"].tolist())}
        write_embeddings(Path("data/embeddings/pairs", task), encoder, lists)


if __name__ == "__main__":
    run_stage(main)
