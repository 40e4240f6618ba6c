"""The estimates: their arithmetic on a case worked out by hand, and the published sizes they stand on."""

import copy
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from estimate import measure, sizes
from estimate.costs import Estimate
from estimate.inputs import overridden
from estimate.report import duration, gigabytes, report
from estimate.sizes import Group, Sizes
from ragcun.params import Params
from ragcun.prepare import pretraining
from ragcun.sources.beir_sets import REGISTRY
from ragcun.sources.records import Passage

ROOT = Path(__file__).parents[1]
# Round figures, so that what follows from them can be worked out by hand.
RATES: dict[str, Any] = {
    "machine": {"device": "cpu", "gpus": 0, "processor": "one of ours", "cores": 2, "threads": 2, "torch": "2"},
    "bases": {
        "tiny": {
            "parameters": 1_000_000,
            "dimension": 100,
            "max_length": 500,
            "tokens_a_word": 1.0,
            "encode_texts_a_second": {
                "float32": [[10, 100.0], [20, 50.0], [100, 10.0]],
                "bfloat16": [[10, 200.0], [20, 100.0], [100, 20.0]],
            },
            "encode_batch_size": 32,
            "row_cache_bytes_a_text": 500.0,
            "full_step": {"float32 kept": {"tokens_a_second": 1000.0, "peak_bytes": 5e9}},
            "full_step_measured_on": {"batch_size": 32, "tokens": 64, "forward_size": 32},
            "head": {
                "output_dim": 512,
                "step_seconds": [[256, 4096, 0.1], [1024, 16384, 1.0]],
                "project_rows_a_second": 1000.0,
                "covariance_rows_a_second": 7033.0,
            },
        }
    },
    "search": {
        "k_10": {"seconds_a_document": 1e-4, "seconds_a_comparison": 1e-7},
        "k_1000": {"seconds_a_document": 1e-3, "seconds_a_comparison": 1e-6},
        "isotropy_rows_a_second": 10_033.0,
        "hubness_seconds": 3.0,
    },
    "bm25": {
        "index_documents_a_second": 10_033.0,
        "comparisons_a_second": 1e6,
        "peak_bytes_a_document": 4000.0,
        "words_a_document": 79.0,
        "words_a_query": 5.9,
    },
    "preparing": {
        "raw_records_a_second": 7033.0,
        "prepared_texts_a_second": 1000.0,
        "pretraining_pairs_a_second": 1000.0,
    },
    "files": {"hash_bytes_a_second": 1e9, "copy_and_hash_bytes_a_second": 1e9},
}


def params(*settings: str) -> Params:
    return overridden(
        ["base_model=tiny", "data.mined_negatives=0", "embed.dtype=float32", "finetune.live.dtype=float32", *settings]
    )


def estimate(*settings: str, rates: dict[str, Any] = RATES, bandwidth: float = 80) -> Estimate:
    return Estimate(params(*settings), rates, bandwidth=bandwidth)


def test_encoding_takes_what_was_measured_between_and_beyond_the_lengths() -> None:
    # 100 texts of 10 tokens at 100 a second; of 15, half-way between .01 and .02 seconds; of 200, twice those of 100.
    of = estimate()
    assert of._encode([Group(100, 8)], "float32", None) == pytest.approx(1.0)
    assert of._encode([Group(100, 13)], "float32", None) == pytest.approx(1.5)
    assert of._encode([Group(100, 198)], "float32", None) == pytest.approx(20.0)
    assert of._encode([Group(100, 198)], "float32", 100) == pytest.approx(10.0), "cut at 100 tokens"
    assert of._encode([Group(100, 8)], "bfloat16", None) == pytest.approx(0.5)


@pytest.mark.parametrize(("rate", "seconds"), [(20.0, 5.0), (5.0, 10.0)])
def test_auto_is_the_faster_precision(rate: float, seconds: float) -> None:
    rates = copy.deepcopy(RATES)
    rates["bases"]["tiny"]["encode_texts_a_second"]["bfloat16"][-1] = [100, rate]
    assert estimate(rates=rates)._encode([Group(100, 98)], "auto", None) == pytest.approx(seconds)


