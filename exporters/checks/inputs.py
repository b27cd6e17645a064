"""What a model is tried on: ordinary inputs, and those at which programs that look equal part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.exporters.checks.reference import Arrays
from cnntk.runtime.artifact.spec import IMAGE_INPUT, Preprocessing, TensorSpec
from cnntk.runtime.images.reading import Pixels
from cnntk.runtime.preprocessing.preprocess import luma, normalize, preprocess
from cnntk.runtime.preprocessing.resizing import shrink, shrinkable
from cnntk.runtime.preprocessing.sampling import resize_nearest

__all__ = ["FEW", "KINDS", "ORDINARY", "SAMPLES", "Trials", "numpy_dtype", "trial_images", "trial_inputs"]

KINDS = ("noise", "extremes", "hot pixel", "white", "denormals", "black", "ramp", "noise")
"""In order of what they find: a large network is tried on the first few."""

IMAGE_KINDS = ("noise", "hot pixel", "white", "ramp", "black", "noise")
"""Where the graph takes images: bytes are never extreme or denormal."""

FEW = 3
"""Built-in inputs on which a large network is tried, in which float64 takes seconds an image."""

SAMPLES = 4
"""Of the user's own that are tried at most; of a large network half of them. Each is run in float64, too,
which takes many times as long as the model itself, and memory for every inner value."""

ORDINARY = frozenset(
    {"noise", "hot pixel", "white", "black", "ramp"} | {f"sample {i + 1}" for i in range(SAMPLES)}
)
"""Inputs of the usual range: on them the error that is usual for torch is measured."""

_EXTREME = {"float16": 1e2, "bfloat16": 1e4, "float32": 1e4, "float64": 1e4}
"""Times the usual range: the type still holds sums of it, and exp() of it does not."""

_DENORMAL = {"float16": 1e-6, "bfloat16": 1e-39, "float32": 1e-39, "float64": 1e-309}
"""Takes values of about 1 below the smallest normal number of the type."""


@dataclass(frozen=True)
class Trials:
    """A batch of inputs.

    Attributes:
        kinds: what each image of the batch is: of `KINDS`, or ``sample 1`` and so on for the user's own.
        arrays: by input; (len(kinds), ...).
        batches: sizes to try: 1, 2, 3 and one larger.
        fed: what the file takes for ``arrays``, where that is another thing: images.
    """

    kinds: tuple[str, ...]
    arrays: Arrays
    batches: tuple[int, ...]
    fed: Arrays | None = None

    def feed(self, size: int, start: int = 0) -> Arrays:
        """What the file takes for `batch`."""
        images = [(start + i) % len(self.kinds) for i in range(size)]
        return _picked(self.arrays if self.fed is None else self.fed, images)

    def batch(self, size: int, start: int = 0) -> Arrays:
        """``size`` images from number ``start`` on; from the first again where they end."""
        return self.pick([(start + i) % len(self.kinds) for i in range(size)])

    def pick(self, images: Sequence[int]) -> Arrays:
        """The images of these numbers."""
        return _picked(self.arrays, images)

    @property
    def ordinary(self) -> list[int]:
        """The numbers of the images of the usual range."""
        return [i for i, kind in enumerate(self.kinds) if kind in ORDINARY]


def trial_inputs(
    specs: tuple[TensorSpec, ...],
    preprocessing: Preprocessing | None,
    count: int = len(KINDS),
    samples: Arrays | None = None,
) -> Trials:
    """A batch of images of different kinds for each input; the first input's are preprocessed.

    Always the same for the same arguments.

    Args:
        specs: of the inputs.
        preprocessing: of the first input; None where it is not known.
        count: of the built-in images, at most 8.
        samples: the user's own, by input; (n, ...), as the network takes them. They stand first and then in
            turn with the built-in ones, so that checks that take only the first few images see both.
    """
    kinds = KINDS[:count]
    built_in = {
        spec.name: _input(spec, kinds, preprocessing if i == 0 else None) for i, spec in enumerate(specs)
    }
    if not samples:
        return Trials(kinds, built_in, (1, 2, 3, max(4, count)))
    own = len(next(iter(samples.values())))
    order, titles = _in_turn(own, kinds)
    arrays = {name: np.concatenate([samples[name], array])[order] for name, array in built_in.items()}
    return Trials(titles, arrays, (1, 2, 3, max(4, len(titles))))


def trial_images(
    specs: tuple[TensorSpec, ...],
    p: Preprocessing,
    count: int = len(IMAGE_KINDS),
    samples: Sequence[Pixels] = (),
) -> Trials:
    """Images of different kinds, and what the first input is for each of them.

    They have the size at which the graph has nothing to resize: ways to resize are another check.

    Args:
        specs: of the network's inputs.
        p: from an image to the first of them.
        count: of the built-in images, at most 6.
        samples: the user's own, uint8 (H, W, C), made that small; they stand as in `trial_inputs`.
    """
    built_in = IMAGE_KINDS[:count]
    height, width = p.fitted_size
    rng = np.random.default_rng(0)
    made = [np.moveaxis(_levels(k, (p.channels, height, width), rng), 0, -1) for k in built_in]
    own = [_small(image, p) for image in samples]
    order, kinds = _in_turn(len(own), built_in)
    images = np.stack([*own, *made])[order]
    first, *others = specs
    rest = {spec.name: _input(spec, kinds, None) for spec in others}
    arrays = {first.name: preprocess(list(images), p).astype(numpy_dtype(first.dtype)), **rest}
    return Trials(kinds, arrays, (1, 2, 3, max(4, len(kinds))), {IMAGE_INPUT: images, **rest})


def _small(image: Pixels, p: Preprocessing) -> Pixels:
    """What of an image the graph looks at, or about that, with the channels that the network has."""
    if image.shape[2] > p.channels:
        image = luma(image)
    small = shrink(image, p) if shrinkable(p) else resize_nearest(image, p.fitted_size)
    return np.broadcast_to(small, (*p.fitted_size, p.channels))


def _in_turn(own: int, built_in: Sequence[str]) -> tuple[list[int], tuple[str, ...]]:
    """The user's samples stand first and then in turn with the built-in ones, so far behind them."""
    titles = (*(f"sample {i + 1}" for i in range(own)), *built_in)
    order = sorted(range(len(titles)), key=lambda i: (i, 0) if i < own else (i - own, 1))
    return order, tuple(titles[i] for i in order)


