"""Training pairs made from passages alone, without any label.

crops         two spans of one passage, each cut independently (Izacard et al. 2022, arXiv 2112.09118)
inverse_cloze a sentence asks for the rest of its passage (Lee et al. 2019, arXiv 1906.00300)
title_body    the title asks for the body
"""

import json
import re
import tempfile
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import IO

import numpy as np
import pandas as pd

from ragcun.core.errors import RagcunError
from ragcun.core.files import JsonValues
from ragcun.data.digests import DigestList, Digests, Numbering
from ragcun.data.pairs import PreparedPairs
from ragcun.data.text import document_keys
from ragcun.params import UnsupervisedPairs
from ragcun.sources.records import Passage, Split

# A crop is a tenth to a half of its passage's words.
_SHORTEST_CROP, _LONGEST_CROP = 0.1, 0.5
# How often the sentence stays in the passage that it asks for, so that a word in common still counts (Lee et al.).
_SENTENCE_STAYS = 0.1
_DEV_EVERY = 20
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")

TextPair = tuple[str, str]


@dataclass(frozen=True)
class UnsupervisedPair:
    """A query, the text that answers it, and its split: all pairs of one passage are in one split."""

    split: Split
    query: str
    positive: str


def make_pairs(passages: Sequence[Passage], kind: UnsupervisedPairs, count: int, seed: int) -> list[UnsupervisedPair]:
    """Make `count` pairs: one from each passage in a seeded order, and around again until there are enough.

    Passages that cannot make a pair (one word, one sentence, no title) are skipped. Of the others, the first of every
    twenty gives dev pairs: so dev is a twentieth of the pairs, wherever the last round ends.

    Raises RagcunError where fewer than two passages make a pair of this kind: dev and train need one each.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(passages)).tolist()
    pairs: list[UnsupervisedPair] = []
    usable: list[int] = []
    while order and len(pairs) < count:
        usable = []
        for row in order:
            pair = _KINDS[kind](passages[row], random)
            if pair is not None:
                pairs.append(UnsupervisedPair("train" if len(usable) % _DEV_EVERY else "dev", *pair))
                usable.append(row)
            if len(pairs) == count:
                break
        # Titles and bodies are the same the second time.
        order = [] if kind == "title_body" else usable
    if len({pair.split for pair in pairs}) < 2:
        raise RagcunError(
            f"pretrain.pairs: {kind} makes pairs from {len(usable)} of the {len(passages)} passages that training may "
            "see, too few for a train and a dev split: choose another kind, or other data.passages"
        )
    return pairs


def pretraining_pairs(
    allowed: Digests, passages: Iterable[Passage], kind: UnsupervisedPairs, count: int, seed: int
) -> PreparedPairs:
    """The pairs of pretraining, from the distinct passages whose text is among `allowed`: fine-tuning's train passages.

    Texts are compared in their normal form. The passages wait in a temporary file, so memory grows only with `count`.

    Raises RagcunError as `make_pairs` does.
    """
    documents = DigestList(document_keys(passage.title, passage.text)[0] for passage in passages).array()
    usable = compress(passages, (np.isin(documents, allowed) & Numbering.of(documents).first).tolist())
    with tempfile.TemporaryFile(prefix="ragcun-") as file:
        spool = _Spool(usable, file)
        pairs = make_pairs(spool, kind, count, seed)
        report: dict[str, object] = {"kind": kind, "passages": len(spool)}
    rows: dict[tuple[str, str, str], int] = {}
    for pair in pairs:
        for key in ((pair.positive, "passage", pair.split), (pair.query, "query", pair.split)):
            rows.setdefault(key, len(rows))
    frames = {}
    for split in ("train", "dev"):
        chosen = dict.fromkeys(
            (rows[pair.query, "query", split], rows[pair.positive, "passage", split])
            for pair in pairs
            if pair.split == split
        )
        frame = pd.DataFrame(list(chosen), columns=["query", "positive"], dtype=np.int64)
        frame["negatives"] = pd.Series([np.empty(0, dtype=np.int64)] * len(frame), dtype=object)
        frames[split] = frame
    report |= {split: len(frame) for split, frame in frames.items()}
    made = pd.DataFrame(list(rows), columns=["text", "role", "split"], dtype="str")
    return PreparedPairs(made, frames["train"], frames["dev"], report)


class _Spool(Sequence[Passage]):
    """Passages written to a file, so that they are not held."""

    def __init__(self, passages: Iterable[Passage], file: IO[bytes]) -> None:
        places = array("q", [0])
        for passage in passages:
            record = json.dumps([passage.id, passage.title, passage.text]).encode("ascii")
            places.append(places[-1] + file.write(record))
        file.flush()
        self._records = JsonValues(file, places)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, number: int) -> Passage:  # type: ignore[override]
        return Passage(*self._records[number])


def _crops(passage: Passage, random: np.random.Generator) -> TextPair | None:
    words = passage.text.split()
    if len(words) < 2:
        return None
    return _crop(words, random), _crop(words, random)


def _crop(words: list[str], random: np.random.Generator) -> str:
    length = max(1, round(len(words) * random.uniform(_SHORTEST_CROP, _LONGEST_CROP)))
    start = int(random.integers(0, len(words) - length + 1))
    return " ".join(words[start : start + length])


def _inverse_cloze(passage: Passage, random: np.random.Generator) -> TextPair | None:
    sentences = _SENTENCE_END.split(passage.text.strip())
    if len(sentences) < 2:
        return None
    place = int(random.integers(len(sentences)))
    rest = sentences if random.random() < _SENTENCE_STAYS else sentences[:place] + sentences[place + 1 :]
    return sentences[place], " ".join(rest)


def _title_body(passage: Passage, random: np.random.Generator) -> TextPair | None:
    title, body = passage.title.strip(), passage.text.strip()
    return (title, body) if title and body else None


_KINDS: dict[UnsupervisedPairs, Callable[[Passage, np.random.Generator], TextPair | None]] = {
    "crops": _crops,
    "inverse_cloze": _inverse_cloze,
    "title_body": _title_body,
}
