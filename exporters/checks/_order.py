"""The checks of an export in their order, and the loop that runs them.

Checks that need no file come first; then those in which a failure says most about its cause.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from cnntk.exporters.checks._candidate import Candidate, Check
from cnntk.exporters.checks._capture import check_capture
from cnntk.exporters.checks._head import check_head
from cnntk.exporters.checks._independence import check_batch_invariance, check_repeatable
from cnntk.exporters.checks._parity import check_conditioning, check_parity, check_small_outputs
from cnntk.exporters.checks._pixels import check_pixels
from cnntk.exporters.checks._precision import check_cast, check_finite_outputs, check_float16
from cnntk.exporters.checks._shapes import check_shapes
from cnntk.exporters.checks._static import check_finite_weights, check_nothing_random, list_samples
from cnntk.exporters.checks._weights import check_weights, check_written_weights

Needs = Literal["static", "run", "images"]
"""``static``: the graph and its reference; ``run``: the written file; ``images``: the written file, where it
takes images."""


CHECKS: tuple[tuple[Needs, Callable[[Candidate], Check | None]], ...] = (
    ("static", check_nothing_random),
    ("static", check_finite_weights),
    ("static", check_weights),
    ("static", check_cast),
    ("static", list_samples),
    ("run", check_written_weights),
    ("run", check_repeatable),
    ("run", check_shapes),
    ("run", check_finite_outputs),
    ("run", check_batch_invariance),
    ("run", check_parity),
    ("run", check_conditioning),
    ("run", check_small_outputs),
    ("run", check_capture),
    ("run", check_head),
    ("run", check_float16),
    ("images", check_pixels),
)
"""What each check needs, and the check, which returns None where it does not apply, and raises on failure."""


def run_checks(candidate: Candidate, *needs: Needs) -> tuple[Check, ...]:
    """Runs the checks of `CHECKS` that need one of ``needs``, in order.

    Raises:
        ExportCheckError: A check fails; the message says which, where, and what to do.
    """
    results = [check(candidate) for required, check in CHECKS if required in needs]
    return tuple(result for result in results if result is not None)
