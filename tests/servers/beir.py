"""A mirror of BEIR: a tiny zip for every set of the registry, in the real layout, with what real sets hold besides.

    with HttpServer(beir_routes()) as server:       # data.beir_url is server.url + "/beir"
        monkeypatch.setattr(beir_sets, "REGISTRY", beir_entries())

In every set: documents with metadata, with an empty title, without title, without any text, and in several scripts;
judgements of degree 2 and 0, and one of a document that is not there; queries of other splits; files nobody asked for.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Any

from ragcun.sources import beir_sets
from ragcun.sources.beir_sets import BeirSet, Counts, Folder
from tests.servers.http import Response

# Each query asks for the document of the same row.
TOPICS = [
    ("river", "water under the bridge", "which water runs under a bridge"),
    ("planet", "the moon and a comet", "what is a comet beside the moon"),
    ("castle", "a king with a sword", "the sword of a king"),
    ("", "fish near the shore", "where are fish near a shore"),
    ("نهر", "الماء تحت الجسر", "أين الماء تحت الجسر"),
    ("城", "王の剣と玉座", "王の剣はどこ"),
    ("naïve", 'a\u2028b \N{OWL} "quoted"\ttext', "naïve \N{OWL}?"),
    ("orbit", "a telescope sees the orbit", "what sees an orbit"),
]
EMPTY = "empty"
UNKNOWN = "not-in-the-corpus"
_SPLITS = {"train": TOPICS[0:2], "dev": TOPICS[2:4], "test": TOPICS[4:]}


def beir_routes(prefix: str = "/beir") -> dict[str, Response]:
    """What the mirror serves: `prefix`/NAME.zip."""
    return {f"{prefix}/{name}.zip": Response(zip_of(name)) for name in beir_sets.REGISTRY}


def beir_entries() -> dict[str, BeirSet]:
    """The registry that fits the mirror; licences, splits and parts are the real ones'."""
    return {name: _entry(name, real) for name, real in beir_sets.REGISTRY.items()}


@cache
def zip_of(name: str) -> bytes:
    """The zip file of the set `name`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in beir_sets.REGISTRY[name].folders:
            for file, content in folder_files(part).items():
                # An entry of a fixed date: the same bytes each time.
                archive.writestr(zipfile.ZipInfo("/".join(filter(None, (name, part, file)))), content)
        archive.writestr(zipfile.ZipInfo(f"__MACOSX/{name}/._corpus.jsonl"), b"\0")
    return buffer.getvalue()


def folder_files(part: str = "") -> dict[str, str]:
    """The files of one folder; its ids tell which part it is."""
    corpus = [
        {"_id": f"{part}d{row}", "title": title, "text": text, "metadata": {"url": f"http://x/{row}", "authors": ["A"]}}
        for row, (title, text, _) in enumerate(TOPICS)
    ]
    corpus[2].pop("title")
    corpus.append({"_id": f"{part}{EMPTY}", "title": "", "text": "", "metadata": {}})
    queries = [{"_id": f"{part}q{row}", "text": query, "metadata": {}} for row, (_, _, query) in enumerate(TOPICS)]
    files = {"corpus.jsonl": _jsonl(corpus), "queries.jsonl": _jsonl(queries), "queries/extra.txt": "not needed"}
    for split, topics in _SPLITS.items():
        lines = ["query-id\tcorpus-id\tscore"]
        for row in map(TOPICS.index, topics):
            lines += [f"{part}q{row}\t{part}d{row}\t2", f"{part}q{row}\t{part}{EMPTY}\t0"]
        lines.append(f"{part}q{TOPICS.index(topics[0])}\t{part}{UNKNOWN}\t1")
        files[f"qrels/{split}.tsv"] = "\n".join(lines) + "\n"
    return files


def _entry(name: str, real: BeirSet) -> BeirSet:
    content = zip_of(name)
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    folders = {part: _folder(expected.splits) for part, expected in real.folders.items()}
    return replace(real, md5=md5, zip_bytes=len(content), folders=folders)


def _folder(splits: Iterable[str]) -> Folder:
    counts = {split: Counts(len(_SPLITS[split]), 2 * len(_SPLITS[split]) + 1) for split in splits}
    return Folder(len(TOPICS) + 1, counts)


def _jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
