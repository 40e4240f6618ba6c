"""The trained models of several seeds as Markdown tables: the committed seed's, and those of the experiments PREFIX-SEED.

Usage: python -m estimate.seeds PREFIX SEED... [--models MODEL...] [--page FILE]

It prints the tables, or puts them into a page, between `<!-- seeds -->` and `<!-- end -->`.

Each experiment is one that dvc recorded under this name (`dvc exp run`, `dvc exp save`). The scores per query are read from
dvc's cache, those of the committed seed too, whatever the working tree holds.
"""

import argparse
import re
import tempfile
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pandas as pd
from dvc.api import DVCFileSystem

from estimate.two_level import seed_difference_table, seed_differences, seed_means
from ragcun.evaluate.results import read_scores
from ragcun.params import Params, load_params
from ragcun.report.difference_tables import FAMILIES
from ragcun.report.differences import Pair
from ragcun.report.tables import markdown

RUNS = Path("data/runs")
_PLACE = re.compile(r"(<!-- seeds -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m estimate.seeds")
    parser.add_argument("prefix")
    parser.add_argument("seeds", nargs="+")
    parser.add_argument("--models", nargs="+", help="some of the trained models; all of them unless told")
    parser.add_argument("--page", type=Path)
    arguments = parser.parse_args()
    params = load_params()
    models, benchmarks = arguments.models or trained_models(params), params.data.benchmarks
    with tempfile.TemporaryDirectory() as scratch:
        folders = []
        for revision in ("HEAD", *(f"{arguments.prefix}-{seed}" for seed in arguments.seeds)):
            fetch(revision, [*models, "base"], benchmarks, Path(scratch, revision))
            folders.append(Path(scratch, revision) / RUNS)
        scores = {
            (model, benchmark): [read_scores(folder / model / benchmark, "test") for folder in folders]
            for model in ["base", *models]
            for benchmark in benchmarks
        }
    text = "\n\n".join(tables(params, models, scores, [str(params.seed), *arguments.seeds]))
    if arguments.page is None:
        print(text)
    else:
        put(text, arguments.page)


def trained_models(params: Params) -> list[str]:
    """The rows of the comparison that a seed of training decides."""
    return [model for model in params.evaluate.models if model == "pretrain" or model in params.finetune.strategies]


def fetch(revision: str, models: list[str], benchmarks: list[str], target: Path) -> None:
    """Copy the scores per query of a commit or an experiment into `target`, under their paths in the project."""
    files = DVCFileSystem(rev=revision)
    for model in models:
        for benchmark in benchmarks:
            folder = (RUNS / model / benchmark).as_posix()
            (target / folder).mkdir(parents=True)
            for path in files.ls(folder, detail=False):
                if Path(path).stem == "test" and not path.endswith(".trec"):
                    files.get_file(path, str(target / folder / Path(path).name))


def put(text: str, page: Path) -> None:
    """Replace what stands between the marks of a page."""
    old = page.read_text(encoding="utf-8")
    page.write_text(_PLACE.sub(lambda found: f"{found[1]}{text}\n{found[2]}", old), encoding="utf-8")


def tables(
    params: Params, models: list[str], scores: dict[tuple[str, str], list[pd.DataFrame]], seeds: list[str]
) -> Iterator[str]:
    """The tables, each after its heading."""
    benchmarks = params.data.benchmarks
    yield f"## NDCG@10 of the test queries, mean ± standard deviation over the seeds {', '.join(seeds)}"
    yield markdown(seed_means(["base", *models], benchmarks, scores))
    pairs = [Pair("main", model, "base", benchmark) for model in models for benchmark in benchmarks]
    strategies = [model for model in models if model in params.finetune.strategies]
    between = [(second, first) for first, second in combinations(strategies, 2)]
    pairs += [Pair("strategies", model, other, name) for model, other in between for name in benchmarks]
    tests = seed_differences(pairs, scores, seed=params.seed)
    for family, rows in tests.groupby("family", sort=False):
        yield f"## Differences over queries and seeds: {FAMILIES[str(family)].lower()}"
        yield markdown(seed_difference_table(rows), names=3)


if __name__ == "__main__":
    main()
