"""The reference of a network that is in float64 itself.

There is no wider type to measure its own rounding in: float64 beside float64 shows no error, and allows none.
But rounding errors are, to the first order, proportional to the step of the type: the same program in float32
is further from the exact answer by 2^-23 / 2^-52 = 2^29. So its error in float32 is measured against float64,
which is exact as far as float32 can tell, and 2^-29 of it is what float64's own is taken for. Where an
artifact's answers are float32 (a classifier's always are), that is far below the rounding of the answers
themselves, and the bound follows from them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import _pytree as pytree

from cnntk.exporters.checks.reference import Arrays, ProgramReference, Visitor, _Interpreter

__all__ = ["DoubleReference"]

_RATIO = 2.0**-29


class DoubleReference(ProgramReference):
    """As `ProgramReference`, for a program in float64: its own error is estimated from that of float32."""

    def single(self, inputs: Arrays, visit: Visitor | None = None) -> Arrays:
        """The exact answers, moved by 2^-29 of what float32 moves them."""
        inner: Arrays = {}
        exact = self.exact(inputs, None if visit is None else inner.__setitem__)

        def moved(name: str, narrow: Any) -> None:
            if visit is not None and name in inner:
                visit(name, inner[name] + (narrow - inner[name]) * _RATIO)

        narrow = self._run(_Float32, inputs, moved)
        return {name: exact[name] + (narrow[name] - exact[name]) * _RATIO for name in exact}


class _Float32(_Interpreter):
    """Runs a program in float32."""

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return super().call_function(target, pytree.tree_map(_narrow, args), pytree.tree_map(_narrow, kwargs))


def _narrow(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.dtype is torch.float64:
        return value.float()
    return torch.float32 if value is torch.float64 else value
