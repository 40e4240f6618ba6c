"""Models and results so small that an example shows a whole answer: what docstrings call `tiny`, and so on."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from ragcun.data.benchmark import Benchmark
from ragcun.data.pairs import PreparedPairs, write_pairs
from ragcun.encode.encoder import TextEncoder
from ragcun.evaluate.results import score_run, write_evaluation
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.report.comparison import compare
from ragcun.report.leakage import leakage, read_seen_texts
from tests.tiny import HIDDEN, tiny_transformer


def tiny_names(folder: Path) -> dict[str, Any]:
    """The names that examples use, their files in `folder`.

    tiny: a SentenceTransformer of two words: "river" is [1, 0] and "boat" is [0, 1]. tiny_base: a folder with it.
    tiny_model: a folder with an encoder that ragcun saved, whose base is `tiny` and whose projection is the identity.
    tiny_encoder: a TextEncoder of `tiny`. tiny_bert: a SentenceTransformer of two random BERT layers.
    tiny_pairs: a folder of prepared pairs. tiny_benchmark: a benchmark, whose answer is a training positive.
    tiny_runs: the results of bm25 and base on it. tiny_comparison: the comparison of the two.
    """
    names: dict[str, Any] = {
        "tiny": _two_words(),
        "tiny_base": folder / "base",
        "tiny_model": folder / "model",
        "tiny_bert": SentenceTransformer(
            modules=[tiny_transformer(seed=0, dropout=0), Pooling(HIDDEN, "mean")], device="cpu"
        ),
        "tiny_pairs": folder / "pairs",
        "tiny_benchmark": Benchmark(
            "tiny",
            doc_ids=["d1", "d2"],
            titles=["River", "Boat"],
            bodies=["Water that flows.", "It floats."],
            queries={"test": {"q1": "what flows"}},
            qrels={"test": {"q1": {"d1": 1}}},
        ),
        "tiny_runs": folder / "runs",
    }
    names["tiny"].save(str(names["tiny_base"]), create_model_card=False)
    encoder = IsotropicGaussianEncoder(base_model=str(names["tiny_base"]), output_dim=None, device="cpu")
    encoder.save_finished(names["tiny_model"])
    names["tiny_encoder"] = TextEncoder(names["tiny"], dtype="float32", batch_tokens=128, max_length=None)
    _write_pairs(names["tiny_pairs"])
    for model, first, second in (("bm25", "d1", "d2"), ("base", "d2", "d1")):
        evaluation = score_run(names["tiny_benchmark"], {"q1": {first: 2.0, second: 1.0}}, top_k=1000, isotropy=None)
        write_evaluation(evaluation, folder / f"{model}.json", names["tiny_runs"] / model / "tiny", 100, model)
    seen = leakage({"": names["tiny_benchmark"]}, read_seen_texts(names["tiny_pairs"]))
    names["tiny_comparison"] = compare(
        ["bm25", "base"], ["tiny"], runs=names["tiny_runs"], leakage={"tiny": seen}, permutations=100, seed=0
    )
    return names


def _two_words() -> SentenceTransformer:
    tokenizer = Tokenizer(WordLevel({"river": 0, "boat": 1, "[UNK]": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    rows = np.array([[1, 0], [0, 1], [0, 0]], dtype=np.float32)
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, rows)], device="cpu", similarity_fn_name="cosine")


def _write_pairs(folder: Path) -> None:
    texts = [
        ("what flows", "query", "train"),
        ("River Water that flows.", "passage", "train"),
        ("what floats", "query", "dev"),
        ("Boat It floats.", "passage", "dev"),
    ]
    train, dev = (
        pd.DataFrame({"query": [query], "positive": [query + 1], "negatives": [np.array([], dtype=np.int64)]})
        for query in (0, 2)
    )
    write_pairs(folder, PreparedPairs(pd.DataFrame(texts, columns=["text", "role", "split"]), train, dev, {}))
