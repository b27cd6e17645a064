"""What a search looks for, and what it found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from cnntk.benchmark.compare import Comparison
from cnntk.quantization.accuracy import Accuracy
from cnntk.quantization.config import Recipe
from cnntk.quantization.ranking import Ranking
from cnntk.runtime.codec import as_json

__all__ = ["Goal", "Prefer", "Refinement", "SearchResult", "Step"]

Prefer = Literal["speed", "size"]


@dataclass(frozen=True)
class Goal:
    """What is looked for.

    Attributes:
        max_drop: how much the answers may get worse, in points: `Accuracy.cost`.
        prefer: ``speed``: the fastest, and never a slower model than the original; ``size``: the smallest,
            whatever its speed.
    """

    max_drop: float = 0.5
    prefer: Prefer = "speed"

    def __post_init__(self) -> None:
        if not 0 <= self.max_drop <= 100:
            raise ValueError(f"max_drop: expected 0 to 100 points, got {self.max_drop}")
        if self.prefer not in ("speed", "size"):
            raise ValueError(f"prefer: expected 'speed' or 'size', got {self.prefer!r}")


@dataclass(frozen=True)
class Step:
    """A candidate on the path.

    Attributes:
        change: what it is, or what is other than before.
        recipe: by which it was made.
        size_bytes: of its file.
        race: of the original against it, so that a ratio of 2 is twice as fast; None where it was not timed.
        accuracy: beside the original; None where its speed had decided before.
        verdict: ``holds``, or why it is not taken.
    """

    change: str
    recipe: Recipe
    size_bytes: int
    race: Comparison | None
    accuracy: Accuracy | None
    verdict: str

    @property
    def holds(self) -> bool:
        """Whether it is all that is asked for."""
        return self.verdict == "holds"

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "change": self.change,
            "recipe": self.recipe.to_json(),
            "size_bytes": self.size_bytes,
            "race": self.race and as_json(self.race),
            "accuracy": self.accuracy and self.accuracy.to_json(),
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Refinement:
    """What was tried to bring the answers in integers closer to the original's.

    Attributes:
        what: ``biases corrected`` or ``channels equalized``.
        before: divergence without it, in nats.
        after: with it.
        kept: whether it helped.
    """

    what: str
    before: float
    after: float
    kept: bool

    def __str__(self) -> str:
        verdict = "kept" if self.kept else "not kept"
        return f"{self.what}: {self.before:.3g} to {self.after:.3g} nats from the original, {verdict}"


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        chosen: the best candidate; None where the original stays as it is.
        reason: why it was taken, or why the original stays.
        path: all that was tried, in order.
        ranking: of the layers by what they cost; None where accuracy was no question.
        recipe: of the chosen one, or of the original: why each layer is what it is.
        interrupted: whether it was ended early, so that a better one may exist.
        refinements: that were tried.
    """

    chosen: Step | None
    reason: str
    path: tuple[Step, ...]
    ranking: Ranking | None
    recipe: Recipe
    interrupted: bool = False
    refinements: tuple[Refinement, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "chosen": self.chosen and self.chosen.to_json(),
            "reason": self.reason,
            "path": [step.to_json() for step in self.path],
            "ranking": self.ranking and asdict(self.ranking),
            "recipe": self.recipe.to_json(),
            "interrupted": self.interrupted,
            "refinements": [asdict(r) for r in self.refinements],
        }
