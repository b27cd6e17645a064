"""`prove`: every check that needs the graph to run, in the order in which a failure says most."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from torch import nn

from cnntk.exporters.ledger import LedgerRow
from cnntk.exporters.proof.capture import check_capture
from cnntk.exporters.proof.divergence import first_batch_dependent, first_divergence
from cnntk.exporters.proof.head import check_head
from cnntk.exporters.proof.independence import check_batch_invariance, check_repeatable
from cnntk.exporters.proof.inputs import Trials
from cnntk.exporters.proof.parity import Answers, Parity, Run, check_parity, reference_answers
from cnntk.exporters.proof.record import Check
from cnntk.exporters.proof.reference import Reference
from cnntk.exporters.proof.shapes import check_shapes

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
        answers: of the reference.
    """

    checks: tuple[Check, ...]
    parity: tuple[Parity, ...]
    ledger: tuple[LedgerRow, ...]
    answers: Answers


def prove(case: Case, run: Run) -> Proof:
    """Runs every check.

    Args:
        case: what is to be proven.
        run: the exported file.

    Raises:
        ProofError: one does not hold; the message says which, where, and what to do.
    """
    answers = reference_answers(case.reference, case.trials, case.eps)
    checks = [check_repeatable(run, answers)]
    checks.append(
        check_batch_invariance(run, answers, lambda: first_batch_dependent(case.model, case.trials, case.eps))
    )
    parity = check_parity(
        run, answers, lambda: first_divergence(case.model, case.reference, case.trials, case.eps)
    )
    checks.append(_parity_check(parity))
    if case.module is not None:
        checks.append(
            check_capture(case.module, answers, case.order, 1 if case.large else len(case.trials.kinds))
        )
    if {"logits", "probabilities"} <= {v.name for v in case.model.graph.outputs}:
        checks.append(check_head(case.model))
    ledger, check = check_shapes(case.model, case.reference, case.trials)
    return Proof((*checks, check), parity, ledger, answers)


def _parity_check(parity: tuple[Parity, ...]) -> Check:
    worst = max(parity, key=lambda p: p.onnx_error / p.bound)
    return Check(
        "parity",
        f"{worst.onnx_error:.2g} from float64 on {worst.kind} at the worst, {worst.bound:.2g} allowed "
        f"(torch itself {worst.torch_error:.2g}); batch {', '.join(map(str, worst.batches))}",
    )
