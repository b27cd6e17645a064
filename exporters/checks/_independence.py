"""An image's outputs depend neither on the rest of the batch nor on earlier calls."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cnntk.exporters.checks._candidate import Candidate, Check
from cnntk.exporters.checks._inputs import OutputCache
from cnntk.exporters.checks.divergence import first_batch_dependent
from cnntk.exporters.checks.reference import Outputs
from cnntk.runtime.errors import ExportCheckError

_IMAGES = 3
"""Number of images of each batch that are compared."""


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
            for name, bounds in expected.bounds.items():
                difference, bound = (
                    _largest(outputs(1, image)[name][0], batch[name][image]),
                    2 * bounds[image],
                )
                largest = max(largest, difference)
                if np.isfinite(bound) and not difference <= bound:
                    raise ExportCheckError(
                        f"{name}: an image's output changes by {difference:.3g} with the rest of the batch "
                        f"(limit {bound:.3g}){cause()}: normalize over each image, or by running statistics. "
                        "Nothing was written"
                    )
    return Check("batch invariance", f"max difference across batch sizes {largest:.2g}")


def _largest(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0.0))
