"""`verify`: checks that a model file computes what was exported, alone or against another model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cnntk.exporters.options import ExportOptions
from cnntk.runtime.artifact.canonical import canonical_inputs
from cnntk.runtime.artifact.digest import compute_digest, embedded_digest, sha256_of
from cnntk.runtime.artifact.external import (
    check_external_tensors,
    find_external_tensors,
    read_external_weights,
)
from cnntk.runtime.artifact.fingerprint import STRUCTURE, changed_tensors, fingerprints_of, layer_of
from cnntk.runtime.artifact.protobuf import ParsedModel, file_bytes, parse_model
from cnntk.runtime.artifact.self_test import OutputCheck, SelfTestResult
from cnntk.runtime.artifact.spec import IMAGE_INPUT, METADATA_KEY, ModelSpec, Pattern, TensorSpec
from cnntk.runtime.batch_split import fixed_batch
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import (
    ArtifactCorrupt,
    InferenceError,
    MissingDependency,
    UnsupportedArtifact,
    UsageError,
)
from cnntk.runtime.files import model_file, scratch_folder
from cnntk.runtime.preprocessing.preprocess import preprocess
from cnntk.runtime.sections import Section, under

if TYPE_CHECKING:
    from cnntk.exporters.bisect import Divergence

__all__ = ["ChangedTensor", "OutputComparison", "Verification", "verify"]

ROUNDINGS = 64
"""Limit of the difference between outputs of files without a self-test, as a multiple of the type's epsilon
times the largest output. Two correct programs differ in the order of their sums, layer upon layer."""

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
    """A tensor that differs from the exported one.

    Attributes:
        tensor: Name of the tensor; empty for the structure of the graph.
        layer: Name of the layer that uses it; empty where there is none.
    """

    tensor: str
    layer: str

    def __str__(self) -> str:
        name = self.tensor or "the graph itself: its nodes, attributes, inputs or outputs"
        return f"{self.layer}: {name}" if self.layer else name


@dataclass(frozen=True)
class OutputComparison:
    """Comparison of a model with another one.

    Attributes:
        other: Name of the other model.
        outputs: Difference of each output for each batch of inputs.
        first_difference: First layer whose outputs or weights differ; None where none does, or unknown.
        weights: Layers whose weights differ, where both graphs have the same layers.
    """

    JSON_PROPERTIES: ClassVar[tuple[str, ...]] = ("holds",)

    other: str
    outputs: tuple[OutputCheck, ...]
    first_difference: Divergence | None
    weights: tuple[Divergence, ...]

    @property
    def holds(self) -> bool:
        """Whether both are the same model."""
        return bool(self.outputs) and all(check.holds for check in self.outputs) and not self.weights

    @property
    def worst(self) -> tuple[OutputCheck, ...]:
        """For each output the batch with the largest difference, relative to its bound."""
        return SelfTestResult(self.outputs).worst

    def lines(self) -> Iterator[tuple[str, str]]:
        """What differs, as labels and texts of a section."""
        yield "compared with", self.other
        yield from (_output_line("outputs", check) for check in self.worst)
        first = self.first_difference
        if first is not None:
            yield "first difference", str(first)
        others = [layer.layer for layer in self.weights if first is None or layer.layer != first.layer]
        if others:
            names = f"{', '.join(others[:8])}{', ...' if others[8:] else ''}"
            yield "weights differ", f"of {len(others)} more layers: {names}"


@dataclass(frozen=True)
class Verification:
    """Result of checking a model file.

    Attributes:
        path: Path of the file.
        digest: Whether the embedded digest matches file and external data; ``none`` without one.
        fingerprints: Number of fingerprints that were compared.
        changed: Tensors whose fingerprint differs.
        self_test: Result of the self-test; None where the file has none, or is damaged and was not run.
        comparison: Comparison with another model, if one was named.
        damage: Reason why the file is not usable; None where it is.
        notes: Checks that were not possible, and why.
    """

    JSON_PROPERTIES: ClassVar[tuple[str, ...]] = ("holds",)

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
        """Whether every check passed that was possible."""
        results = [result.holds for result in (self.self_test, self.comparison) if result is not None]
        return self.damage is None and self.digest != "differs" and not self.changed and all(results)

    def sections(self) -> tuple[Section, ...]:
        """Each check with its result, and the verdict, for text and pages."""
        return (Section("", lines=tuple(self._lines()), tone="good" if self.holds else "bad"),)

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
    trust: bool = False,
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
        trust: Whether code that the source's file names or holds may run, as in `ExportOptions`.
        device: Device on which both run, as `Engine` takes it.

    Raises:
        UsageError: There is no such file, source or device, or the models have different inputs or outputs.
        UnsupportedArtifact: The file holds nothing to check it by, and ``against`` is None.
        DeviceUnavailable: The device is not available.
        MissingDependency: The source needs torch, which is not installed.
    """
    path = os.fspath(model_file(model))
    try:
        result = _verify_alone(path, device)
    except UnsupportedArtifact:
        if against is None:
            raise
        note = "not made by cnntk, or by an early version: no self-test, fingerprints or digest to check"
        result = Verification(path, notes=(note,))
    if against is None or result.damage or result.digest == "differs":
        return result
    with scratch_folder() as folder:
        file = Path(against)
        if file.suffix != ".onnx":
            options = ExportOptions(weights=weights, random=random, trust=trust)
            file, notes = _exported(os.fspath(against), Engine(path), folder, options)
            result = replace(result, notes=(*result.notes, *notes))
        return _compared(result, file, os.fspath(against), device)


