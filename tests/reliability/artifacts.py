"""Damaged artifacts: none runs with other outputs than the original.

Damage is of two kinds: accidents, which the digest must see, and attacks, whose digest is right again, which
may be refused or run, but not crash or hang.
"""

from __future__ import annotations

import copy
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from reliability.mutation import mutate
from reliability.runner import Failed, Kind
from spec_mutations import ODD_VALUES, sealed, split_spec

from cnntk.runtime import CnntkError, Engine
from cnntk.runtime.artifact.spec import IMAGE_INPUT
from cnntk.shipped import shipped_checkpoint, shipped_model

__all__ = ["ARTIFACTS", "TAMPERING", "odd_spec"]

REFUSED, EQUAL, FORGED = "refused", "runs with equal outputs", "attack with a right digest, runs"
_RUN_LIMIT_S = 2
_FORGED_SHARE = 0.05
_FORGED_MEMORY = 512 << 20
"""Memory limit of attacks in bytes: without one, SECURITY.md promises nothing."""

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Subject:
    """An artifact to damage.

    Attributes:
        files: Bytes by name, the artifact first, then its data file if it has one.
        inputs: Inputs of a run.
        outputs: Outputs of the undamaged artifact.
    """

    files: dict[str, bytes]
    inputs: Arrays
    outputs: Arrays


def prepare(folder: Path) -> None:
    """Writes the LeNet that ships with cnntk, the same quantized, and the same with a data file."""
    (folder / "lenet.onnx").write_bytes(shipped_model().read_bytes())
    pair = folder / "pair"
    pair.mkdir()
    export = "from cnntk.exporters import export; import sys; export(*sys.argv[1:], external_data=True)"
    subprocess.run(
        [sys.executable, "-c", export, shipped_checkpoint(), pair / "pair.onnx"],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    options = ["--calibration", "digits", "--prefer", "size", "-o", folder / "lenet-int8.onnx"]
    subprocess.run(
        [sys.executable, "-m", "cnntk", "quantize", shipped_model(), *options],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def load_subjects(folder: Path) -> list[Subject]:
    """The artifacts below ``folder``, those with a data file in folders of their own."""
    subjects = []
    for file in sorted(folder.rglob("*.onnx")):
        others = sorted(f for f in file.parent.iterdir() if f.suffix == ".data")
        engine = Engine(file)
        inputs = {
            spec.name: np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1), dtype=np.uint8)
            if spec.name == IMAGE_INPUT
            else np.random.default_rng(0).random((2, *map(int, spec.shape[1:])), dtype=np.float32)
            for spec in engine.inputs
        }
        files = {f.name: f.read_bytes() for f in (file, *others)}
        subjects.append(Subject(files, inputs, engine.run(inputs)))
    return subjects


def start_mutations(
    shared: Path, scratch: Path, load: Callable[..., Engine] = Engine
) -> Callable[[int], str]:
    """Cases of damaged artifacts, loaded by ``load``, attacks with a limit of memory."""
    subjects = load_subjects(shared)
    every_file = [data for subject in subjects for data in subject.files.values()]

    def check(seed: int) -> str:
        rng = random.Random(f"artifact {seed}")
        subject = rng.choice(subjects)
        damaged = [name for name in subject.files if rng.random() < 0.6] or [rng.choice([*subject.files])]
        files = {n: mutate(d, rng, every_file) if n in damaged else d for n, d in subject.files.items()}
        artifact = next(iter(files))
        forged = rng.random() < _FORGED_SHARE
        if forged:
            files[artifact] = _forge(subject.files[artifact], rng, every_file)
        model = _written(files, scratch) if len(files) > 1 or rng.random() < 0.1 else files[artifact]
        if files == subject.files:
            return EQUAL
        limited = partial(load, max_memory=_FORGED_MEMORY) if forged else load
        return _judge(limited, model, subject, forged=forged)

    return check


