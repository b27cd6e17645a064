"""Checks of weights outside the model file, before onnxruntime opens any file.

A model may name other files for the values of its tensors (ONNX external data). Whoever wrote the model chose
the names, so they are not trusted: each must be a regular file in the model's folder or below, reached
without links. onnxruntime checks most of that itself but follows hard links, with which an unpacked archive
could turn any file whose path it guesses into weights. Everything is checked before the model is loaded,
which does not protect against changes to the folder in the meantime.

An artifact's own data file, whose SHA-256 the verified spec states, may be a link, because package managers
and caches install files as links. Whoever makes an artifact states the hash, too, so the hash alone would let
it try guesses about any file that a link leads to. A symbolic link has to lead to a file beside the artifact:
in the folder where it is named, or in the folder of the real file, if the artifact is a link itself. In the
cache of Hugging Face both lead to ``blobs``.
"""

from __future__ import annotations

import mmap
import os
import re
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cnntk.runtime.artifact.digest import sha256_of, verified_while_loading
from cnntk.runtime.artifact.protobuf import (
    ExternalTensor,
    check_not_empty,
    field_spans,
    file_bytes,
    invalid_file_error,
    read_external_tensor,
)
from cnntk.runtime.artifact.spec import DataFile
from cnntk.runtime.errors import ArtifactCorrupt

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_external_tensors", "find_external_tensors", "read_external_weights", "verified_data"]

_LOCATION_KEY = b"location"
_LENGTH_DELIMITED = 2
_IN_MEMORY = "_ORT_MEM_ADDR_"
"""onnxruntime's own mark for values at a memory address; in a file it is an attack."""

_MAX_DEPTH = 100
"""Limit of nested messages, which is protobuf's own."""

_LARGE_TENSOR = 4096
"""Bytes from which a tensor is not searched but parsed field by field, so that its values are not read."""

# Fields of onnx.proto that lead to tensors, and the type of their messages.
_FIELDS_WITH_TENSORS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}

_DIGITS = "[0-9]{1,19}"
_ADVICE = "Get the model again from its source, all its files as plain copies"


def find_external_tensors(model: str | bytes, name: str) -> tuple[ExternalTensor, ...]:
    """Finds every tensor with values outside the model file, anywhere in the model.

    Raises:
        ArtifactCorrupt: The file is not a protobuf message.
    """
    data = file_bytes(model)
    try:
        check_not_empty(data)
        return tuple(_search_message(data, "model", 0, len(data)))
    except (ValueError, IndexError) as error:
        raise invalid_file_error(data, name, error) from error


def check_external_tensors(
    tensors: Sequence[ExternalTensor],
    model: str | os.PathLike[str],
    data_file: DataFile | None,
    *,
    has_digest: bool,
    may_be_link: bool = True,
) -> None:
    """Checks that external tensors are in regular files of the model's folder that are long enough.

    A model with a digest may have no external file but ``data_file``, the one in its spec, and must use it.
    That one may be a link to a file beside the model, unless ``may_be_link`` is false.

    Raises:
        ArtifactCorrupt: A check failed; the message names the tensor and the file.
    """
    if not tensors and data_file is None:
        return
    from pathlib import Path

    file, sizes = Path(model), dict[str, int]()
    for tensor in tensors:
        subject = f"{file}: tensor {tensor.name!r}"
        for location in tensor.locations:
            if has_digest and (data_file is None or location != data_file.file):
                expected = "no file" if data_file is None else data_file.file
                raise ArtifactCorrupt(
                    f"{subject} is in {location!r}, but the spec names {expected}. {_ADVICE}"
                )
            if location not in sizes:
                sizes[location] = _regular_file_size(
                    file, location, subject, may_be_link=has_digest and may_be_link
                )
            _check_range(tensor, location, sizes[location], subject)
    if data_file is not None:
        size = sizes.get(data_file.file)
        if size is None:
            raise ArtifactCorrupt(
                f"{file}: its spec names the external weights {data_file.file}, but no tensor is in there"
            )
        if size != data_file.size_bytes:
            raise ArtifactCorrupt(
                f"{file.parent / data_file.file}: has {size} bytes, but {file.name} was exported with "
                f"{data_file.size_bytes}. Copy both again, together"
            )


@contextmanager
def verified_data(model: str | os.PathLike[str], data_file: DataFile | None) -> Iterator[Callable[[], None]]:
    """Verifies the SHA-256 of the external weights of the artifact ``model`` while the block loads them.

    Yields:
        Function that waits for the check. The end of the block waits for it, too.

    Raises:
        ArtifactCorrupt: The weights are others or damaged, whatever the block made of them.
    """
    if data_file is None:
        yield lambda: None
        return
    with verified_while_loading(lambda stop: _check_data(model, data_file, stop)) as confirm:
        yield confirm


