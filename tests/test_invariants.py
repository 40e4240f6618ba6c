"""The comparisons that other tests rest on fail for what is not a number."""

import math
from collections.abc import Callable

import execnet
import numpy as np
import pytest
import torch

from tests.invariants import Invariant, difference, relative


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", ["first", "last"])
def test_tensors_that_are_not_finite_differ(bad: float, place: str) -> None:
    sound = {"first": torch.ones(2), "last": torch.ones(2)}
    damaged = {**sound, place: torch.tensor([1.0, bad])}
    for expected, found in ((sound, damaged), (damaged, sound), (damaged, damaged)):
        with pytest.raises(AssertionError, match=f"{place} is not finite"):
            difference(expected, found)


def test_the_largest_difference_counts_wherever_it_stands() -> None:
    expected = {"a": torch.tensor([2.0, 1.0]), "b": torch.tensor([4.0])}
    assert difference(expected, {"a": torch.tensor([2.0, 1.0]), "b": torch.tensor([3.0])}) == 0.25
    assert difference(expected, {"a": torch.tensor([2.0, 2.0]), "b": torch.tensor([4.0])}) == 0.5


@pytest.mark.parametrize(("expected", "found"), [(1.0, math.nan), (math.nan, 1.0), (1.0, math.inf), (math.inf, 1.0)])
def test_numbers_that_are_not_finite_have_no_distance(expected: float, found: float) -> None:
    with pytest.raises(AssertionError, match="not finite"):
        relative(expected, found)


@pytest.fixture
def recorded() -> list[object]:
    return []


@pytest.fixture
def record_property(recorded: list[object]) -> Callable[[str, object], None]:
    """Keeps this file's numbers out of the list at the end of the run."""
    return lambda name, value: recorded.append(value)


def test_an_invariant_is_held_by_a_number_up_to_the_bound(invariant: Invariant) -> None:
    for seen in (math.nan, 0.2):
        with pytest.raises(AssertionError, match="is more than"):
            invariant("a distance", seen, 0.1)
    invariant("a distance", 0.1, 0.1)


def test_what_is_noted_goes_from_process_to_process(invariant: Invariant, recorded: list[object]) -> None:
    """execnet, which carries it there, takes plain numbers alone."""
    invariant("x", np.float64(0.5), np.float32(1.0))  # type: ignore[arg-type]
    assert execnet.loads(execnet.dumps(recorded)) == [("x", 0.5, 1.0)]