def test_the_stages_of_the_default_cost_what_one_works_out_by_hand() -> None:
    costs = estimate().costs()
    # 80 Mbit/s are 10 MB/s; 7,033 records are written in one second.
    assert costs["download@passages"].seconds == pytest.approx(0.486927 + 1, rel=1e-4)
    # 7,033 passages and two texts for each of the 9,641 pairs.
    assert costs["prepare_pairs"].seconds == pytest.approx((7033 + 2 * 9641) / 1000)
    # 15,774 vectors of 100 numbers.
    assert costs["embed_pairs@finetune"].disk == 15_774 * 100 * 4
    # 28 steps an epoch; of the rows of a step, 2·256 + 4,096, as measured. 7 times the pool of 15,774 texts is projected
    # and searched for 914 queries. Then 6.3 MB are hashed, and the covariance of the 7,033 passages takes a second.
    scoring = 15_774 / 1000 + 15_774 * (1e-4 + 914e-7)
    expected = 3 * 28 * 0.1 + 7 * scoring + 15_774 * 400 / 1e9 + 1
    assert costs["finetune@smart_hybrid"].seconds == pytest.approx(expected)
    # 2,560 pairs of 7.9 and 64 tokens; 3 evaluations of 1,000 passages, at 64 tokens .064 seconds each, and 914 queries.
    scoring = 1000 * 0.064 + 914 * 0.010 + 1000 * (1e-4 + 914e-7)
    expected = 2560 * (7.9 + 64) / 1000 + 3 * scoring + 15_774 * 400 / 1e9 + 1
    assert costs["finetune@full_finetune"].seconds == pytest.approx(expected)
    # The base is searched: 10,033 documents for 2,728 queries, then a second of isotropy and 3 of hubness.
    searching = 10_033 * (1e-3 + 2728e-6)
    # Nine more, for the best 10 alone.
    searching += 9 * 10_033 * (1e-4 + 2728e-7)
    assert costs["evaluate@base-vital-descriptions"].seconds == pytest.approx(searching + 4)
    # Through the projection first.
    assert costs["evaluate@pretrain-vital-descriptions"].seconds == pytest.approx(searching + 4 + 10.033)
    assert costs["evaluate_bm25@vital-descriptions"].seconds == pytest.approx(1 + 2728 * 10_033 / 1e6)


def test_mined_negatives_are_counted() -> None:
    with_bm25 = estimate("data.mined_negatives=8").costs()["prepare_pairs"].seconds
    assert with_bm25 - estimate().costs()["prepare_pairs"].seconds == pytest.approx(7033 / 10_033 + 6913 * 7033 / 1e6)


def test_gpus_share_encoding_and_full_training_and_cpu_processes_share_nothing() -> None:
    gpus = copy.deepcopy(RATES)
    gpus["machine"] |= {"device": "a GPU", "gpus": 4}
    one = estimate("ddp.nproc_per_node=1", rates=gpus).costs()
    four = estimate("ddp.nproc_per_node=gpu", rates=gpus).costs()
    assert one["embed_pairs@finetune"].seconds == pytest.approx(4 * four["embed_pairs@finetune"].seconds)
    assert one["finetune@smart_hybrid"] == four["finetune@smart_hybrid"], "every process does the whole of it"
    assert one["download@pairs"] == four["download@pairs"]
    assert one["finetune@full_finetune"].seconds > four["finetune@full_finetune"].seconds
    assert estimate("ddp.nproc_per_node=4").costs() == estimate("ddp.nproc_per_node=1").costs()


def test_a_base_that_trains_is_encoded_again_to_be_evaluated() -> None:
    frozen, trained = (estimate(f"freeze_base={value}").costs() for value in ("true", "false"))
    changed = {stage for stage in frozen if frozen[stage] != trained[stage]}
    assert changed == {
        "finetune@pretrain_finetune",
        "evaluate@pretrain_finetune-vital-descriptions",
        "evaluate@pretrain_finetune-fanoutqa",
    }


def test_the_report_says_what_it_is_and_adds_up() -> None:
    of = estimate()
    costs = of.costs()
    text = report(of, {"first": costs, "second": {"compare": replace(costs["compare"], seconds=7200.0, disk=3e9)}})
    assert "ESTIMATES" in text
    assert "2 CPU cores (one of ours, 2 threads); no GPU was measured" in text
    assert "80 Mbit/s, assumed" in text
    assert ["second", "1", "2.0 h", "3.00 GB"] in rows(text)
    # dvc copies and hashes 1 GB of outputs a second.
    outputs = sum(cost.disk for cost in costs.values()) + 3e9
    seconds = sum(cost.seconds for cost in costs.values()) + 7200 + outputs / 1e9
    assert f"Time of all: {duration(seconds)}." in text
    disk = of.disk([sum(cost.disk for cost in costs.values()), 3e9])
    assert ["all", gigabytes(sum(disk.values()))] in rows(text)


