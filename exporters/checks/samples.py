"""The user's own samples: what a model is tried on beside the built-in inputs."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.exporters.checks.inputs import SAMPLES
from cnntk.exporters.checks.record import Check
from cnntk.exporters.source import Source
from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.contract import shape_matches
from cnntk.runtime.errors import ImageError, UsageError
from cnntk.runtime.files import readable_file
from cnntk.runtime.images.reading import IMAGE_SUFFIXES, ImageSource, Pixels, read_image, source_name
from cnntk.runtime.preprocessing.preprocess import preprocess

__all__ = ["Samples", "SamplesLike", "samples_check", "take_samples"]

SamplesLike = str | os.PathLike[str] | Mapping[str, NDArray[Any]] | Sequence[ImageSource]
"""A folder of images, an ``.npz``, arrays by input, or images."""

_DAMAGE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, KeyError)


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples as the network takes them.

    Attributes:
        arrays: by input; (n, ...), n at most `SAMPLES`.
        names: one each: files, or numbers.
        given: how many the user has; those beyond the first n are left out.
        images: as they were read, where they were images: uint8 (H, W, C).
    """

    arrays: dict[str, NDArray[Any]]
    names: tuple[str, ...]
    given: int
    images: tuple[Pixels, ...] = ()


def take_samples(samples: SamplesLike, source: Source) -> Samples:
    """The first `SAMPLES` of the user's samples, in order of name or as they stand.

    A few, because each is run through the network in float64 as well, which takes memory for every inner
    value and many times as long as the model itself.

    Args:
        samples: a folder of images (read through, in order of name), an ``.npz`` with an array per input,
            arrays (n, ...) by input, or images as `read_image` takes them. Images go through the source's
            preprocessing.
        source: what they are for.

    Raises:
        UsageError: there are none, one can't be read, an array is missing, of another type or shape, or
            holds NaN, or the source does not say how images become its input.
    """
    if isinstance(samples, str | os.PathLike):
        return _from_path(Path(samples), source)
    if isinstance(samples, Mapping):
        return _from_arrays(samples, source, "samples")
    images = _listed(samples)
    if images is None:
        name = source.inputs[0].name
        raise UsageError(f"samples: expected {{{name!r}: array}} or a list of images, got {_told(samples)}")
    return _from_images(images, [f"number {i + 1}" for i in range(len(images))], source, "samples")


def _listed(samples: object) -> Sequence[ImageSource] | None:
    """``samples``, where they are several; a file's bytes are one."""
    return samples if isinstance(samples, Sequence) and not isinstance(samples, bytes) else None


def _told(samples: object) -> str:
    return source_name(samples) if isinstance(samples, np.ndarray) else type(samples).__name__


def samples_check(samples: Samples, taken: int) -> Check:
    """Which of them were tried: the first ``taken``."""
    names = ", ".join(samples.names[:taken])
    return Check("samples", f"{min(taken, len(samples.names))} of {samples.given} were tried, too: {names}")


def _from_path(path: Path, source: Source) -> Samples:
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*")) if _is_image(file, path)]
        if not files:
            raise UsageError(f"{path}: holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
        return _from_images(files, [str(f.relative_to(path)) for f in files], source, str(path))
    file = readable_file(path, "a folder of images, or an .npz with an array per input")
    if file.suffix != ".npz":
        raise UsageError(f"{file}: expected a folder of images, or an .npz with an array per input")
    try:
        with file.open("rb") as stream:  # np.load leaves a damaged file open
            arrays = _arrays(np.load(stream, allow_pickle=False))
    except _DAMAGE as error:
        raise UsageError(
            f"{file}: is no .npz of plain arrays, or a damaged one: {_line(error)}; "
            "write it with numpy.savez(file, input=array)"
        ) from error
    return _from_arrays(arrays, source, str(file))


def _arrays(archive: Any) -> dict[str, NDArray[Any]]:
    if isinstance(archive, np.ndarray):
        raise ValueError("it holds one array without a name")
    return dict(archive)


def _is_image(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.suffix.lower() in IMAGE_SUFFIXES and file.is_file() and not hidden


def _from_images(images: Sequence[ImageSource], names: Sequence[str], source: Source, where: str) -> Samples:
    p, (first, *others) = source.preprocessing, source.inputs
    if p is None or others:
        why = "takes several inputs" if others else "does not say how images become its input"
        raise UsageError(
            f"{where}: {source.name} {why}; give arrays, as an .npz with {_wanted(source.inputs)}"
        )
    if not images:
        raise UsageError(f"{where}: holds no sample; leave it out, or give at least one")
    try:
        pixels = [read_image(image, background=p.background) for image in islice(images, SAMPLES)]
    except (ImageError, TypeError) as error:
        raise UsageError(f"samples: {error}") from error
    batch = preprocess(pixels, p).astype(first.dtype)
    if batch.shape[1:] != first.shape[1:]:
        raise UsageError(
            f"{where}: prepared as {source.name} says, an image is {_form(batch.shape[1:])}, and its input "
            f"{_form(first.shape[1:])}; give arrays, as an .npz with {_wanted(source.inputs)}"
        )
    return Samples({first.name: batch}, tuple(names[:SAMPLES]), len(images), tuple(pixels))


def _from_arrays(arrays: Mapping[str, NDArray[Any]], source: Source, where: str) -> Samples:
    specs = {spec.name: spec for spec in source.inputs}
    if arrays.keys() != specs.keys():
        raise UsageError(
            f"{where}: expected {_wanted(source.inputs)}; got {', '.join(map(str, arrays)) or 'nothing'}"
        )
    for name, spec in specs.items():
        _check(f"{where}: array {name!r}", arrays[name], spec)
    counts = {name: len(arrays[name]) for name in specs}
    given = min(counts.values())
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise UsageError(f"{where}: expected as many samples of each input, got {told}")
    taken = {name: np.ascontiguousarray(arrays[name][:SAMPLES]) for name in specs}
    return Samples(taken, tuple(f"number {i + 1}" for i in range(min(given, SAMPLES))), given)


def _check(where: str, array: NDArray[Any], spec: TensorSpec) -> None:
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
        raise UsageError(f"{where}: holds no sample; leave it out, or give at least one")
    if array.dtype.kind == "f" and not np.isfinite(array[:SAMPLES]).all():
        number = int(
            np.argmin(np.isfinite(array[:SAMPLES]).reshape(min(len(array), SAMPLES), -1).all(axis=1))
        )
        raise UsageError(f"{where}: sample number {number + 1} holds NaN or infinity; leave it out")


def _wanted(specs: Iterable[TensorSpec]) -> str:
    return ", ".join(f"{s.name}: {s.dtype} {_form(('n', *s.shape[1:]))}" for s in specs)


def _form(shape: Iterable[object]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
