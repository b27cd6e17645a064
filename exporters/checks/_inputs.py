"""The inputs of checks: ordinary ones, those at which programs that look equal differ, and the user's own."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnntk.exporters.options import SamplesLike
from cnntk.exporters.session import Arrays
from cnntk.exporters.source import Source
from cnntk.runtime.artifact.spec import IMAGE_INPUT, Preprocessing, TensorSpec
from cnntk.runtime.batch_split import fixed_batch
from cnntk.runtime.contract import shape_matches
from cnntk.runtime.errors import ImageError, UsageError
from cnntk.runtime.files import readable_file
from cnntk.runtime.images.reading import ImageSource, Pixels, read_image, source_name
from cnntk.runtime.images.search import find_images, readable_formats
from cnntk.runtime.preprocessing.preprocess import luma, normalize, preprocess
from cnntk.runtime.preprocessing.resizing import shrink, shrinkable
from cnntk.runtime.preprocessing.sampling import resize_nearest

Run = Callable[[Arrays], Arrays]

KINDS = ("noise", "extremes", "hot pixel", "white", "denormals", "black", "ramp", "noise")
"""Kinds of built-in inputs, the most telling first: large networks are run on the first few."""

IMAGE_KINDS = ("noise", "hot pixel", "white", "ramp", "black", "noise")
"""Kinds of built-in images, where the graph takes images: bytes are never extreme or denormal."""

FEW = 3
"""Number of built-in inputs for large networks, which take seconds an image in float64."""

SAMPLES = 4
"""Largest number of the user's own inputs; half of it for large networks. Each is run in float64 as well,
which takes many times as long as the model itself, and memory for every inner value."""

ORDINARY = frozenset(
    {"noise", "hot pixel", "white", "black", "ramp"} | {f"sample {i + 1}" for i in range(SAMPLES)}
)
"""Kinds of the usual range of values, on which torch's usual error is measured."""

FLAT = frozenset({"hot pixel", "white", "denormals", "black", "ramp"})
"""Kinds whose pixels or rows are alike, or nearly: rounding errors are alike, and a norm amplifies them."""

PHOTOGRAPHIC = ORDINARY - FLAT | {"ramp"}
"""Kinds that photographs resemble; the others are there to find faults, and an app never sees them."""

Brightness = Literal["bright", "dark"]

_FAR = 10.0
"""Values of far brighter images, relative to the largest ordinary one."""

_EXTREME = {"float16": 1e2, "bfloat16": 1e4, "float32": 1e4, "float64": 1e4}
"""Factor of extremes by type: sums of such values are finite, exp() of them is not."""

_DENORMAL = {"float16": 1e-6, "bfloat16": 1e-39, "float32": 1e-39, "float64": 1e-309}
"""Factor by type that takes values of about 1 below the smallest normal number."""

_NPZ_ERRORS = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, KeyError)


@dataclass(frozen=True)
class CheckInputs:
    """A batch of inputs, one of each kind.

    Attributes:
        kinds: Kind of each image of the batch: one of `KINDS`, or ``sample 1``, ... for the user's own.
        arrays: Inputs of the network by name; (len(kinds), ...).
        batches: Batch sizes of the graph: 1, 2, 3 and one larger; or the only one that it takes.
        images: Inputs of the file, where it takes images; None where it takes ``arrays``.
        fixed_batch: The only batch size that the graph takes; None where it takes any.
    """

    kinds: tuple[str, ...]
    arrays: Arrays
    batches: tuple[int, ...]
    images: Arrays | None = None
    fixed_batch: int | None = None

    @property
    def run_sizes(self) -> tuple[int, ...]:
        """Numbers of images to run: all of them, too, where a fixed batch holds only a few."""
        return self.batches if self.fixed_batch is None else (*self.batches, len(self.kinds))

    def file_batch(self, size: int, start: int = 0) -> Arrays:
        """What the file takes for `batch`."""
        return _select(self.arrays if self.images is None else self.images, self._numbers(size, start))

    def batch(self, size: int, start: int = 0) -> Arrays:
        """``size`` images from number ``start`` on; after the last follows the first."""
        return _select(self.arrays, self._numbers(size, start))

    def select(self, numbers: Sequence[int]) -> Arrays:
        """The images of these numbers."""
        return _select(self.arrays, numbers)

    @property
    def ordinary(self) -> list[int]:
        """Numbers of the images of the usual range."""
        return [i for i, kind in enumerate(self.kinds) if kind in ORDINARY]

    def among(self, brightness: Brightness, companions: int, one_sign: bool) -> Arrays:
        """What the file takes for the first image with ``companions`` that are far brighter or darker.

        Floats are ten times the largest or smallest value of the ordinary images, pixels 255 or 0. With
        ``one_sign`` the first image's floats have the sign that the others do not have.
        """
        arrays = self.arrays if self.images is None else self.images
        ordinary = {name: array[self.ordinary] for name, array in arrays.items()}
        batch = {}
        for name, array in arrays.items():
            first = array[:1]
            if one_sign and first.dtype.kind == "f":
                first = np.abs(first) if brightness == "dark" else -np.abs(first)
            batch[name] = np.concatenate([first, _companions(ordinary[name], brightness, companions)])
        return batch

    def _numbers(self, size: int, start: int) -> list[int]:
        return [(start + i) % len(self.kinds) for i in range(size)]


