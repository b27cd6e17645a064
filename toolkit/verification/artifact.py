"""Is a model file still what it was: by itself, or against another."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.canonical import canonical_inputs
from cnntk.runtime.artifact.digest import compute_digest, embedded_digest, sha256_of
from cnntk.runtime.artifact.external import (
    check_external_tensors,
    find_external_tensors,
    read_external_weights,
)
from cnntk.runtime.artifact.fingerprint import STRUCTURE, changed_tensors, fingerprints_of, layer_of
from cnntk.runtime.artifact.protobuf import ParsedModel, map_file, parse_model
from cnntk.runtime.artifact.self_test import OutputCheck, SelfTestResult
from cnntk.runtime.artifact.spec import IMAGE_INPUT, METADATA_KEY, ModelSpec, Pattern, TensorSpec
from cnntk.runtime.codec import as_json
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import (
    ArtifactCorrupt,
    InferenceError,
    MissingDependency,
    UnsupportedArtifact,
    UsageError,
)
from cnntk.runtime.files import readable_file
from cnntk.runtime.sections import Section, under

if TYPE_CHECKING:
    from cnntk.exporters.bisect import Divergence

__all__ = ["ChangedTensor", "OutputComparison", "Verification", "verify"]

ROUNDINGS = 64
"""Of the answers' own precision, relative to the largest: how far apart two files may be that don't say it
themselves. Two sound programs differ in the order of their sums, layer upon layer."""

_BATCHES: tuple[tuple[Pattern, int, int], ...] = (
    ("noise", 1, 1),
    ("noise", 2, 2),
    ("noise", 11, 3),
    ("ramp", 3, 2),
    ("constant", 255, 1),
    ("constant", 0, 1),
)

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class ChangedTensor:
    """A tensor that is not the one that was exported; `layer` is empty where none holds it."""

    tensor: str
    layer: str

    def __str__(self) -> str:
        what = self.tensor or "the graph itself: its nodes, attributes, inputs or outputs"
        return f"{self.layer}: {what}" if self.layer else what


@dataclass(frozen=True)
class OutputComparison:
    """What a file answers beside another one.

    Attributes:
        other: the other one.
        outputs: a row for each output and batch of inputs.
        diverges: the first layer at which they part; None where they don't, or where it can't be told.
        weights: where both graphs are alike, the layers whose weights differ, whether or not answers tell.
    """

    other: str
    outputs: tuple[OutputCheck, ...]
    diverges: Divergence | None
    weights: tuple[Divergence, ...]

    @property
    def holds(self) -> bool:
        """Whether both are the same model."""
        return bool(self.outputs) and all(check.holds for check in self.outputs) and not self.weights

    @property
    def worst(self) -> tuple[OutputCheck, ...]:
        """For each output the batch whose answers are furthest apart, as a share of the bound."""
        return SelfTestResult(self.outputs).worst

    def lines(self) -> Iterator[tuple[str, str]]:
        """What differs, as labels and texts of a section."""
        yield "compared with", self.other
        yield from (_output_line("outputs", check) for check in self.worst)
        first = self.diverges
        if first is not None:
            yield "first difference", str(first)
        others = [layer.layer for layer in self.weights if first is None or layer.layer != first.layer]
        if others:
            names = f"{', '.join(others[:8])}{', ...' if others[8:] else ''}"
            yield "weights differ", f"of {len(others)} more layers: {names}"

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "other": self.other,
            "holds": self.holds,
            "outputs": [as_json(check) for check in self.outputs],
            "diverges": self.diverges and self.diverges.to_json(),
            "weights": [layer.to_json() for layer in self.weights],
        }


@dataclass(frozen=True)
class Verification:
    """What checking a model file showed.

    Attributes:
        path: of the file.
        digest: whether the SHA-256 written at export holds, of the file and of the data beside it; ``none``
            where the file states none.
        fingerprints: how many were compared.
        changed: tensors whose fingerprint differs.
        self_test: None where the file has none, or is damaged, so that it was not run.
        comparison: None without another file.
        damage: why the file can't be used at all.
        notes: what could not be told, and why.
    """

    path: str
    digest: Literal["holds", "differs", "none"] = "none"
    fingerprints: int = 0
    changed: tuple[ChangedTensor, ...] = ()
    self_test: SelfTestResult | None = None
    comparison: OutputComparison | None = None
    damage: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether everything that could be checked holds."""
        parts = [part.holds for part in (self.self_test, self.comparison) if part is not None]
        return self.damage is None and self.digest != "differs" and not self.changed and all(parts)

    def sections(self) -> tuple[Section, ...]:
        """Each check with its result, and the verdict, for text and pages."""
        return (Section("", lines=tuple(self._lines())),)

    def _lines(self) -> Iterator[tuple[str, str]]:
        digest = {"holds": "matches the file", "differs": "DIFFERS: bytes were changed", "none": "none"}
        yield "file", self.path
        yield "embedded digest", digest[self.digest]
        if self.fingerprints:
            unchanged = "" if self.changed else " as exported"
            yield "fingerprints", f"{self.fingerprints} tensors{unchanged}"
        yield from under("CHANGED", map(str, self.changed[:8]))
        if self.self_test is not None:
            yield from (_output_line("self-test", check) for check in self.self_test.worst)
        if self.comparison is not None:
            yield from self.comparison.lines()
        if self.damage:
            yield "DAMAGED", self.damage
        yield "verdict", "passed" if self.holds else "FAILED"

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "path": self.path,
            "holds": self.holds,
            "digest": self.digest,
            "fingerprints": self.fingerprints,
            "changed": [asdict(change) for change in self.changed],
            "self_test": as_json(self.self_test),
            "comparison": self.comparison and self.comparison.to_json(),
            "damage": self.damage,
            "notes": list(self.notes),
        }


