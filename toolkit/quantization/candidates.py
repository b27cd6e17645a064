"""`CandidateEvaluator`: creates quantized models by their configs, and measures them against the original."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx_ir as ir

from cnntk.benchmark.compare import Comparison, compare_interleaved
from cnntk.data.batches import Batch
from cnntk.exporters.artifact import write_graph
from cnntk.exporters.shapes.dataflow import weight_of
from cnntk.quantization.accuracy import (
    Accuracy,
    ClassifierOutputs,
    classify_batches,
    compare_outputs,
    kl_divergence,
)
from cnntk.quantization.calibration import CalibrationData
from cnntk.quantization.config import Precision, QuantConfig, linear_layers
from cnntk.quantization.options import RangeMethod
from cnntk.quantization.quantizer import WeightCache, quantize_graph
from cnntk.runtime.batch_split import fixed_batch
from cnntk.runtime.codec import as_json, decode
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import DataError, UsageError
from cnntk.runtime.example_inputs import example_inputs
from cnntk.runtime.files import scratch_folder, write_bytes

__all__ = [
    "CandidateEvaluator",
    "CompareCalls",
    "Equalized",
    "GraphStats",
    "LayerInfo",
    "MeasurementStore",
    "Original",
    "config_key",
    "layer_infos",
]

CompareCalls = Callable[[QuantConfig, Callable[[], object], Callable[[], object]], Comparison]
"""Compares the speed of two calls, of which the second runs the model with the config."""

T = TypeVar("T")

_COMPARE_S, _MIN_PAIRS = 2.0, 15
_MAX_LOADED = 2
_CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast", "Transpose"})
_VIEWS = frozenset({"Reshape", "Pad", "Max"})
_STORE_VERSION = 3


@dataclass(frozen=True)
class Original:
    """The model to quantize.

    Attributes:
        file: Artifact.
        model: Its graph, which is not changed.
        engine: Engine on it, with the number of threads that all candidates run with.
        size_bytes: Size of the file, including external data.
    """

    file: Path
    model: ir.Model
    engine: Engine
    size_bytes: int


@dataclass(frozen=True)
class Equalized:
    """The original with equalized channels.

    Attributes:
        model: Graph that computes the same as the original's.
        calibration: Calibration of this graph.
    """

    model: ir.Model
    calibration: CalibrationData


@dataclass(frozen=True)
class LayerInfo:
    """A linear layer of the original.

    Attributes:
        title: Name of the torch module if the spec has it; otherwise name of the node.
        op: ONNX operator.
        parameters: Number of weights.
        multiply_adds: Number of multiply-adds for one image; of weights if the spec lacks the layer.
        half: 16-bit precision of its weights: float16, or bfloat16 if they are too large for it.
    """

    title: str
    op: str
    parameters: int
    multiply_adds: int
    half: Precision = "float16"


@dataclass(frozen=True)
class GraphStats:
    """Figures of a candidate's graph.

    Attributes:
        size_bytes: Size of its file.
        conversions: Number of nodes that only convert or transpose values, less those of the original.
        unsupported: Layers that stay float32 against the config, because integers can't compute them.
        edges: Layers in integers that read or write floats, or read the pixels.
    """

    size_bytes: int
    conversions: int
    unsupported: tuple[str, ...]
    edges: tuple[str, ...] = ()


class MeasurementStore:
    """Measurements by config, in a JSON file that is written after each, so that a search can resume.

    Args:
        file: File, created if missing; None to keep measurements in memory only.
        context: What the measurements depend on: model, images, machine. A file with another one is refused.

    Raises:
        UsageError: The file has another context or version.
        DataError: The file is damaged.
    """

    def __init__(self, file: Path | None = None, context: Mapping[str, Any] | None = None) -> None:
        self._file = file
        self._context: dict[str, Any] = json.loads(json.dumps(dict(context or {})))
        self._results: dict[str, dict[str, Any]] = {}
        if file is not None and file.exists():
            self._results = _read_store(file, self._context)
        else:
            self._write()

    def get_or_measure(self, config: QuantConfig, name: str, kind: type[T], measure: Callable[[], T]) -> T:
        """The measurement ``name`` of a config, of type ``kind``; measured and stored if it is missing."""
        stored = self._results.setdefault(config_key(config), {})
        if name in stored:
            try:
                read: T = decode(kind, stored[name], name)
            except ValueError as error:
                raise _damaged(self._file, error) from error
            return read
        result = measure()
        stored[name] = as_json(result)
        self._write()
        return result

    def _write(self) -> None:
        if self._file is not None:
            document = {"version": _STORE_VERSION, "context": self._context, "results": self._results}
            write_bytes(self._file, json.dumps(document, indent=1).encode())


def _read_store(file: Path, context: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    try:
        data = json.loads(file.read_bytes())
        version, stored, results = data["version"], dict(data["context"]), dict(data["results"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(file, error) from error
    if version != _STORE_VERSION:
        raise UsageError(f"{file}: written by another version of cnntk; remove it and start again")
    for key in sorted(context.keys() | stored.keys()):
        if context.get(key) != stored.get(key):
            raise UsageError(
                f"{file}: was started with {key} {stored.get(key)!r}, now it is {context.get(key)!r}; "
                "name another folder, or remove it"
            )
    return results


def _damaged(file: Path | None, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:200]
    return DataError(f"{file}: not valid measurements ({reason}); remove it and start again")


def config_key(config: QuantConfig) -> str:
    """16 hex characters, the same for configs that create the same model, whatever their reasons."""
    precisions = {name: plan.precision for name, plan in config.layers.items()}
    text = json.dumps([config.target, config.format, config.bias_correction, config.equalized, precisions])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class CandidateEvaluator:
    """Creates, runs and times candidates; nothing is measured twice.

    Args:
        original: Model that candidates are created from and compared with.
        calibration: Calibration of its tensors and channels.
        evaluation: Function that returns the images for accuracy, each time from the start.
        ranking_images: A few images on which layers are ranked.
        equalized: The same network with equalized channels; None if they are similar already.
        range_method: Method that chooses the ranges of activations.
        store: Store of measurements.
        compare_calls: Function that compares the speed of two calls.
        on_images: Callback that receives the number of images that an evaluation has completed.
    """

    def __init__(
        self,
        original: Original,
        calibration: CalibrationData,
        evaluation: Callable[[], Iterable[Batch]],
        ranking_images: Iterable[Batch],
        *,
        equalized: Equalized | None = None,
        range_method: RangeMethod = "mse",
        store: MeasurementStore | None = None,
        compare_calls: CompareCalls | None = None,
        on_images: Callable[[int], None] | None = None,
    ) -> None:
        self.original = original
        self.layers = layer_infos(original)
        self._plain = Equalized(original.model, calibration)
        self._equalized = equalized
        self._range_method: RangeMethod = range_method
        self._caches: tuple[WeightCache, WeightCache] = {}, {}
        self._evaluation = evaluation
        self._ranking_images = tuple(ranking_images)
        self._store = store or MeasurementStore()
        self._compare_calls = compare_calls or _compare_calls
        self._on_images = on_images
        self._outputs: ClassifierOutputs | None = None
        self._ranking_outputs: ClassifierOutputs | None = None
        self._loaded: dict[str, tuple[Engine, GraphStats]] = {}
        self._inputs = self._example(original.engine.image_sizes)

    def model(self, config: QuantConfig) -> ir.Model:
        """The graph by a config."""
        source, cache = self.source(config), self._caches[config.equalized]
        return quantize_graph(
            source.model, config, source.calibration, cache, range_method=self._range_method
        )

    def source(self, config: QuantConfig) -> Equalized:
        """The graph in float32 that a config quantizes, and its calibration."""
        return self._equalized if config.equalized and self._equalized is not None else self._plain

    @property
    def can_equalize(self) -> bool:
        """Whether there is an equalized network to try."""
        return self._equalized is not None

    def accuracy(self, config: QuantConfig) -> Accuracy:
        """Accuracy of a candidate compared with the original.

        Raises:
            InferenceError: The candidate can't be run, or its outputs are not finite.
        """

        def measure() -> Accuracy:
            if self._outputs is None:
                self._outputs = self._evaluate(self.original.engine)
            return compare_outputs(self._outputs, self._evaluate(self._engine(config)))

        return self._store.get_or_measure(config, "accuracy", Accuracy, measure)

    def kl_divergence(self, config: QuantConfig) -> float:
        """KL divergence of a candidate's probabilities from the original's on a few images, in nats."""
        return self._store.get_or_measure(
            config,
            "kl_divergence",
            float,
            lambda: kl_divergence(
                self._original_ranking_outputs(),
                classify_batches(_any_batch(self._engine(config)), self._ranking_images),
            ),
        )

    def logit_step(self) -> float:
        """Step of the logits in 8 bits: ``(max - min) / 255`` of the original's on a few images."""
        logits = self._original_ranking_outputs().logits
        return float(logits.max() - logits.min()) / 255

    def speed(
        self,
        config: QuantConfig,
        baseline: QuantConfig | None = None,
        *,
        image_size: tuple[int, int] | None = None,
    ) -> Comparison:
        """Speed of a candidate compared with the original, or with another candidate, on one image.

        Args:
            config: Config of the candidate.
            baseline: Config of the other candidate; None for the original.
            image_size: Height and width of the image, by default such that it needs no resize.
        """
        name = "speed" if baseline is None else f"speed against {config_key(baseline)}"
        name += f" at {image_size}" if image_size is not None else ""

        def measure() -> Comparison:
            first = self.original.engine if baseline is None else self._engine(baseline)
            second, inputs = self._engine(config), self._inputs
            if image_size is not None:
                sizes = dict(zip("HW", image_size, strict=True))
                inputs = self._example({**(self.original.engine.image_sizes or {}), **sizes})
            return self._compare_calls(config, lambda: first.run(inputs), lambda: second.run(inputs))

        return self._store.get_or_measure(config, name, Comparison, measure)

    def _example(self, image_sizes: Mapping[str, int] | None) -> dict[str, Any]:
        """Inputs of the model with these sizes of the image."""
        inputs = self.original.engine.inputs
        return example_inputs(inputs, fixed_batch(inputs) or 1, image_sizes)

    def graph_stats(self, config: QuantConfig) -> GraphStats:
        """Figures of a candidate's graph."""
        return self._store.get_or_measure(config, "graph", GraphStats, lambda: self._load(config)[1])

    def _original_ranking_outputs(self) -> ClassifierOutputs:
        if self._ranking_outputs is None:
            self._ranking_outputs = classify_batches(_any_batch(self.original.engine), self._ranking_images)
        return self._ranking_outputs

    def _evaluate(self, engine: Engine) -> ClassifierOutputs:
        return classify_batches(_any_batch(engine), self._evaluation(), on_images=self._on_images)

    def _engine(self, config: QuantConfig) -> Engine:
        return self._load(config)[0]

    def _load(self, config: QuantConfig) -> tuple[Engine, GraphStats]:
        """Loads a candidate; only the last two stay loaded, because each has its own weights."""
        key = config_key(config)
        loaded = self._loaded.pop(key, None)
        while loaded is None and len(self._loaded) >= _MAX_LOADED:
            del self._loaded[next(iter(self._loaded))]
        self._loaded[key] = loaded or self._create(config)
        return self._loaded[key]

    def _create(self, config: QuantConfig) -> tuple[Engine, GraphStats]:
        model, original = self.model(config), self.original
        spec = original.engine.spec
        with scratch_folder() as folder:
            file = folder / f"{original.file.stem}-candidate.onnx"
            write_graph(model, file)
            size = file.stat().st_size + (0 if spec is None else len(spec.to_json().encode()))
            engine = Engine(file, threads=original.engine.threads)
        unchanged = {str(node.name) for node in linear_layers(model)}
        unsupported = tuple(name for name in config.reduced if name in unchanged)
        if config.format != "onnxruntime":  # conversions as they are when it runs
            model = self.model(replace(config, format="onnxruntime"))
        conversions = _count_conversions(model) - _count_conversions(original.model)
        return engine, GraphStats(size, conversions, unsupported, _edges(model, config.reduced))


