"""One that a model is measured against, and how its answers compare with the model's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.errors import UsageError

__all__ = ["ALIKE", "Arrays", "Opponent", "compared", "first_line", "in_order"]

ALIKE = 1e-3
"""Share of the largest answer up to which answers count as the same: rounding, and levels that another resize
rounds the other way, stay below it; integers for floats do not."""

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Opponent:
    """One that is measured against, and how its answers compare.

    Attributes:
        name: for people, as ``torch, compiled``.
        call: one run on the inputs; None where it can't be had, and ``note`` says why.
        note: what to know about it, its answers included; phrases with semicolons between them.
        apart: largest difference to the model's answers, as a share of the largest of them; infinite where
            one is not finite; None where no answer has the same shape, or there is no call.
        agree: share of the inputs for which the largest answer is the same one, 0 to 1; None as above.
    """

    name: str
    call: Callable[[], Arrays] | None = field(repr=False)
    note: str = ""
    apart: float | None = None
    agree: float | None = None

    @property
    def alike(self) -> bool:
        """Whether it answers the same, up to `ALIKE`."""
        return self.apart is not None and self.apart <= ALIKE

    def to_json(self) -> dict[str, Any]:
        """As JSON data; a call is not, nor is an infinite ``apart``: null."""
        return {
            "name": self.name,
            "runs": self.call is not None,
            "note": self.note,
            "apart": self.apart if self.apart is not None and math.isfinite(self.apart) else None,
            "agree": self.agree,
            "alike": self.alike,
        }


def in_order(inputs: Arrays, names: list[str], title: str) -> Arrays:
    """``inputs`` under another one's names: by name where all agree, else as they stand.

    Raises:
        UsageError: there are more, or fewer.
    """
    if len(names) != len(inputs):
        raise UsageError(f"{title}: takes {len(names)} inputs, not {len(inputs)}; they can't be compared")
    if set(names) == set(inputs):
        return {name: inputs[name] for name in names}
    return dict(zip(names, inputs.values(), strict=True))


def first_line(error: BaseException) -> str:
    """The first line of a message that says something, cut to 200 characters."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)[:200]


def compared(rival: Opponent, ours: Arrays) -> Opponent:
    """The same, with what comparing its answers with the model's has shown."""
    if rival.call is None:
        return rival
    pairs = list(_pairs(ours, rival.call()))
    if not pairs:
        return replace(rival, note=_joined(rival.note, "no answer of it has the shape of ours"))
    apart = max(_apart(*pair) for pair in pairs)
    agree = min(float(np.mean(np.equal(*(_best(answer) for answer in pair)))) for pair in pairs)
    told = "answers the same"
    if apart > ALIKE:
        told = f"answers differ by {apart:.2g} of the largest; {agree:.0%} of the inputs have the same best"
    return replace(rival, note=_joined(rival.note, told), apart=apart, agree=agree)


def _pairs(ours: Arrays, theirs: Arrays) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Each of their answers with ours of that name, or else with the nearest of that shape."""
    for name, answer in theirs.items():
        named = [ours[name]] if name in ours else list(ours.values())
        fitting = [mine for mine in named if mine.shape == answer.shape]
        if fitting:
            yield min(fitting, key=lambda mine: _apart(mine, answer)), answer


def _apart(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """Largest difference as a share of our largest; infinite where something is not finite."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    difference = float(np.abs(a - b).max(initial=0.0))
    largest = float(np.abs(a).max(initial=0.0))
    return difference / (largest or 1.0) if np.isfinite(difference) else float("inf")


def _best(answer: NDArray[Any]) -> NDArray[np.intp]:
    rows: NDArray[Any] = answer.reshape(len(answer) if answer.ndim else 1, -1)
    best: NDArray[np.intp] = np.argmax(rows, axis=1)
    return best


def _joined(*phrases: str) -> str:
    return "; ".join(phrase for phrase in phrases if phrase)