def _verify_alone(path: str, device: str) -> Verification:
    """Checks the file without another one; UnsupportedArtifact where it holds nothing to check it by."""
    result = Verification(path)
    if (stated := embedded_digest(path)) is not None:
        result = replace(result, digest="holds" if compute_digest(path) == stated else "differs")
    try:
        contents = parse_model(file_bytes(path), path)
        text = contents.metadata.get(METADATA_KEY)
        spec = None if text is None else ModelSpec.from_json(text, path)
        result = _with_data(result, spec, contents)
        result = _with_fingerprints(result, spec, contents)
    except ArtifactCorrupt as error:
        return replace(result, damage=str(error))
    if result.digest == "differs":
        return replace(result, notes=("the file is damaged, so it was not run",))
    return _with_self_test(result, spec, device)


def _with_data(result: Verification, spec: ModelSpec | None, contents: ParsedModel) -> Verification:
    """Checks the external data file and adds its weights to the contents."""
    external, file = spec.data if spec is not None else None, Path(result.path)
    check_external_tensors(
        find_external_tensors(result.path, result.path), file, external, has_digest=result.digest != "none"
    )
    contents.weights.update(read_external_weights(contents.external_tensors.values(), file.parent))
    if external is not None and sha256_of(file.parent / external.file) != external.sha256:
        return replace(result, digest="differs")
    return result


def _with_fingerprints(result: Verification, spec: ModelSpec | None, contents: ParsedModel) -> Verification:
    if spec is None or not (spec.digest or spec.fingerprints or spec.self_test):
        if result.digest != "none":
            raise ArtifactCorrupt(f"{result.path}: is damaged: it has an embedded digest, but no spec")
        raise UnsupportedArtifact(
            f"{result.path}: contains no self-test, fingerprints or digest, as cnntk writes them; "
            "compare it with another model: --against"
        )
    names = changed_tensors(spec.fingerprints, fingerprints_of(contents)) if spec.fingerprints else ()
    layers = [layer_of(n, contents.nodes, spec.layers) if n != STRUCTURE else "" for n in names]
    return replace(
        result,
        digest="differs" if spec.digest and result.digest == "none" else result.digest,
        fingerprints=len(spec.fingerprints),
        changed=tuple(map(ChangedTensor, names, layers)),
    )


def _with_self_test(result: Verification, spec: ModelSpec | None, device: str) -> Verification:
    if spec is None or spec.self_test is None:
        return replace(result, notes=("has no self-test: its outputs were not checked",))
    try:
        return replace(result, self_test=Engine(result.path, device).self_test())
    except (ArtifactCorrupt, InferenceError) as error:
        return replace(result, damage=str(error))


def _exported(
    source: str, engine: Engine, folder: Path, options: ExportOptions
) -> tuple[Path, tuple[str, ...]]:
    """Exports a torch source to a file with the same inputs as ``engine``; also returns notes."""
    try:
        from cnntk.exporters import export
    except ImportError as error:
        raise MissingDependency(
            f"{source}: this source needs torch; run: pip install 'cnntk[export]'"
        ) from error
    file = folder / "source.onnx"
    p = engine.spec.preprocessing if engine.spec is not None else None
    mode: Literal["graph", "host", "none"] = "none" if p is None else "host"
    if p is not None and engine.inputs[0].name == IMAGE_INPUT:
        mode = "graph"
    report = export(
        source,
        file,
        options,
        input_shape=_image_shape(engine) if ":" in source else None,
        preprocess=mode,
        preprocessing=p,
        dtype=_cast_to(engine),
    )
    return file, report.source_notes


