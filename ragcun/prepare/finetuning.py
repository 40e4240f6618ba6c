"""From the sources' passages and pairs to prepared ones: keep the splits apart, number the texts, mine hard negatives.

1. Training sees nothing that held-out queries ask for (C8). A document that answers a dev or test query leaves the
   training passages, the train positives and the given negatives; a train pair whose query reads as a dev or test query
   leaves too. Dev is kept apart from test in the same way, so that the choice of a checkpoint does not look at test.
2. Every distinct text becomes a row of one table: train passages first, so that their ids are 0 … T-1, in the order
   they came. Of texts that differ in white space or in how Unicode composes them, the first stands for all.
3. A train pair's hard negatives are those its source gave, then the first passages BM25 finds for its query among
   the train passages that are no known positive of it.

Texts are compared in their normal form, and a passage with its title as well as without, as a pair may hold the answer
without it (`held_out.Documents`). Both stay rows, as they are two texts for a model; `same` says which rows are one
document, so that neither is ever a negative for the other's query. One row for both would give the pair another text
than its source did, and could not serve a body that several titles share.

Decisions are made on digests in arrays, and the texts stream from the sources' files when the table is written, so memory
does not grow with their length. Only mining holds the train passages, in BM25's index.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, islice

import numpy as np
import pandas as pd

from ragcun.data.digests import Numbering, places
from ragcun.data.pairs import Ids, SameDocuments, StreamedPairs, TextRow, same_frame
from ragcun.data.text import document_text
from ragcun.prepare.held_out import Documents, Given, Negatives, UsablePairs
from ragcun.prepare.mining import mine
from ragcun.sources.records import Pair, Passage

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Table:
    """The numbered texts: passages 0 … P-1, of which the first `train_passages` are train; then the queries.

    The flags say, for each given passage, pair and negative, whether a text of the table first occurs there.
    """

    sizes: dict[tuple[str, str], int]
    passage_flags: np.ndarray
    positive_flags: dict[str, np.ndarray]
    negative_flags: np.ndarray
    query_flags: dict[str, np.ndarray]
    positives: dict[str, Ids]
    negatives: Ids
    queries: dict[str, Ids]
    same: pd.DataFrame

    @classmethod
    def of(cls, given: Given, kept: np.ndarray, usable: dict[str, UsablePairs], negatives: Negatives) -> "_Table":
        passages = given.documents.full
        train, dev = usable["train"].rows, usable["dev"].rows
        # Ids follow the order in which the source gave the negatives, so that they can be written as they stream.
        came = np.argsort(negatives.slots)
        parts = [passages[kept], given.positive[train], given.negative[negatives.slots[came]], given.positive[dev]]
        texts = np.concatenate(parts)
        documents = Numbering.of(texts)
        ends = np.cumsum([len(part) for part in parts])[:-1]
        first = np.split(documents.first, ends)
        _, positive_ids, negative_ids, dev_ids = np.split(documents.number, ends)
        asked = Numbering.of(np.concatenate([given.query[train], given.query[dev]]))
        query_first, query_ids = np.split(asked.first, [len(train)]), np.split(asked.number, [len(train)])
        in_row_order = np.empty_like(negative_ids)
        in_row_order[came] = negative_ids
        count = len(given.split)
        total = int(documents.first.sum())
        return cls(
            sizes={
                ("passage", "train"): total - int(first[3].sum()),
                ("passage", "dev"): int(first[3].sum()),
                ("query", "train"): int(query_first[0].sum()),
                ("query", "dev"): int(query_first[1].sum()),
            },
            passage_flags=_flags(len(passages), np.flatnonzero(kept)[first[0]]),
            positive_flags={"train": _flags(count, train[first[1]]), "dev": _flags(count, dev[first[3]])},
            negative_flags=_flags(len(given.negative), negatives.slots[came][first[2]]),
            query_flags={"train": _flags(count, train[query_first[0]]), "dev": _flags(count, dev[query_first[1]])},
            positives={"train": positive_ids, "dev": dev_ids},
            negatives=in_row_order,
            queries={"train": total + query_ids[0], "dev": total + query_ids[1]},
            same=_same_rows(given.documents, texts[documents.first]),
        )

    def rows(self, passages: Iterable[Passage], pairs: Iterable[Pair]) -> Iterator[TextRow]:
        """Every text in the order of its id."""
        for passage in compress(passages, self.passage_flags.tolist()):
            yield document_text(passage.title, passage.text), "passage", "train"
        for pair in compress(pairs, self.positive_flags["train"].tolist()):
            yield pair.positive.strip(), "passage", "train"
        for text in compress(_negatives_of(pairs), self.negative_flags.tolist()):
            yield text.strip(), "passage", "train"
        for pair in compress(pairs, self.positive_flags["dev"].tolist()):
            yield pair.positive.strip(), "passage", "dev"
        for split in ("train", "dev"):
            for pair in compress(pairs, self.query_flags[split].tolist()):
                yield pair.query.strip(), "query", split


def prepare(passages: Iterable[Passage], pairs: Iterable[Pair], *, mined_negatives: int) -> StreamedPairs:
    """Prepare the pairs for training; the same input gives the same output, to the byte.

    Args:
        passages: documents that may be trained on; those that answer held-out queries are removed.
        pairs: of all splits; the test pairs only say what to remove. Both are iterated several times, the last time
            while the result's texts are.
        mined_negatives: how many negatives to mine for a train pair, beside those it came with.

    Raises RagcunError where there is no train pair or no dev pair, or none is left.
    """
    given = Given.of(Documents.of(passages), pairs)
    if not given.of_split("test").any():
        logger.warning("the pairs have no test split: only the documents of the dev queries are kept out of training")
    held_out = given.of_split("dev", "test")
    usable = {
        "train": UsablePairs.of(given, "train", held_out),
        "dev": UsablePairs.of(given, "dev", given.of_split("test")),
    }
    negatives = Negatives.of(given, usable["train"], held_out)
    kept = ~np.isin(given.documents.full, given.answers(held_out))
    table = _Table.of(given, kept, usable, negatives)
    sizes = np.bincount(negatives.row, minlength=len(usable["train"].rows))
    lists: Sequence[np.ndarray] = np.split(table.negatives, np.cumsum(sizes)[:-1])
    if mined_negatives:
        lists = _mine(table, given, usable["train"], lists, table.rows(passages, pairs), mined_negatives)
    report = {
        "train_pairs": usable["train"].counts,
        "dev_pairs": usable["dev"].counts,
        "negatives": negatives.counts | _mined_report(lists, len(negatives.slots)),
        "test": _test_report(given),
        "passages": _passages_report(kept, table),
    }
    train = _frame(table, "train", lists)
    dev = _frame(table, "dev", [np.empty(0, dtype=np.int64)] * len(usable["dev"].rows))
    return StreamedPairs(lambda: table.rows(passages, pairs), train, dev, report, table.same)


def _same_rows(documents: Documents, texts: np.ndarray) -> pd.DataFrame:
    """The rows of `texts` that are the same document."""
    rows, bodies = (places(form, texts) for form in documents.titled)
    both = (rows >= 0) & (bodies >= 0)
    return same_frame(rows[both], bodies[both])


def _flags(count: int, places: np.ndarray) -> np.ndarray:
    flags = np.zeros(count, dtype=bool)
    flags[places] = True
    return flags


def _negatives_of(pairs: Iterable[Pair]) -> Iterator[str]:
    for pair in pairs:
        yield from pair.negatives


def _mine(
    table: _Table,
    given: Given,
    train: UsablePairs,
    own: Sequence[np.ndarray],
    rows: Iterator[TextRow],
    mined_negatives: int,
) -> list[np.ndarray]:
    """Each train pair's given negatives, then those that BM25 finds."""
    passages = [text for text, _, _ in islice(rows, table.sizes["passage", "train"])]
    queries = [text for text, role, split in rows if (role, split) == ("query", "train")]
    asked = table.queries["train"] - table.queries["train"].min()
    keys = Numbering.of(given.key[train.rows]).number
    answers: dict[int, set[int]] = defaultdict(set)
    for key, positive in zip(keys.tolist(), table.positives["train"].tolist(), strict=True):
        answers[key].add(positive)
    key_of = dict(zip(asked.tolist(), keys.tolist(), strict=True))
    same = SameDocuments(table.same)
    known = {key: same.spread(ids) for key, ids in answers.items()}
    struck = [same.spread(ids.tolist()) for ids in own]
    mined = mine(
        passages, queries, [known[key_of[query]] for query in range(len(queries))], asked, struck, mined_negatives
    )
    return [np.concatenate([ids, found]) for ids, found in zip(own, mined, strict=True)]


