"""The public sets of BEIR, as data: what a correct download of each is. `ragcun.sources.beir` reads and checks them.

The figures are exact. The MD5s are from the table in beir's README (the metadata of beir 2.2.0 on PyPI; ir_datasets 0.6.3
has the same), the sizes of the zip files from ir_datasets' downloads.json, the counts from its metadata.json; they agree
with the rounded figures of beir's README. webis-touche2020 is the second version (ir_datasets' webis-touche2020/v2), which
the README's MD5 is of.
"""

from dataclasses import dataclass
from typing import NamedTuple


class Counts(NamedTuple):
    """The queries that a split judges, and the rows of its qrels."""

    queries: int
    judgements: int


@dataclass(frozen=True)
class Folder:
    """A folder in BEIR's layout: the rows of corpus.jsonl, and the reported split, with `dev` where there is one beside it."""

    documents: int
    splits: dict[str, Counts]


@dataclass(frozen=True)
class BeirSet:
    """A published set.

    md5: of the zip file. zip_bytes: for estimates; a download is held to its MD5.
    licence: as the task of MTEB 2.26.24 names it; None where it says "not specified", and for dbpedia-entity, whose
        sources differ. A hint: the pages of the sets decide.
    folders: the parts of a set by name, each searched by itself; the only folder of another set is under "".
    reported: the split whose scores BEIR reports (its README).
    queries_are_documents: queries are texts of the corpus' kind under ids of the same numbering, so a query's own document
        must not be its result: arguana, whose queries are all in the corpus, and quora. MTEB 2.26.24 marks the same two
        `ignore_identical_ids`, and fiqa, fever and msmarco too, where a query and an unrelated document share a number by
        accident; that document counts here like any other. cqadupstack's queries were taken out of its corpus.
    """

    md5: str
    zip_bytes: int
    licence: str | None
    folders: dict[str, Folder]
    reported: str = "test"
    queries_are_documents: bool = False


def _folder(documents: int, **splits: tuple[int, int]) -> Folder:
    return Folder(documents, {split: Counts(*counts) for split, counts in splits.items()})


REGISTRY = {
    "msmarco": BeirSet(
        "444067daf65d982533ea17ebd59501e4",
        1_082_258_632,
        "msr-la-nc",
        {"": _folder(8_841_823, dev=(6980, 7437))},
        reported="dev",
    ),
    "trec-covid": BeirSet(
        "ce62140cb23feb9becf6270d0d1fe6d1", 73_876_720, None, {"": _folder(171_332, test=(50, 66_336))}
    ),
    "nfcorpus": BeirSet(
        "a89dba18a62ef92f7d323ec890a0d38d", 2_448_432, None, {"": _folder(3633, test=(323, 12_334), dev=(324, 11_385))}
    ),
    "nq": BeirSet(
        "d4d3d2e48787a744b6f6e691ff534307", 498_307_926, "cc-by-nc-sa-3.0", {"": _folder(2_681_468, test=(3452, 4201))}
    ),
    "hotpotqa": BeirSet(
        "f412724f78b0d91183a0e86805e16114",
        654_025_350,
        "cc-by-sa-4.0",
        {"": _folder(5_233_329, test=(7405, 14_810), dev=(5447, 10_894))},
    ),
    "fiqa": BeirSet(
        "17918ed23cd04fb15047f73e6c3bd9d9", 17_948_027, None, {"": _folder(57_638, test=(648, 1706), dev=(500, 1238))}
    ),
    "arguana": BeirSet(
        "8ad3e3c2a5867cdced806d6503f29b99",
        3_773_617,
        "cc-by-sa-4.0",
        {"": _folder(8674, test=(1406, 1406))},
        queries_are_documents=True,
    ),
    "webis-touche2020": BeirSet(
        "46f650ba5a527fc69e0a6521c5a23563", 227_132_363, "cc-by-sa-4.0", {"": _folder(382_545, test=(49, 2214))}
    ),
    "cqadupstack": BeirSet(
        "4e41456d7df8ee7760a7f866133bda78",
        5_343_728_040,
        "apache-2.0",
        {
            "android": _folder(22_998, test=(699, 1696)),
            "english": _folder(40_221, test=(1570, 3765)),
            "gaming": _folder(45_301, test=(1595, 2263)),
            "gis": _folder(37_637, test=(885, 1114)),
            "mathematica": _folder(16_705, test=(804, 1358)),
            "physics": _folder(38_316, test=(1039, 1933)),
            "programmers": _folder(32_176, test=(876, 1675)),
            "stats": _folder(42_269, test=(652, 913)),
            "tex": _folder(68_184, test=(2906, 5154)),
            "unix": _folder(47_382, test=(1072, 1693)),
            "webmasters": _folder(17_405, test=(506, 1395)),
            "wordpress": _folder(48_605, test=(541, 744)),
        },
    ),
    "quora": BeirSet(
        "18fb154900ba42a600f84b839c173167",
        15_853_968,
        None,
        {"": _folder(522_931, test=(10_000, 15_675), dev=(5000, 7626))},
        queries_are_documents=True,
    ),
    "dbpedia-entity": BeirSet(
        "c2a39eb420a3164af735795df012ac2c",
        639_285_131,
        None,
        {"": _folder(4_635_922, test=(400, 43_515), dev=(67, 5673))},
    ),
    "scidocs": BeirSet(
        "38121350fc3a4d2f48850f6aff52e4a9", 142_471_588, "cc-by-sa-4.0", {"": _folder(25_657, test=(1000, 29_928))}
    ),
    "fever": BeirSet(
        "5a818580227bfb4b35bb6fa46d9b6c03",
        1_236_988_269,
        "cc-by-nc-sa-3.0",
        {"": _folder(5_416_568, test=(6666, 7937), dev=(6666, 8079))},
    ),
    "climate-fever": BeirSet(
        "8b66f0a9126c521bae2bde127b4dc99d", 1_228_666_652, "cc-by-sa-4.0", {"": _folder(5_416_593, test=(1535, 4681))}
    ),
    "scifact": BeirSet(
        "5f7d1de60b170fc8027bb7898e2efca1", 2_816_079, "cc-by-nc-4.0", {"": _folder(5183, test=(300, 339))}
    ),
}
