"""How far a layer is from what the machine could do (Williams et al., Roofline, CACM 52(4), 2009)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cnntk.benchmark.layers.peaks import Peaks
from cnntk.benchmark.layers.work import Work

__all__ = ["TOLERANCE", "Bound", "Limit", "bound_of"]

Limit = Literal["compute", "memory", "in cache"]
"""What binds a layer; ``in cache``: neither, as it multiplies nothing and what it reads and writes never
leaves the caches, of which there is no peak here."""

TOLERANCE = 0.05
"""By how much, as a share of its time, a layer may be faster than at a peak, and the peak be believed."""


@dataclass(frozen=True)
class Bound:
    """What a layer would wait for at best.

    Attributes:
        limit: None where the peak of its numbers is not known, and for what does nothing.
        distance: the time at the limit as a share of the time that was taken: 1 is at the limit; None where
            there is none.
    """

    limit: Limit | None
    distance: float | None


def bound_of(work: Work, time_ms: float, model_bytes: int, peaks: Peaks) -> Bound:
    """The limit of one layer: the later of its multiply-adds at peak and its bytes from memory at peak.

    Bytes come from memory where the largest cache can't hold them until they are read: weights, if those of
    the whole model are more than it holds (what does not multiply has none to speak of); what the layer reads
    and writes besides, if that alone is more. A layer that is faster than that, and no faster than if the
    cache had kept all that it holds, has found its bytes there. Where the system does not tell the size of
    its caches all bytes count.

    Args:
        work: of the layer.
        time_ms: that it took.
        model_bytes: of all weights that a run reads.
        peaks: of the machine.
    """
    cache = peaks.cache_bytes or 0
    weights = work.weight_bytes if work.multiply_adds and model_bytes > cache else 0
    data = work.data_bytes if work.data_bytes > cache else 0
    missed = weights * (1 - cache / max(model_bytes, 1)) + max(0, data - cache)
    memory_ms, least_ms = ((amount / peaks.memory_gb_s / 1e6) for amount in (weights + data, missed))
    if memory_ms > (1 + TOLERANCE) * time_ms >= least_ms:
        memory_ms = 0.0
    if not work.weight_bytes + work.data_bytes:
        return Bound(None, None)
    if not work.multiply_adds:
        return _bound("memory" if memory_ms else "in cache", memory_ms, time_ms)
    peak = peaks.gmacs(work.numbers)
    if peak is None:
        return Bound(None, None)
    compute_ms = work.multiply_adds / peak / 1e6
    return _bound("memory" if memory_ms > compute_ms else "compute", max(memory_ms, compute_ms), time_ms)


def _bound(limit: Limit, limit_ms: float, time_ms: float) -> Bound:
    return Bound(limit, limit_ms / time_ms if limit_ms and time_ms else None)