def _output_line(title: str, check: OutputCheck) -> tuple[str, str]:
    verdict = "" if check.holds else "  FAILS"
    text = f"max abs error {check.error:.2g} (limit {check.bound:.2g}; worst input: {check.case}){verdict}"
    return f"{title}: {check.output}", text


def verify(
    model: str | os.PathLike[str],
    against: str | os.PathLike[str] | None = None,
    *,
    weights: str | None = None,
    random: bool = False,
    device: str = "cpu",
) -> Verification:
    """Checks a model file by what it holds: digest, fingerprints of its weights, and outputs on this device.

    With ``against``, its outputs are compared with those of another model, too. Damage is part of the result.
    Neither torch nor onnx is needed, but for a source to compare with, and to name the layers that differ.

    Args:
        model: An ``.onnx`` file. Without ``against`` it has to be one that cnntk made.
        against: An ``.onnx`` file, or a source as `export` takes it, which is exported for the purpose.
        weights: File with the weights of a source that has none of its own.
        random: Whether such a source gets seeded random weights.
        device: Device on which both run, as `Engine` takes it.

    Raises:
        UsageError: There is no such file, source or device, or the models have different inputs or outputs.
        UnsupportedArtifact: The file holds nothing to check it by, and ``against`` is None.
        DeviceUnavailable: The device is not available.
        MissingDependency: The source needs torch, which is not installed.
    """
    path = os.fspath(readable_file(model, "an ONNX model"))
    try:
        result = _verify_alone(path, device)
    except UnsupportedArtifact:
        if against is None:
            raise
        note = "not made by cnntk, or before it wrote self-tests: nothing to check alone"
        result = Verification(path, notes=(note,))
    if against is None or result.damage or result.digest == "differs":
        return result
    with tempfile.TemporaryDirectory() as folder:
        file = Path(against)
        if file.suffix != ".onnx":
            file = _exported(os.fspath(against), Engine(path), Path(folder), weights, random)
        return _compared(result, file, os.fspath(against), device)


def _verify_alone(path: str, device: str) -> Verification:
    """Checks the file without another one; UnsupportedArtifact where it holds nothing to check it by."""
    result = Verification(path, _digest(path))
    try:
        contents = parse_model(map_file(path), path)
        text = contents.metadata.get(METADATA_KEY)
        spec = None if text is None else ModelSpec.from_json(text, path)
        result = _with_data(result, spec, contents)
        result = _with_fingerprints(result, spec, contents)
    except ArtifactCorrupt as error:
        return replace(result, damage=str(error))
    if result.digest == "differs":
        return replace(result, notes=("the file is damaged, so it was not run",))
    return _with_self_test(result, spec, device)


def _digest(path: str) -> Literal["holds", "differs", "none"]:
    stated = embedded_digest(path)
    if stated is None:
        return "none"
    return "holds" if compute_digest(path) == stated else "differs"


