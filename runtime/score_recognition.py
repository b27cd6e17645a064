"""Recognizes the scores of classes among the outputs of a file without a spec, by their values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import Preprocessing, TensorSpec
from cnntk.runtime.errors import CnntkError, UnsupportedArtifact
from cnntk.runtime.output_values import OTHER_NAMES, OTHER_REASONS, describe_output

if TYPE_CHECKING:
    from cnntk.runtime.engine import Engine

__all__ = ["recognize_scores"]

_CONTRASTS = (0.01, 1.0, 1.0, 10.0, 100.0, 1e4)
"""Factors of the noise that shows what an output is: only a distribution keeps its sum."""


def recognize_scores(
    engine: Engine, preprocessing: Preprocessing | None
) -> tuple[str, Literal["distribution", "log distribution", "logits"], int, str]:
    """Runs a model on noise, and returns the output that holds the scores of classes.

    Returns:
        Name of the output, kind of its rows, number of classes, and the figures that show the kind.

    Raises:
        UnsupportedArtifact: The model is not a classifier; the message has the reason.
    """
    name = _candidate(engine)
    try:
        values = _outputs_on_noise(engine, name, preprocessing)
    except CnntkError as error:
        raise UnsupportedArtifact(
            f"{engine.name}: it can't be seen whether it is a classifier: {error}"
        ) from error
    batch = _shape_of_one(engine.inputs[0], None)[0]
    if values.ndim != 3 or values.shape[1] != batch:
        shape = "x".join(map(str, values.shape[1:]))
        raise _no_classifier(
            engine, f"its output {name} has the shape {shape} for a batch of {batch}, not {batch}xK"
        )
    rows = values[:, 0]
    if rows.shape[1] < 2:
        raise _no_classifier(engine, f"its output {name} is one number an image, like a regression's")
    evidence = describe_output(rows)
    if rows.shape[1] > 2 and (np.diff(rows, axis=1) <= 0).all():
        raise _no_classifier(
            engine, f"its output {name} holds the largest values in order, not those of each class"
        )
    if evidence.kind in OTHER_REASONS:
        raise _no_classifier(engine, f"its output {name}, {evidence.text}, is {_other(evidence.kind)}")
    kind = evidence.kind if evidence.kind in ("distribution", "log distribution") else "logits"
    return name, kind, rows.shape[1], evidence.text


def _other(kind: str) -> str:
    reason = OTHER_REASONS[kind]
    return reason if kind != "fractions" else f"multi-label: {reason}"


def _candidate(engine: Engine) -> str:
    """Name of the only output that can hold the scores of classes."""
    floats = [output for output in engine.outputs if output.dtype.startswith("float")]
    named = [output for output in floats if output.name in ("probabilities", "logits")]
    if len(floats) != 1 and not named:
        texts = ", ".join(map(_tensor_text, engine.outputs))
        raise _no_classifier(engine, f"none of its {len(engine.outputs)} outputs is named logits: {texts}")
    output = max(named or floats, key=lambda output: output.name == "probabilities")
    if output.name.lower() in OTHER_NAMES:
        raise _no_classifier(engine, f"its output is named {output.name}")
    return output.name


def _outputs_on_noise(engine: Engine, name: str, p: Preprocessing | None) -> NDArray[Any]:
    """The output for noise of several contrasts, one image each: (contrasts, 1, ...)."""
    rng = np.random.default_rng(0)
    shapes = {spec.name: _shape_of_one(spec, p if i == 0 else None) for i, spec in enumerate(engine.inputs)}
    values = []
    for contrast in _CONTRASTS:
        inputs = {spec.name: _noise(rng, spec, shapes[spec.name], contrast) for spec in engine.inputs}
        values.append(engine.run(inputs, allow_nonfinite=True)[name])
    return np.stack(values)


def _shape_of_one(spec: TensorSpec, p: Preprocessing | None) -> tuple[int, ...]:
    """Shape of a batch of one, or of the only batch that a model takes; open sizes as ``p`` says."""
    sizes = [1, p.channels, p.height, p.width] if p is not None else [1] * len(spec.shape)
    if p is not None and p.layout == "NHWC":
        sizes = [1, p.height, p.width, p.channels]
    pairs = zip(spec.shape, [*sizes, *[1] * len(spec.shape)], strict=False)
    return tuple(d if isinstance(d, int) else size for d, size in pairs)


def _noise(
    rng: np.random.Generator, spec: TensorSpec, shape: tuple[int, ...], contrast: float
) -> NDArray[Any]:
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return (rng.standard_normal(shape) * contrast).astype(dtype)
    return rng.integers(0, max(2, min(256, int(4 * contrast))), shape).astype(dtype)


def _tensor_text(spec: TensorSpec) -> str:
    return f"{spec.name} ({spec.dtype} [{', '.join(map(str, spec.shape))}])"


def _no_classifier(engine: Engine, reason: str) -> UnsupportedArtifact:
    return UnsupportedArtifact(f"{engine.name}: is not a classifier: {reason}")