def _picked(arrays: Arrays, images: Sequence[int]) -> Arrays:
    index = np.asarray(images, dtype=np.int64)
    return {name: array[index] for name, array in arrays.items()}


def _input(
    spec: TensorSpec, kinds: tuple[str, ...], preprocessing: Preprocessing | None
) -> NDArray[np.generic]:
    shape = tuple(int(d) for d in spec.shape[1:])
    rng = np.random.default_rng(0)
    levels = np.stack([_levels(kind, shape, rng) for kind in kinds])
    dtype = numpy_dtype(spec.dtype)
    if dtype.kind != "f":
        return levels.astype(dtype)
    values = _values(levels, preprocessing)
    for i, kind in enumerate(kinds):
        values[i] *= {"extremes": _EXTREME[spec.dtype], "denormals": _DENORMAL[spec.dtype]}.get(kind, 1.0)
    return values.astype(dtype)


def _levels(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.uint8]:
    """0 to 255."""
    if kind in ("noise", "extremes", "denormals"):
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if kind == "ramp":
        return np.broadcast_to(np.linspace(0, 255, shape[-1] if shape else 1).astype(np.uint8), shape).copy()
    levels = np.full(shape, 255 if kind == "white" else 0, dtype=np.uint8)
    if kind == "hot pixel":
        center: Any = (..., *(n // 2 for n in shape[-2:]))
        levels[center] = 255
    return levels


def _values(levels: NDArray[np.uint8], preprocessing: Preprocessing | None) -> NDArray[np.float64]:
    """As the preprocessing makes them; -1 to 1 where that is not known."""
    if preprocessing is not None:
        return normalize(np.moveaxis(levels, 1, -1), preprocessing).astype(np.float64)
    return levels / 127.5 - 1


def numpy_dtype(name: str) -> np.dtype[np.generic]:
    """Of that name; numpy itself lacks bfloat16."""
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, name) if name == "bfloat16" else name)