def _cast_to(engine: Engine) -> Literal["auto", "float32", "float16", "float64"]:
    """Type that the source was cast to, from the artifact's provenance."""
    dtype = engine.spec.provenance.get("dtype") if engine.spec is not None else None
    return next((t for t in ("float32", "float16", "float64") if t == dtype), "auto")


def _image_shape(engine: Engine) -> tuple[int, int, int] | None:
    if engine.inputs[0].name == IMAGE_INPUT and engine.spec is not None and (p := engine.spec.preprocessing):
        return (p.channels, p.height, p.width)
    shape = tuple(d for d in engine.inputs[0].shape[1:] if isinstance(d, int))
    return (shape[0], shape[1], shape[2]) if len(shape) == 3 else None


def _compared(result: Verification, file: Path, title: str, device: str) -> Verification:
    first, second = (Engine(f, device, allow_nonfinite=True) for f in (result.path, file))
    names = _shared_outputs(first, second)
    _check_same_interface(first, second, title, names)
    batches = list(_batches(first))
    outputs = tuple(
        check for name, arrays in batches for check in _output_checks(first, second, name, arrays, names)
    )
    comparison = OutputComparison(title, outputs, None, ())
    if _prepares_images(first, second):
        return replace(result, comparison=comparison)
    try:
        from cnntk.exporters.bisect import GraphPair

        pair = GraphPair(Path(result.path), file, first.spec.layers if first.spec else ())
        differing = pair.weight_differences() if pair.alike else ()
        divergence = None if comparison.holds else pair.first_divergence([arrays for _, arrays in batches])
        comparison = replace(
            comparison, weights=differing, first_difference=divergence or next(iter(differing), None)
        )
    except ImportError:
        note = "naming the layers that differ needs onnx; run: pip install 'cnntk[export]'"
        return replace(result, comparison=comparison, notes=(*result.notes, note))
    except UnsupportedArtifact as error:
        return replace(result, comparison=comparison, notes=(*result.notes, str(error)))
    return replace(result, comparison=comparison)


def _shared_outputs(first: Engine, second: Engine) -> dict[str, str]:
    """Names of the outputs to compare: those that the first took over from the second, where its spec says
    so; else all, by name where all names agree, or by position; none where their numbers differ.

    Probabilities of another temperature are not compared; logits show the same differences.
    """
    names, others = ([output.name for output in engine.outputs] for engine in (first, second))
    recorded = first.spec.provenance.get("outputs") if first.spec is not None else None
    if isinstance(recorded, dict) and recorded and set(recorded.values()) <= set(others):
        pairs = {str(name): str(other) for name, other in recorded.items()}
    elif len(names) != len(others):
        return {}
    else:
        pairs = dict(zip(names, names if set(names) == set(others) else others, strict=True))
    if _temperature(first) != _temperature(second):
        pairs.pop("probabilities", None)
    return pairs


def _temperature(engine: Engine) -> float:
    """Temperature by which the logits are divided for the probabilities."""
    fit = engine.spec.provenance.get("calibration") if engine.spec is not None else None
    return 1.0 if fit is None else float(fit["temperature"])


def _prepares_images(first: Engine, second: Engine) -> bool:
    """Whether only the first graph preprocesses images, so that the host does it for the second."""
    inputs = (engine.inputs[0] for engine in (first, second))
    by_image = [tensor.name == IMAGE_INPUT and tensor.dtype == "uint8" for tensor in inputs]
    return by_image == [True, False] and first.spec is not None and first.spec.preprocessing is not None


