"""An image's answer depends neither on its neighbors in the batch nor on earlier calls."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cnntk.exporters.checks.parity import Answers
from cnntk.exporters.checks.record import Check
from cnntk.exporters.checks.runs import Runs
from cnntk.runtime.errors import ExportCheckError

__all__ = ["check_batch_invariance", "check_repeatable"]


def check_repeatable(runs: Runs) -> Check:
    """The second call equals the first to the bit, also with another call in between.

    Raises:
        ExportCheckError: it does not.
    """
    first = runs(1)
    runs(2)
    second = runs.again(1)
    for name, array in first.items():
        if not np.array_equal(array, second[name], equal_nan=True):
            raise ExportCheckError(
                f"{name}: two runs on one input differ by {_largest(array, second[name]):.3g}: something in "
                "the graph is random or remembers. Nothing was written"
            )
    return Check("repeatable", "a second run equals the first to the bit")


def check_batch_invariance(runs: Runs, answers: Answers, blame: Callable[[], str], tries: int = 3) -> Check:
    """Each of the first images alone answers what it answers among others, up to rounding.

    Raises:
        ExportCheckError: it does not: BatchNorm on batch statistics, a mean over the batch, a softmax over
            axis 0.
    """
    worst = 0.0
    among = [(image, runs(size)) for size in answers.trials.batches for image in range(min(size, tries))]
    for image, answer in among:
        for name, bounds in answers.bounds.items():
            moved, allowed = _largest(runs(1, image)[name][0], answer[name][image]), float(bounds[image])
            worst = max(worst, moved)
            if np.isfinite(allowed) and not moved <= 2 * allowed:
                raise ExportCheckError(
                    f"{name}: an image's answer moves by {moved:.3g} with its neighbors in the batch"
                    f"{blame()}: normalize over each image, or by running statistics. Nothing was written"
                )
    return Check("batch invariance", f"neighbors move an answer by at most {worst:.2g}")


def _largest(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0.0))