def read_external_weights(tensors: Iterable[ExternalTensor], folder: Path) -> dict[str, memoryview]:
    """Maps the bytes of each tensor, by name, from files that `check_external_tensors` accepted."""
    files: dict[str, memoryview] = {}
    weights = {}
    for tensor in tensors:
        location = tensor.locations[-1]
        if location not in files:
            files[location] = memoryview(file_bytes(folder / location))
        start = int(tensor.numbers.get("offset", "0"))
        length = tensor.numbers.get("length")
        weights[tensor.name] = files[location][start : None if length is None else start + int(length)]
    return weights


def _check_data(model: str | os.PathLike[str], data_file: DataFile, stop: threading.Event) -> None:
    folder, name = os.path.split(model)
    path = os.path.join(folder, data_file.file)
    try:
        sha256 = sha256_of(path, stop)
    except OSError as error:
        raise ArtifactCorrupt(f"{path}: {error.strerror}; it holds the weights of {name}") from error
    if sha256 != data_file.sha256:
        raise ArtifactCorrupt(
            f"{path}: is damaged or belongs to another model: its SHA-256 differs from the one stated in "
            f"{name}. Copy both again, together"
        )


def _search_message(
    data: bytes | mmap.mmap, message_type: str, start: int, end: int, depth: int = 0
) -> Iterator[ExternalTensor]:
    """Searches a message. Only fields with the key are parsed, and values of large tensors are skipped."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"its messages are nested deeper than {_MAX_DEPTH}")
    fields = _FIELDS_WITH_TENSORS[message_type]
    for number, wire_type, first, last in field_spans(data, start, end):
        inner_type = fields.get(number)
        if inner_type is None or wire_type != _LENGTH_DELIMITED:
            continue
        parse = message_type == "model" or (inner_type == "tensor" and last - first > _LARGE_TENSOR)
        if not parse and data.find(_LOCATION_KEY, first, last) < 0:
            continue
        if inner_type != "tensor":
            yield from _search_message(data, inner_type, first, last, depth + 1)
        elif tensor := read_external_tensor(data, first, last):
            yield tensor


def _regular_file_size(model: Path, location: str, subject: str, *, may_be_link: bool) -> int:
    """Returns the bytes of a regular file in the model's folder or below."""
    from pathlib import PurePosixPath, PureWindowsPath

    parts = PurePosixPath(location).parts
    windows = PureWindowsPath(location)
    if _IN_MEMORY in location or "\0" in location:
        raise ArtifactCorrupt(f"{subject} names a memory address, {location!r}. {_ADVICE}")
    if not parts or ".." in (*parts, *windows.parts) or location[0] in "/\\" or windows.drive:
        raise ArtifactCorrupt(
            f"{subject} is in {location!r}, outside of the model's folder; only files in there are read. "
            f"{_ADVICE}"
        )
    file = model.parent
    for part in parts:
        file = file / part
        try:
            status = os.lstat(file)
            if stat.S_ISLNK(status.st_mode) and may_be_link and _is_in_folder_of(file, model):
                status = os.stat(file)
        except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
            reason = getattr(error, "strerror", None) or error
            raise ArtifactCorrupt(f"{subject} is in {file}: {reason}. Copy that file, too") from error
        if stat.S_ISLNK(status.st_mode):
            raise ArtifactCorrupt(
                f"{subject} is in {file}, a symbolic link{' out of its folder' * may_be_link}; "
                "replace it with a copy of the file"
            )
    if not stat.S_ISREG(status.st_mode):
        raise ArtifactCorrupt(f"{subject} is in {file}, which is not a regular file. {_ADVICE}")
    if status.st_nlink > 1 and not may_be_link:
        raise ArtifactCorrupt(
            f"{subject} is in {file}, a hard link ({status.st_nlink} names for one file); "
            "replace it with a copy of the file"
        )
    return status.st_size


def _is_in_folder_of(link: Path, model: Path) -> bool:
    """Whether a link leads to a file in the folder of the model, as it is named or as it is stored."""
    return link.resolve(strict=True).parent in (model.parent.resolve(), model.resolve().parent)


def _check_range(tensor: ExternalTensor, location: str, size: int, subject: str) -> None:
    """Checks that offset and length are numbers within the file."""
    values = {}
    for key in ("offset", "length"):
        text = tensor.numbers.get(key, "0")
        if not re.fullmatch(_DIGITS, text):
            raise ArtifactCorrupt(f"{subject} has the {key} {text!r} in {location}; expected bytes, from 0")
        values[key] = int(text)
    if (stop := values["offset"] + values["length"]) > size:
        raise ArtifactCorrupt(
            f"{subject} ends at byte {stop} of {location}, which has {size} bytes. Copy that file again"
        )
