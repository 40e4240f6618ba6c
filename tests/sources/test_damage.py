"""Whatever happens to a user's file, its source gives valid records or a RagcunError that names it."""

import random
import time
from pathlib import Path

import pytest

from ragcun.core.errors import RagcunError
from ragcun.sources.clean import MAX_CHARACTERS
from tests.sources.user_files import ROWS, TEXT_SUFFIXES, pairs, passages, write


def damage(raw: bytes, draw: random.Random) -> bytes:
    """Between one and eight blows: bytes changed, cut, put in, repeated or moved."""
    damaged = bytearray(raw)
    for _ in range(draw.randint(1, 8)):
        at, end = sorted(draw.randrange(len(damaged) + 1) for _ in range(2))
        end = min(end, at + draw.choice([1, 2, 20, 400]))
        blow = draw.randrange(5)
        if blow == 0:
            damaged[at:end] = draw.randbytes(end - at)
        elif blow == 1:
            del damaged[at:end]
        elif blow == 2:
            odd = [
                b'"',
                b"\n",
                b"\r",
                b",",
                b"[",
                b"\x00",
                b"\xff\xfe",
                b"\xef\xbb\xbf",
                b'\\ud800"',
                b"\xed\xa0\x80",
                b"\\",
            ]
            damaged[at:at] = draw.choice(odd)
        elif blow == 3:
            damaged[at:at] = damaged[at:end]
        else:
            damaged[at:end] = bytes(end - at)
    return bytes(damaged)


FILES = 120


@pytest.mark.parametrize("suffix", [*TEXT_SUFFIXES, ".parquet", ".txt"])
def test_any_damage_gives_valid_records_or_a_named_error(tmp_path: Path, suffix: str) -> None:
    draw = random.Random(f"damage {suffix}")
    path = tmp_path / f"a{suffix}"
    whole = (
        "".join(f"passage {i} 日本語\n" for i in range(12)).encode()
        if suffix == ".txt"
        else write(path, ROWS).read_bytes()
    )
    ended = {"records": 0, "error": 0}
    began = time.monotonic()
    for _ in range(FILES):
        path.write_bytes(damage(whole, draw) or b" ")
        try:
            texts: list[str] = []
            if suffix == ".txt":
                found, report = passages(path)
                texts = [text for passage in found for text in (passage.id, passage.text)]
            else:
                given, report = pairs(path)
                texts = [text for pair in given for text in (pair.query, pair.positive, *pair.negatives)]
                assert {pair.split for pair in given} <= {"train", "dev", "test"}
                assert all(pair.query != pair.positive for pair in given)
        except RagcunError as error:
            ended["error"] += 1
            message = str(error)
        else:
            assert all(text.strip() and text.encode("utf-8") and len(text) <= MAX_CHARACTERS for text in texts)
            assert report.read >= 1
            ended["records"] += 1
            message = str(path)
        assert message.startswith(str(path))
        assert "\n" not in message
    # Otherwise one of the two would go untested.
    assert min(ended.values()) > (0 if suffix != ".txt" else -1), ended
    assert time.monotonic() - began < 60
