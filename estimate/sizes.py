"""How large the data of a run is: published figures, each with its origin, and the counts that follow from the params.

CHARACTERS_A_WORD, CROP and WIKIPEDIA_FILL are not published but assumed or counted here. Lengths of texts are in words; the
measured tokens per word of a base give its tokens.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ragcun.params import Params
from ragcun.sources.beir_sets import REGISTRY

# microsoft/ms_marco v2.1. Queries and download: the dataset's card on Hugging Face. Queries with a selected passage and
# selected passages: qrels.train.tsv and qrels.dev.tsv of MS MARCO's passage ranking, which is made of the same rows (its
# page, https://microsoft.github.io/msmarco/Datasets.html, also has the 8,841,823 distinct passages of 1,010,916 queries).
MSMARCO = {
    "download_bytes": 2_105_722_550,
    "queries": 808_731 + 101_093 + 101_092,
    "train_queries": 502_939,
    "train_pairs": 532_761,
    "held_out_queries": 55_578,
    "held_out_pairs": 59_273,
    "passages_a_query": 10,
    "distinct_passages": 8_841_823,
}
# wikimedia/wikipedia, 20231101.en: the dataset's card on Hugging Face; the files are those of the repository's folder.
WIKIPEDIA = {"download_bytes": 11_630_929_031, "text_bytes": 20_200_062_385, "files": 41}
# Words of a query and of a document, means: Thakur et al. 2021 (BEIR, arXiv 2104.08663), table 1.
WORDS = {
    "msmarco": (5.96, 55.98),
    "trec-covid": (10.60, 160.77),
    "nfcorpus": (3.30, 232.26),
    "nq": (9.16, 78.88),
    "hotpotqa": (17.61, 46.30),
    "fiqa": (10.77, 132.32),
    "arguana": (192.98, 166.80),
    "webis-touche2020": (6.55, 292.37),
    "cqadupstack": (8.59, 129.09),
    "quora": (9.53, 11.44),
    "dbpedia-entity": (5.39, 49.68),
    "scidocs": (9.38, 176.19),
    "fever": (8.13, 84.76),
    "climate-fever": (20.13, 84.76),
    "scifact": (12.37, 213.63),
}
# The embedded data, counted; ragcun/sources/vital.py and fanoutqa.py hold them to these numbers. Bytes are the wheels'.
VITAL = {"download_bytes": 4_869_272, "articles": 10_033, "train": 7_033, "pairs": 6_913, "dev": 914, "test": 1_814}
FANOUTQA = {"download_bytes": 390_256, "queries": 161 + 404}
EMBEDDED_WORDS = {"vital-descriptions": (5.9, 79.0), "fanoutqa": (16.7, 79.0)}
CHARACTERS_A_WORD = 6.3
# As in ragcun/prepare/pretraining.py: the mean share of a passage's words that a crop has, and the share of the dev pairs.
CROP, PRETRAINING_DEV = 0.3, 0.05
# Long articles give passages near wikipedia.max_length, short ones anything above min_length: the mean is assumed half-way.
WIKIPEDIA_FILL = 0.5


@dataclass(frozen=True)
class Group:
    """Texts of a kind: how many, and their mean length in words."""

    count: int
    words: float

    @property
    def characters(self) -> float:
        return self.count * self.words * CHARACTERS_A_WORD


@dataclass(frozen=True)
class Corpus:
    """A benchmark."""

    documents: Group
    queries: Group
    download_bytes: int

    @property
    def texts(self) -> tuple[Group, ...]:
        return self.documents, self.queries


@dataclass(frozen=True)
class Pairs:
    """Labelled pairs.

    Attributes:
        raw, raw_texts: pairs of all splits, and every text they name.
        train, dev_queries: what is prepared.
        added: the train passages that they bring beside the unlabelled ones.
        others: further distinct texts.
        words: of a query, and of the document that answers it.
    """

    download_bytes: int
    raw: int
    raw_texts: Group
    train: int
    dev_queries: int
    added: Group
    others: tuple[Group, ...]
    words: tuple[float, float]


@dataclass(frozen=True)
class Sizes:
    """What the stages of a run handle."""

    passages: Group
    passages_download: int
    pairs: Pairs
    pretraining_pairs: int
    benchmarks: Mapping[str, Corpus]

    @classmethod
    def of(cls, params: Params) -> "Sizes":
        """The sizes of a run with these params. Raises SystemExit for data of unknown size."""
        passages, download = _passages(params)
        benchmarks = {name: _benchmark(name) for name in params.data.benchmarks}
        return cls(passages, download, _pairs(params), params.pretrain.num_pairs, benchmarks)

    @property
    def train_passages(self) -> int:
        """The store, from which negatives are drawn."""
        return self.passages.count + self.pairs.added.count

    @property
    def mean_passage_words(self) -> float:
        """Of the store."""
        groups = (self.passages, self.pairs.added)
        return sum(group.count * group.words for group in groups) / texts(groups)

    @property
    def texts(self) -> Mapping[str, tuple[Group, ...]]:
        """The texts of data/pairs, by task."""
        crops = Group(2 * self.pretraining_pairs, self.passages.words * CROP)
        return {"finetune": (self.passages, self.pairs.added, *self.pairs.others), "pretrain": (crops,)}


def texts(groups: Iterable[Group]) -> int:
    return sum(group.count for group in groups)


def characters(groups: Iterable[Group]) -> float:
    return sum(group.characters for group in groups)


def _passages(params: Params) -> tuple[Group, int]:
    if params.data.passages == "vital":
        return Group(VITAL["train"], EMBEDDED_WORDS["vital-descriptions"][1]), VITAL["download_bytes"]
    if params.data.passages != "wikipedia":
        raise SystemExit(f"error: the size of data.passages {params.data.passages} is not known: vital or wikipedia")
    settings = params.data.wikipedia
    length = settings.min_length + WIKIPEDIA_FILL * (settings.max_length - settings.min_length)
    # Whole files are fetched until there are enough passages.
    files = -(-settings.num_passages * length // (WIKIPEDIA["text_bytes"] / WIKIPEDIA["files"]))
    download = int(min(files, WIKIPEDIA["files"]) * WIKIPEDIA["download_bytes"] / WIKIPEDIA["files"])
    return Group(settings.num_passages, length / CHARACTERS_A_WORD), download


def _pairs(params: Params) -> Pairs:
    if params.data.pairs == "vital-descriptions":
        query, document = EMBEDDED_WORDS["vital-descriptions"]
        raw = VITAL["pairs"] + VITAL["dev"] + VITAL["test"]
        # Their answers are the passages themselves.
        return Pairs(
            download_bytes=VITAL["download_bytes"],
            raw=raw,
            raw_texts=Group(2 * raw, (query + document) / 2),
            train=VITAL["pairs"],
            dev_queries=VITAL["dev"],
            added=Group(0, document),
            others=(Group(VITAL["pairs"] + VITAL["dev"], query), Group(VITAL["dev"], document)),
            words=(query, document),
        )
    if params.data.pairs != "msmarco":
        raise SystemExit(
            f"error: the size of data.pairs {params.data.pairs} is not known: vital-descriptions or msmarco"
        )
    settings = params.data.msmarco
    query, document = WORDS["msmarco"]
    queries = min(settings.max_train_samples or MSMARCO["train_queries"], MSMARCO["train_queries"])
    train = round(queries * MSMARCO["train_pairs"] / MSMARCO["train_queries"])
    negatives = min(settings.max_negatives, MSMARCO["passages_a_query"] - 1)
    distinct = MSMARCO["distinct_passages"] / (MSMARCO["queries"] * MSMARCO["passages_a_query"])
    dev = round(MSMARCO["held_out_queries"] * settings.split_ratio)
    raw = train + MSMARCO["held_out_pairs"]
    return Pairs(
        download_bytes=MSMARCO["download_bytes"],
        raw=raw,
        raw_texts=Group(raw + train * negatives, document),
        train=train,
        dev_queries=dev,
        added=Group(round((train + queries * negatives) * distinct), document),
        others=(Group(queries + dev, query), Group(dev, document)),
        words=(query, document),
    )


def _benchmark(name: str) -> Corpus:
    if name in EMBEDDED_WORDS:
        query, document = EMBEDDED_WORDS[name]
        mine = name == "vital-descriptions"
        asked = VITAL["dev"] + VITAL["test"] if mine else FANOUTQA["queries"]
        download = VITAL["download_bytes"] + (0 if mine else FANOUTQA["download_bytes"])
        return Corpus(Group(VITAL["articles"], document), Group(asked, query), download)
    if name not in REGISTRY:
        raise SystemExit(f"error: the size of the benchmark {name} is not known: name embedded ones and BEIR's")
    entry, (query, document) = REGISTRY[name], WORDS[name]
    asked = sum(split.queries for folder in entry.folders.values() for split in folder.splits.values())
    documents = sum(folder.documents for folder in entry.folders.values())
    return Corpus(Group(documents, document), Group(asked, query), entry.zip_bytes)
