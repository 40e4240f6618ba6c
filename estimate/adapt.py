"""The tables and the figure of docs/adapt.md: what adapting the base to a corpus gains, and what else was tried.

    python -m estimate.adapt TABLES.md FIGURE.png

reads params.yaml's benchmarks, data/benchmarks and data/embeddings, as experiments/adapt.sh leaves them. Queries of the
test and the dev split count alike: nothing here is trained, and the rule reads neither.
"""

import random
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from sentence_transformers import SentenceTransformer
from tqdm import tqdm

from estimate.adapt_maps import (
    Collection,
    Map,
    all_but_the_top,
    corpus_whitening,
    mean_of_queries,
    noise_whitening,
    of_another,
    principal_axes,
    rule,
    without_shrinkage,
)
from ragcun.adapt.directions import sees_directions
from ragcun.adapt.judged import Judged
from ragcun.adapt.rule import MAX_GAMMA, unit
from ragcun.adapt.stand_ins import stand_in_rows
from ragcun.core.files import atomic_file
from ragcun.data.benchmark import read_benchmark
from ragcun.encode.base import load_base, similarity_of
from ragcun.encode.store import read_embeddings
from ragcun.params import load_params
from ragcun.report.significance import paired_p_value
from ragcun.report.tables import markdown
from ragcun.sources.vital_topics import TOPICS

matplotlib.use("Agg")
from matplotlib import pyplot

