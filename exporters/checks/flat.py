"""The reference of a classifier whose network answers a pixel for each class, which its head flattens."""

from __future__ import annotations

from cnntk.exporters.checks.reference import Arrays, Reference, Visitor

__all__ = ["Flattened"]


class Flattened:
    """A reference that answers (N, K) where the network answers (N, K, 1, 1).

    Args:
        reference: of the network.
        flat: the outputs that are to be flattened.
    """

    def __init__(self, reference: Reference, flat: frozenset[str]) -> None:
        self.outputs = reference.outputs
        self._reference = reference
        self._flat = flat

    @classmethod
    def of(cls, reference: Reference, flat: frozenset[str]) -> Reference:
        """``reference`` itself where nothing is to be flattened."""
        return cls(reference, flat) if flat else reference

    def exact(self, inputs: Arrays, visit: Visitor | None = None) -> Arrays:
        """The answers in float64."""
        return self._flattened(self._reference.exact(inputs, visit))

    def single(self, inputs: Arrays, visit: Visitor | None = None) -> Arrays:
        """The answers in the source's own precision."""
        return self._flattened(self._reference.single(inputs, visit))

    def shapes(self) -> dict[str, tuple[int | str, ...]]:
        """What the source says of the shape of each inner value."""
        return self._reference.shapes()

    def _flattened(self, answers: Arrays) -> Arrays:
        return {k: v.reshape(len(v), -1) if k in self._flat else v for k, v in answers.items()}
