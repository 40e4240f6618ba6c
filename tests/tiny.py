"""A small base model and a small benchmark, built from nothing but the words below: no network, seconds at most."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from ragcun.data.benchmark import Benchmark

HIDDEN = 32
MAX_LENGTH = 48
# Six subjects of six words each: texts on one subject share words, texts on two do not.
SUBJECTS = (
    "river water boat bridge fish shore",
    "star planet orbit telescope moon comet",
    "king crown throne castle sword knight",
    "piano violin melody rhythm opera singer",
    "wheat flour bread oven baker yeast",
    "engine wheel piston fuel brake gear",
)
WORDS = [word for subject in SUBJECTS for word in subject.split()]
_OTHER = "query passage title of a the and about which what is was in on with old new large small red"
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def save_tiny_base(
    folder: Path,
    *,
    seed: int = 0,
    prompts: dict[str, str] | None = None,
    dropout: float = 0.1,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Save a SentenceTransformer of two random BERT layers, mean pooling and Normalize; return `folder`.

    Args:
        seed: of the weights.
        prompts: by name (`query`, `document`); their words may be those of the texts.
        dropout: of every layer, where it trains.
        dtype: of the weights in the file.
    """
    modules = [tiny_transformer(seed=seed, dropout=dropout, dtype=dtype), Pooling(HIDDEN, "mean"), Normalize()]
    SentenceTransformer(modules=modules, prompts=prompts, device="cpu").save(str(folder), create_model_card=False)
    return folder


def save_tiny_router(folder: Path) -> Path:
    """Save a SentenceTransformer with a tower for queries and one for documents, then Normalize; return `folder`."""
    towers: list[Any] = [[tiny_transformer(seed=seed, dropout=0.1), Pooling(HIDDEN, "mean")] for seed in (0, 1)]
    # Queries are tokenized otherwise than documents, and no text takes a route by default.
    towers[0][0].max_seq_length = 6
    router = Router.for_query_document(*towers, default_route=None, allow_empty_key=False)
    prompts = {"query": "which ", "document": "the "}
    modules = [router, Normalize()]
    SentenceTransformer(modules=modules, prompts=prompts, device="cpu").save(str(folder), create_model_card=False)
    return folder


def tiny_transformer(*, seed: int, dropout: float, dtype: torch.dtype = torch.float32) -> Transformer:
    """Two random BERT layers with their tokenizer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        bert = BertModel(
            BertConfig(
                vocab_size=len(_vocabulary()),
                hidden_size=HIDDEN,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=2 * HIDDEN,
                max_position_embeddings=MAX_LENGTH,
                # Ten times the usual spread: with the usual one all texts get nearly the same vector.
                initializer_range=0.2,
                hidden_dropout_prob=dropout,
                attention_probs_dropout_prob=dropout,
            )
        )
    with tempfile.TemporaryDirectory() as parts:
        bert.to(dtype).save_pretrained(parts)
        _tokenizer().save_pretrained(parts)
        return Transformer(parts)


def tiny_benchmark(name: str = "tiny") -> Benchmark:
    """24 documents on six subjects, six test queries and three dev queries, each on one subject with two answers."""
    doc_ids, titles, bodies = [], [], []
    for number, subject in enumerate(SUBJECTS):
        words = subject.split()
        for part in range(4):
            doc_ids.append(f"d{number}{part}")
            # The last document of a subject has no title.
            titles.append(f"{words[part]} {words[part + 1]}" if part < 3 else "")
            bodies.append(f"the {' and the '.join(words[part:])} with a {words[part]} " + "of old " * part)
    queries: dict[str, dict[str, str]] = {"test": {}, "dev": {}}
    qrels: dict[str, dict[str, dict[str, int]]] = {"test": {}, "dev": {}}
    for number, subject in enumerate(SUBJECTS):
        words = subject.split()
        queries["test"][f"q{number}"] = f"what is {words[0]} {words[2]}"
        qrels["test"][f"q{number}"] = {f"d{number}0": 2, f"d{number}1": 1, f"d{number}3": 0}
        if number % 2:
            queries["dev"][f"v{number}"] = f"which {words[4]} about {words[5]}"
            qrels["dev"][f"v{number}"] = {f"d{number}2": 1, f"d{number}3": 1}
    return Benchmark(name, doc_ids, titles, bodies, queries, qrels)


def self_query(document: str) -> Benchmark:
    """The tiny corpus and one query, which is the document of the same id; another document of its subject answers it."""
    tiny = tiny_benchmark("self")
    text = tiny.doc_texts[tiny.doc_ids.index(document)]
    answer = next(other for other in tiny.doc_ids if other[:2] == document[:2] and other != document)
    return replace(tiny, queries={"test": {document: text}}, qrels={"test": {document: {answer: 1}}})


def _vocabulary() -> dict[str, int]:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789:?."
    pieces = [*_SPECIAL, *letters, *(f"##{letter}" for letter in letters), *_OTHER.split(), *WORDS]
    return {piece: row for row, piece in enumerate(dict.fromkeys(pieces))}


def _tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = _vocabulary()
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    ends = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = {f"{token.strip('[]').lower()}_token": token for token in _SPECIAL}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=MAX_LENGTH, **names)