# Half of the topics, drawn once: the rule's constants were chosen on these, and what it gains is reported on the others.
CHOOSING = sorted(random.Random(13).sample(sorted(TOPICS.values()), len(TOPICS) // 2))
PERMUTATIONS, SEED = 100_000, 0
GAMMAS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
TARGETS = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 1.0)


def main() -> None:
    tables, figure = map(Path, sys.argv[1:])
    base = load_base("models/base", device="cpu")
    names = load_params().data.benchmarks
    collections = [read_collection(name, base) for name in names]
    law = law_table(collections)
    parts = [
        "## Base and base + adapt", markdown(_shown(law)), summary(law),
        "## Other maps: mean gain of NDCG@10 over the base", markdown(map_table(maps(collections), collections)),
    ]  # fmt: skip
    with atomic_file(tables) as partial:
        partial.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    with atomic_file(figure) as partial:
        draw(law, partial)


def read_collection(name: str, base: SentenceTransformer) -> Collection:
    """A benchmark of the pipeline, as the base sees it."""
    benchmark = read_benchmark(Path("data/benchmarks", name))
    seen = unit if sees_directions(base) else np.asarray
    arrays = {part: seen(rows) for part, rows in read_embeddings(Path("data/embeddings", name)).arrays.items()}
    qrels = {query: judged for split in benchmark.qrels.values() for query, judged in split.items()}
    queries = list(benchmark.all_queries)
    judged = Judged(queries, arrays["queries"], benchmark.doc_ids, arrays["corpus"], qrels, similarity_of(base))
    dev = np.array([query in benchmark.qrels.get("dev", {}) for query in queries])
    half = "other" if name not in TOPICS else "choosing" if TOPICS[name] in CHOOSING else "reporting"
    return Collection(name, half, judged, arrays["stand_ins"], stand_in_rows(len(benchmark.doc_ids)), dev)


def law_table(collections: list[Collection]) -> pd.DataFrame:
    """A row a collection: IsoScore, NDCG@10 before and after, and the gain of each query under `gains`."""
    rows = []
    for collection in tqdm(collections, desc="adapt", unit="collection"):
        found = rule()(collection)
        before, after = collection.judged.scores(None), collection.judged.scores(found)
        rows.append(
            {
                "collection": collection.name,
                "half": collection.half,
                "documents": len(collection.judged.corpus),
                "queries": len(before),
                "IsoScore": collection.statistics.isoscore(),
                "γ": 0.0 if found is None else found.gamma,
                "base": before.mean(),
                "base + adapt": after.mean(),
                "gain": (after - before).mean(),
                "gains": after - before,
            }
        )
    table = pd.DataFrame(rows)
    table["p"] = [_p_value(gains) for gains in table["gains"]]
    table["p (Holm)"] = holm(table["p"])
    return table


def holm(p_values: pd.Series) -> pd.Series:
    """Holm's correction of p-values for their number.

    >>> holm(pd.Series([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    order = p_values.sort_values()
    stepped = (order * np.arange(len(order), 0, -1)).cummax().clip(upper=1.0)
    return stepped[p_values.index]


def summary(law: pd.DataFrame) -> str:
    """The mean gain of each half, and the paired test over all its queries."""
    lines = []
    for half, part in law.groupby("half"):
        gains = np.concatenate(part["gains"].tolist())
        below = int(((part["gain"] < 0) & (part["p (Holm)"] < 0.05)).sum())
        lines.append(
            f"* {half}: the mean over {len(part)} collections gains {part['gain'].mean():+.4f}, from "
            f"{part['gain'].min():+.4f} to {part['gain'].max():+.4f}; over their {len(gains):,} queries p = "
            f"{_p_value(gains):.5f} (paired randomisation test), and {below} collections are below their base (p < .05, Holm)"
        )
    return "\n".join(lines)


def maps(collections: list[Collection]) -> dict[str, Map]:
    """What the rule is held against, by name."""
    compared: dict[str, Map] = {
        "the rule": rule(),
        "centring by the stand-ins' mean alone": noise_whitening(0.0),
        "noise whitening alone, γ = .15": noise_whitening(MAX_GAMMA, centred=False),
        "centring by the corpus' mean alone": corpus_whitening(0.0, mean="corpus"),
        "corpus whitened to IsoScore .30, corpus' mean": corpus_whitening(None, mean="corpus"),
        "corpus whitened to IsoScore .30, stand-ins' mean": corpus_whitening(None, mean="stand-ins"),
        "full whitening (ZCA)": corpus_whitening(1.0, mean="corpus"),
        "rotation into the principal axes": principal_axes,
        **{f"all-but-the-top, {top} directions": all_but_the_top(top) for top in (1, 3)},
        "the rule without shrinkage": without_shrinkage,
        "the rule of another corpus": of_another(collections),
        **{f"the rule, mean of {count} dev queries": mean_of_queries(count, alone=True) for count in (5, 20, 100)},
        **{
            f"the rule with --queries, {count} dev queries": mean_of_queries(count, alone=False)
            for count in (5, 20, 100)
        },
    }
    compared |= {f"γ = {gamma:g} for all": noise_whitening(gamma) for gamma in GAMMAS}
    return compared | {f"--to-isoscore {target:g}": rule(target) for target in TARGETS}


def map_table(compared: dict[str, Map], collections: list[Collection]) -> pd.DataFrame:
    base = {collection.name: collection.judged.scores(None).mean() for collection in collections}
    rows = []
    for name, made in tqdm(compared.items(), desc="other maps", unit="map"):
        gains = pd.Series(
            [float(c.judged.scores(made(c)).mean() - base[c.name]) for c in collections],
            index=[c.half for c in collections],
        )
        means = {half: f"{part.mean():+.4f}" for half, part in gains.groupby(level=0)}
        rows.append({"map": name, **means, "least": f"{gains.min():+.4f}", "most": f"{gains.max():+.4f}"})
    return pd.DataFrame(rows)


def draw(law: pd.DataFrame, path: Path) -> None:
    """Write a PNG: a point for each collection, its gain over its IsoScore, with the 95 % interval of the mean."""
    figure, axes = pyplot.subplots(figsize=(6.5, 4), layout="constrained")
    for half, marker in (("choosing", "o"), ("reporting", "s"), ("other", "^")):
        part = law[law["half"] == half]
        if part.empty:
            continue
        spread = [1.96 * gains.std(ddof=1) / np.sqrt(len(gains)) for gains in part["gains"]]
        axes.errorbar(part["IsoScore"], part["gain"], spread, fmt=marker, capsize=2, linewidth=0.8, label=half)
    axes.axhline(0, color="0.6", linewidth=0.8)
    for row in law.itertuples():
        axes.annotate(
            str(row.collection).removeprefix("vital-"),
            (float(row.IsoScore), float(row.gain)),  # type: ignore[arg-type]
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=7,
        )
    axes.set_xlabel("IsoScore of the corpus under the base")
    axes.set_ylabel("gain of NDCG@10 by adapting")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, format="png", dpi=150, metadata={"Software": None})
    pyplot.close(figure)


def _p_value(gains: np.ndarray) -> float:
    scores = pd.Series(gains)
    return paired_p_value(scores, pd.Series(0.0, index=scores.index), PERMUTATIONS, SEED)


def _shown(law: pd.DataFrame) -> pd.DataFrame:
    table = law.drop(columns="gains")
    for name in ("IsoScore", "γ", "base", "base + adapt", "p", "p (Holm)"):
        table[name] = table[name].map("{:.4f}".format)
    table["gain"] = table["gain"].map("{:+.4f}".format)
    return table


if __name__ == "__main__":
    main()
