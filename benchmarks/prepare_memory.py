"""Peak memory and time of preparing data of the size of MS MARCO's pairs and Wikipedia's passages.

Usage: python benchmarks/prepare_memory.py [--pairs N] [--documents N] [--folder FOLDER]

It generates, in a folder that it removes again, N pairs with nine hard negatives each, as many passages and a benchmark
of as many documents, and runs the pipeline's own stages on them, each in a process whose peak is taken by the system.
The default is 500,000 pairs and 5,000,000 documents; it needs about 25 GB of disk. It prints the table of
benchmarks/prepare_memory.md.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

ROOT = Path(__file__).parents[1]
NEGATIVES = 9
ROWS = 20_000
# Texts are windows into one long random text, so that making them costs little and they compress badly.
PROSE = " ".join("".join(random.Random(word).choices("abcdefghijklmnopqrstuvwxyz", k=7)) for word in range(200_000))


def text(number: int, length: int = 350) -> str:
    """A text of about `length` characters that no other number has."""
    start = number * 7919 % (len(PROSE) - length)
    return f"{number} {PROSE[start : start + length]}"


def batches(count: int) -> Iterator[range]:
    for start in range(0, count, ROWS):
        yield range(start, min(start + ROWS, count))


def write_pairs(path: Path, count: int, documents: int) -> None:
    """A tenth of the positives are among the passages; so are all the negatives, as retrieval gives them."""
    schema = pa.schema([("query", pa.string()), ("positive", pa.string()), ("negatives", pa.list_(pa.string()))])
    with pq.ParquetWriter(path, schema) as writer:
        for rows in batches(count):
            columns = {
                "query": [f"query {text(row, 40)}" for row in rows],
                "positive": [text(row if row % 10 == 0 else documents + row) for row in rows],
                "negatives": [[text((row * 31 + n * 104_729) % documents) for n in range(NEGATIVES)] for row in rows],
            }
            writer.write_table(pa.table(columns, schema=schema))


def write_passages(path: Path, count: int) -> None:
    with pq.ParquetWriter(path, pa.schema([("text", pa.string())])) as writer:
        for rows in batches(count):
            writer.write_table(pa.table({"text": [text(row) for row in rows]}))


def write_benchmark(folder: Path, count: int) -> None:
    (folder / "qrels").mkdir(parents=True)
    with (folder / "corpus.jsonl").open("w") as file:
        file.writelines(json.dumps({"_id": f"d{row}", "title": "", "text": text(row)}) + "\n" for row in range(count))
    asked = range(0, count, max(1, count // 5000))
    with (folder / "queries.jsonl").open("w") as file:
        file.writelines(json.dumps({"_id": f"q{row}", "text": text(row, 40)}) + "\n" for row in asked)
    with (folder / "qrels/test.tsv").open("w") as file:
        file.write("query-id\tcorpus-id\tscore\n")
        file.writelines(f"q{row}\td{row}\t1\n" for row in asked)


def write_params(folder: Path, pairs: int) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["data"] |= {"pairs": "pairs.parquet", "passages": "passages.parquet", "mined_negatives": 0}
    params["data"]["local"] = {"large": "large"}
    params["finetune"]["shared"]["negatives"] = 0
    params["pretrain"]["num_pairs"] = pairs
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def measure(folder: Path, *stage: str) -> tuple[float, float]:
    """Peak resident GB and seconds of a stage."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", f"stages.{stage[0]}", *stage[1:]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"stage {' '.join(stage)} failed")
    return usage.ru_maxrss * 1024 / 1e9, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=500_000)
    parser.add_argument("--documents", type=int, default=5_000_000)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        write_params(folder, arguments.pairs)
        write_pairs(folder / "pairs.parquet", arguments.pairs, arguments.documents)
        write_passages(folder / "passages.parquet", arguments.documents)
        write_benchmark(folder / "large", arguments.documents)
        print(f"{arguments.pairs:,} pairs with {NEGATIVES} negatives each, {arguments.documents:,} documents\n")
        print("| stage | peak resident, GB | seconds |\n| --- | ---: | ---: |", flush=True)
        stages = (
            ("download", "pairs"),
            ("download", "passages"),
            ("prepare_pairs",),
            ("prepare_pretraining",),
            ("download_benchmark", "large"),
        )
        for stage in stages:
            peak, seconds = measure(folder, *stage)
            print(f"| {' '.join(stage)} | {peak:.2f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
