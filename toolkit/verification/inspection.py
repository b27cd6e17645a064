"""`inspect`: the contents of a model file."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from cnntk.runtime.artifact.compatibility import FileFormat, oldest_onnxruntime, read_format
from cnntk.runtime.artifact.protobuf import file_bytes
from cnntk.runtime.artifact.spec import Layer, ModelSpec, TensorSpec
from cnntk.runtime.codec import as_json
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import CnntkError
from cnntk.runtime.preprocessing.steps import preprocessing_text
from cnntk.runtime.sections import (
    Section,
    dims,
    error_text,
    shorten,
    size_text,
    speed_text,
    table_of_layers,
    under,
)

__all__ = ["Inspection", "inspect"]


@dataclass(frozen=True)
class Inspection:
    """Contents of a model file.

    Attributes:
        path: Path of the file.
        size_bytes: Size of the file in bytes.
        inputs: Inputs of the graph.
        outputs: Outputs of the graph.
        format: Operator sets, IR version, producer and types of the weights, as the file states them.
        oldest_onnxruntime: Oldest onnxruntime release that runs the file, here or in another language; None
            where this version of cnntk does not know it.
        layers: Layers in the order of the data; empty where they are unknown.
        graph_lint: ``warnings``, a line each; ``peak_activation_bytes``, the largest size of all activations
            that are in memory at one moment of a run on one image; ``peak_layer``, the layer at that moment.
            Empty where they are unknown.
        spec: Spec of the artifact, without its layers, which are in `layers`; None where cnntk did not write
            the file.
        notes: Information that is not available, and why.
    """

    JSON_PROPERTIES: ClassVar[tuple[str, ...]] = ("parameters", "multiply_adds")

    path: str
    size_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    format: FileFormat
    oldest_onnxruntime: str | None
    layers: tuple[Layer, ...]
    graph_lint: dict[str, Any]
    spec: ModelSpec | None
    notes: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """Number of parameters in the graph."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Number of multiply-adds for one image."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Unusual properties of the network, each with the name of its layer."""
        return tuple(self.graph_lint.get("warnings", ()))

    @property
    def peak_activation_bytes(self) -> int | None:
        """Largest size of the activations in memory during a run on one image; None where it is unknown."""
        peak: int | None = self.graph_lint.get("peak_activation_bytes")
        return peak

    @property
    def format_text(self) -> str:
        """``opset 18, IR 10, written by pytorch 2.13.0; weights: 61,706 float32``."""
        producer = f", written by {self.format.producer}" if self.format.producer else ""
        types = ", ".join(f"{count:,} {dtype}" for dtype, count in self.format.weight_types.items())
        return f"ONNX {self.format}{producer}" + (f"; weights: {types}" if types else "")

    def sections(self) -> tuple[Section, ...]:
        """The file, what its spec says, and its layers, for text and pages."""
        summary = Section("", lines=tuple(self._lines()))
        if not self.layers:
            return (summary, *_weight_section(self.spec))
        total = f"{self.parameters:,} parameters, {self.multiply_adds:,} multiply-adds per image"
        layers = Section("Layers", total, tables=(table_of_layers(self.layers, "x"),))
        return summary, layers, *_weight_section(self.spec)

    def _lines(self) -> Iterator[tuple[str, str]]:
        spec = self.spec
        yield "file", f"{self.path} ({size_text(self.size_bytes)})"
        if spec is not None and spec.data is not None:
            yield "weights", f"{spec.data.file} ({size_text(spec.data.size_bytes)}), an external data file"
        yield from under("input", map(_tensor, self.inputs))
        yield from under("output", map(_tensor, self.outputs))
        yield "format", self.format_text
        if self.oldest_onnxruntime is not None:
            yield "onnxruntime", f"{self.oldest_onnxruntime} or newer"
        if spec is not None:
            yield from _spec_lines(spec)
        if (peak := self.peak_activation_bytes) is not None:
            layer = self.graph_lint.get("peak_layer")
            where = f", at {layer}" if layer else ""
            yield "activations", f"at most {size_text(peak)} per image{where}"
        if fields := [layer.receptive_field for layer in self.layers if layer.receptive_field]:
            yield "receptive field", f"{max(fields)} pixels"
        if spec is not None:
            yield from _check_lines(spec)
        yield from under("warnings", self.warnings)


def inspect(model: str | os.PathLike[str]) -> Inspection:
    """Reads the contents of a model file; neither torch nor onnx is needed for those that cnntk wrote.

    Raises:
        UsageError: There is no such file.
        ArtifactError: The file is damaged or unsupported.
    """
    engine, spec = Engine(model), None
    if engine.spec is None:
        layers, graph_lint, notes = _inspect_graph(Path(model))
    else:
        layers, graph_lint, notes = engine.spec.layers, engine.spec.check_results.get("graph_lint", {}), ()
        spec = replace(engine.spec, layers=())
    data = file_bytes(model)
    return Inspection(
        path=os.fspath(model),
        size_bytes=Path(model).stat().st_size,
        inputs=engine.inputs,
        outputs=engine.outputs,
        format=read_format(data),
        oldest_onnxruntime=oldest_onnxruntime(data, os.fspath(model)),
        layers=layers,
        graph_lint=graph_lint,
        spec=spec,
        notes=notes,
    )


def _inspect_graph(file: Path) -> tuple[tuple[Layer, ...], dict[str, Any], tuple[str, ...]]:
    """Layers, lint results and notes for a file without a spec; empty where onnx is not installed."""
    note = "not made by cnntk: no labels, no preprocessing, no check results"
    try:
        from cnntk.exporters.graph_lint.lint import lint_graph
        from cnntk.exporters.onnx_reader import read_onnx
        from cnntk.exporters.shapes.shape_table import layer_table
    except ImportError:
        return (), {}, (note, "reading its layers needs onnx; run: pip install 'cnntk[export]'")
    graph, notes = read_onnx(file)
    try:
        return layer_table(graph), as_json(lint_graph(graph)), (note, *notes)
    except CnntkError:
        raise
    except Exception as error:  # onnxruntime loads graphs that break ONNX's rules, in any way
        reason = shorten(" ".join(str(error).split()), 200) or type(error).__name__
        return (), {}, (note, f"its layers can't be read, as its graph is not valid ONNX: {reason}")


def _spec_lines(spec: ModelSpec) -> Iterator[tuple[str, str]]:
    yield "name", spec.name
    yield "head", spec.head
    if spec.labels:
        more = f", ... ({len(spec.labels)})" if len(spec.labels) > 10 else ""
        yield "labels", ", ".join(spec.labels[:10]) + more
    if spec.preprocessing is not None:
        yield "preprocessing", preprocessing_text(spec.preprocessing, spec.inputs, "x")
    if spec.provenance:
        shown_below = ("outputs", "calibration")
        pairs = [(key, value) for key, value in spec.provenance.items() if key not in shown_below]
        yield "provenance", ", ".join(f"{key} {value}" for key, value in pairs)
        if (fit := spec.provenance.get("calibration")) is not None:
            yield "temperature", _temperature(fit)
        if isinstance(names := spec.provenance.get("outputs"), dict) and names:
            yield "original outputs", ", ".join(f"{old} is {new}" for new, old in names.items())


def _temperature(fit: dict[str, Any]) -> str:
    eces = " -> ".join(f"{100 * fit[name]:.3g}" for name in ("ece_before", "ece_after"))
    return (
        f"{fit['temperature']:.4g}: probabilities are softmax(logits / temperature), fitted to "
        f"{fit['images']:,} images of {fit['data']}; ECE {eces} %"
    )


def _check_lines(spec: ModelSpec) -> Iterator[tuple[str, str]]:
    """Results of the export's checks, as far as this version knows their fields."""
    results = spec.check_results
    checks = [f"{c['name']}: {c['detail']}" for c in results.get("checks", ()) if c["name"] != "parity"]
    yield from under("quantized", _quantization(spec.quantization or {}))
    yield from under("repaired", results.get("repaired", ()))
    yield from under("checks passed", checks)
    yield from _parity_lines(results.get("parity", ()))
    if spec.self_test is not None and spec.self_test.cases:
        yield "self-test", f"{len(spec.self_test.cases)} cases in the file"
    if spec.digest:
        yield "embedded digest", spec.digest


