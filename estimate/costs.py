"""What each stage of a run would take, from measured rates and published sizes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from estimate.sizes import PRETRAINING_DEV, Group, Sizes, characters, texts
from ragcun.params import Dtype, Params, Precision, Training

ROOT = Path(__file__).parents[1]
# The formats of ragcun.evaluate.compression, six of whole vectors and eight of shorter ones, as searches of whole vectors.
COMPRESSION_SEARCHES = 9
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# Bytes of a line of a TREC run, of a weight with its gradient and Adam's moments, and of a vector's element.
RUN_LINE, TRAINED_WEIGHT, ELEMENT = 60, 16, 4


@dataclass(frozen=True)
class Cost:
    """What a stage handles (`number` of `unit`), at which rate, its seconds, and the bytes of its outputs."""

    number: float
    unit: str
    rate: str
    seconds: float
    disk: float


class Estimate:
    """Costs of the stages of a run, by their names in dvc.yaml.

    Args:
        rates: as `--measure` writes them.
        bandwidth: of the network, in Mbit/s; assumed, because nothing measures it.

    Raises SystemExit for a base without rates.
    """

    def __init__(self, params: Params, rates: Mapping[str, Any], *, bandwidth: float) -> None:
        self.params, self.rates, self.sizes = params, rates, Sizes.of(params)
        self.bandwidth = bandwidth * 1e6 / 8
        # Each process has its own GPU, of the kind that was measured; processes on one CPU share its cores.
        wanted = params.ddp.nproc_per_node
        self.processes = (rates["machine"]["gpus"] if wanted == "gpu" else wanted) if rates["machine"]["gpus"] else 1
        name = params.base_model.partition("@")[0].replace("/", ":").split(":")[-1]
        if name not in rates["bases"]:
            raise SystemExit(
                f"error: no rates of the base {params.base_model} were measured (there are {', '.join(rates['bases'])}): "
                f"python -m estimate --measure {params.base_model}"
            )
        self.base = rates["bases"][name]
        self.dim: int = self.base["dimension"]
        self.output_dim: int = params.output_dim or self.dim
        freezes = {name: item["freeze_base"] for name, item in STAGES["finetune"]["foreach"].items()}
        # Strategies, and whether their base trains; the only other value than true and false is ${freeze_base}.
        self.live = {name: not (params.freeze_base if isinstance(it, str) else it) for name, it in freezes.items()}

    def costs(self) -> dict[str, Cost]:
        """By stage."""
        benchmarks, models = self.sizes.benchmarks, self.params.evaluate.models
        links = [f"own_files@{key}" for key in STAGES["own_files"]["foreach"]]
        links += [f"own_benchmark@{name}" for name in benchmarks]
        return {
            **dict.fromkeys(links, Cost(1, "links", "", 0, 0)),
            **self._downloads(),
            **self._preparing(),
            **{f"embed_pairs@{task}": self._embed(groups) for task, groups in self.sizes.texts.items()},
            **{f"embed_benchmark@{name}": self._embed(it.texts) for name, it in benchmarks.items()},
            **self._trainings(),
            **{f"control@{name}": self._control() for name in STAGES["control"]["foreach"]},
            **{f"evaluate_bm25@{name}": self._bm25(name) for name in benchmarks},
            **{f"evaluate@{model}-{name}": self._evaluate(model, name) for model in models for name in benchmarks},
            "compare": Cost(len(models) * len(benchmarks), "runs", "not estimated", 0, 1e6),
        }

    def _downloads(self) -> dict[str, Cost]:
        passages, pairs = self.sizes.passages, self.sizes.pairs
        return {
            "download@base_model": self._download(4 * self.base["parameters"], 4 * self.base["parameters"]),
            "download@passages": self._download(self.sizes.passages_download, passages.characters, passages.count),
            "download@pairs": self._download(pairs.download_bytes, pairs.raw_texts.characters, pairs.raw),
            # paper.sh validates on the pairs' own dev queries; a benchmark there would be downloaded once more.
            "download@validation": self._download(0, 0),
            **{
                f"download_benchmark@{name}": self._download(it.download_bytes, characters(it.texts))
                for name, it in self.sizes.benchmarks.items()
            },
        }

    def _download(self, size: float, disk: float, records: int = 0) -> Cost:
        """Time of the network and of writing records; cleaning and cutting texts is not counted."""
        seconds = size / self.bandwidth + records / self.rates["preparing"]["raw_records_a_second"]
        return Cost(size / 1e9, "GB", "the network's, assumed", seconds, disk)

    def _preparing(self) -> dict[str, Cost]:
        rates, pairs, bm25 = self.rates["preparing"], self.sizes.pairs, self.rates["bm25"]
        given = self.sizes.passages.count + pairs.raw_texts.count
        seconds = given / rates["prepared_texts_a_second"]
        rate = f"{rates['prepared_texts_a_second']:,.0f} texts/s"
        if self.params.data.mined_negatives:
            passages = self.sizes.train_passages
            seconds += passages / bm25["index_documents_a_second"]
            seconds += pairs.train * passages / bm25["comparisons_a_second"]
            rate += " and BM25"
        made, kept = self.sizes.pretraining_pairs, self.sizes.texts
        made_rate = rates["pretraining_pairs_a_second"]
        return {
            "prepare_pairs": Cost(given, "texts", rate, seconds, characters(kept["finetune"])),
            "prepare_pretraining": Cost(
                made, "pairs", f"{made_rate:,.0f} pairs/s", made / made_rate, characters(kept["pretrain"])
            ),
        }

    def _embed(self, groups: tuple[Group, ...]) -> Cost:
        number = texts(groups)
        seconds = self._encode(groups, self.params.embed.dtype, self.params.embed.max_length) / self.processes
        return Cost(number, "texts", f"{number / seconds:,.0f} texts/s", seconds, number * self.dim * ELEMENT)

    def _encode(self, groups: Iterable[Group], dtype: Dtype, max_length: int | None) -> float:
        """Seconds of one process: interpolated between the measured lengths, in proportion to the length beyond them."""
        lengths, rates = np.array(self.base["encode_texts_a_second"][self._precision(dtype)]).T
        total = 0.0
        for group in groups:
            tokens = self._tokens(group, max_length)
            total += group.count * float(np.interp(tokens, lengths, 1 / rates)) * max(1.0, tokens / lengths[-1])
        return total

    def _precision(self, dtype: Dtype) -> Precision:
        """`auto` is bfloat16 where that was measured as faster: where it is emulated it is slower."""
        if dtype != "auto":
            return dtype
        measured = self.base["encode_texts_a_second"]
        return "bfloat16" if measured["bfloat16"][-1] > measured["float32"][-1] else "float32"

    def _tokens(self, group: Group, max_length: int | None) -> float:
        return min(group.words * self.base["tokens_a_word"] + 2, max_length or self.base["max_length"])

    def _trainings(self) -> dict[str, Cost]:
        pairs, finetune = self.sizes.pairs, self.params.finetune
        dev = round(self.sizes.pretraining_pairs * PRETRAINING_DEV)
        frozen = self._train_head(finetune.shared, "finetune", pairs.train, pairs.dev_queries)
        live = self._train_all(finetune.training(live=True))
        return {
            "pretrain": self._train_head(self.params.pretrain, "pretrain", self.sizes.pretraining_pairs - dev, dev),
            **{f"finetune@{name}": live if trains else frozen for name, trains in self.live.items()},
        }

    def _train_head(self, settings: Training, task: str, pairs: int, dev_queries: int) -> Cost:
        """Every process plans and searches everything, so more of them are not counted as faster."""
        steps = -(-capped(pairs, settings.max_pairs) // settings.batch_size) * settings.epochs
        step = self._head_step(settings.batch_size * (2 + settings.negatives) + settings.store_negatives)
        groups = self.sizes.texts[task]
        pool = capped(texts(groups), settings.dev_passages)
        queries = capped(dev_queries, settings.dev_queries)
        scoring = pool / self.base["head"]["project_rows_a_second"] + self._search(queries, pool, 10)
        seconds = steps * step + (settings.evaluations + 1) * scoring + self._start(task)
        return Cost(steps, "steps", f"{step:.2g} s/step", seconds, self._model_bytes)

    def _head_step(self, rows: int) -> float:
        """Seconds of the measured step of the nearest size, in proportion to the rows that pass the projection."""
        measured = {2 * batch + store: seconds for batch, store, seconds in self.base["head"]["step_seconds"]}
        nearest = min(measured, key=lambda size: abs(np.log(size / rows)))
        return float(measured[nearest] * rows / nearest)

    def _train_all(self, settings: Training) -> Cost:
        """Processes share a step's texts; exchanging embeddings and gradients is not counted."""
        live, sizes = self.params.finetune.live, self.sizes
        rate = self._full_step["tokens_a_second"] * self.processes
        query, document = (self._tokens(Group(1, words), live.max_length) for words in sizes.pairs.words)
        pairs = capped(sizes.pairs.train, settings.max_pairs)
        tokens = pairs * settings.epochs * (query + (1 + settings.negatives) * document)
        pool = capped(sizes.train_passages, settings.dev_passages)
        queries = capped(sizes.pairs.dev_queries, settings.dev_queries)
        scored = (Group(pool, sizes.mean_passage_words), Group(queries, sizes.pairs.words[0]))
        scoring = self._encode(scored, settings.dtype, live.max_length) + self._search(queries, pool, 10)
        seconds = tokens / rate + (settings.evaluations + 1) * scoring + self._start("finetune")
        return Cost(tokens, "tokens", f"{rate:,.0f} tokens/s", seconds, self._model_bytes)

    @property
    def _full_step(self) -> dict[str, float]:
        """What was measured of a step of the whole model."""
        live = self.params.finetune.live
        kept = "cached" if live.cache_gradients else "kept"
        found: dict[str, float] = self.base["full_step"][f"{self._precision(live.dtype)} {kept}"]
        return found

    def _start(self, task: str) -> float:
        """Seconds of hashing the vectors, and of the mean and covariance that the projection starts from."""
        rows = sum(texts(self.sizes.texts[name]) for name in {task, "finetune"})
        hashing = rows * self.dim * ELEMENT / self.rates["files"]["hash_bytes_a_second"]
        return hashing + self.sizes.train_passages / self.base["head"]["covariance_rows_a_second"]

    @property
    def _model_bytes(self) -> float:
        projection = 2 * self.output_dim * (self.dim + self.output_dim)
        return float(4 * (self.base["parameters"] + projection))

    def _control(self) -> Cost:
        rows = self.sizes.train_passages
        rate = self.base["head"]["covariance_rows_a_second"]
        return Cost(rows, "vectors", f"{rate:,.0f} vectors/s", rows / rate, self._model_bytes)

    def _bm25(self, name: str) -> Cost:
        it, rates = self.sizes.benchmarks[name], self.rates["bm25"]
        documents, queries = it.documents.count, it.queries.count
        longer = it.documents.words / rates["words_a_document"]
        seconds = documents * longer / rates["index_documents_a_second"]
        seconds += queries * documents * it.queries.words / rates["words_a_query"] / rates["comparisons_a_second"]
        return Cost(documents, "documents", f"{documents / seconds:,.0f} documents/s", seconds, self._runs(queries))

    def _evaluate(self, model: str, name: str) -> Cost:
        it, rates = self.sizes.benchmarks[name], self.rates["search"]
        documents, queries = it.documents.count, it.queries.count
        trained = self.live.get(model, False)
        # Each process searches its share of the queries.
        seconds = self._search(-(-queries // self.processes), documents, self.params.evaluate.top_k)
        seconds += documents / rates["isotropy_rows_a_second"] + rates["hubness_seconds"]
        if self.params.evaluate.compression:
            seconds += COMPRESSION_SEARCHES * self._search(-(-queries // self.processes), documents, 10)
        if trained:
            embed = self.params.embed
            seconds += self._encode(it.texts, embed.dtype, embed.max_length) / self.processes
        elif model != "base":
            seconds += documents / self.base["head"]["project_rows_a_second"] / self.processes
        how = "encoding" if trained else "from the store"
        return Cost(documents, "documents", how, seconds, self._runs(queries))

    def _search(self, queries: int, documents: int, k: int) -> float:
        rates = self.rates["search"]["k_10" if k <= 10 else "k_1000"]
        return float(documents * (rates["seconds_a_document"] + queries * rates["seconds_a_comparison"]))

    def _runs(self, queries: int) -> float:
        return float(queries * self.params.evaluate.run_depth * RUN_LINE)

    def disk(self, outputs: Sequence[float]) -> dict[str, float]:
        """Bytes by what takes them; `outputs` are the bytes that each experiment adds, the first everything."""
        sizes = self.sizes
        benchmarks = [texts(it.texts) for it in sizes.benchmarks.values()]
        encoded = sum(texts(groups) for groups in sizes.texts.values()) + sum(benchmarks)
        first, linked = outputs[0], "small where DVC's cache is linked: `dvc config cache.type`"
        return {
            f"the folder of an experiment that runs ({linked})": first,
            "DVC's cache, the outputs of all experiments": sum(outputs),
            "downloads, kept outside the outputs": 1e9 * sum(cost.number for cost in self._downloads().values()),
            "row cache before it is cut to RAGCUN_CACHE_GB": encoded * self.base["row_cache_bytes_a_text"],
            # The last two and the best; a checkpoint has Adam's two moments too.
            "checkpoints of a base that trains": 7 * self._model_bytes,
            "vectors of the largest benchmark under one model, in RAGCUN_CACHE": max(benchmarks)
            * self.output_dim
            * ELEMENT,
        }

    def memory(self) -> dict[str, float]:
        """Bytes by what takes them."""
        sizes, on = self.sizes, self.base["full_step_measured_on"]
        trained = texts(sizes.texts["finetune"])
        store = trained * self.dim * ELEMENT
        largest = max(it.documents.count for it in sizes.benchmarks.values())
        bm25 = self.rates["bm25"]["peak_bytes_a_document"]
        pool = capped(sizes.train_passages, self.params.finetune.shared.dev_passages)
        return {
            "the store, memory-mapped, once for all processes; training reads it at random": store,
            # A column of text, and the same texts as Python's strings.
            "texts, in each process that encodes or trains": 2 * characters(sizes.texts["finetune"]) + 110 * trained,
            "passages scored on dev by a frozen base, over all processes": pool
            * (self.dim + self.output_dim)
            * ELEMENT,
            "weights, gradients and Adam's moments of a base that trains": TRAINED_WEIGHT * self.base["parameters"],
            f"a step of it as measured, {on['batch_size']} pairs of {on['tokens']} tokens in passes of "
            f"{on['forward_size']} texts (it grows with both)": self._full_step["peak_bytes"],
            f"BM25 on the largest benchmark, {count(largest)} documents": bm25 * largest,
            f"BM25 on {count(sizes.train_passages)} passages, were negatives mined": bm25 * sizes.train_passages,
        }


def capped(number: int, limit: int | None) -> int:
    return min(number, limit or number)


def count(number: float) -> str:
    """Three digits at most."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.3g}"
