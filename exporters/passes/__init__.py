"""Graph rewrites, one per file, each checked before and after. `PASSES` in ``order.py`` is their order."""

from __future__ import annotations

from cnntk.exporters.passes._constants import FoldConstants
from cnntk.exporters.passes._dropout import deterministic
from cnntk.exporters.passes.infra import GraphPass, PassRecord, Rewrites
from cnntk.exporters.passes.order import PASSES
from cnntk.exporters.passes.run import run_passes

__all__ = ["PASSES", "FoldConstants", "GraphPass", "PassRecord", "Rewrites", "deterministic", "run_passes"]