def _check_same_interface(first: Engine, second: Engine, title: str, names: Mapping[str, str]) -> None:
    inputs, p = first.inputs, first.spec.preprocessing if first.spec is not None else None
    if _prepares_images(first, second) and p is not None:
        sides = (p.channels, p.height, p.width) if p.layout == "NCHW" else (p.height, p.width, p.channels)
        inputs = (replace(second.inputs[0], shape=("N", *sides)), *inputs[1:])
    outputs, others = ({o.name: o for o in engine.outputs} for engine in (first, second))
    pairs = [(outputs.get(name), others[other]) for name, other in names.items()]
    fits = {
        "inputs": len(inputs) == len(second.inputs) and all(map(_compatible, inputs, second.inputs)),
        "outputs": bool(pairs) and all(a is not None and _compatible(a, b) for a, b in pairs),
    }
    for kind, expected, actual in (
        ("inputs", inputs, second.inputs),
        ("outputs", first.outputs, second.outputs),
    ):
        if not fits[kind]:
            raise UsageError(
                f"{title}: its {kind} differ from those of {first.name}, so they can't be compared: "
                f"{_tensor_texts(actual)} instead of {_tensor_texts(expected)}"
            )


def _compatible(a: TensorSpec, b: TensorSpec) -> bool:
    """Whether types and sizes agree, apart from the batch and the width of floats."""
    fixed = zip(a.shape[1:], b.shape[1:], strict=False)
    floats = a.dtype.startswith("float") and b.dtype.startswith("float")
    return (
        (floats or a.dtype == b.dtype)
        and len(a.shape) == len(b.shape)
        and all(x == y for x, y in fixed if isinstance(x, int) and isinstance(y, int))
    )


def _tensor_texts(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{s.name}: {s.dtype} [{', '.join(map(str, s.shape))}]" for s in specs)


def _batches(engine: Engine) -> Iterator[tuple[str, Arrays]]:
    """Canonical inputs, and seeded Gaussian noise for float inputs."""
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
    """Name of a free dimension; a free first one is the batch, whatever its name."""
    if isinstance(size, int):
        return size
    return "N" if axis == 0 else size or f"axis {axis}"


def _normal(array: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    return rng.standard_normal(array.shape).astype(array.dtype) if array.dtype.kind == "f" else array


def _output_checks(
    first: Engine, second: Engine, case: str, arrays: Arrays, names: Mapping[str, str]
) -> Iterator[OutputCheck]:
    actual, expected = _run(first, arrays), _run(second, _renamed(first, second, arrays))
    bounds, other_bounds = _relative_bounds(first), _relative_bounds(second)
    for name, other in names.items():
        dtypes = [array.dtype for array in (actual[name], expected[other])]
        rounding = ROUNDINGS * max(float(np.finfo(d).eps) if d.kind == "f" else 0.0 for d in dtypes)
        relative = max(bounds.get(name, 0.0) + other_bounds.get(other, 0.0), rounding)
        bound = relative * float(np.abs(expected[other].astype(np.float64)).max(initial=0.0))
        yield OutputCheck(name, case, _max_abs_diff(actual[name], expected[other]), bound)


def _run(engine: Engine, arrays: Arrays) -> Arrays:
    """Outputs for any batch: one that is fixed, or that the graph fails at, is run image by image."""
    if fixed_batch(engine.inputs) is not None:
        return engine.run_many(arrays)
    try:
        return engine.run(arrays)
    except InferenceError:
        return engine.run_many(arrays, batch_size=1)


def _renamed(first: Engine, second: Engine, arrays: Arrays) -> Arrays:
    """The inputs of ``first`` for ``second``: by position, images preprocessed by the host if need be."""
    values, p = list(arrays.values()), first.spec.preprocessing if first.spec is not None else None
    if _prepares_images(first, second) and p is not None:
        values[0] = preprocess(list(values[0]), p)
    specs = zip(second.inputs, values, strict=True)
    return {spec.name: value.astype(spec.dtype, copy=False) for spec, value in specs}


def _relative_bounds(engine: Engine) -> dict[str, float]:
    """Bounds of an artifact's self-test for each output, relative to the largest expected value.

    Only cases of the default image size count: where images are resized, devices may differ more.
    """
    bounds: dict[str, float] = {}
    test = engine.spec.self_test if engine.spec is not None else None
    cases = test.cases if test is not None else ()
    for case in (c for c in cases if {**c.sizes, "N": 0} == {**cases[0].sizes, "N": 0}):
        for name, bound in case.bounds.items():
            scale = max(abs(float(text)) for text in case.expected[name].split())
            bounds[name] = max(bounds.get(name, 0.0), bound / scale if scale > 0 else 0.0)
    return bounds


def _max_abs_diff(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Largest absolute difference; NaN where a value is NaN or the shapes differ."""
    if a.shape != b.shape:
        return float("nan")
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0.0))
