"""The finished file beside the network in it: images into one, what they become into the other."""

from __future__ import annotations

import numpy as np

from cnntk.exporters.checks.parity import Answers
from cnntk.exporters.checks.pixels import Whole
from cnntk.exporters.checks.prove import Case
from cnntk.exporters.checks.reference import Arrays
from cnntk.exporters.checks.runs import Run
from cnntk.exporters.session import GraphSession

__all__ = ["whole_of"]


def whole_of(case: Case, run: Run, answers: Answers) -> Whole:
    """What `check_pixels` needs to compare answers.

    Two float32 programs may each be as far from float64 as parity allows, so they may be twice that apart.

    Args:
        case: the network.
        run: the finished file.
        answers: of the reference.
    """
    session = GraphSession(case.model, optimize=True)
    first, *others = (v.name or "" for v in case.model.graph.inputs)
    row = case.trials.batch(1)
    return Whole(
        pixels=run,
        floats=lambda arrays: session.run(_cast(arrays, row)),
        input=first,
        others={name: row[name] for name in others},
        bounds={name: _relative(name, answers) for name in answers.exact if name in session.names},
    )


def _cast(arrays: Arrays, like: Arrays) -> Arrays:
    return {name: array.astype(like[name].dtype, copy=False) for name, array in arrays.items()}


def _relative(output: str, answers: Answers) -> float:
    """The largest bound of an ordinary image, as a share of its largest answer."""
    images = answers.trials.ordinary
    scales = np.abs(answers.exact[output][images].astype(np.float64)).reshape(len(images), -1).max(axis=1)
    told = scales > 0
    shares = answers.bounds[output][images][told] / scales[told]
    return 2 * float(np.nanmax(shares, initial=0.0))
