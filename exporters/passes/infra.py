"""What a pass is: one graph rewrite with one reason, and the record of what it did.

The idea of a pass that returns a record, with its contract checked from outside, is onnx_ir's
(``onnx_ir/passes/_pass_infra.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import onnx_ir as ir

__all__ = ["GraphPass", "PassRecord", "Rewrites"]

Status = Literal["applied", "nothing to do", "rolled back"]


@dataclass(frozen=True)
class Rewrites:
    """What a pass did to a graph.

    Attributes:
        done: a line for each rewrite: which node, and what became of it.
        declined: a line for each place that looked right and was left, with the reason.
        replaced: output of what was removed to the value that stands for it, where the two differ on purpose
            (a random mask and its input); empty for passes that keep the function.
        lowest: outputs below it are not compared with what they were, because the old form lost them to
            underflow (log(softmax)); None: all are.
    """

    done: tuple[str, ...] = ()
    declined: tuple[str, ...] = ()
    replaced: dict[str, str] = field(default_factory=dict)
    lowest: float | None = None


class GraphPass(Protocol):
    """One rewrite."""

    name: str
    """What it is called in reports, like ``batch-norm into conv``."""

    reason: str
    """Why it is done, in one line."""

    def __call__(self, model: ir.Model) -> Rewrites:
        """Rewrites ``model`` in place."""
        ...


@dataclass(frozen=True)
class PassRecord:
    """What became of one pass.

    Attributes:
        name: of the pass.
        reason: why it is done.
        status: ``rolled back`` where the outputs moved.
        rewrites: what it did; what it had done, where it was rolled back.
        drift: largest difference of the outputs before and after, relative to the largest output; where a
            random value was replaced, how far its mean is from 1 times what stands for it. None: nothing ran.
        why: of a roll-back.
    """

    name: str
    reason: str
    status: Status
    rewrites: Rewrites
    drift: float | None = None
    why: str | None = None
