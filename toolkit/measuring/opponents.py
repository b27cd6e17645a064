"""Who a model is measured against: another file, torch, OpenVINO; on the same inputs and as many threads.

All of them are called in this process, so that calls can be measured in turn.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import InputError, MissingDependency, UnsupportedArtifact, UsageError

__all__ = ["ALIKE", "Opponent", "first_line", "in_order", "opponents"]

ALIKE = 1e-3
"""Share of the largest answer up to which answers count as the same: rounding, and levels that another resize
rounds the other way, stay below it; integers for floats do not."""

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Opponent:
    """One that is measured against, and how its answers compare.

    Attributes:
        name: for people, as ``torch, compiled``.
        call: one run on the inputs; None where it can't be had, and ``note`` says why.
        note: what to know about it, its answers included; phrases with semicolons between them.
        apart: largest difference to the model's answers, as a share of the largest of them; None where no
            answer has the same shape, or there is no call.
        agree: share of the inputs for which the largest answer is the same one, 0 to 1; None as above.
    """

    name: str
    call: Callable[[], Arrays] | None = field(repr=False)
    note: str = ""
    apart: float | None = None
    agree: float | None = None

    @property
    def alike(self) -> bool:
        """Whether it answers the same, up to `ALIKE`."""
        return self.apart is not None and self.apart <= ALIKE

    def to_json(self) -> dict[str, Any]:
        """As JSON data; a call is not."""
        return {
            "name": self.name,
            "runs": self.call is not None,
            "note": self.note,
            "apart": self.apart,
            "agree": self.agree,
            "alike": self.alike,
        }


@contextmanager
def opponents(
    name: str,
    engine: Engine,
    inputs: Mapping[str, NDArray[Any]],
    *,
    weights: str | None = None,
    random: bool = False,
) -> Iterator[tuple[Opponent, ...]]:
    """Makes ready whom ``name`` means, to be called until the block ends; then torch has its threads back.

    Args:
        name: an ``.onnx`` file; ``openvino``, which runs the same file; ``torch:SOURCE``, with SOURCE as
            `cnntk.export` takes it, eager and compiled; or ``torch``, where the model's own source is known.
        engine: that is measured; the others run on its device, with its threads.
        inputs: of every call.
        weights: of a SOURCE that has none of its own.
        random: take seeded random weights for such a source.

    Yields:
        One opponent, or two. Each was called once, and its answers were compared: that they differ is no
        error, as another network may be meant.

    Raises:
        UsageError: there is nobody of that name, or it takes other inputs.
        MissingDependency: it needs a package that is not installed.
    """
    with _rivals(name, engine, dict(inputs), weights, random) as found:
        ours = engine.run(inputs, allow_nonfinite=True)
        yield tuple(_compared(rival, ours) for rival in found)


def _rivals(
    name: str, engine: Engine, inputs: Arrays, weights: str | None, random: bool
) -> AbstractContextManager[tuple[Opponent, ...]]:
    kind, _, source = name.partition(":")
    if kind == "torch":
        from cnntk.measuring.torch_opponents import torch_rivals

        return torch_rivals(source, engine, inputs, weights=weights, random=random)
    if weights is not None or random:
        raise UsageError(f"{name}: has weights of its own: weights and random are for torch:SOURCE")
    if name == "openvino":
        return _just(_openvino(engine, inputs))
    if name.endswith(".onnx"):
        return _just(_file(name, engine, inputs))
    raise UsageError(
        f"{name!r} is nobody to measure against; name an .onnx file, torch, torch:SOURCE or openvino"
    )


@contextmanager
def _just(rival: Opponent) -> Iterator[tuple[Opponent, ...]]:
    yield (rival,)


def _file(name: str, engine: Engine, inputs: Arrays) -> Opponent:
    other = Engine(name, engine.device, threads=engine.threads, allow_nonfinite=True)
    given = in_order(inputs, [spec.name for spec in other.inputs], name)
    try:
        other.check(given)
    except InputError as error:
        raise UsageError(f"{name}: takes other inputs than {engine.name}: {error}") from error
    return Opponent(name, functools.partial(other.run, given))


def _openvino(engine: Engine, inputs: Arrays) -> Opponent:
    try:
        import openvino
    except ImportError as error:
        raise MissingDependency("openvino is not installed; run: pip install openvino") from error
    if engine.device != "cpu":
        raise UsageError(f"openvino: is measured on the CPU alone, not on {engine.device}")
    settings = {
        "INFERENCE_NUM_THREADS": engine.threads,
        "INFERENCE_PRECISION_HINT": "f32",  # it would take bfloat16 where the CPU has it
        "PERFORMANCE_HINT": "LATENCY",
    }
    try:
        request = openvino.Core().compile_model(engine.name, "CPU", settings).create_infer_request()
    except RuntimeError as error:  # its own exceptions are of this kind
        raise UnsupportedArtifact(f"{engine.name}: openvino can't run it: {first_line(error)}") from error

    def call() -> Arrays:
        found = request.infer(inputs, share_inputs=True)
        return {output.get_any_name(): value for output, value in found.items()}

    return Opponent(f"openvino {openvino.__version__.split('-')[0]}", call, "computes in float32")


def in_order(inputs: Arrays, names: list[str], title: str) -> Arrays:
    """``inputs`` under another one's names: by name where all agree, else as they stand.

    Raises:
        UsageError: there are more, or fewer.
    """
    if len(names) != len(inputs):
        raise UsageError(f"{title}: takes {len(names)} inputs, not {len(inputs)}; they can't be compared")
    if set(names) == set(inputs):
        return {name: inputs[name] for name in names}
    return dict(zip(names, inputs.values(), strict=True))


def first_line(error: BaseException) -> str:
    """The first line of a message that says something, cut to 200 characters."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)[:200]


def _compared(rival: Opponent, ours: Arrays) -> Opponent:
    if rival.call is None:
        return rival
    pairs = list(_pairs(ours, rival.call()))
    if not pairs:
        return replace(rival, note=_joined(rival.note, "no answer of it has the shape of ours"))
    apart = max(_apart(*pair) for pair in pairs)
    agree = min(float(np.mean(np.equal(*(_best(answer) for answer in pair)))) for pair in pairs)
    told = "answers the same"
    if apart > ALIKE:
        told = f"answers differ by {apart:.2g} of the largest; {agree:.0%} of the inputs have the same best"
    return replace(rival, note=_joined(rival.note, told), apart=apart, agree=agree)


def _pairs(ours: Arrays, theirs: Arrays) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Each of their answers with ours of that name, or else with the nearest of that shape."""
    for name, answer in theirs.items():
        named = [ours[name]] if name in ours else list(ours.values())
        fitting = [mine for mine in named if mine.shape == answer.shape]
        if fitting:
            yield min(fitting, key=lambda mine: _apart(mine, answer)), answer


def _apart(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """Largest difference as a share of our largest; infinite where something is not finite."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    difference = float(np.abs(a - b).max(initial=0.0))
    largest = float(np.abs(a).max(initial=0.0))
    return difference / (largest or 1.0) if np.isfinite(difference) else float("inf")


def _best(answer: NDArray[Any]) -> NDArray[np.intp]:
    rows: NDArray[Any] = answer.reshape(len(answer) if answer.ndim else 1, -1)
    best: NDArray[np.intp] = np.argmax(rows, axis=1)
    return best


def _joined(*phrases: str) -> str:
    return "; ".join(phrase for phrase in phrases if phrase)
