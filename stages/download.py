"""Fetch what the params name: `python -m stages.download {base_model|passages|pairs|validation}`.

They go to models/base, data/raw/passages, data/raw/pairs and data/validation; the last holds a note where params name none.
"""

import argparse
import logging
from pathlib import Path

from ragcun.core.files import atomic_folder, write_none
from ragcun.params import load_params
from ragcun.sources.records import write_pair_records, write_passage_records
from ragcun.sources.registry import fetch_benchmark, model_source, pair_source, passage_source
from ragcun.sources.source_report import SourceReport
from stages.launch import run_stage

logger = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["base_model", "passages", "pairs", "validation"])
    what = parser.parse_args().what
    params = load_params()
    if what == "base_model":
        with atomic_folder(Path("models/base")) as folder:
            model_source(params.base_model).fetch(target=folder)
    elif what == "passages":
        report = SourceReport(f"data.passages: {params.data.passages}")
        write_passage_records(passage_source(params.data).passages(report), Path("data/raw/passages"), report)
        logger.info("%d passages of %d rows", report.kept, report.read)
    elif what == "pairs":
        report = SourceReport(f"data.pairs: {params.data.pairs}")
        write_pair_records(pair_source(params.data).pairs(report), Path("data/raw/pairs"), report)
        logger.info("%d pairs of %d rows", report.kept, report.read)
    elif params.data.validation is None:
        with atomic_folder(Path("data/validation")) as folder:
            write_none(folder, "data.validation is null")
    else:
        fetch_benchmark(params.data.validation, params.data, Path("data/validation"))


if __name__ == "__main__":
    run_stage(main)
