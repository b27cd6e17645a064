"""`prove`: every check that needs the graph to run, in the order in which a failure says most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir
from torch import nn

from cnntk.exporters.checks.capture import check_capture
from cnntk.exporters.checks.divergence import first_batch_dependent, first_divergence
from cnntk.exporters.checks.faint import check_faint
from cnntk.exporters.checks.head import check_head
from cnntk.exporters.checks.independence import check_batch_invariance, check_repeatable
from cnntk.exporters.checks.inputs import Trials
from cnntk.exporters.checks.parity import Answers, Parity, check_parity
from cnntk.exporters.checks.record import Check
from cnntk.exporters.checks.reference import Reference
from cnntk.exporters.checks.runs import Run, Runs
from cnntk.exporters.checks.shapes import check_shapes
from cnntk.exporters.shapes.ledger import LedgerRow

__all__ = ["Case", "Proof", "prove"]


@dataclass(frozen=True)
class Case:
    """What is to be proven.

    Attributes:
        model: the graph, with torch's notes on its nodes.
        reference: what it should answer.
        trials: inputs.
        eps: of the source's precision.
        module: the source itself, where it is torch's and deterministic.
        order: names of the outputs, in the order in which the module returns them.
        large: so large that the reference takes seconds an image.
    """

    model: ir.Model
    reference: Reference
    trials: Trials
    eps: float
    module: nn.Module | None
    order: tuple[str, ...]
    large: bool


@dataclass(frozen=True)
class Proof:
    """What was shown.

    Attributes:
        checks: in order.
        parity: of each output on each kind of input.
        ledger: the shapes, by formula, torch, ONNX and onnxruntime.
    """

    checks: tuple[Check, ...]
    parity: tuple[Parity, ...]
    ledger: tuple[LedgerRow, ...]


def prove(case: Case, run: Run, asked: Callable[[], Answers]) -> Proof:
    """Runs every check.

    Args:
        case: what is to be proven.
        run: the exported file.
        asked: the reference's answers to the trials; called late, so that they may be found meanwhile.

    Raises:
        ExportCheckError: one does not hold; the message says which, where, and what to do.
    """
    runs = Runs(run, case.trials)
    checks = [check_repeatable(runs)]
    ledger, shapes = check_shapes(case.model, case.reference, case.trials)
    answers = asked()
    checks.append(
        check_batch_invariance(
            runs, answers, lambda: first_batch_dependent(case.model, case.trials, case.eps)
        )
    )
    parity = check_parity(runs, answers, lambda: _where(case))
    checks.append(_parity_check(parity))
    if (faint := check_faint(parity, case.model, case.reference, case.trials, case.eps)) is not None:
        checks.append(faint)
    if case.module is not None:
        checks.append(
            check_capture(case.module, answers, case.order, 1 if case.large else len(case.trials.kinds))
        )
    if {"logits", "probabilities"} <= {v.name for v in case.model.graph.outputs}:
        checks.append(check_head(case.model))
    return Proof((*checks, shapes), parity, ledger)


def _where(case: Case) -> str:
    found = first_divergence(case.model, case.reference, case.trials, case.eps)
    return (
        found or "; no layer does by itself: it is rounding in onnxruntime's fused kernels, or it builds up"
    )


def _parity_check(parity: tuple[Parity, ...]) -> Check:
    worst = max(parity, key=lambda p: p.onnx_error / p.bound)
    return Check(
        "parity",
        f"{worst.onnx_error:.2g} from float64 on {worst.kind} at the worst, {worst.bound:.2g} allowed "
        f"(torch itself {worst.torch_error:.2g}); batch {', '.join(map(str, worst.batches))}",
    )