def rows(text: str) -> list[list[str]]:
    """The rows of all Markdown tables."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_a_base_without_rates_and_data_without_sizes_are_named() -> None:
    with pytest.raises(SystemExit, match=r"no rates of the base unheard .*--measure unheard"):
        Estimate(params().model_copy(update={"base_model": "unheard"}), RATES, bandwidth=1)
    with pytest.raises(SystemExit, match=r"size of data\.pairs mine\.jsonl is not known"):
        estimate("data.pairs=mine.jsonl")


@pytest.mark.parametrize("name", REGISTRY)
def test_the_sizes_of_beir_are_those_of_the_registry(name: str) -> None:
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    raw["data"]["benchmarks"] = [name]
    corpus = Sizes.of(Params.model_validate(raw)).benchmarks[name]
    entry = REGISTRY[name]
    folders = entry.folders.values()
    assert corpus.documents.count == sum(folder.documents for folder in folders) > 0
    assert corpus.queries.count == sum(split.queries for folder in folders for split in folder.splits.values()) > 0
    assert corpus.download_bytes == entry.zip_bytes


def test_ms_marco_and_wikipedia_follow_the_params() -> None:
    of = Sizes.of(params("data.pairs=msmarco", "data.passages=wikipedia", "data.wikipedia.num_passages=1000"))
    assert of.passages.count == 1000
    assert (of.pairs.train, of.pairs.dev_queries) == (532_761, 5_558)
    # 532,761 positives and 9 negatives a query, of which, as in the whole collection, .875 are distinct.
    assert of.pairs.added.count == pytest.approx((532_761 + 9 * 502_939) * 0.87463, rel=1e-4)
    less = Sizes.of(params("data.pairs=msmarco", "data.msmarco.max_train_samples=1000", "data.msmarco.max_negatives=0"))
    assert less.pairs.train == round(1000 * 532_761 / 502_939)
    assert less.pairs.added.count < 1060


def test_what_sizes_takes_from_the_package_is_what_stands_there() -> None:
    assert pytest.approx((pretraining._SHORTEST_CROP + pretraining._LONGEST_CROP) / 2) == sizes.CROP
    assert 1 / pretraining._DEV_EVERY == sizes.PRETRAINING_DEV


def test_the_rates_in_git_are_of_two_cpu_cores_and_have_the_bases() -> None:
    rates = json.loads((ROOT / "estimate/rates.json").read_text())
    assert (rates["machine"]["cores"], rates["machine"]["gpus"]) == (2, 0)
    assert set(rates["bases"]) == {name.split(":")[-1] for name in measure.BASES}
    assert set(rates) == set(RATES)
    for base in rates["bases"].values():
        assert set(base) == set(RATES["bases"]["tiny"])


@pytest.mark.slow
def test_measuring_gives_every_rate_that_an_estimate_reads(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passages = [
        Passage(str(row), "", f"{row} " + " ".join(f"word{row + place}" for place in range(60))) for row in range(99)
    ]
    monkeypatch.setattr(measure, "_passages", lambda: passages)
    rates = measure.measure([str(tiny_base)])
    assert set(rates) == set(RATES)
    (base,) = rates["bases"].values()
    assert set(base) == set(RATES["bases"]["tiny"])
    found = Estimate(params().model_copy(update={"base_model": str(tiny_base)}), rates, bandwidth=80)
    assert all(cost.seconds >= 0 for cost in found.costs().values())
    assert all(size > 0 for size in found.memory().values())


def test_the_command_estimates_params_yaml() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "estimate", "--bandwidth", "50"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "50 Mbit/s, assumed" in printed
    assert ["params.yaml", "41"] in [row[:2] for row in rows(printed)]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("data.wikipedia.dump_date=x", r"data\.wikipedia\.dump_date: write it as eight digits, such as 20231101"),
        ("nokey=3", "nokey=3: .*; give KEY=VALUE"),
    ],
)
def test_a_wrong_setting_is_named_with_what_to_do(setting: str, words: str) -> None:
    with pytest.raises(SystemExit, match=words):
        overridden([setting])
