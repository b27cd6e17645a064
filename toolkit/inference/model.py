"""The model that images are run with: a classifier where it is one, else arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from cnntk.runtime.artifact.spec import Preprocessing, TensorSpec
from cnntk.runtime.classifier import Classifier
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import UnsupportedArtifact, UsageError
from cnntk.runtime.image_engine import ImageEngine
from cnntk.runtime.preprocessing.choice import (
    PreprocessingChoice,
    agreed_preprocessing,
    is_image,
    suggested_preset,
    unstated,
)

__all__ = ["ModelLike", "load_model", "open_classifier", "stated_preprocessing"]

ModelLike = ImageEngine | str | os.PathLike[str] | bytes

Notify = Callable[[str], object]


def load_model(
    model: ModelLike,
    device: str,
    cores: int,
    *,
    many: bool,
    preprocessing: PreprocessingChoice | None = None,
    labels: Sequence[str] | None = None,
    arrays: bool = False,
    notify: Notify = lambda text: None,
) -> ImageEngine:
    """Loads a model that takes images, with one thread per call for ``many`` images, else with all cores.

    Args:
        model: Model, which is loaded unless it is already.
        device: Device, as `Engine` takes it.
        cores: Number of cores to use.
        many: Whether there are several images.
        preprocessing: Preprocessing of a file that states none.
        labels: Names of the classes of a file that states none.
        arrays: Whether a classifier's arrays are wanted, too.
        notify: Function that receives remarks about the model.

    Returns:
        A `Classifier`, or an `ImageEngine` for other models and for ``arrays``.

    Raises:
        UsageError: Preprocessing or labels contradict the file, or labels have no use.
        UnsupportedArtifact: The model takes no images, or nothing states how they become its input. The
            error's notes have lines of Python that run it on arrays.
    """
    if isinstance(model, ImageEngine):
        return model
    engine = Engine(model, device, threads=1 if many else cores)
    p = stated_preprocessing(engine, preprocessing)
    if arrays:
        if labels is not None:
            raise UsageError("--labels: arrays have no labels; leave it out")
        return ImageEngine(engine, preprocessing=p)
    try:
        classifier = Classifier(engine, preprocessing=p, labels=labels)
    except UnsupportedArtifact as error:
        if labels is not None:
            raise UsageError(f"--labels: {error}") from error
        notify(f"{str(error).removesuffix('; use Engine')}; --format npz -o FILE keeps its arrays")
        return ImageEngine(engine, preprocessing=p)
    if classifier.scores.evidence:
        kind = classifier.scores.kind.replace("distribution", "probabilities")
        notify(f"{engine.name}: {classifier.scores.output} is taken as {kind} ({classifier.scores.evidence})")
    return classifier


def open_classifier(
    engine: Engine,
    preprocessing: PreprocessingChoice | None = None,
    labels: Sequence[str] | None = None,
) -> Classifier:
    """Returns a classifier of an engine's model, with its own preprocessing and labels or the stated ones.

    Raises:
        UsageError: Preprocessing or labels contradict the file.
        UnsupportedArtifact: The model takes no images, nothing states its preprocessing, or it is not a
            classifier.
    """
    return Classifier(engine, preprocessing=stated_preprocessing(engine, preprocessing), labels=labels)


def stated_preprocessing(engine: Engine, choice: PreprocessingChoice | None) -> Preprocessing:
    """Returns the preprocessing that the file of a model or, where it states none, ``choice`` states.

    Raises:
        UsageError: Both are stated and differ, or ``choice`` does not fit the input.
        UnsupportedArtifact: The model does not take one image, or nothing states the preprocessing.
    """
    current = engine.spec.preprocessing if engine.spec is not None else None
    if len(engine.inputs) != 1:
        names = ", ".join(spec.name for spec in engine.inputs) or "none"
        raise _arrays_only(engine, f"takes {len(engine.inputs)} inputs ({names}), not one image")
    tensor = engine.inputs[0]
    if current is None and not is_image(tensor):
        shape = ", ".join(map(str, tensor.shape))
        raise _arrays_only(engine, f"its input {tensor.name} is {tensor.dtype} [{shape}], no image")
    p = agreed_preprocessing(engine.name, current, tensor, choice)
    if p is None:
        error = UnsupportedArtifact(f"{engine.name}: {unstated(tensor)}")
        error.missing_arguments = ("--preprocessing", suggested_preset(tensor) or "unit")
        raise error
    return p


def _arrays_only(engine: Engine, reason: str) -> UnsupportedArtifact:
    error = UnsupportedArtifact(f"{engine.name}: {reason}, so it takes arrays only. In Python:")
    arrays = ", ".join(f"{spec.name!r}: {_zeros(spec)}" for spec in engine.inputs)
    outputs = ", ".join(f"{o.name}: {o.dtype} [{', '.join(map(str, o.shape))}]" for o in engine.outputs)
    error.add_note("import numpy; from cnntk.runtime import Engine")
    error.add_note(f"arrays = {{{arrays}}}")
    error.add_note(f"outputs = Engine({engine.name!r}).run(arrays)  # {outputs}")
    return error


def _zeros(spec: TensorSpec) -> str:
    """An array of an input's shape, as Python: a batch of one, and 224 for other open sizes."""
    sizes = [d if isinstance(d, int) else 1 if i == 0 else 224 for i, d in enumerate(spec.shape)]
    return f"numpy.zeros({tuple(sizes)}, {spec.dtype!r})"
