"""Weights: each one of the graph is accounted for, and each parameter that the source uses reaches the graph.

Outputs show a wrong weight only where an input activates it. No input plays a role here: a weight equals a
tensor of the source to the bit, or is what its `Origin` makes of such tensors, computed again in float64,
within half a step of its type for each rounding. What the captured program computes from constants, it
computes again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from cnntk.exporters.checks._candidate import Candidate, Check
from cnntk.exporters.checks._weight_formulas import ARITHMETIC, compute
from cnntk.exporters.external_data import raw_bytes
from cnntk.exporters.passes.graph import constant, epsilon, remove_unused_nodes
from cnntk.exporters.passes.origins import Origin, absorbed_origins, recorded_origin
from cnntk.exporters.preprocessing import add_preprocessing
from cnntk.exporters.session import GraphSession
from cnntk.runtime.artifact.protobuf import file_bytes, parse_model
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.errors import ExportCheckError

Array = NDArray[Any]

_MOVES = frozenset(
    {
        "Concat",
        "Constant",
        "ConstantOfShape",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Pad",
        "Reshape",
        "Shape",
        "Slice",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)
"""Operators that only move numbers: their results are equal to the bit on every machine."""

_BLOCK = 1 << 18
"""Bytes compared at once, which stay in the cache."""


def check_weights(candidate: Candidate) -> Check:
    """Each weight is a tensor of the source, or follows from such; each that the source uses is in the graph.

    Raises:
        ExportCheckError: A weight differs, has no recorded origin, or is missing.
    """
    model = candidate.interface.model
    weights = {value: _recorded(value) for value in model.graph.initializers.values()}
    absorbed = absorbed_origins(model)
    sources = _Sources(candidate, (*weights.values(), *absorbed))
    for value, origin in weights.items():
        _check_weight(value, origin, sources)
    for origin in absorbed:
        _check_absorbed(origin, sources)
    _check_cast(candidate)
    if missing := _missing((*weights.values(), *absorbed), sources):
        raise ExportCheckError(
            f"parameter {missing[0]}: the network uses it, but no weight of the graph is made of it"
            f"{f' ({len(missing)} such parameters)' if len(missing) > 1 else ''}. Nothing was written"
        )
    equal = sum(origin.formula == "source" for origin in weights.values())
    computed = sum(not origin.name for origin in weights.values())
    return Check(
        "weights",
        f"{equal} equal to the source's to the bit, {computed} computed from the source's in float64, "
        f"{len(weights) - equal - computed} of the program and the preprocessing",
    )


def check_written_weights(candidate: Candidate) -> None:
    """The bytes of each weight in the written file are those of the graph in memory.

    Raises:
        ExportCheckError: A weight in the file differs.
    """
    if candidate.file is None:
        return
    file = parse_model(file_bytes(candidate.file), str(candidate.file))
    for name, value in candidate.interface.model.graph.initializers.items():
        if name in file.external_tensors or value.const_value is None:
            continue  # the data file's SHA-256 and fingerprints are of the bytes that were written
        written = file.weights.get(name)
        expected = np.frombuffer(raw_bytes(value.const_value), np.uint8)
        if written is None or not _same_bytes(np.frombuffer(written, np.uint8), expected):
            raise ExportCheckError(
                f"weight {name}: the written file has other bytes than the graph in memory; the disk or the "
                "memory of this machine may be faulty: export again. Nothing was written"
            )


def _same_bytes(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> bool:
    """Whether two arrays are equal, block by block, so that comparing needs no memory of their size."""
    blocks = range(0, len(a), _BLOCK)
    return len(a) == len(b) and all((a[i : i + _BLOCK] == b[i : i + _BLOCK]).all() for i in blocks)


class _Sources:
    """Numbers of the leaves of origins: tensors of the source, values of its program, preprocessing.

    Args:
        candidate: Candidate with the source and its captured program.
        origins: Expressions of the graph's weights.
    """

    def __init__(self, candidate: Candidate, origins: Sequence[Origin]) -> None:
        self._candidate = candidate
        self._origins = origins
        self.graph = candidate.captured.model.graph
        self.program = candidate.captured.program
        self._values = {str(v.name): v for node in self.graph for v in node.outputs}
        self._nodes: dict[str, list[ir.Node]] = {}

    @cached_property
    def tensors(self) -> dict[str, torch.Tensor | ir.TensorProtocol]:
        """Tensors of the source by name; those of the module itself rather than of its program."""
        source, program = self._candidate.source, self._candidate.captured.program
        if source.graph is not None:
            values = source.graph.graph.initializers.items()
            return {name: v.const_value for name, v in values if v.const_value is not None}
        tensors: dict[str, Any] = {}
        for each in (program, source.program):
            tensors |= {} if each is None else {**each.constants, **each.state_dict}
        if source.module is not None:
            tensors |= dict(source.module.named_parameters(remove_duplicate=False))
            tensors |= dict(source.module.named_buffers(remove_duplicate=False))
        return {name: t for name, t in tensors.items() if isinstance(t, torch.Tensor | ir.TensorProtocol)}

    def leaf(self, origin: Origin) -> Array:
        """The numbers of a leaf.

        Raises:
            ExportCheckError: The source has no such tensor.
        """
        array = self.lookup(origin)
        if array is None:
            raise ExportCheckError(
                f"{origin.formula} {origin.name}: the source has no such tensor. Nothing was written"
            )
        return array

    def lookup(self, origin: Origin) -> Array | None:
        """The numbers of a leaf; None for one that depends on the batch, or is not in the program."""
        if origin.formula == "source":
            tensor = self.tensors.get(origin.name)
            return None if tensor is None else as_array(tensor)
        if origin.formula == "number":
            return np.array([origin.attributes["value"]])
        if origin.formula == "normalization":
            return _normalization(self._preprocessing, origin)
        if origin.formula == "preprocessing":
            return self._preprocessing_constants.get(origin.name)
        if origin.formula == "shape":
            return self._shape(origin.name)
        return self._program_value(origin.name)

    def is_exact(self, origin: Origin) -> bool:
        """Whether a leaf is the same to the bit however it is computed."""
        return origin.formula != "program" or all(node.op_type in _MOVES for node in self.nodes(origin.name))

    def nodes(self, name: str) -> list[ir.Node]:
        """The nodes of the captured graph that compute a value."""
        if name not in self._nodes:
            self._nodes[name] = self._find_nodes(self._values.get(name))
        return self._nodes[name]

    @staticmethod
    def _find_nodes(value: ir.Value | None) -> list[ir.Node]:
        waiting, seen = [] if value is None else [value], dict[ir.Node, None]()
        while waiting:
            node = waiting.pop().producer()
            if node is not None and node not in seen:
                seen[node] = None
                waiting.extend(v for v in node.inputs if v is not None)
        return list(seen)

    def parameters(self, origin: Origin) -> Iterator[str]:
        """Names of the source's tensors that an origin is made of."""
        for leaf in origin.leaves:
            if leaf.formula == "source":
                yield leaf.name
            elif leaf.formula == "program":
                inputs = (v for node in self.nodes(leaf.name) for v in node.inputs if v is not None)
                yield from (str(v.name) for v in inputs if v.is_initializer())

    def _program_value(self, name: str) -> Array | None:
        array = constant(self._values.get(name))
        return self._folded.get(name) if array is None else array

    @cached_property
    def _folded(self) -> dict[str, Array]:
        """Values that the captured graph computes, by name; but integers that depend on its inputs."""
        leaves = (leaf for origin in self._origins for leaf in origin.leaves if leaf.formula == "program")
        values = [v for name in dict.fromkeys(leaf.name for leaf in leaves) if (v := self._values.get(name))]
        names = [str(v.name) for v in values if constant(v) is None and self._is_computable(v)]
        if not names:
            return {}
        copy = self._candidate.captured.model.clone()
        copy.graph.outputs[:] = [v for node in copy.graph for v in node.outputs if v.name in names]
        remove_unused_nodes(copy)
        inputs = self._candidate.inputs
        return GraphSession(copy).run(inputs.batch(inputs.batches[0]))

    def _is_computable(self, value: ir.Value) -> bool:
        inputs = (v for node in self.nodes(str(value.name)) for v in node.inputs if v is not None)
        return _is_float(value) or not any(v.is_graph_input() and not v.is_initializer() for v in inputs)

    def _shape(self, name: str) -> Array | None:
        value = self._values.get(name)
        if value is None or value.shape is None:
            return None
        return np.array([d if isinstance(d, int) else -1 for d in value.shape], np.int64)

    @property
    def _preprocessing(self) -> Preprocessing:
        p = self._candidate.interface.preprocessing
        if p is None:
            raise ValueError("the graph has preprocessing constants, but the spec has no preprocessing")
        return p

    @cached_property
    def _preprocessing_constants(self) -> dict[str, Array]:
        """Constants of the nodes that prepare images for a network without layers, by their origin."""
        p = self._preprocessing
        sides = (p.channels, p.height, p.width) if p.layout == "NCHW" else (p.height, p.width, p.channels)
        value = ir.Value(name="input", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["N", *sides]))
        node = ir.node("Identity", [value])
        node.outputs[0].name, node.outputs[0].type = "output", value.type
        graph = ir.Graph([value], node.outputs, nodes=[node], opset_imports=self.graph.opset_imports.copy())
        model = ir.Model(graph, ir_version=self._candidate.captured.model.ir_version)
        is_static = isinstance(self._candidate.interface.inputs[0].shape[1], int)
        add_preprocessing(model, p, static_size=is_static)
        origins = ((recorded_origin(v), v.const_value) for v in model.graph.initializers.values())
        return {o.name: t.numpy() for o, t in origins if o is not None and t is not None}


