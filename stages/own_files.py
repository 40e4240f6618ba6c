"""Links to the user files that params name → data/own/WHAT, so that DVC notices a change of their content.

Usage: python -m stages.own_files {base_model|passages|pairs|validation}
"""

import sys
from pathlib import Path

from ragcun.params import load_params
from ragcun.sources.user_files.links import link_benchmark, link_file, link_model, user_model, user_path
from stages.launch import run_stage


def main() -> None:
    (what,) = sys.argv[1:]
    params = load_params()
    folder = Path("data/own", what)
    if what == "base_model":
        link_model(user_model(params.base_model), folder)
    elif what == "validation":
        local = params.data.local.get(params.data.validation or "")
        link_benchmark(Path(local) if local else None, folder, key="data.validation")
    else:
        link_file(user_path(getattr(params.data, what)), folder, key=f"data.{what}")


if __name__ == "__main__":
    run_stage(main)