class OutputCache:
    """Outputs of the exported model for `CheckInputs`; each batch is run once.

    Args:
        run: Runs the exported model.
        inputs: Inputs of the model.
    """

    def __init__(self, run: Run, inputs: CheckInputs) -> None:
        self.inputs = inputs
        self._run = run
        self._outputs: dict[tuple[int, int], Arrays] = {}

    def __call__(self, size: int, start: int = 0) -> Arrays:
        """Outputs for ``size`` images from number ``start`` on."""
        key = size, start % len(self.inputs.kinds)
        if key not in self._outputs:
            self._outputs[key] = self.run_again(*key)
        return self._outputs[key]

    def run_again(self, size: int, start: int = 0) -> Arrays:
        """Outputs for the same images from a new run."""
        return self._run(self.inputs.file_batch(size, start))

    def run_among(self, brightness: Brightness, companions: int, one_sign: bool) -> tuple[Arrays, Arrays]:
        """Outputs for the first image alone, and beside far brighter or far darker ones."""
        batch = self.inputs.among(brightness, companions, one_sign)
        alone = {name: array[:1] for name, array in batch.items()}
        return self._run(alone) if one_sign else self(1), self._run(batch)


@dataclass(frozen=True, eq=False)
class Samples:
    """The user's own inputs, as the network takes them.

    Attributes:
        arrays: Arrays by input; (n, ...), n at most `SAMPLES`.
        names: Names of the samples: files, or numbers.
        total: Number of samples that the user has; those beyond the first n are left out.
        images: Decoded images, uint8 (H, W, C), where the samples are images.
    """

    arrays: dict[str, NDArray[Any]]
    names: tuple[str, ...]
    total: int
    images: tuple[Pixels, ...] = ()


def array_inputs(
    specs: tuple[TensorSpec, ...],
    preprocessing: Preprocessing | None,
    count: int = len(KINDS),
    samples: Arrays | None = None,
) -> CheckInputs:
    """Inputs of each kind for a network that takes arrays; always the same for the same arguments.

    Args:
        specs: Inputs of the network.
        preprocessing: Preprocessing of the first input; None where it is not known.
        count: Number of built-in inputs, at most 8.
        samples: The user's own by input; (n, ...). They alternate with the built-in ones, a sample first, so
            that checks that use only the first few images see both.
    """
    kinds = KINDS[:count]
    built_in = {
        spec.name: _input(spec, kinds, preprocessing if i == 0 else None) for i, spec in enumerate(specs)
    }
    if not samples:
        return _check_inputs(specs, kinds, built_in)
    order, names = _alternate(len(next(iter(samples.values()))), kinds)
    arrays = {name: np.concatenate([samples[name], array])[order] for name, array in built_in.items()}
    return _check_inputs(specs, names, arrays)


def _check_inputs(
    specs: tuple[TensorSpec, ...], kinds: tuple[str, ...], arrays: Arrays, images: Arrays | None = None
) -> CheckInputs:
    fixed = fixed_batch(specs)
    batches = (1, 2, 3, max(4, len(kinds))) if fixed is None else (fixed,)
    return CheckInputs(kinds, arrays, batches, images, fixed)


def image_inputs(
    specs: tuple[TensorSpec, ...],
    p: Preprocessing,
    count: int = len(IMAGE_KINDS),
    samples: Sequence[Pixels] = (),
) -> CheckInputs:
    """Images of each kind, and the first input of the network for each of them.

    Images have the size at which the graph does not resize: resizing is checked by `check_pixels`.

    Args:
        specs: Inputs of the network.
        p: Preprocessing from an image to the first of them.
        count: Number of built-in images, at most 6.
        samples: The user's own, uint8 (H, W, C), which are resized; they alternate as in `array_inputs`.
    """
    built_in = IMAGE_KINDS[:count]
    height, width = p.fitted_size
    rng = np.random.default_rng(0)
    generated = [np.moveaxis(_pixels(k, (p.channels, height, width), rng), 0, -1) for k in built_in]
    resized = [_resize(image, p) for image in samples]
    order, kinds = _alternate(len(resized), built_in)
    images = np.stack([*resized, *generated])[order]
    first, *others = specs
    rest = {spec.name: _input(spec, kinds, None) for spec in others}
    arrays = {first.name: preprocess(list(images), p).astype(numpy_dtype(first.dtype)), **rest}
    return _check_inputs(specs, kinds, arrays, {IMAGE_INPUT: images, **rest})