def as_array(tensor: torch.Tensor | ir.TensorProtocol) -> Array:
    """A tensor's numbers, of the same type and in the same memory."""
    if not isinstance(tensor, torch.Tensor):
        return tensor.numpy()
    tensor = tensor.detach()
    if tensor.dtype is torch.bfloat16:
        bits: Array = tensor.contiguous().view(torch.uint16).numpy()
        return bits.view(ir.DataType.BFLOAT16.numpy())
    array: Array = tensor.resolve_conj().numpy()
    return array


def _normalization(p: Preprocessing, origin: Origin) -> Array:
    """Scale (0) and shift (1) of a step of ``((pixel * scale) - mean) / std`` on the graph's pixel values."""
    factor, mean = p.scale / np.array(p.std), np.array(p.mean) / p.scale
    if p.invert == "always":  # the network sees 255 - value
        factor, mean = -factor, 255 - mean
    elif p.invert == "light-background":  # pixel values are less the middle, whose sign changes
        mean = mean - 255 / 2
    if origin.name == "factor":
        return np.zeros(1) if origin.index else factor
    return -mean if origin.index else np.ones(1)


def _is_float(value: ir.Value) -> bool:
    return value.dtype is None or value.dtype.is_floating_point()


def _recorded(value: ir.Value) -> Origin:
    """The origin of a weight.

    Raises:
        ExportCheckError: It has none.
    """
    origin = recorded_origin(value)
    if origin is None or value.const_value is None:
        raise ExportCheckError(
            f"weight {value.name}: no pass recorded what it is made of, expected the source's tensors or a "
            "formula of them. Nothing was written"
        )
    return origin


