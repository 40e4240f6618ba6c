"""The scripts behind the published tables: what they set exists, and is allowed."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from ragcun.params import Params

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(ROOT.glob("experiments/*.sh"))
LINES = [
    (script.stem, *found.groups())
    for script in SCRIPTS
    for found in re.finditer(r"^ *queue (\S+) (\S+) (.+)$", script.read_text(), flags=re.MULTILINE)
    if "$" not in found.group(2)
]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_it_is_a_script(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize(("script", "group", "name", "settings"), LINES, ids=lambda part: part)
def test_each_experiment_sets_keys_that_exist_to_values_that_they_take(
    script: str, group: str, name: str, settings: str
) -> None:
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    before = Params.model_validate(raw)
    for setting in settings.split(" -- ")[0].split():
        dotted, value = setting.split("=", 1)
        *parents, last = dotted.split(".")
        section = raw
        for parent in parents:
            section = section[parent]
        assert last in section, dotted
        section[last] = yaml.safe_load(value)
    assert Params.model_validate(raw) != before, "these are the defaults: this compares nothing"


def test_no_two_experiments_of_a_group_have_one_name() -> None:
    names = [(group, name) for _, group, name, _ in LINES]
    assert len(names) == len(set(names)) > 20
