"""Graph rewrites, one per file, each checked before and after. `PASSES` in ``order.py`` is their order."""

from __future__ import annotations

from cnntk.exporters.passes.infra import GraphPass, PassRecord, Rewrites
from cnntk.exporters.passes.order import PASSES
from cnntk.exporters.passes.run import run_passes

__all__ = ["PASSES", "GraphPass", "PassRecord", "Rewrites", "run_passes"]