def _check_weight(value: ir.Value, origin: Origin, sources: _Sources) -> None:
    name, tensor = str(value.name), value.const_value
    actual = tensor.numpy() if tensor is not None else np.zeros(0)
    if not origin.name:
        computed = compute(origin, sources.leaf, sources.is_exact)
        _compare(name, actual, computed.value, computed.bound, lambda: _text(origin, sources))
        return
    expected = sources.lookup(origin)
    if expected is None:
        if origin.formula == "source" or _is_float(value):
            raise ExportCheckError(
                f"weight {name}: the source has no tensor {origin.name}. Nothing was written"
            )
        return  # an integer that torch's translation or the batch gives: a shape, an axis
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        raise ExportCheckError(
            f"weight {name}: {actual.dtype} {list(actual.shape)}, expected {expected.dtype} "
            f"{list(expected.shape)} as {_text(origin, sources)}. Nothing was written"
        )
    if _same_bits(actual, expected):
        return
    step = 0.0
    if _is_float(value) and not sources.is_exact(origin):
        largest = float(np.max(np.abs(expected.astype(np.float64)), initial=0.0))
        step = ARITHMETIC * epsilon(value.dtype) * largest
    _compare(name, actual, expected, step, lambda: _text(origin, sources))
    if step == 0.0:
        raise ExportCheckError(
            f"weight {name}: other bits than {_text(origin, sources)}, though equal numbers (-0 or NaN). "
            "Nothing was written"
        )


def _same_bits(a: Array, b: Array) -> bool:
    """Whether arrays of one shape and type are the same bytes; in the same memory they are."""
    if a.__array_interface__["data"] == b.__array_interface__["data"] and a.strides == b.strides:
        return True
    a, b = np.ascontiguousarray(a).reshape(-1), np.ascontiguousarray(b).reshape(-1)
    return bool(np.array_equal(a.view(np.uint8), b.view(np.uint8)))