def _weight_section(spec: ModelSpec | None) -> tuple[Section, ...]:
    """What each weight is made of, where the export recorded it."""
    origins = {} if spec is None else spec.check_results.get("weight_origins", {})
    if not origins:
        return ()
    lines = under("", (f"{', '.join(names)}: {text}" for text, names in origins.items()))
    rest = "all others: the source's tensors of the same name, or constants of the preprocessing"
    return (Section("Weights", lines=(*lines, ("", rest))),)


def _quantization(record: dict[str, Any]) -> Iterator[str]:
    """How the model was quantized, and what that cost and won."""
    kinds = Counter(layer["precision"] for layer in record.get("config", {}).get("layers", {}).values())
    if kinds:
        yield ", ".join(f"{count} layers {kind}" for kind, count in sorted(kinds.items()))
    accuracy, speed = record.get("accuracy") or {}, record.get("speed") or {}
    if accuracy.get("drop") is not None:
        drop = f"{accuracy['drop']:.2f} points ({accuracy['drop_low']:.2f} to {accuracy['drop_high']:.2f})"
        yield f"top-1 accuracy drop {drop} on {accuracy['images']:,} images"
    if speed:
        text = speed_text(speed["ratio"], "the original", ends=(speed["low"], speed["high"]))
        yield f"{text} on {speed['machine']}"
    if "operators" in record:
        yield record["operators"]
    if "portable_to" in record:
        yield f"portable to {record['portable_to']}"


def _parity_lines(parity: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """For each output the kind of input that used most of its limit."""
    for output in dict.fromkeys(p["output"] for p in parity):
        kinds = [p for p in parity if p["output"] == output]
        worst = max(kinds, key=_limit_share)
        where = f"; worst input of {len(kinds)}: {worst['kind']}" if "kind" in worst else ""
        error = f"max abs error vs {worst.get('reference', 'float64')} {error_text(worst['onnx_error'])}"
        error += f" (limit {error_text(worst['bound'])}{where})"
        yield f"parity of {output}", error


def _limit_share(row: dict[str, Any]) -> float:
    """Share of its limit that an error uses; infinite where either is not finite, or the limit is 0."""
    error, bound = row["onnx_error"], row["bound"]
    return error / bound if error is not None and bound else math.inf


def _tensor(t: TensorSpec) -> str:
    return f"{t.name}: {t.dtype} {dims(t.shape, 'x')}"
