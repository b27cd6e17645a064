"""What torch says when it can't capture a network, as one line: where, what, and what to do."""

from __future__ import annotations

import linecache
import os
import re
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch

from cnntk.runtime.errors import CaptureError

__all__ = ["CAPTURE_FAILURES", "capture_error", "place_of", "quoted_place"]

CAPTURE_FAILURES = (
    RuntimeError,  # torch.export's and torch.onnx's own kinds derive from it
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
)
"""What capturing raises: torch's errors share no base, and the user's code runs in it and raises its own."""


@dataclass(frozen=True)
class _Kind:
    """A way to fail.

    Attributes:
        sign: regular expression that finds it in torch's words; its groups fill ``{}`` in ``what``.
        what: happened.
        advice: for the user.
    """

    sign: str
    what: str
    advice: str


_KINDS = (
    _Kind(
        r"specialized it to be a constant \((\d+)\)",
        "the batch is baked in: torch finds that it must be {}",
        "write x.shape[0] or -1 in place of the number, and no loop over the batch",
    ),
    _Kind(
        r"Not all values of \S+ = .*? satisfy the generated guard (.+?)(?: Suggested fixes| For more|$)",
        "the batch is not free: it must satisfy {}",
        "write it so that any batch fits",
    ),
    _Kind(
        r"Data-dependent branching|Could not guard on data-dependent expression Eq\(u",
        "which way the network takes depends on the values in the image",
        "compute both ways and choose with torch.where, or write torch.cond",
    ),
    _Kind(
        r"[Dd]ata-dependent|unbacked symint|PendingUnbackedSymbol",
        "a size or a branch depends on the values in the image",
        "keep sizes fixed and mask with torch.where instead",
    ),
    _Kind(
        r"No ONNX function found for <OpOverload\(op='([\w.]+)'",
        "ONNX has no operator for {}",
        "write it in terms of others",
    ),
    _Kind(
        r"Error when translating node %\S+ : .*?target=torch\.ops\.([\w.]+)\]",
        "torch's translation of {} to ONNX fails",
        "write it in terms of others",
    ),
)


def capture_error(
    name: str, errors: Sequence[BaseException], chatter: str = "", folder: Path | None = None
) -> CaptureError:
    """The one line that users see; torch's full report goes to a file that it names.

    Args:
        name: of the source.
        errors: of each attempt, the one to explain first.
        chatter: what torch printed.
        folder: for the report, which is then ``NAME.capture.txt``; by default the system's temporary folder.
    """
    what, advice = _explained(errors)
    place = next(filter(None, map(place_of, errors)), None)
    where = f"{name}: {place}: " if place else f"{name}: "
    report = _write_report(name, errors, chatter, folder)
    kept = f". torch's own report: {report}" if report else ""
    return CaptureError(f"{where}{what}; {advice}{kept}")


def _explained(errors: Sequence[BaseException]) -> tuple[str, str]:
    for error in errors:
        text = " ".join(" ".join(str(part) for part in _chain(error)).split())
        for kind in _KINDS:
            if match := re.search(kind.sign, text):
                return kind.what.format(*match.groups()), kind.advice
    *_, innermost = _chain(errors[0])
    words = re.split(
        r"\s(?:The error above occurred|For more information)", " ".join(str(innermost).split())
    )[0]
    return (
        f"the network fails on an example input: {words[:300] or type(innermost).__name__}",
        "does --input say what it takes?",
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def place_of(error: BaseException) -> str | None:
    """``file:line `code``` of the user's innermost line behind ``error``; None where there is none."""
    for part in _chain(error):
        if found := _from_node(part) or quoted_place(str(part)) or _from_traceback(part):
            return found
    return None


def _from_node(error: BaseException) -> str | None:
    """torch's translator works node by node, and each node knows the line that it comes from."""
    for frame in _frames(error):
        node = frame.f_locals.get("node")
        if isinstance(node, torch.fx.Node) and (stack := node.meta.get("stack_trace")):
            return quoted_place(stack)
    return None


def quoted_place(text: str) -> str | None:
    """The last line of the user's in a traceback that torch quotes; None where there is none."""
    quoted = re.findall(r'File "([^"]+)", line (\d+)', text)
    mine = [(file, int(line)) for file, line in quoted if _is_users(file)]
    return _place(*mine[-1]) if mine else None


def _from_traceback(error: BaseException) -> str | None:
    lines = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    mine = [(file, line) for file, line in lines if _is_users(file)]
    inside = lines.index(mine[-1]) if mine else 0
    # A line of the user's that called us is not the one to blame: torch must have called it.
    called = any(_is_torchs(file) for file, _ in lines[:inside])
    return _place(*mine[-1]) if called else None


def _frames(error: BaseException) -> Iterator[FrameType]:
    return (frame for frame, _ in traceback.walk_tb(error.__traceback__))


_TORCH = os.path.dirname(torch.__file__) + os.sep
_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
_PYTHON = os.path.dirname(os.__file__) + os.sep


def _is_torchs(file: str) -> bool:
    return file.startswith(_TORCH)


def _is_users(file: str) -> bool:
    """Neither torch's nor the exporter's nor made up, nor of Python's own library."""
    return os.path.isfile(file) and not file.startswith((_TORCH, _OURS)) and not _is_pythons(file)


def _is_pythons(file: str) -> bool:
    return file.startswith(_PYTHON) and "site-packages" not in file


def _place(file: str, line: int) -> str:
    code = linecache.getline(file, line).strip()
    return f"{file}:{line} `{code}`" if code else f"{file}:{line}"


def _write_report(
    name: str, errors: Sequence[BaseException], chatter: str, folder: Path | None
) -> Path | None:
    text = "\n\n".join("".join(traceback.format_exception(error)) for error in errors)
    safe = re.sub(r"[^\w.-]", "_", name)
    try:
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="cnntk-"))
        file = folder / f"{safe}.capture.txt"
        file.write_text(f"{text}\n{chatter}", encoding="utf-8")
    except OSError:  # a full disk is no reason to hide why the network was refused
        return None
    return file