def start_tampering(
    shared: Path, scratch: Path, load: Callable[[Any], Engine] = Engine
) -> Callable[[int], str]:
    """Cases of a changed bit, one in each byte of each file of the pair."""
    subject = _pair(shared)

    def check(seed: int) -> str:
        index = seed
        for name in subject.files:
            data = bytearray(subject.files[name])
            if index < len(data):
                break
            index -= len(data)
        data[index] ^= 1 << index % 8
        model = _written({**subject.files, name: bytes(data)}, scratch)
        outcome = _judge(load, model, subject, forged=False)
        if outcome != REFUSED:
            raise Failed(f"bit {index % 8} of byte {index} of {name} changed: {outcome}")
        return outcome

    return check


def count_tampering(shared: Path) -> int:
    """The number of cases of `start_tampering`."""
    return sum(map(len, _pair(shared).files.values()))


def _pair(shared: Path) -> Subject:
    return next(subject for subject in load_subjects(shared) if len(subject.files) > 1)


def _outputs_of(load: Callable[[Any], Engine], model: str | bytes, inputs: Arrays) -> Arrays | None:
    """The outputs of a model; None where it is refused with a `CnntkError` of few lines."""
    try:
        return load(model).run(inputs, timeout=_RUN_LIMIT_S)
    except CnntkError as error:
        if str(error).count("\n") > 1 or not str(error):
            raise Failed(f"a message of {str(error).count(chr(10)) + 1} lines: {error}") from error
        return None


def _judge(load: Callable[[Any], Engine], model: str | bytes, subject: Subject, *, forged: bool) -> str:
    outputs = _outputs_of(load, model, subject.inputs)
    if outputs is None:
        return REFUSED
    if forged:
        return FORGED
    if outputs.keys() != subject.outputs.keys() or not all(
        np.array_equal(outputs[name], expected, equal_nan=True) for name, expected in subject.outputs.items()
    ):
        raise Failed("silently different: loads, runs, and its outputs are others")
    return EQUAL


def _forge(artifact: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """An artifact with damage in its graph or spec, and the digest that belongs to it."""
    graph, spec = split_spec(artifact)
    if rng.random() < 0.5:
        return sealed(mutate(graph, rng, others), _text(spec))
    if rng.random() < 0.5:
        return sealed(graph, odd_spec(spec, rng, edits=1))
    text = _text(spec)
    end = len(text) - text.rindex(b', "digest"')
    return sealed(graph, mutate(text[:-end], rng) + text[-end:])


def odd_spec(spec: Mapping[str, Any], rng: random.Random, edits: int) -> bytes:
    """A spec with values replaced by other values of it, or by odd ones, and zeros for its digest."""
    changed = copy.deepcopy(dict(spec))
    for _ in range(edits):
        slots = list(_slots(changed))
        (node, key), (other, other_key) = rng.choice(slots), rng.choice(slots)
        node[key] = copy.deepcopy(rng.choice([*ODD_VALUES, other[other_key]]))
    return _text(changed)


def _text(spec: Mapping[str, Any]) -> bytes:
    return json.dumps({**{k: v for k, v in spec.items() if k != "digest"}, "digest": "0" * 64}).encode()


def _slots(node: Any) -> list[tuple[Any, Any]]:
    """Every place of a JSON value that holds another, as its parent and key."""
    pairs = (
        list(node.items())
        if isinstance(node, dict)
        else list(enumerate(node))
        if isinstance(node, list)
        else []
    )
    return [(node, key) for key, _ in pairs] + [slot for _, child in pairs for slot in _slots(child)]


def _written(files: dict[str, bytes], folder: Path) -> str:
    """Writes the files to ``folder``, and returns the path of the first."""
    for name, data in files.items():
        with open(folder / name, "wb") as stream:
            stream.write(data)
    return os.fspath(folder / next(iter(files)))


ARTIFACTS = Kind(
    name="artifacts",
    title="Damaged artifacts (the shipped LeNet, one quantized, one with a data file); loaded and run",
    cases=1_000_000,
    prepare=prepare,
    start=start_mutations,
    outcomes=(REFUSED, EQUAL, FORGED),
)

TAMPERING = Kind(
    name="tampering",
    title="A bit of each byte of an artifact and its data file changed, alone; loaded by Engine",
    cases=count_tampering,
    prepare=prepare,
    start=start_tampering,
    outcomes=(REFUSED,),
)
