"""`Workbench`: makes models by recipes, and measures them beside the one they come from."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from cnntk.benchmark.compare import Comparison, compare_interleaved
from cnntk.data.batches import Batch
from cnntk.exporters.artifact import write_graph
from cnntk.exporters.shapes.dataflow import weight_of
from cnntk.quantization.accuracy import Accuracy, Answers, answers_of, compare, divergence
from cnntk.quantization.calibration import Calibration
from cnntk.quantization.config import Kind, Recipe, linear_layers
from cnntk.quantization.quantizer import Memo, quantized
from cnntk.quantization.store import Store, recipe_key
from cnntk.runtime.codec import as_json, decode
from cnntk.runtime.engine import Engine
from cnntk.runtime.example_inputs import example_inputs

__all__ = ["Balanced", "Built", "LayerFacts", "Original", "Racing", "Workbench", "layer_facts"]

Balanced = tuple[ir.Model, Calibration]
"""The original with its channels equalized, and the calibration of that."""

Racing = Callable[[Recipe, Callable[[], object], Callable[[], object]], Comparison]
"""Compares two calls, of which the second is the model by the recipe."""

_SECONDS, _MIN_PAIRS = 2.0, 15
_LOADED = 2
_CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast", "Transpose"})


@dataclass(frozen=True)
class Original:
    """The model to quantize.

    Attributes:
        file: an artifact.
        model: its graph; not changed.
        engine: on it, with the threads with which all candidates run, too.
        size_bytes: of the file, with its data beside it.
    """

    file: Path
    model: ir.Model
    engine: Engine
    size_bytes: int


@dataclass(frozen=True)
class LayerFacts:
    """A linear layer, as far as quantizing it is concerned.

    Attributes:
        title: of the torch module, where the spec tells it; else the node's name.
        op: ONNX operator.
        parameters: weights.
        multiply_adds: of one image; of a layer that the spec does not know, its weights.
        half: as what its weights take half the bytes: float16, or bfloat16 where they are too large for it.
    """

    title: str
    op: str
    parameters: int
    multiply_adds: int
    half: Kind = "float16"


@dataclass(frozen=True)
class Built:
    """A candidate's graph, in figures.

    Attributes:
        size_bytes: of its file.
        conversions: nodes that only convert or turn values, more than in the original.
        refused: layers that the recipe wants in integers and that stayed float32, as there is no such kernel.
    """

    size_bytes: int
    conversions: int
    refused: tuple[str, ...]


class Workbench:
    """Builds, runs and races candidates; what was measured once is not measured again.

    Args:
        original: what candidates are made from and compared with.
        calibration: of its values, and of its channels.
        balanced: the same network equalized, with its own calibration; None where nothing is lopsided.
        evaluation: gives the images on which accuracy is measured, anew at each call.
        few: some images on which layers are ranked.
        store: of results.
        racing: which of two calls is faster.
        on_images: is told how many images an evaluation has done.
    """

    def __init__(
        self,
        original: Original,
        calibration: Calibration,
        evaluation: Callable[[], Iterable[Batch]],
        few: Iterable[Batch],
        *,
        balanced: Balanced | None = None,
        store: Store | None = None,
        racing: Racing | None = None,
        on_images: Callable[[int], None] | None = None,
    ) -> None:
        self.original = original
        self.facts = layer_facts(original)
        self._calibration = calibration
        self._balanced = balanced
        self._memos: tuple[Memo, Memo] = {}, {}
        self._evaluation = evaluation
        self._few = tuple(few)
        self._store = store or Store()
        self._racing = racing or (
            lambda _, first, second: compare_interleaved(
                first, second, seconds=_SECONDS, min_pairs=_MIN_PAIRS
            )
        )
        self._on_images = on_images
        self._answers: Answers | None = None
        self._few_answers: Answers | None = None
        self._warm: dict[str, tuple[Engine, Built]] = {}
        sizes = original.engine.image_sizes
        self._inputs = example_inputs(original.engine.inputs, 1, sizes)

    def model(self, recipe: Recipe) -> ir.Model:
        """The graph by a recipe."""
        model, calibration = self.original.model, self._calibration
        if recipe.equalized and self._balanced is not None:
            model, calibration = self._balanced
        return quantized(model, recipe, calibration, memo=self._memos[recipe.equalized])

    @property
    def can_equalize(self) -> bool:
        """Whether there is an equalized form to try."""
        return self._balanced is not None

    def accuracy(self, recipe: Recipe) -> Accuracy:
        """How a candidate answers, beside the original.

        Raises:
            InferenceError: it can't be run, or answers NaN.
        """
        if (known := self._store.get(recipe, "accuracy")) is not None:
            return Accuracy.from_json(known)
        if self._answers is None:
            self._answers = self._answered(self.original.engine)
        found = compare(self._answers, self._answered(self._engine(recipe)))
        self._store.put(recipe, "accuracy", found.to_json())
        return found

    def divergence(self, recipe: Recipe) -> float:
        """How far a candidate's probabilities are from the original's on a few images, in nats."""
        if (known := self._store.get(recipe, "divergence")) is not None:
            return float(known)
        found = divergence(self._known_few(), answers_of(self._engine(recipe).run, self._few))
        self._store.put(recipe, "divergence", found)
        return found

    def logit_step(self) -> float:
        """One level of the logits in 8 bits: ``(max - min) / 255`` of the original's on a few images."""
        logits = self._known_few().logits
        return float(logits.max() - logits.min()) / 255

    def race(self, recipe: Recipe) -> Comparison:
        """A candidate (the second) against the original, interleaved, one image at a time."""
        if (known := self._store.get(recipe, "race")) is not None:
            return decode(Comparison, known, "race")
        found = self._raced(recipe, self.original.engine, self._engine(recipe))
        self._store.put(recipe, "race", as_json(found))
        return found

    def race_between(self, first: Recipe, second: Recipe) -> Comparison:
        """Two candidates against each other."""
        what = f"race with {recipe_key(first)}"
        if (known := self._store.get(second, what)) is not None:
            return decode(Comparison, known, "race")
        found = self._raced(second, self._engine(first), self._engine(second))
        self._store.put(second, what, as_json(found))
        return found

    def built(self, recipe: Recipe) -> Built:
        """A candidate's size, and what its graph came to."""
        if (known := self._store.get(recipe, "built")) is not None:
            return Built(known["size_bytes"], known["conversions"], tuple(known["refused"]))
        self._engine(recipe)
        found = self._current(recipe)[1]
        self._store.put(recipe, "built", asdict(found))
        return found

    def _known_few(self) -> Answers:
        if self._few_answers is None:
            self._few_answers = answers_of(self.original.engine.run, self._few)
        return self._few_answers

    def _answered(self, engine: Engine) -> Answers:
        return answers_of(engine.run, self._evaluation(), on_images=self._on_images)

    def _raced(self, recipe: Recipe, first: Engine, second: Engine) -> Comparison:
        inputs = self._inputs
        return self._racing(recipe, lambda: first.run(inputs), lambda: second.run(inputs))

    def _engine(self, recipe: Recipe) -> Engine:
        return self._current(recipe)[0]

    def _current(self, recipe: Recipe) -> tuple[Engine, Built]:
        """The two candidates that were last asked about stay loaded; no more, as each holds its weights."""
        key = recipe_key(recipe)
        found = self._warm.pop(key, None)
        while found is None and len(self._warm) >= _LOADED:
            del self._warm[next(iter(self._warm))]
        self._warm[key] = found or self._made(recipe)
        return self._warm[key]

    def _made(self, recipe: Recipe) -> tuple[Engine, Built]:
        model = self.model(recipe)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{self.original.file.stem}-candidate.onnx"
            write_graph(model, file)
            size = file.stat().st_size + _spec_bytes(self.original.engine)
            conversions = _conversions(model) - _conversions(self.original.model)
            engine = Engine(file, threads=self.original.engine.threads)
        return engine, Built(size, conversions, _refused(model, recipe))