def _with_data(found: Verification, spec: ModelSpec | None, contents: ParsedModel) -> Verification:
    """Checks the file beside it, whose weights then stand for those that the model only names."""
    own, file = spec.data if spec is not None else None, Path(found.path)
    check_external_tensors(
        find_external_tensors(found.path, found.path), file, own, has_digest=found.digest != "none"
    )
    contents.weights.update(read_external_weights(contents.external_tensors.values(), file.parent))
    if own is not None and sha256_of(file.parent / own.file) != own.sha256:
        return replace(found, digest="differs")
    return found


def _with_fingerprints(found: Verification, spec: ModelSpec | None, contents: ParsedModel) -> Verification:
    if spec is None or not (spec.digest or spec.fingerprints or spec.self_test):
        if found.digest != "none":
            raise ArtifactCorrupt(
                f"{found.path}: is damaged: it ends as an artifact does, but its spec is gone"
            )
        raise UnsupportedArtifact(
            f"{found.path}: holds nothing to check it by (not made by cnntk, or by an early one). "
            "Compare it with another model: --against"
        )
    names = changed_tensors(spec.fingerprints, fingerprints_of(contents)) if spec.fingerprints else ()
    return replace(
        found,
        digest="differs" if spec.digest and found.digest == "none" else found.digest,
        fingerprints=len(spec.fingerprints),
        changed=tuple(_change(name, spec, contents) for name in names),
    )


def _change(name: str, spec: ModelSpec, contents: ParsedModel) -> ChangedTensor:
    return ChangedTensor(name, layer_of(name, contents.nodes, spec.layers) if name != STRUCTURE else "")


def _with_self_test(found: Verification, spec: ModelSpec | None, device: str) -> Verification:
    if spec is None or spec.self_test is None:
        return replace(found, notes=("holds no self-test: its answers were not checked",))
    try:
        return replace(found, self_test=Engine(found.path, device).self_test())
    except (ArtifactCorrupt, InferenceError) as error:
        return replace(found, damage=str(error))


def _exported(source: str, engine: Engine, folder: Path, weights: str | None, random: bool) -> Path:
    """A torch source as a file that takes the same inputs as ``engine``."""
    try:
        from cnntk.exporters import export
    except ImportError as error:
        raise MissingDependency(f"{source}: sources need torch: pip install 'cnntk[export]'") from error
    file = folder / "source.onnx"
    p = engine.spec.preprocessing if engine.spec is not None else None
    way: Literal["graph", "host", "none"] = "none" if p is None else "host"
    if p is not None and engine.inputs[0].name == IMAGE_INPUT:
        way = "graph"
    export(
        source,
        file,
        input_shape=_image_shape(engine) if ":" in source else None,
        weights=weights,
        random=random,
        preprocess=way,
        image=p,
        dtype=_cast_to(engine),
    )
    return file


def _cast_to(engine: Engine) -> Literal["auto", "float32", "float16", "float64"]:
    """What the source was cast to, as the artifact says."""
    said = engine.spec.provenance.get("dtype") if engine.spec is not None else None
    return next((t for t in ("float32", "float16", "float64") if t == said), "auto")


def _image_shape(engine: Engine) -> tuple[int, int, int] | None:
    if engine.inputs[0].name == IMAGE_INPUT and engine.spec is not None and (p := engine.spec.preprocessing):
        return (p.channels, p.height, p.width)
    shape = tuple(d for d in engine.inputs[0].shape[1:] if isinstance(d, int))
    return (shape[0], shape[1], shape[2]) if len(shape) == 3 else None


def _compared(found: Verification, file: Path, title: str, device: str) -> Verification:
    first, second = (Engine(f, device, allow_nonfinite=True) for f in (found.path, file))
    _same_edges(first, second, title)
    batches = list(_batches(first))
    outputs = tuple(check for name, arrays in batches for check in _beside(first, second, name, arrays))
    comparison = OutputComparison(title, outputs, None, ())
    try:
        from cnntk.exporters.bisect import GraphPair

        pair = GraphPair(Path(found.path), file, first.spec.layers if first.spec else ())
        differing = pair.weight_differences() if pair.alike else ()
        diverges = None if comparison.holds else pair.first_divergence([arrays for _, arrays in batches])
        comparison = replace(comparison, weights=differing, diverges=diverges or next(iter(differing), None))
    except ImportError:
        note = "which layers differ is told with onnx: pip install 'cnntk[export]'"
        return replace(found, comparison=comparison, notes=(*found.notes, note))
    except UnsupportedArtifact as error:
        return replace(found, comparison=comparison, notes=(*found.notes, str(error)))
    return replace(found, comparison=comparison)