def read_samples(samples: SamplesLike, source: Source) -> Samples:
    """The first `SAMPLES` of the user's own inputs, in order of name or as listed.

    Args:
        samples: Folder of images (searched recursively, sorted by name), ``.npz`` file with an array per
            input, arrays (n, ...) by input, or images as `read_image` takes them. Images are preprocessed as
            the source says.
        source: Model that the samples are for.

    Raises:
        UsageError: There are no samples, one can't be read, an array is missing, of another type or shape or
            holds NaN, or the source has no preprocessing for images.
    """
    if isinstance(samples, str | os.PathLike):
        return _from_path(Path(samples), source)
    if isinstance(samples, Mapping):
        return _from_arrays(samples, source, "samples")
    images = _as_list(samples)
    if images is None:
        name, actual = source.inputs[0].name, _type_name(samples)
        raise UsageError(f"samples: expected {{{name!r}: array}} or a list of images, got {actual}")
    return _from_images(images, [f"number {i + 1}" for i in range(len(images))], source, "samples")


def _as_list(samples: object) -> Sequence[ImageSource] | None:
    """``samples`` where they are several images; bytes are one file."""
    return samples if isinstance(samples, Sequence) and not isinstance(samples, bytes) else None


def _type_name(samples: object) -> str:
    return source_name(samples) if isinstance(samples, np.ndarray) else type(samples).__name__


def _companions(ordinary: NDArray[Any], brightness: Brightness, count: int) -> NDArray[Any]:
    """Constant images beyond all ``ordinary`` ones; pixels and other whole numbers at their extremes."""
    shape = (count, *ordinary.shape[1:])
    value = ordinary.max() if brightness == "bright" else ordinary.min()
    if ordinary.dtype.kind == "f" or ordinary.dtype.name == "bfloat16":
        limit = max(abs(float(ordinary.max())), abs(float(ordinary.min())), 1.0)
        value = (_FAR if brightness == "bright" else -_FAR) * limit
    return np.full(shape, value, ordinary.dtype)


def numpy_dtype(name: str) -> np.dtype[np.generic]:
    """The numpy type of that name, also for bfloat16, which numpy itself lacks."""
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, name) if name == "bfloat16" else name)


def _resize(image: Pixels, p: Preprocessing) -> Pixels:
    """The image at the size and with the channels of the network."""
    if image.shape[2] > p.channels:
        image = luma(image)
    small = shrink(image, p) if shrinkable(p) else resize_nearest(image, p.fitted_size)
    return np.broadcast_to(small, (*p.fitted_size, p.channels))


def _alternate(samples: int, built_in: Sequence[str]) -> tuple[list[int], tuple[str, ...]]:
    """Order and kinds of samples and built-in inputs, which stand behind each other before."""
    kinds = (*(f"sample {i + 1}" for i in range(samples)), *built_in)
    order = sorted(range(len(kinds)), key=lambda i: (i, 0) if i < samples else (i - samples, 1))
    return order, tuple(kinds[i] for i in order)


def _select(arrays: Arrays, numbers: Sequence[int]) -> Arrays:
    index = np.asarray(numbers, dtype=np.int64)
    return {name: array[index] for name, array in arrays.items()}


def _input(
    spec: TensorSpec, kinds: tuple[str, ...], preprocessing: Preprocessing | None
) -> NDArray[np.generic]:
    shape = tuple(int(d) for d in spec.shape[1:])
    rng = np.random.default_rng(0)
    pixels = np.stack([_pixels(kind, shape, rng) for kind in kinds])
    dtype = numpy_dtype(spec.dtype)
    if dtype.kind != "f":
        return pixels.astype(dtype)
    values = _values(pixels, preprocessing)
    for i, kind in enumerate(kinds):
        values[i] *= {"extremes": _EXTREME[spec.dtype], "denormals": _DENORMAL[spec.dtype]}.get(kind, 1.0)
    return values.astype(dtype)


