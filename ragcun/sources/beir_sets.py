"""The public sets of BEIR, as data: what a correct download of each is. `ragcun.sources.beir` reads and checks them.

md5: of the zip file, from the table in beir's README (the metadata of beir 2.2.0 on PyPI); ir_datasets 0.6.3 has the same.
zip_bytes: from ir_datasets' downloads.json. For estimates; a download is held to its MD5.
licence: as the task of MTEB 2.26.24 names it; None where it says "not specified", and for dbpedia-entity, whose sources
    differ. A hint: the pages of the sets decide.
queries_are_documents: True where queries are texts of the corpus' kind under ids of the same numbering, so that a query's own
    document must not be its result: arguana, whose queries are all in the corpus, and quora. The same two are marked
    `ignore_identical_ids` in MTEB 2.26.24. MTEB marks fiqa, fever and msmarco too, where a query and an unrelated document
    share a number by accident; that document counts here like any other. cqadupstack's queries were taken out of its corpus.
reported: the split whose scores BEIR reports (its README: `dev` for msmarco, `test` for the others).
documents, queries, judgements: exact, the rows of corpus.jsonl and qrels/*.tsv and the queries judged there, as counted in
    ir_datasets' metadata.json; they agree with the rounded figures of beir's README. webis-touche2020 is the second version
    (ir_datasets' webis-touche2020/v2), which the README's MD5 is of. `dev` is there where the set has one beside the
    reported split.
parts: the folders of a set that is made of several, searched each by itself.

A figure of None is not known, hence not checked, and its report says so.
"""

from typing import Any

