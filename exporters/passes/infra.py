"""The contract of a pass: one graph rewrite with one reason, and the record of what it did.

A pass that returns a record, with its contract checked from outside, is onnx_ir's idea
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
    """The changes that one run of a pass made to a graph.

    Attributes:
        applied: One line for each rewrite: the node, and what it became.
        skipped: One line for each candidate that was left unchanged, with the reason.
        substitutions: Name of each removed value to the name of the value that replaces it, where the two
            differ on purpose (a random mask's output and its input). Empty for passes that keep the function.
        comparison_floor: Smallest output before the pass that is compared with the output after it: below,
            the old form lost its digits to underflow, as log(softmax) does. None compares all outputs.
    """

    applied: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    substitutions: dict[str, str] = field(default_factory=dict)
    comparison_floor: float | None = None


class GraphPass(Protocol):
    """One rewrite of a graph."""

    name: str
    """The name in reports, like ``batch norm into linear layers``."""

    reason: str
    """One line that says why the rewrite is worth doing."""

    def __call__(self, model: ir.Model) -> Rewrites:
        """Rewrites ``model`` in place and reports each change."""
        ...


@dataclass(frozen=True)
class PassRecord:
    """The outcome of one pass.

    Attributes:
        name: Name of the pass.
        reason: Why the pass exists.
        status: ``applied``, ``nothing to do``, or ``rolled back`` where the outputs changed.
        rewrites: The changes; for a pass that was rolled back, those that were undone.
        max_rel_diff: Largest difference of the outputs before and after, relative to the largest output. For
            a random value that was replaced: distance from 1 of its mean, in units of its replacement. None
            where nothing was compared.
        rollback_reason: Why the pass was rolled back; None where it was not.
    """

    name: str
    reason: str
    status: Status
    rewrites: Rewrites
    max_rel_diff: float | None = None
    rollback_reason: str | None = None
