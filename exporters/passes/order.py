"""The order in which passes run.

Random nodes first, because outputs of a random graph can't be compared; then rewrites that simplify, so that
later patterns meet few forms; then those that make the graph safe; then those that make it faster; last
the removal of what is left unused.
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
from cnntk.exporters.passes.relu_pool import ReluAfterPool
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
    ReluAfterPool(),
    RemoveDeadCode(),
)

REPAIRS = frozenset({RemoveDropout.name, StableSoftmax.name})
"""Names of the passes without which the model would be wrong on the device; the others make it faster."""
