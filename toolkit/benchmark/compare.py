"""`compare`: is the second faster, slower, or is there no difference to be seen.

Blocks of both are measured in turn (`cnntk.benchmark.interleaved.race`). On two noisy cores the blocks' times
were alike over some 30 pairs, and the pairs' ratios not at all: the turns take the noise away, and the
interval holds.

All the time is used: to stop as soon as a difference is seen would find one where there is none, the more
often the longer one looks (Armitage, McPherson and Rowe, J. R. Stat. Soc. A 132 (1969) 235).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from cnntk.benchmark.interleaved import Race, race
from cnntk.benchmark.statistics.findings import noise
from cnntk.benchmark.statistics.system_load import surroundings

__all__ = ["Comparison", "Word", "compare", "judged"]

Word = Literal["faster", "slower", "no difference"]

_LEAST_PAIRS = 6  # fewer have no interval

_ALIKE = 0.02
"""Ratios within 2 % of 1 are no difference: where memory happens to lie makes two loadings of a model differ.

Of 20 pairs of engines on one LeNet the second was 0.7 % faster on average, and 2.3 % at most. Mytkowicz et
al., Producing wrong data without doing anything obviously wrong, ASPLOS 2009. And a model compared with
itself would else be called different one time in 20, by the meaning of a 95 % interval.
"""


@dataclass(frozen=True)
class Comparison(Race):
    """How the second compares with the first.

    Attributes:
        verdict: on the second; "faster" or "slower" only where all of the interval is, by over 2 %.
        noise: what else the machine did meanwhile, a sentence each; turns take most of it out of the ratio.
    """

    verdict: Word
    noise: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def compare(
    first: Callable[[], object],
    second: Callable[[], object],
    *,
    seconds: float = 10.0,
    progress: Callable[[float], object] | None = None,
) -> Comparison:
    """Measures two calls in turns.

    Args:
        first: what is compared with.
        second: what is judged.
        seconds: to measure for, all of them; longer where 6 pairs of blocks take longer.
        progress: is told between pairs which share of the time is over, 0 to 1.

    Raises:
        ValueError: there is no time to measure in.
    """
    before = surroundings()
    found = judged(race(first, second, seconds=seconds, at_least=_LEAST_PAIRS, progress=progress))
    return replace(found, noise=tuple(finding.message for finding in noise(before, surroundings())))


def judged(found: Race) -> Comparison:
    """A race in a word."""
    verdict: Word = "no difference"
    if found.low > 1 + _ALIKE:
        verdict = "faster"
    elif found.high < 1 / (1 + _ALIKE):
        verdict = "slower"
    return Comparison(**asdict(found), verdict=verdict)
