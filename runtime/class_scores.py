"""Which output of a model holds the scores of classes, and how they become probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.errors import UnsupportedArtifact

if TYPE_CHECKING:
    from cnntk.runtime.engine import Engine

__all__ = ["ClassScores", "class_scores"]


class ClassScores(NamedTuple):
    """The output of a classifier, float (N, K).

    Attributes:
        output: Name of the output.
        kind: What its rows are: probabilities, their logarithms, or logits.
        classes: Number of classes K.
        evidence: Figures that show the kind, in words; empty for an artifact, whose spec says it.
    """

    output: str
    kind: Literal["distribution", "log distribution", "logits"]
    classes: int
    evidence: str = ""

    def probabilities(self, outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Returns probabilities (N, K) of the outputs of a run."""
        scores: NDArray[Any] = outputs[self.output]
        if self.kind == "distribution":
            return scores
        from cnntk.runtime.output_values import softmax

        return softmax(scores).astype(np.float32)

    def logits(self, outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any] | None:
        """Returns logits (N, K) of the outputs of a run; None where there are none."""
        return outputs.get("logits" if self.kind == "distribution" else self.output)


def class_scores(engine: Engine, preprocessing: Preprocessing | None = None) -> ClassScores:
    """Returns the output that holds the scores of classes.

    An artifact's spec says it. Another file is run on a few inputs, whose outputs show it.

    Args:
        engine: Engine of the model.
        preprocessing: Preprocessing of the images, which says sizes that the input leaves open.

    Raises:
        UnsupportedArtifact: The model is not a classifier; the message has the reason.
    """
    spec = engine.spec
    if spec is None:
        from cnntk.runtime.score_recognition import recognize_scores  # which artifacts need not load

        return ClassScores(*recognize_scores(engine, preprocessing))
    if spec.head != "classifier":
        raise UnsupportedArtifact(f"{engine.name}: is not a classifier; use Engine")
    output = next((output for output in engine.outputs if output.name == "probabilities"), None)
    if output is None:
        raise UnsupportedArtifact(f"{engine.name}: has no output 'probabilities'; use Engine")
    classes = output.shape[-1] if output.shape else None
    return ClassScores(output.name, "distribution", classes if isinstance(classes, int) else 0)