def _any_batch(engine: Engine) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Runs batches of any size: a fixed one is filled up."""
    return engine.run if fixed_batch(engine.inputs) is None else engine.run_many


def _compare_calls(_: QuantConfig, first: Callable[[], object], second: Callable[[], object]) -> Comparison:
    return compare_interleaved(first, second, seconds=_COMPARE_S, min_pairs=_MIN_PAIRS)


def layer_infos(original: Original) -> dict[str, LayerInfo]:
    """Linear layers by node name, in the order of the graph."""
    spec = original.engine.spec
    by_output = {layer.output: layer for layer in (spec.layers if spec is not None else ()) if layer.output}
    infos = {}
    for node in linear_layers(original.model):
        layer, name = by_output.get(str(node.outputs[0].name)), str(node.name)
        constants = [v.const_value.size for v in node.inputs if v is not None and v.const_value is not None]
        weights = int(max(constants, default=0))
        infos[name] = LayerInfo(
            title=layer.name if layer is not None else name,
            op=node.op_type,
            parameters=layer.parameters if layer is not None else weights,
            multiply_adds=layer.multiply_adds if layer is not None else weights,
            half=_half_precision(node),
        )
    return infos


def _half_precision(node: ir.Node) -> Precision:
    weight = weight_of(node)
    largest = 0.0 if weight is None else float(np.abs(weight.numpy()).max(initial=0.0))
    return "float16" if largest <= np.finfo(np.float16).max else "bfloat16"


def _edges(model: ir.Model, layers: Collection[str]) -> tuple[str, ...]:
    """The layers of a quantized graph next to a conversion, or to what is no layer: the pixels, the head."""
    edges = []
    for node in model.graph:
        if node.name not in layers:
            continue
        value = node.inputs[0]
        neighbors = [use.node for use in node.outputs[0].uses()]
        source = None if value is None else value.producer()
        if source is None or any(n.op_type in _CONVERSIONS | _VIEWS for n in (source, *neighbors)):
            edges.append(str(node.name))
    return tuple(edges)


def _count_conversions(model: ir.Model) -> int:
    return sum(node.op_type in _CONVERSIONS for node in model.graph)