def _frame(table: _Table, split: str, negatives: Sequence[np.ndarray]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "query": table.queries[split],
            "positive": table.positives[split],
            "negatives": pd.Series(list(negatives), dtype=object),
        }
    )


def _passages_report(kept: np.ndarray, table: _Table) -> dict[str, int]:
    return {
        "given": len(kept),
        "removed_held_out": int((~kept).sum()),
        "train": table.sizes["passage", "train"],
        "dev": table.sizes["passage", "dev"],
    }


def _mined_report(negatives: Sequence[np.ndarray], given: int) -> dict[str, float]:
    counts = np.array([len(ids) for ids in negatives])
    return {
        "mined": int(counts.sum()) - given,
        "fewest_per_pair": int(counts.min()),
        "mean_per_pair": float(counts.mean()),
    }


def _test_report(given: Given) -> dict[str, float]:
    """How many documents and queries of the pairs' test split training would have seen."""
    test, train = given.of_split("test"), given.of_split("train")
    asked, queries = np.unique(given.positive[test]), np.unique(given.key[test])
    seen_negatives = given.negative[np.repeat(train, np.diff(given.bounds))]
    seen = given.documents.spread(np.concatenate([given.positive[train], seen_negatives, given.documents.full]))
    found = int(np.isin(asked, seen).sum())
    found_queries = int(np.isin(queries, given.key[train]).sum())
    return {
        "queries": len(queries),
        "documents": len(asked),
        "documents_found_in_training_and_removed": found,
        "share_found_in_training_and_removed": found / len(asked) if len(asked) else 0.0,
        "queries_found_in_training_and_removed": found_queries,
        "share_of_queries_found_in_training_and_removed": found_queries / len(queries) if len(queries) else 0.0,
    }
