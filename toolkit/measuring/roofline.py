"""How far a layer is from what the machine could do (Williams et al., Roofline, CACM 52(4), 2009)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cnntk.measuring.peaks import Peaks
from cnntk.measuring.work import Work

__all__ = ["Bound", "Limit", "bound_of"]

Limit = Literal["compute", "memory", "in cache"]
"""What binds a layer; ``in cache``: neither, as it multiplies nothing and what it reads and writes never
leaves the caches, of which there is no peak here."""


_SURPASSED = 1.2
"""So much faster than memory can be, a layer has found a part of its bytes in a cache."""


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
    and writes besides, if that alone is more. Where the system does not tell the size of its caches all bytes
    count.

    Args:
        work: of the layer.
        time_ms: that it took.
        model_bytes: of all weights that a run reads.
        peaks: of the machine.
    """
    cache = peaks.cache_bytes or 0
    weights = work.weight_bytes if work.multiply_adds and model_bytes > cache else 0
    data = work.data_bytes if work.data_bytes > cache else 0
    memory_ms = (weights + data) / peaks.memory_gb_s / 1e6
    if memory_ms > _SURPASSED * time_ms:
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