def _pixels(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.uint8]:
    if kind in ("noise", "extremes", "denormals"):
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if kind == "ramp":
        return np.broadcast_to(np.linspace(0, 255, shape[-1] if shape else 1).astype(np.uint8), shape).copy()
    pixels = np.full(shape, 255 if kind == "white" else 0, dtype=np.uint8)
    if kind == "hot pixel":
        center: Any = (..., *(n // 2 for n in shape[-2:]))
        pixels[center] = 255
    return pixels


def _values(pixels: NDArray[np.uint8], preprocessing: Preprocessing | None) -> NDArray[np.float64]:
    """Pixel values as the preprocessing normalizes them; -1 to 1 where that is not known."""
    if preprocessing is not None:
        channels_last = pixels if preprocessing.layout == "NHWC" else np.moveaxis(pixels, 1, -1)
        return normalize(channels_last, preprocessing).astype(np.float64)
    return pixels / 127.5 - 1


def _from_path(path: Path, source: Source) -> Samples:
    expected = "a folder of images, or an .npz with an array per input"
    if path.is_dir():
        files = list(_images_in(path))
        if not files:
            raise UsageError(f"{path}: contains no image ({readable_formats()})")
        return _from_images(files, [os.path.relpath(f, path) for f in files], source, str(path))
    file = readable_file(path, expected)
    if file.suffix != ".npz":
        raise UsageError(f"{file}: expected {expected}")
    try:
        with file.open("rb") as stream:  # np.load leaves a damaged file open
            archive = np.load(stream, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("one array without a name")
            arrays = dict(archive)
    except _NPZ_ERRORS as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UsageError(
            f"{file}: not a valid .npz file of plain arrays: {reason}; "
            "write it with numpy.savez(file, input=array)"
        ) from error
    return _from_arrays(arrays, source, str(file))


def _images_in(folder: Path) -> Iterator[str]:
    for image in find_images(folder):
        if isinstance(image, ImageError):
            raise UsageError(str(image))
        yield image


def _from_images(images: Sequence[ImageSource], names: Sequence[str], source: Source, where: str) -> Samples:
    p, (first, *others) = source.preprocessing, source.inputs
    if p is None or others:
        why = "takes several inputs" if others else "has no preprocessing for images"
        raise UsageError(
            f"{where}: {source.name} {why}; pass arrays, as an .npz with {_form_of(source.inputs)}"
        )
    if not images:
        raise UsageError(f"{where}: no samples; leave the option out, or pass at least one")
    try:
        pixels = [read_image(image, background=p.background) for image in islice(images, SAMPLES)]
    except ImageError as error:
        raise UsageError(f"samples: {error.for_option('')}") from error
    except TypeError as error:
        raise UsageError(f"samples: {error}") from error
    batch = preprocess(pixels, p).astype(first.dtype)
    if batch.shape[1:] != first.shape[1:]:
        raise UsageError(
            f"{where}: an image preprocessed for {source.name} has shape {_form(batch.shape[1:])}, expected "
            f"{_form(first.shape[1:])}; pass arrays, as an .npz with {_form_of(source.inputs)}"
        )
    return Samples({first.name: batch}, tuple(names[:SAMPLES]), len(images), tuple(pixels))


def _from_arrays(arrays: Mapping[str, NDArray[Any]], source: Source, where: str) -> Samples:
    specs = {spec.name: spec for spec in source.inputs}
    if arrays.keys() != specs.keys():
        raise UsageError(
            f"{where}: expected {_form_of(source.inputs)}; got {', '.join(map(str, arrays)) or 'nothing'}"
        )
    for name, spec in specs.items():
        _check_array(f"{where}: array {name!r}", arrays[name], spec)
    counts = {name: len(arrays[name]) for name in specs}
    total = min(counts.values())
    if len(set(counts.values())) > 1:
        actual = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise UsageError(f"{where}: expected as many samples of each input, got {actual}")
    first = {name: np.ascontiguousarray(arrays[name][:SAMPLES]) for name in specs}
    return Samples(first, tuple(f"number {i + 1}" for i in range(min(total, SAMPLES))), total)


def _check_array(where: str, array: NDArray[Any], spec: TensorSpec) -> None:
    if not isinstance(array, np.ndarray):
        raise UsageError(f"{where}: expected a numpy array, got {type(array).__name__}")
    if (
        array.dtype.name != spec.dtype
        or not shape_matches(array.shape, spec.shape)
        or not array.dtype.isnative
    ):
        cast = f"; array.astype({spec.dtype!r}) casts it" if array.dtype.name != spec.dtype else ""
        raise UsageError(
            f"{where}: expected {spec.dtype} {_form(('n', *spec.shape[1:]))}, "
            f"got {array.dtype.name} {_form(array.shape)}{cast}"
        )
    if not len(array):
        raise UsageError(f"{where}: no samples; leave the option out, or pass at least one")
    if array.dtype.kind == "f":
        finite = np.isfinite(array[:SAMPLES]).reshape(min(len(array), SAMPLES), -1).all(axis=1)
        if not finite.all():
            raise UsageError(f"{where}: sample {finite.argmin() + 1} contains NaN or infinity; leave it out")


def _form_of(specs: Iterable[TensorSpec]) -> str:
    return ", ".join(f"{s.name}: {s.dtype} {_form(('n', *s.shape[1:]))}" for s in specs)


def _form(shape: Iterable[object]) -> str:
    return f"[{', '.join(map(str, shape))}]"
