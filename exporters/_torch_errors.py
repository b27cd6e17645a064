"""torch's errors in capturing a network as one line: where, what, and what to do.

torch's own report of many pages is the cause of the error raised, so ``--debug`` shows it.
"""

from __future__ import annotations

import linecache
import os
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

import torch

from cnntk.runtime.errors import CaptureError

CAPTURE_ERRORS = (
    RuntimeError,  # torch.export's and torch.onnx's own kinds derive from it
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
)
"""Exceptions in capturing: torch's errors share no base, and the user's code runs too and raises others."""


_KINDS = (
    (
        r"specialized it to be a constant \((\d+)\)",
        "the batch is fixed: torch infers that it must be {}",
        "use x.shape[0] or -1 instead of the number, and no loop over the batch",
    ),
    (
        r"Not all values of \S+ = .*? satisfy the generated guard (.+?)\.?"
        r"(?: Suggested fixes| For more| The error above|$)",
        "the batch is not dynamic: it must satisfy {}",
        "write the network so that any batch size works",
    ),
    (
        r"(not compiled with CUDA|Found no NVIDIA driver|be on the same device|not on the expected device)",
        "the network moves tensors to another device ({})",
        "it is exported on the CPU: use x.device instead of a fixed one",
    ),
    (
        r"Data-dependent branching|Could not guard on data-dependent expression Eq\(u",
        "a branch of the network depends on the values in the image",
        "compute both branches and select with torch.where, or use torch.cond",
    ),
    (
        r"[Dd]ata-dependent|unbacked symint|PendingUnbackedSymbol",
        "a size or a branch depends on the values in the image",
        "keep sizes fixed and mask with torch.where instead",
    ),
    (
        r"No ONNX function found for <OpOverload\(op='([\w.]+)'",
        "ONNX has no operator for {}",
        "write it with other operators",
    ),
    (
        r"Error when translating node %\S+ : .*?target=torch\.ops\.([\w.]+)\]",
        "torch's translation of {} to ONNX fails",
        "write it with other operators",
    ),
)
"""Kinds of errors: pattern of torch's message, problem with the pattern's groups for ``{}``, and advice."""

NOT_CAPTURED = "torch.export can't capture it: {}", "write it with plain operations on tensors"
NOT_TRANSLATED = "torch.onnx can't translate it: {}", "write it with other operators"
"""Problem and advice where no pattern says more, with torch's words for ``{}``."""


def capture_error(
    name: str, errors: Sequence[BaseException], default: tuple[str, str], chatter: str = ""
) -> CaptureError:
    """The error that users see, in one line.

    Args:
        name: Name of the source.
        errors: Errors of all attempts, the one to explain first.
        default: Problem and advice where torch's messages match no kind of errors.
        chatter: Output of torch, which is shown with a traceback.
    """
    problem, advice = _explain(errors, default)
    line = next(filter(None, map(user_line, errors)), None)
    error = CaptureError(f"{name}: {f'{line}: ' if line else ''}{problem}; {advice}")
    if chatter:
        error.add_note(chatter)
    return error


def invalid_input(shapes: str, provenance: Mapping[str, Any]) -> tuple[str, str]:
    """Problem and advice where the module itself fails on an input of ``shapes``."""
    problem, advice = (
        f"the network fails on an input of shape {shapes}",
        "pass the shape that it takes with --input",
    )
    if "cast_from" in provenance:
        problem += f" after the cast from {provenance['cast_from']} to {provenance['dtype']}"
        advice = f"its code must take its types from its weights; else {advice}"
    return f"{problem}: {{}}", advice


def _explain(errors: Sequence[BaseException], default: tuple[str, str]) -> tuple[str, str]:
    for error in errors:
        text = " ".join(" ".join(str(part) for part in _chain(error)).split())
        for pattern, problem, advice in _KINDS:
            if match := re.search(pattern, text):
                return problem.format(*match.groups()), advice
    *_, innermost = _chain(errors[0])
    words = re.split(
        r"\s(?:The error above occurred|For more information)", " ".join(str(innermost).split())
    )[0]
    return default[0].format(words[:300].rstrip(".") or type(innermost).__name__), default[1]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def user_line(error: BaseException) -> str | None:
    """``file:line `code``` of the user's innermost line that caused ``error``; None where there is none."""
    for cause in _chain(error):
        if line := _from_node(cause) or quoted_line(str(cause)) or _from_traceback(cause):
            return line
    return None


def _from_node(error: BaseException) -> str | None:
    """torch's translator works node by node, and each node has the line from which it comes."""
    for frame in _frames(error):
        node = frame.f_locals.get("node")
        if isinstance(node, torch.fx.Node) and (stack := node.meta.get("stack_trace")):
            return quoted_line(stack)
    return None


def quoted_line(text: str) -> str | None:
    """The user's last line in a traceback that torch quotes; None where there is none."""
    quoted = re.findall(r'File "([^"]+)", line (\d+)', text)
    users = [(file, int(line)) for file, line in quoted if _is_users(file)]
    return _format_line(*users[-1]) if users else None


def _from_traceback(error: BaseException) -> str | None:
    lines = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    users = [(file, line) for file, line in lines if _is_users(file)]
    index = lines.index(users[-1]) if users else 0
    # A line of the user that called the exporter is not the cause: torch must have called it.
    called = any(file.startswith(_TORCH) for file, _ in lines[:index])
    return _format_line(*users[-1]) if called else None


def _frames(error: BaseException) -> Iterator[FrameType]:
    return (frame for frame, _ in traceback.walk_tb(error.__traceback__))


_TORCH = os.path.dirname(torch.__file__) + os.sep
_EXPORTERS = os.path.dirname(os.path.abspath(__file__)) + os.sep
_PYTHON = os.path.dirname(os.__file__) + os.sep


def _is_users(file: str) -> bool:
    """Whether a file exists and belongs neither to torch nor to cnntk nor to Python's own library."""
    is_python = file.startswith(_PYTHON) and "site-packages" not in file
    return os.path.isfile(file) and not file.startswith((_TORCH, _EXPORTERS)) and not is_python


def _format_line(file: str, line: int) -> str:
    code = linecache.getline(file, line).strip()
    return f"{file}:{line} `{code}`" if code else f"{file}:{line}"
