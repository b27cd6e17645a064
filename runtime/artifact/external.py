"""Weights beside the model's file: found before onnxruntime opens anything, and kept inside its folder.

A model may name other files for its tensors' numbers (ONNX' external data). Whoever wrote the model chose the
names, so they are not trusted: a file must be a plain one in the model's folder or below, reached through no
link. onnxruntime checks most of that itself, but follows hard links, with which a stranger's archive may make
any file that it can guess the name of into "weights". All is looked at before the model is loaded; against
somebody who changes the folder meanwhile it does not guard.
"""

from __future__ import annotations

import mmap
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

from cnntk.runtime.artifact.digest import sha256_of
from cnntk.runtime.artifact.protobuf import ExternalTensor, field_spans, map_file, read_external_tensor
from cnntk.runtime.artifact.spec import DataFile
from cnntk.runtime.errors import ArtifactCorrupt

__all__ = ["check_external_tensors", "find_external_tensors", "read_external_weights", "verified_data"]

_KEY = b"location"
_LENGTH_DELIMITED = 2
_IN_MEMORY = "_ORT_MEM_ADDR_"
"""onnxruntime's own mark for numbers at an address of its memory; in a file it is an attack."""

_LARGE = 4096
"""Bytes from which a tensor is not searched, but read field by field, so that its numbers are not touched."""

# Fields of onnx.proto that lead to tensors, and what is there.
_WITHIN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}

_DIGITS = re.compile(r"[0-9]{1,19}")
_MEND = "Get the model again from where it comes, all its files as plain copies"


def find_external_tensors(model: str | bytes, where: str) -> tuple[ExternalTensor, ...]:
    """Every tensor whose numbers are beside the file, wherever in the model it stands.

    Args:
        model: path or bytes of an ``.onnx`` file.
        where: its name, for messages.

    Raises:
        ArtifactCorrupt: it is no protobuf message.
    """
    if isinstance(model, str):
        with open(model, "rb") as stream:
            if os.fstat(stream.fileno()).st_size == 0:
                return ()
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _places(data, where)
    return _places(model, where)


def check_external_tensors(
    places: Iterable[ExternalTensor], file: Path, own: DataFile | None, *, has_digest: bool
) -> None:
    """Refuses what is not a plain file in the model's folder, long enough for what is said to be in it.

    Args:
        places: from `find_external_tensors`.
        file: the model.
        own: what its spec says of the file beside it.
        has_digest: whether it is an artifact; then no other file than its own will do.

    Raises:
        ArtifactCorrupt: naming the tensor and the file.
    """
    sizes: dict[str, int] = {}
    for place in places:
        where = f"{file}: the tensor {place.tensor!r}"
        for location in place.locations:
            if has_digest and (own is None or location != own.file):
                said = "none" if own is None else own.file
                raise ArtifactCorrupt(f"{where} is in {location!r}, where its spec names {said}. {_MEND}")
            if location not in sizes:
                sizes[location] = _plain_size(file.parent, location, where)
            _check_range(place, location, sizes[location], where)
    if own is not None and (size := sizes.get(own.file, own.size_bytes)) != own.size_bytes:
        raise ArtifactCorrupt(
            f"{file.parent / own.file}: has {size} bytes; {file.name} was exported with {own.size_bytes}. "
            "Copy both again, together"
        )


@contextmanager
def verified_data(file: Path, own: DataFile | None) -> Iterator[Callable[[], None]]:
    """Checks the SHA-256 of an artifact's data while the block loads it.

    Args:
        file: the artifact.
        own: what its spec says of the file beside it; None for no check.

    Yields:
        What waits for the check; the end of the block waits, too.

    Raises:
        ArtifactCorrupt: it is another file, or a damaged one, whatever the block made of it.
    """
    if own is None:
        yield lambda: None
        return
    with ThreadPoolExecutor(1) as pool:
        check = pool.submit(_check_data, file, own)
        try:
            yield check.result
        finally:
            check.result()


