"""What must stay the same, with the largest difference seen: `pytest -m engine` lists them at its end.

Every distance is asserted to be of finite numbers: Python's `max` drops a NaN that is not the first of its arguments.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

PROPERTY = "invariant"


class Invariant(Protocol):
    """The fixture `invariant`: fails where `seen` is above `bound`, and notes it for the list."""

    def __call__(self, name: str, seen: float, bound: float) -> None: ...


def difference(expected: "Mapping[str, Tensor]", found: "Mapping[str, Tensor]", nought: float = 1e-6) -> float:
    """The largest distance of two tensors of one name, relative to the expected one's largest entry; all are finite.

    Args:
        nought: a share of the largest entry of all tensors; a tensor without a larger one is held against that, for it
            is nought but for rounding, like the gradient of a key's bias.
    """
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert tensor.isfinite().all(), f"expected {name} is not finite"
        assert found[name].isfinite().all(), f"{name} is not finite"
    nought *= max(tensor.abs().max().item() for tensor in expected.values())
    assert nought > 0, "vacuous"
    return max(
        (found[name] - tensor).abs().max().item() / max(tensor.abs().max().item(), nought)
        for name, tensor in expected.items()
    )


def deciding(weights: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Of trained weights, those that decide an output.

    A bias of attention's keys does not: its gradient is nought but for rounding, of which Adam makes whole steps.
    """
    return {name: tensor for name, tensor in weights.items() if not name.endswith("key.bias")}


def relative(expected: float, found: float) -> float:
    """The distance of two numbers relative to the first; both are finite."""
    assert all(map(math.isfinite, (expected, found))), f"not finite: {expected}, {found}"
    return abs(found - expected) / abs(expected)


def lines(properties: list[tuple[str, tuple[str, float, float]]]) -> list[str]:
    """Of all that was noted, a line for each name with the largest difference and its bound."""
    largest: dict[str, tuple[float, float]] = {}
    for kind, value in properties:
        if kind == PROPERTY:
            name, seen, bound = value
            largest[name] = max(largest.get(name, (0.0, bound)), (seen, bound))
    width = max(map(len, largest), default=0)
    return [f"{name:<{width}}  {seen:.2g} (bound {bound:g})" for name, (seen, bound) in sorted(largest.items())]
