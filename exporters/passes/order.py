"""The order in which passes run.

Random nodes first, because outputs of a random graph can't be compared; then rewrites that simplify, so that
later patterns meet few forms; then those that make the graph safe; then those that make it faster; last
the removal of what is left unused.
"""

from __future__ import annotations

from cnntk.exporters.passes._batch_norm import FoldBatchNorm
from cnntk.exporters.passes._constants import FoldConstants
from cnntk.exporters.passes._dead_code import RemoveDeadCode
from cnntk.exporters.passes._dropout import RemoveDropout
from cnntk.exporters.passes._identities import RemoveIdentities
from cnntk.exporters.passes._linear_chain import CollapseLinearChains
from cnntk.exporters.passes._padding import FoldPadding
from cnntk.exporters.passes._relu_pool import ReluAfterPool
from cnntk.exporters.passes._softmax import StableSoftmax
from cnntk.exporters.passes._subexpressions import MergeSubexpressions
from cnntk.exporters.passes.affine import FoldAffine
from cnntk.exporters.passes.infra import GraphPass

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