def _compare(
    name: str, actual: Array, expected: Array, bound: Array | float, text: Callable[[], str]
) -> None:
    """Raises ExportCheckError for the first element that is further off than ``bound``."""
    if expected.size not in (1, actual.size):
        raise ExportCheckError(
            f"weight {name}: shape {list(actual.shape)}, expected {list(expected.shape)} from {text()}. "
            "Nothing was written"
        )
    wide = actual.astype(np.float64)
    expected, limits = (
        np.broadcast_to(np.reshape(a, actual.shape) if np.size(a) == actual.size else a, actual.shape)
        for a in (expected.astype(np.float64), bound)
    )
    with np.errstate(invalid="ignore"):
        off = ~(np.abs(wide - expected) <= limits)
    off &= ~((wide == expected) | (np.isnan(wide) & np.isnan(expected)))
    if off.any():
        first = np.unravel_index(int(np.argmax(off)), actual.shape)
        where = f"[{', '.join(map(str, first))}]" if actual.ndim else ""
        limit = f" within {limits[first]:.2g}" if limits[first] else ""
        raise ExportCheckError(
            f"weight {name}{where}: {wide[first]:.9g}, expected {expected[first]:.9g}{limit} from {text()}; "
            f"{int(off.sum())} of {actual.size} elements differ. Nothing was written"
        )


def _check_cast(candidate: Candidate) -> None:
    """A cast rounded each tensor of the network before once, and changed nothing else."""
    before, after = candidate.source.source_before_cast, candidate.source.module
    if before is None or before.module is None or after is None:
        return
    originals = dict((*before.module.named_parameters(), *before.module.named_buffers()))
    for name, tensor in (*after.named_parameters(), *after.named_buffers()):
        if name in originals and not torch.equal(originals[name].to(tensor.dtype), tensor):
            raise ExportCheckError(
                f"parameter {name}: the cast to {str(tensor.dtype).removeprefix('torch.')} changed it by "
                "more than rounding. Nothing was written"
            )


def _missing(origins: Iterable[Origin], sources: _Sources) -> list[str]:
    """Names of floating-point tensors that the source uses and that no weight is made of."""
    used = _used_by_program(sources.program) if sources.program else _used_by_graph(sources.graph)
    reached = {name for origin in origins for name in sources.parameters(origin)}
    missing = [name for name in used if name not in reached]
    if not missing:
        return []
    tensors = {name: as_array(sources.tensors[name]) for name in reached if name in sources.tensors}
    return [name for name in missing if not _has_twin(as_array(sources.tensors[name]), tensors)]


def _check_absorbed(origin: Origin, sources: _Sources) -> None:
    """All elements of a constant that a pass left out are 0, or all are 1."""
    if origin.name:
        value, bound = sources.lookup(origin), np.zeros(1)
    else:
        computed = compute(origin, sources.leaf, sources.is_exact)
        value, bound = computed.value, computed.bound
    if value is None or not any(bool((np.abs(value - n) <= bound).all()) for n in (0.0, 1.0)):
        raise ExportCheckError(
            f"{_text(origin, sources)}: a pass left it out as 0 or 1, and it is neither. Nothing was written"
        )


def _has_twin(array: Array, tensors: Mapping[str, Array]) -> bool:
    """Whether another tensor is equal: equal small tensors are stored once."""
    return any(
        t.shape == array.shape and t.dtype == array.dtype and _same_bits(t, array) for t in tensors.values()
    )


def _used_by_program(program: ExportedProgram) -> list[str]:
    """Names of floating-point parameters, buffers and constants that an output depends on."""
    needed, waiting = set[str](), [program.graph.output_node()]
    while waiting:
        node = waiting.pop()
        if node.name not in needed:
            needed.add(node.name)
            waiting.extend(node.all_input_nodes)
    stored = {**program.constants, **program.state_dict}
    specs = [s for s in program.graph_signature.input_specs if s.target in stored and s.arg.name in needed]
    tensors = {str(s.target): stored[str(s.target)] for s in specs}
    return [n for n, t in tensors.items() if isinstance(t, torch.Tensor) and t.is_floating_point()]


def _used_by_graph(graph: ir.Graph) -> list[str]:
    """Names of floating-point weights with an axis that a node reads."""
    values = graph.initializers.items()
    return [name for name, v in values if v.uses() and _is_float(v) and v.shape is not None and len(v.shape)]


def _text(origin: Origin, sources: _Sources) -> str:
    """How messages name an origin."""
    if origin.formula == "source":
        return f"the source's {origin.name}"
    if origin.name:
        return f"{origin.formula} {origin.name}"
    numbers = (leaf.formula for leaf in origin.leaves if leaf.formula == "normalization")
    names = dict.fromkeys((*sources.parameters(origin), *numbers))
    return f"{', '.join(names)} by {', '.join(origin.formulas)}"
