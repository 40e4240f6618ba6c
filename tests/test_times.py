"""The table of training times shows what the trainings left here."""

from pathlib import Path

import pytest

from estimate import times
from ragcun.core.files import write_json

pytestmark = pytest.mark.outputs


def test_it_has_a_row_for_each_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="no training has left its time"):
        times.main()
    for name, seconds in (("smart_hybrid", 21.4), ("full_finetune", 345.0)):
        write_json(Path("metrics/times", f"{name}.json"), {"seconds": seconds, "processes": 1, "device": "cpu"})
    times.main()
    _, _, *rows = capsys.readouterr().out.strip().splitlines()
    assert [[cell.strip() for cell in row.strip("|").split("|")] for row in rows] == [
        ["full_finetune", "5.8 min", "1", "cpu"],
        ["smart_hybrid", "21 s", "1", "cpu"],
    ]