def _compare(_: Recipe, first: Callable[[], object], second: Callable[[], object]) -> Comparison:
    return compare_interleaved(first, second, seconds=_SECONDS, min_pairs=_MIN_PAIRS)


def layer_facts(original: Original) -> dict[str, LayerFacts]:
    """The linear layers by the name of their node, in the order of the graph."""
    spec = original.engine.spec
    told = {layer.output: layer for layer in (spec.layers if spec is not None else ()) if layer.output}
    found = {}
    for node in linear_layers(original.model):
        layer = told.get(str(node.outputs[0].name))
        weights = _weights(node)
        found[str(node.name)] = LayerFacts(
            title=layer.name if layer is not None else str(node.name),
            op=node.op_type,
            parameters=layer.parameters if layer is not None else weights,
            multiply_adds=layer.multiply_adds if layer is not None else weights,
            half=_half(node),
        )
    return found


def _weights(node: ir.Node) -> int:
    sizes = [v.const_value.size for v in node.inputs if v is not None and v.const_value is not None]
    return int(max(sizes, default=0))


def _half(node: ir.Node) -> Kind:
    weight = weight_of(node)
    largest = 0.0 if weight is None else float(np.abs(weight.numpy()).max(initial=0.0))
    return "float16" if largest <= np.finfo(np.float16).max else "bfloat16"


def _conversions(model: ir.Model) -> int:
    return sum(node.op_type in _CONVERSIONS for node in model.graph)


def _refused(model: ir.Model, recipe: Recipe) -> tuple[str, ...]:
    """Layers of the recipe that are still there as they were."""
    left = {str(node.name) for node in linear_layers(model)}
    return tuple(n for n, layer in recipe.layers.items() if layer.kind != "float32" and n in left)


def _spec_bytes(engine: Engine) -> int:
    return 0 if engine.spec is None else len(engine.spec.to_json().encode())
