"""What an estimate is made from: params.yaml with settings, and the file of measured rates."""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError

from estimate.costs import ROOT, Estimate
from ragcun.params import Params, describe

RATES = ROOT / "estimate/rates.json"


def overridden(settings: Sequence[str]) -> Params:
    """params.yaml with these settings, read as dvc reads them.

    Raises SystemExit, with the key and the remedy, for a setting that is wrong.
    """
    from dvc.exceptions import DvcException
    from dvc.utils.hydra import apply_overrides

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "params.yaml")
        path.write_text((ROOT / "params.yaml").read_text())
        try:
            apply_overrides(path, list(settings))
        except DvcException as error:
            raise SystemExit(f"error: {' '.join(settings)}: {error}; give KEY=VALUE, as for dvc exp run -S") from error
        return params_of(path)


def params_of(path: Path) -> Params:
    """The params of a file, checked. Raises SystemExit, with the key and the remedy, for a wrong one."""
    raw = yaml.safe_load(path.read_text())
    # `gpu` is refused on a machine without one, but an estimate needs none.
    gpu = raw["ddp"]["nproc_per_node"] == "gpu"
    if gpu:
        raw["ddp"]["nproc_per_node"] = 1
    try:
        params = Params.model_validate(raw)
    except ValidationError as error:
        raise SystemExit(f"error: {describe(error)}") from error
    if gpu:
        return params.model_copy(update={"ddp": params.ddp.model_copy(update={"nproc_per_node": "gpu"})})
    return params


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rates", type=Path, default=RATES, help="the file of measured rates")
    parser.add_argument("--bandwidth", type=float, default=100, help="of the network, in Mbit/s")


def estimate_of(params: Params, arguments: argparse.Namespace) -> Estimate:
    """The estimate from the arguments of `add_arguments`."""
    if not arguments.rates.is_file():
        raise SystemExit(f"error: {arguments.rates} is missing: python -m estimate --measure")
    return Estimate(params, json.loads(arguments.rates.read_text()), bandwidth=arguments.bandwidth)
