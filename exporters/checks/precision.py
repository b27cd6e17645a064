"""What precision does to the answers: nothing may be lost to overflow, and a cast may cost rounding alone."""

from __future__ import annotations

import numpy as np

from cnntk.exporters.checks.capture import tensors_of
from cnntk.exporters.checks.inputs import Trials
from cnntk.exporters.checks.parity import Answers, reference_answers
from cnntk.exporters.checks.record import Check
from cnntk.exporters.checks.reference import Reference
from cnntk.exporters.checks.returned import Returned, compare_returned
from cnntk.exporters.source import Source
from cnntk.runtime.errors import ParityError

__all__ = ["check_cast", "check_finite_answers"]

FACTOR = 4.0
"""How much more than the cast network's own rounding the cast may cost: weights are rounded once, as every
answer of a layer is once, and by the same step; on top of the factor of parity."""

IMAGES = 3
"""Tried at most: the network runs three times on each."""


def check_cast(
    source: Source, reference: Reference, trials: Trials, order: tuple[str, ...], eps: float
) -> Check:
    """Compares a network whose weights were rounded with itself before.

    The bound is derived: what rounding in the coarser type does to the cast network's answers is measured
    against float64 on the same images, as for parity; rounding the weights may do `FACTOR` times as much as
    parity allows. A weight that the type can't tell from 0, or from its neighbors, does more.

    Args:
        source: after the cast; ``source.source_before_cast`` is the one before.
        reference: of the one after.
        trials: inputs, of which the first few ordinary ones are taken.
        order: of the outputs, as `check_capture` takes it.
        eps: of the coarser type.

    Raises:
        ParityError: an answer moved by more, or is not finite any more.
    """
    taken = trials.ordinary[:IMAGES]
    some = Trials(tuple(trials.kinds[i] for i in taken), trials.pick(taken), (1,))
    answers = reference_answers(reference, some, eps)
    source_before_cast = source.source_before_cast
    if source_before_cast is None or source_before_cast.module is None:
        raise ValueError(f"{source.name}: was not cast")
    given = {spec.name: some.arrays[spec.name].astype(spec.dtype) for spec in source_before_cast.inputs}
    before = zip(order, tensors_of(source_before_cast.module, given), strict=False)
    compared = [
        (name, compare_returned(name, tensor, answers, source_before_cast.module)) for name, tensor in before
    ]
    moves = [_move(name, found, some, source) for name, found in compared if found is not None]
    return Check(
        "cast",
        f"{source.provenance['cast_from']} to {source.provenance['dtype']} moves answers by at most "
        f"{max(moves, default=0.0):.2g} of the largest, on {', '.join(some.kinds)}",
    )


def _move(name: str, found: Returned, trials: Trials, source: Source) -> float:
    """How far one output moved, as a share of its largest answer."""
    moved, allowed = found.errors, FACTOR * found.bounds
    wrong = ~(moved <= allowed)
    if wrong.any():
        worst = int(np.argmax(wrong))
        how = "it overflows"
        if np.isfinite(allowed[worst]):
            how = f"it moves by {moved[worst]:.3g}, where rounding accounts for {allowed[worst]:.3g},"
        said = source.provenance
        raise ParityError(
            f"{name}: on {trials.kinds[worst]} {how} "
            f"with the cast to {said['dtype']}, which holds its weights or inner values badly; keep "
            f"{said['cast_from']}. Nothing was written"
        )
    return float(moved.max(initial=0.0)) / found.scale if found.scale else 0.0


def check_finite_answers(answers: Answers) -> None:
    """On some ordinary image each output can be compared.

    Raises:
        ParityError: in its own precision the network overflows on all of them.
    """
    ordinary = answers.trials.ordinary
    for name, bounds in answers.bounds.items():
        if not np.isfinite(bounds[ordinary]).any():
            raise ParityError(
                f"{name}: torch itself answers NaN or infinity in the network's own precision, whatever the "
                "image, so there is nothing to compare with; take a wider type (--dtype float32), or train "
                "again. Nothing was written"
            )
