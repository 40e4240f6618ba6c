"""Spooled records come back equal, in any order, and leave nothing behind."""

import tempfile
from pathlib import Path

import pytest

from ragcun.prepare.spool import Spool

RECORDS = [["a", "b"], [], ["naïve\0\n", "\ud800"], {"x": None}, "text", 5]


def test_records_come_back_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Spool(iter(RECORDS)) as spool:
        assert len(spool) == len(RECORDS)
        for number in (5, 0, 2, 1, 3, 4, 2):
            assert spool[number] == RECORDS[number]
        for number in (-1, len(RECORDS)):
            with pytest.raises(IndexError):
                spool[number]
    assert not list(tmp_path.iterdir())
