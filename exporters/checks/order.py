"""The checks of an export in their order, and the loop that runs them.

Checks that need no file come first; then those in which a failure says most about its cause.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cnntk.exporters.checks.candidate import Candidate, Check
from cnntk.exporters.checks.capture import check_capture
from cnntk.exporters.checks.head import check_head
from cnntk.exporters.checks.independence import check_batch_invariance, check_repeatable
from cnntk.exporters.checks.parity import check_parity, check_small_outputs
from cnntk.exporters.checks.pixels import check_pixels
from cnntk.exporters.checks.precision import check_cast, check_finite_outputs, check_float16
from cnntk.exporters.checks.shapes import check_shapes
from cnntk.exporters.checks.static import check_finite_weights, check_nothing_random, list_samples

__all__ = ["CHECKS", "ExportCheck", "run_checks"]

Needs = Literal["static", "run", "images"]


@dataclass(frozen=True)
class ExportCheck:
    """A check and what it needs.

    Attributes:
        needs: ``static``: the graph and its reference; ``run``: the written file; ``images``: the written
            file, where it takes images.
        check: Returns what was checked, or None where the check does not apply; raises where it fails.
    """

    needs: Needs
    check: Callable[[Candidate], Check | None]


CHECKS: tuple[ExportCheck, ...] = (
    ExportCheck("static", check_nothing_random),
    ExportCheck("static", check_finite_weights),
    ExportCheck("static", check_cast),
    ExportCheck("static", list_samples),
    ExportCheck("run", check_repeatable),
    ExportCheck("run", check_shapes),
    ExportCheck("run", check_finite_outputs),
    ExportCheck("run", check_batch_invariance),
    ExportCheck("run", check_parity),
    ExportCheck("run", check_small_outputs),
    ExportCheck("run", check_capture),
    ExportCheck("run", check_head),
    ExportCheck("run", check_float16),
    ExportCheck("images", check_pixels),
)


def run_checks(candidate: Candidate, *needs: Needs) -> tuple[Check, ...]:
    """Runs the checks of `CHECKS` that need one of ``needs``, in order.

    Raises:
        ExportCheckError: A check fails; the message says which, where, and what to do.
    """
    results = [each.check(candidate) for each in CHECKS if each.needs in needs]
    return tuple(result for result in results if result is not None)
