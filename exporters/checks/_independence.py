"""An image's outputs depend neither on the rest of the batch nor on earlier calls."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from cnntk.exporters.checks._candidate import Candidate, Check
from cnntk.exporters.checks._inputs import Brightness, OutputCache
from cnntk.exporters.checks.divergence import first_batch_dependent
from cnntk.exporters.checks.reference import Outputs
from cnntk.exporters.session import Arrays
from cnntk.runtime.errors import ExportCheckError

_IMAGES = 3
"""Number of images of each batch that are compared."""

_BRIGHTNESS: tuple[Brightness, ...] = ("bright", "dark")

_COMPANIONS = 3
"""Number of images beside the first that are all far brighter, or all far darker: they cross a threshold on a
mean of the batch, where ordinary images average out."""


def check_repeatable(candidate: Candidate) -> Check:
    """A second run equals the first to the bit, with another run between them.

    Raises:
        ExportCheckError: The runs differ.
    """
    outputs = candidate.outputs
    first = outputs(1)
    outputs(2)
    second = outputs.run_again(1)
    for name, array in first.items():
        if not np.array_equal(array, second[name], equal_nan=True):
            raise ExportCheckError(
                f"{name}: two runs on one input differ by {_largest(array, second[name]):.3g}: the graph is "
                "random, or keeps state between runs. Nothing was written"
            )
    return Check("repeatable", "a second run equals the first to the bit")


def check_batch_invariance(candidate: Candidate) -> Check | None:
    """Each of the first images alone has the outputs that it has in a batch, up to rounding.

    Raises:
        ExportCheckError: They differ, as with BatchNorm on batch statistics, a mean over the batch, or a
            softmax over axis 0.
    """
    if candidate.inputs.fixed_batch == 1:
        return None  # an image is always alone
    return compare_batches(candidate.outputs, candidate.expected, lambda: first_batch_dependent(candidate))


def compare_batches(outputs: OutputCache, expected: Outputs, cause: Callable[[], str]) -> Check:
    """`check_batch_invariance`; ``cause`` names the first node that differs, and is called on failure."""
    largest = 0.0
    for size in expected.inputs.batches:
        batch = outputs(size)
        for image in range(min(size, _IMAGES)):
            bounds = {name: float(limits[image]) for name, limits in expected.bounds.items()}
            largest = max(largest, _compare(outputs(1, image), batch, image, bounds, cause))
    limits = expected.largest_bounds
    signs = (False, True) if outputs.inputs.images is None else (False,)  # pixels have one sign
    for brightness, one_sign in itertools.product(_BRIGHTNESS, signs):
        alone, batch = outputs.run_among(brightness, _COMPANIONS, one_sign)
        largest = max(largest, _compare(alone, batch, 0, limits, cause))
    return Check(
        "batch invariance",
        f"max difference across batch sizes and beside far brighter and darker images {largest:.2g}",
    )


def _compare(
    alone: Arrays, batch: Arrays, row: int, bounds: Mapping[str, float], cause: Callable[[], str]
) -> float:
    """Largest difference of a row of a batch from the same image alone."""
    largest = 0.0
    for name, limit in bounds.items():
        difference, bound = _largest(alone[name][0], batch[name][row]), 2 * limit
        largest = max(largest, difference)
        if np.isfinite(bound) and not difference <= bound:
            raise ExportCheckError(
                f"{name}: an image's output changes by {difference:.3g} with the rest of the batch "
                f"(limit {bound:.3g}){cause()}: normalize over each image, or by running statistics. "
                "Nothing was written"
            )
    return largest


def _largest(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0.0))
