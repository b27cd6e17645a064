"""The order in which passes run.

Randomness first, because a random graph has no answers to compare; then what makes the graph plain, so that
later patterns meet few forms; then what makes it safe; then what makes it cheap; last what was left over.
"""

from __future__ import annotations

from cnntk.exporters.passes.affine import FoldAffine
from cnntk.exporters.passes.batch_norm import FoldBatchNorm
from cnntk.exporters.passes.constants import FoldConstants
from cnntk.exporters.passes.dead_code import RemoveDeadCode
from cnntk.exporters.passes.dropout import RemoveDropout
from cnntk.exporters.passes.identities import RemoveIdentities
from cnntk.exporters.passes.infra import GraphPass
from cnntk.exporters.passes.linear_chain import CollapseLinearChains
from cnntk.exporters.passes.padding import FoldPadding
from cnntk.exporters.passes.relu_pool import ReluBehindPool
from cnntk.exporters.passes.softmax import StableSoftmax
from cnntk.exporters.passes.subexpressions import MergeSubexpressions

__all__ = ["PASSES", "REPAIRS"]

PASSES: tuple[GraphPass, ...] = (
    RemoveDropout(),
    FoldConstants(),
    RemoveIdentities(),
    MergeSubexpressions(),
    StableSoftmax(),
    FoldPadding(),
    FoldBatchNorm(),
    FoldAffine(),
    CollapseLinearChains(),
    ReluBehindPool(),
    RemoveDeadCode(),
)

REPAIRS = frozenset({RemoveDropout.name, StableSoftmax.name})
"""Passes without which the model would be wrong on the device; the others make it cheaper."""