REGISTRY: dict[str, dict[str, Any]] = {
    "msmarco": {
        "md5": "444067daf65d982533ea17ebd59501e4",
        "zip_bytes": 1_082_258_632,
        "licence": "msr-la-nc",
        "reported": "dev",
        "documents": 8_841_823,
        "splits": {"dev": {"queries": 6980, "judgements": 7437}},
    },
    "trec-covid": {
        "md5": "ce62140cb23feb9becf6270d0d1fe6d1",
        "zip_bytes": 73_876_720,
        "licence": None,
        "reported": "test",
        "documents": 171_332,
        "splits": {"test": {"queries": 50, "judgements": 66_336}},
    },
    "nfcorpus": {
        "md5": "a89dba18a62ef92f7d323ec890a0d38d",
        "zip_bytes": 2_448_432,
        "licence": None,
        "reported": "test",
        "documents": 3633,
        "splits": {"test": {"queries": 323, "judgements": 12_334}, "dev": {"queries": 324, "judgements": 11_385}},
    },
    "nq": {
        "md5": "d4d3d2e48787a744b6f6e691ff534307",
        "zip_bytes": 498_307_926,
        "licence": "cc-by-nc-sa-3.0",
        "reported": "test",
        "documents": 2_681_468,
        "splits": {"test": {"queries": 3452, "judgements": 4201}},
    },
    "hotpotqa": {
        "md5": "f412724f78b0d91183a0e86805e16114",
        "zip_bytes": 654_025_350,
        "licence": "cc-by-sa-4.0",
        "reported": "test",
        "documents": 5_233_329,
        "splits": {"test": {"queries": 7405, "judgements": 14_810}, "dev": {"queries": 5447, "judgements": 10_894}},
    },
    "fiqa": {
        "md5": "17918ed23cd04fb15047f73e6c3bd9d9",
        "zip_bytes": 17_948_027,
        "licence": None,
        "reported": "test",
        "documents": 57_638,
        "splits": {"test": {"queries": 648, "judgements": 1706}, "dev": {"queries": 500, "judgements": 1238}},
    },
    "arguana": {
        "md5": "8ad3e3c2a5867cdced806d6503f29b99",
        "zip_bytes": 3_773_617,
        "queries_are_documents": True,
        "licence": "cc-by-sa-4.0",
        "reported": "test",
        "documents": 8674,
        "splits": {"test": {"queries": 1406, "judgements": 1406}},
    },
    "webis-touche2020": {
        "md5": "46f650ba5a527fc69e0a6521c5a23563",
        "zip_bytes": 227_132_363,
        "licence": "cc-by-sa-4.0",
        "reported": "test",
        "documents": 382_545,
        "splits": {"test": {"queries": 49, "judgements": 2214}},
    },
    "cqadupstack": {
        "md5": "4e41456d7df8ee7760a7f866133bda78",
        "zip_bytes": 5_343_728_040,
        "licence": "apache-2.0",
        "reported": "test",
        "parts": {
            "android": {
                "documents": 22_998,
                "splits": {"test": {"queries": 699, "judgements": 1696}},
            },
            "english": {
                "documents": 40_221,
                "splits": {"test": {"queries": 1570, "judgements": 3765}},
            },
            "gaming": {
                "documents": 45_301,
                "splits": {"test": {"queries": 1595, "judgements": 2263}},
            },
            "gis": {
                "documents": 37_637,
                "splits": {"test": {"queries": 885, "judgements": 1114}},
            },
            "mathematica": {
                "documents": 16_705,
                "splits": {"test": {"queries": 804, "judgements": 1358}},
            },
            "physics": {
                "documents": 38_316,
                "splits": {"test": {"queries": 1039, "judgements": 1933}},
            },
            "programmers": {
                "documents": 32_176,
                "splits": {"test": {"queries": 876, "judgements": 1675}},
            },
            "stats": {
                "documents": 42_269,
                "splits": {"test": {"queries": 652, "judgements": 913}},
            },
            "tex": {
                "documents": 68_184,
                "splits": {"test": {"queries": 2906, "judgements": 5154}},
            },
            "unix": {
                "documents": 47_382,
                "splits": {"test": {"queries": 1072, "judgements": 1693}},
            },
            "webmasters": {
                "documents": 17_405,
                "splits": {"test": {"queries": 506, "judgements": 1395}},
            },
            "wordpress": {
                "documents": 48_605,
                "splits": {"test": {"queries": 541, "judgements": 744}},
            },
        },
    },
    "quora": {
        "md5": "18fb154900ba42a600f84b839c173167",
        "zip_bytes": 15_853_968,
        "queries_are_documents": True,
        "licence": None,
        "reported": "test",
        "documents": 522_931,
        "splits": {"test": {"queries": 10_000, "judgements": 15_675}, "dev": {"queries": 5000, "judgements": 7626}},
    },
    "dbpedia-entity": {
        "md5": "c2a39eb420a3164af735795df012ac2c",
        "zip_bytes": 639_285_131,
        "licence": None,
        "reported": "test",
        "documents": 4_635_922,
        "splits": {"test": {"queries": 400, "judgements": 43_515}, "dev": {"queries": 67, "judgements": 5673}},
    },
    "scidocs": {
        "md5": "38121350fc3a4d2f48850f6aff52e4a9",
        "zip_bytes": 142_471_588,
        "licence": "cc-by-sa-4.0",
        "reported": "test",
        "documents": 25_657,
        "splits": {"test": {"queries": 1000, "judgements": 29_928}},
    },
    "fever": {
        "md5": "5a818580227bfb4b35bb6fa46d9b6c03",
        "zip_bytes": 1_236_988_269,
        "licence": "cc-by-nc-sa-3.0",
        "reported": "test",
        "documents": 5_416_568,
        "splits": {"test": {"queries": 6666, "judgements": 7937}, "dev": {"queries": 6666, "judgements": 8079}},
    },
    "climate-fever": {
        "md5": "8b66f0a9126c521bae2bde127b4dc99d",
        "zip_bytes": 1_228_666_652,
        "licence": "cc-by-sa-4.0",
        "reported": "test",
        "documents": 5_416_593,
        "splits": {"test": {"queries": 1535, "judgements": 4681}},
    },
    "scifact": {
        "md5": "5f7d1de60b170fc8027bb7898e2efca1",
        "zip_bytes": 2_816_079,
        "licence": "cc-by-nc-4.0",
        "reported": "test",
        "documents": 5183,
        "splits": {"test": {"queries": 300, "judgements": 339}},
    },
}
