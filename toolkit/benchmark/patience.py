"""How many runs are made at least, whatever time was given: fewer of a model that takes long for one."""

from __future__ import annotations

__all__ = ["SLOW_S", "is_slow", "runs_at_least"]

SLOW_S = 1.0
"""A run that takes longer is waited for: 20 of them are longer than anybody meant by a few seconds."""


def is_slow(run_s: float) -> bool:
    """Whether a run takes over a second."""
    return run_s > SLOW_S


def runs_at_least(usual: int, run_s: float, *, slow: int = 3) -> int:
    """Runs at least.

    Args:
        usual: that statistics want.
        run_s: what a run takes, in seconds.
        slow: of runs that take over a second; who shows the figures says that they are few.
    """
    return min(usual, slow) if is_slow(run_s) else usual