def read_external_weights(places: Iterable[ExternalTensor], folder: Path) -> dict[str, memoryview]:
    """Maps the bytes of each tensor, by name, from files that `check_external_tensors` accepted."""
    files: dict[str, memoryview] = {}
    found = {}
    for place in places:
        location = place.locations[-1]
        if location not in files:
            files[location] = map_file(folder / location)
        start = int(place.numbers.get("offset", "0"))
        length = place.numbers.get("length")
        found[place.tensor] = files[location][start : None if length is None else start + int(length)]
    return found


def _check_data(file: Path, own: DataFile) -> None:
    data = file.parent / own.file
    try:
        found = sha256_of(data)
    except OSError as error:
        raise ArtifactCorrupt(f"{data}: {error.strerror}; {file.name} has its weights there") from error
    if found != own.sha256:
        raise ArtifactCorrupt(
            f"{data}: is damaged, or belongs to another model: its SHA-256 is not the one that {file.name} "
            "states. Copy both again, together"
        )


def _places(data: bytes | mmap.mmap, where: str) -> tuple[ExternalTensor, ...]:
    try:
        return tuple(_found(data, "model", 0, len(data)))
    except (ValueError, IndexError) as error:
        raise ArtifactCorrupt(f"{where}: is no ONNX model, or a damaged one ({error})") from error


def _found(data: bytes | mmap.mmap, kind: str, at: int, end: int) -> Iterator[ExternalTensor]:
    """Only what holds the bytes of the key is looked into; large tensors' numbers are not searched."""
    within = _WITHIN[kind]
    for number, coded, start, stop in field_spans(data, at, end):
        inner = within.get(number)
        if inner is None or coded != _LENGTH_DELIMITED:
            continue
        walked = kind == "model" or (inner == "tensor" and stop - start > _LARGE)
        if not walked and data.find(_KEY, start, stop) < 0:
            continue
        if inner != "tensor":
            yield from _found(data, inner, start, stop)
        elif place := read_external_tensor(data, start, stop):
            yield place


def _plain_size(folder: Path, location: str, where: str) -> int:
    """Bytes of a plain file below ``folder``."""
    parts = PurePosixPath(location).parts
    windows = PureWindowsPath(location)
    if _IN_MEMORY in location or "\0" in location:
        raise ArtifactCorrupt(f"{where} is said to be at an address in memory, {location!r}. {_MEND}")
    if not parts or ".." in (*parts, *windows.parts) or location[0] in "/\\" or windows.drive:
        raise ArtifactCorrupt(
            f"{where} is in {location!r}, outside of the model's folder; only files in there are read. "
            f"{_MEND}"
        )
    file = folder
    for part in parts:
        file = file / part
        try:
            found = os.lstat(file)
        except OSError as error:
            reason = error.strerror or error
            raise ArtifactCorrupt(f"{where} is in {file}: {reason}. Copy that file there, too") from error
        if stat.S_ISLNK(found.st_mode):
            raise ArtifactCorrupt(
                f"{where} is in {file}, which is a symbolic link; put a copy of the file in its place"
            )
    if not stat.S_ISREG(found.st_mode):
        raise ArtifactCorrupt(f"{where} is in {file}, which is no plain file. {_MEND}")
    if found.st_nlink > 1:
        raise ArtifactCorrupt(
            f"{where} is in {file}, which is a hard link: {found.st_nlink} names for one file; "
            "put a copy of the file in its place"
        )
    return found.st_size


def _check_range(place: ExternalTensor, location: str, size: int, where: str) -> None:
    """Offset and length must be numbers, and what they say must be in the file."""
    values = {}
    for key in ("offset", "length"):
        text = place.numbers.get(key, "0")
        if not _DIGITS.fullmatch(text):
            raise ArtifactCorrupt(f"{where} has the {key} {text!r} in {location}; expected bytes, from 0")
        values[key] = int(text)
    if (stop := values["offset"] + values["length"]) > size:
        raise ArtifactCorrupt(
            f"{where} ends at byte {stop} of {location}, which has {size} bytes. Copy that file again"
        )