def _same_edges(first: Engine, second: Engine, title: str) -> None:
    for what, ours, theirs in (
        ("inputs", first.inputs, second.inputs),
        ("outputs", first.outputs, second.outputs),
    ):
        if len(ours) != len(theirs) or any(not _alike(a, b) for a, b in zip(ours, theirs, strict=True)):
            raise UsageError(
                f"{title}: has other {what} than {first.name}, so they can't be compared: "
                f"{_edges(theirs)} and {_edges(ours)}"
            )


def _alike(a: TensorSpec, b: TensorSpec) -> bool:
    fixed = zip(a.shape, b.shape, strict=False)
    return (
        a.dtype == b.dtype
        and len(a.shape) == len(b.shape)
        and all(x == y for x, y in fixed if isinstance(x, int) and isinstance(y, int))
    )


def _edges(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{s.name}: {s.dtype} [{', '.join(map(str, s.shape))}]" for s in specs)


def _batches(engine: Engine) -> Iterator[tuple[str, Arrays]]:
    """Canonical inputs, and seeded normal noise for floats."""
    inputs, p = engine.inputs, engine.spec.preprocessing if engine.spec is not None else None
    named = tuple(replace(s, shape=tuple(_free(d, i) for i, d in enumerate(s.shape))) for s in inputs)
    free = {d: 32 for s in named for d in s.shape if isinstance(d, str)} | (p.image_sizes if p else {})
    fixed = not any("N" in s.shape for s in named)
    for pattern, seed, batch in _BATCHES:
        title = f"{pattern} {seed}, N={batch}"
        yield title, canonical_inputs(named, pattern, seed, {**free, "N": batch})
    rng = np.random.default_rng(0)
    arrays = canonical_inputs(named, "noise", 12, {**free, "N": 1 if fixed else 3})
    yield "normal noise", {n: _normal(a, rng) for n, a in arrays.items()}


def _free(size: int | str | None, axis: int) -> int | str:
    """A free dimension's name: the first is the batch, whatever it is called."""
    if isinstance(size, int):
        return size
    return "N" if axis == 0 else size or f"axis {axis}"


def _normal(array: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    return rng.standard_normal(array.shape).astype(array.dtype) if array.dtype.kind == "f" else array


def _beside(first: Engine, second: Engine, case: str, arrays: Arrays) -> Iterator[OutputCheck]:
    theirs = dict(zip((s.name for s in second.inputs), arrays.values(), strict=True))
    found, expected = first.run(arrays), second.run(theirs)
    stated = _bounds(first), _bounds(second)
    for name, other in zip(found, _matching(found, expected), strict=True):
        share = max(stated[0].get(name, 0.0) + stated[1].get(other, 0.0), _rounding(expected[other]))
        bound = share * float(np.abs(expected[other].astype(np.float64)).max(initial=0.0))
        yield OutputCheck(name, case, _distance(found[name], expected[other]), bound)


def _matching(found: Arrays, expected: Arrays) -> Sequence[str]:
    """The other's outputs in this one's order: by name where all names agree, else as they stand."""
    return list(found) if found.keys() == expected.keys() else list(expected)


def _bounds(engine: Engine) -> dict[str, float]:
    """How far an artifact's answers may be from exact ones, as a share of the largest: by its self-test.

    By the cases of the usual size: where images are resized, devices may be further apart.
    """
    shares: dict[str, float] = {}
    test = engine.spec.self_test if engine.spec is not None else None
    cases = test.cases if test is not None else ()
    for case in (c for c in cases if {**c.sizes, "N": 0} == {**cases[0].sizes, "N": 0}):
        for name, bound in case.bounds.items():
            scale = max(abs(float(text)) for text in case.expected[name].split())
            shares[name] = max(shares.get(name, 0.0), bound / scale if scale > 0 else 0.0)
    return shares


def _rounding(expected: NDArray[Any]) -> float:
    return ROUNDINGS * float(np.finfo(expected.dtype).eps) if expected.dtype.kind == "f" else 0.0


def _distance(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Largest difference; NaN where any is NaN or shapes differ."""
    if a.shape != b.shape:
        return float("nan")
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0.0))
