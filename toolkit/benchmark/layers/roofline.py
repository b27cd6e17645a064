"""How far a layer is from what the machine could do (Williams et al., Roofline, CACM 52(4), 2009).

The machine's peaks are measured with what an install has: onnxruntime's best kernels, on convolutions that
fill their blocks and stay in the cache, and numpy reading memory that no cache holds. Of multiply-adds the
best of many short runs counts, because other processes can only slow it down.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark.layers._attribution import LayerNodes
from cnntk.benchmark.layers._graph import Graph, Node, Weight, build_model
from cnntk.benchmark.layers._profile import ExecutedNode, NodeTimes
from cnntk.benchmark.statistics.samples import time_runs
from cnntk.runtime.artifact.spec import Layer
from cnntk.runtime.codec import as_json, decode
from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import write_bytes
from cnntk.runtime.log import log
from cnntk.runtime.session.cores import usable_cores
from cnntk.runtime.session.devices import import_onnxruntime, resolve_device
from cnntk.runtime.session.session_factory import SessionSettings, open_session

__all__ = ["PEAK_TOLERANCE", "Limit", "Peaks", "machine_peaks"]

Limit = Literal["compute", "memory", "in cache"]
"""What limits a layer; ``in cache`` if it only moves data within the caches, whose peak is not measured."""

PEAK_TOLERANCE = 0.05
"""Relative amount by which a layer may be faster than at a peak before the peak is measured again."""

_PEAK_S, _MAX_PEAK_S = 0.6, 4.0
"""Seconds for each data type: until the best time is reproduced, up to the second number."""

_REPRODUCED, _EQUAL = 3, 1.03
"""Number of times the best has to be reached, and within which factor, or other processes are at work."""

_FLOAT32_CONV, _INT8_CONV = (128, 28), (256, 28)
"""Channels, and height and width, of 3 x 3 convolutions: 1 to 2 ms each, so that some run undisturbed."""

_BUFFER_BYTES = 256 << 20
"""Memory to read, many times what a cache holds."""

_CONVOLUTIONS = frozenset(
    {"Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose", "QLinearConv", "ConvInteger"}
)
_INTEGER_DENSE = frozenset(
    {"QGemm", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
)
_DENSE = _INTEGER_DENSE | {"Gemm", "FusedGemm", "MatMul", "FusedMatMul", "MatMulNBits"}
_INTEGER = _INTEGER_DENSE | {"QLinearConv", "ConvInteger"}

_INT8_ACCURACY_LEVEL = 4
"""MatMulNBits' accuracy_level from which on its products are integers."""

_VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"})
"""Operators that rename memory and move nothing."""

_SHAPE_OPS = frozenset({"Shape", "Size"})
_DTYPES = {"float": "float32", "double": "float64"}


@dataclass(frozen=True)
class Peaks:
    """The highest rates of the CPU.

    Attributes:
        float32_gmacs: Multiply-adds of float32, in 10^9 per second.
        int8_gmacs: Multiply-adds of uint8 by int8, in 10^9 per second.
        memory_gb_s: Reads from memory, in 10^9 bytes per second.
        threads: Number of threads.
        cache_bytes: Size of the largest cache in bytes; None if the system does not report it.
    """

    float32_gmacs: float
    int8_gmacs: float
    memory_gb_s: float
    threads: int
    cache_bytes: int | None

    def gmacs(self, dtype: str) -> float | None:
        """Multiply-adds of a data type in 10^9 per second; None if it was not measured."""
        return {"float32": self.float32_gmacs, "int8": self.int8_gmacs}.get(dtype)


@dataclass(frozen=True)
class LayerWork:
    """The work of a layer in one run of the whole batch; its type is empty if nothing is multiplied."""

    multiply_adds: int
    dtype: str
    weight_bytes: int
    data_bytes: int


def machine_peaks(
    threads: int | None = None, *, folder: Path | None = None, remeasure: bool = False
) -> Peaks:
    """The machine's peaks, from the user's cache or measured in 3 to 10 seconds.

    Args:
        threads: Number of threads; by default one per core that this process may use.
        folder: Folder that caches peaks; by default `user_cache`.
        remeasure: Whether to measure despite cached peaks, and keep the better of each.

    Raises:
        UsageError: There are fewer threads than one.
        MissingDependency: onnx is not installed.
    """
    threads = usable_cores() if threads is None else threads
    if threads < 1:
        raise UsageError(f"threads {threads}: at least 1")
    file = (folder or user_cache()) / f"peaks-{_cache_key(threads)}.json"
    cached = _read_cached(file)
    if cached is not None and not remeasure:
        return cached
    peaks = _measure(threads)
    if cached is not None:
        rates = ("float32_gmacs", "int8_gmacs", "memory_gb_s")
        peaks = replace(peaks, **{rate: max(getattr(peaks, rate), getattr(cached, rate)) for rate in rates})
    _write_cached(file, peaks)
    return peaks


def user_cache() -> Path:
    """The folder of the user's system for data that can be made again, for cnntk."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "cnntk"


def cache_bytes(root: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> int | None:
    """Size of the CPU's largest cache in bytes; None if the system does not report it."""
    factors = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    sizes = []
    for file in root.glob("index*/size"):
        try:
            text = file.read_text().strip()
            sizes.append(int(text.rstrip("KMG")) * factors.get(text[-1:], 1))
        except (OSError, ValueError):  # a container may hide it
            continue
    return max(sizes, default=None)


def roofline_limit(
    work: LayerWork, time_ms: float, model_bytes: int, peaks: Peaks
) -> tuple[Limit | None, float | None]:
    """The limit of a layer: its multiply-adds at peak or its bytes from memory at peak, whichever takes
    longer; and the time at the limit divided by the measured time.

    The limit is None if the peak of the layer's data type is not known, and for layers that do nothing.

    Bytes come from memory if the largest cache can't hold them until they are read: weights, if those of the
    whole model exceed it (layers that do not multiply have none to speak of); the layer's other data, if that
    alone exceeds it. A layer that is faster than that, and no faster than if the cache had kept all that it
    holds, had its bytes there. If the system does not report the size of its caches all bytes count.
    ``model_bytes`` are those of all weights that a run reads.
    """
    cache = peaks.cache_bytes or 0
    weights = work.weight_bytes if work.multiply_adds and model_bytes > cache else 0
    data = work.data_bytes if work.data_bytes > cache else 0
    missed = weights * (1 - cache / max(model_bytes, 1)) + max(0, data - cache)
    memory_ms, min_memory_ms = ((amount / peaks.memory_gb_s / 1e6) for amount in (weights + data, missed))
    if memory_ms > (1 + PEAK_TOLERANCE) * time_ms >= min_memory_ms:
        memory_ms = 0.0
    if not work.weight_bytes + work.data_bytes:
        return None, None
    limit: Limit = "memory" if memory_ms else "in cache"
    limit_ms = memory_ms
    if work.multiply_adds:
        peak = peaks.gmacs(work.dtype)
        if peak is None:
            return None, None
        compute_ms = work.multiply_adds / peak / 1e6
        limit = "memory" if memory_ms > compute_ms else "compute"
        limit_ms = max(memory_ms, compute_ms)
    return limit, limit_ms / time_ms if limit_ms and time_ms else None


def layers_from_graph(graph: Graph) -> tuple[Layer, ...]:
    """The nodes that data passes through, as layers, of a file whose spec lists none.

    Their multiply-adds are 0, because they are not known before they run.
    """
    producers = {value: node for node in graph.nodes for value in node.outputs}
    data_values = set(graph.inputs)
    layers = []
    for node in graph.nodes:
        data = tuple(value for value in node.inputs if value in data_values)
        if data and node.op_type not in _SHAPE_OPS:
            data_values.update(node.outputs)
            constants = [value for value in node.inputs if value not in data_values]
            weights = tuple(name for value in constants for name in _weights_behind(value, graph, producers))
            layers.append(
                Layer(
                    name=node.name or node.outputs[0],
                    op=node.op_type,
                    shape=(),
                    parameters=sum(graph.weights[name].elements for name in weights),
                    multiply_adds=0,
                    weights=weights,
                    output=node.outputs[0],
                    inputs=data,
                )
            )
    return tuple(layers)


def layer_work(row: LayerNodes, layers: Sequence[Layer], times: NodeTimes, batch: int) -> LayerWork:
    """The work of a row in one run; if a layer does not list its multiply-adds, those of the nodes count."""
    pairs = [(times.nodes[i], times.executed[i]) for i in row.nodes]
    moving = [(node, executed) for node, executed in pairs if executed.op_type not in _VIEWS]
    row_layers = [layers[i] for i in row.layers]
    kernels = [times.original.weights.get(name) for layer in row_layers for name in layer.weights]
    by_node = [
        _multiply_adds(node, executed, [*kernels, *map(times.optimized.weights.get, node.inputs)])
        for node, executed in pairs
    ]
    listed = all(layer.multiply_adds or layer.op not in _CONVOLUTIONS | _DENSE for layer in row_layers)
    total = sum(by_node)
    if row_layers and listed:
        total = batch * sum(layer.multiply_adds for layer in row_layers)
    busiest = max(range(len(pairs)), key=by_node.__getitem__)
    return LayerWork(
        multiply_adds=total,
        dtype=_multiplied_dtype(*pairs[busiest]) if total else "",
        weight_bytes=sum(_weight_bytes(node, executed, times.optimized) for node, executed in moving),
        data_bytes=sum(executed.data_bytes for _, executed in moving),
    )


def _multiply_adds(node: Node, executed: ExecutedNode, weights: Sequence[Weight | None]) -> int:
    """Output elements times the length of the dot product behind each; 0 for an operator that is not linear.

    A convolution's kernel is the first of the weights with three dimensions or more, (M, C / groups, ...), as
    the user wrote it: onnxruntime pads channels.
    """
    if executed.op_type in _CONVOLUTIONS:
        kernel = next((w.elements for w in weights if w is not None and len(w.shape) > 2), 0)
        shape = executed.inputs[0] if executed.op_type == "ConvTranspose" else executed.outputs[0]
        channels_last = node.int_attributes.get("channels_last", 0) or executed.op_type == "NhwcFusedConv"
        return kernel * (math.prod(shape[:-1]) if channels_last else shape[0] * math.prod(shape[2:]))
    if executed.op_type not in _DENSE:
        return 0
    first = executed.inputs[0]
    length = node.int_attributes.get("K") or first[-2 if node.int_attributes.get("transA") else -1]
    return math.prod(executed.outputs[0]) * length


def _multiplied_dtype(node: Node, executed: ExecutedNode) -> str:
    if executed.op_type in _INTEGER or node.int_attributes.get("accuracy_level", 0) >= _INT8_ACCURACY_LEVEL:
        return "int8"
    return _DTYPES.get(executed.dtypes[0], executed.dtypes[0])


def _weight_bytes(node: Node, executed: ExecutedNode, optimized: Graph) -> int:
    """Bytes of a node's weights; of packed weights, their size in the graph."""
    weights = (optimized.weights[value] for value in node.inputs if value in optimized.weights)
    return sum(weight.size_bytes for weight in weights) or executed.weight_bytes


def _weights_behind(value: str, graph: Graph, producers: dict[str, Node]) -> Iterator[str]:
    """Constants from which a value is computed; of a quantized one the integers, not their scale."""
    if value in graph.weights:
        yield value
    elif (node := producers.get(value)) is not None:
        sources = node.inputs[:1] if node.op_type == "DequantizeLinear" else node.inputs
        for source in sources:
            yield from _weights_behind(source, graph, producers)


def _cache_key(threads: int) -> str:
    from cnntk.benchmark.machine import detect_machine

    parts = [detect_machine().identity, threads, import_onnxruntime().__version__]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _read_cached(file: Path) -> Peaks | None:
    try:
        peaks: Peaks = decode(Peaks, json.loads(file.read_text()), "peaks")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("%s: not usable (%s); the machine's peaks are measured again", file, error)
        return None
    return peaks


def _write_cached(file: Path, peaks: Peaks) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, json.dumps(as_json(peaks)).encode())
    except (OSError, UsageError) as error:
        log.warning("%s: can't be written (%s); the machine's peaks are measured each time", file, error)


def _measure(threads: int) -> Peaks:
    return Peaks(
        float32_gmacs=_conv_gmacs(_float32_conv(*_FLOAT32_CONV), np.float32, _FLOAT32_CONV, threads),
        int8_gmacs=_conv_gmacs(_int8_conv(*_INT8_CONV), np.uint8, _INT8_CONV, threads),
        memory_gb_s=_memory_gb_s(threads),
        threads=threads,
        cache_bytes=cache_bytes(),
    )


def _conv_gmacs(model: bytes, dtype: Any, size: tuple[int, int], threads: int) -> float:
    channels, side = size
    session = open_session(model, resolve_device("cpu"), SessionSettings(threads=threads)).session
    inputs = {"x": np.ones(session.get_inputs()[0].shape, dtype)}
    return channels * channels * 9 * side * side / _best_s(lambda: session.run(None, inputs)) / 1e9


def _float32_conv(channels: int, side: int) -> bytes:
    shape = f"float[1,{channels},{side},{side}]"
    graph = f"conv ({shape} x) => ({shape} y) {{ y = Conv <pads = [1,1,1,1]> (x, w) }}"
    return build_model(graph, {"w": np.full((channels, channels, 3, 3), 0.01, np.float32)})


def _int8_conv(channels: int, side: int) -> bytes:
    """As `cnntk quantize` writes them: channels last, weights in int8 per channel, values in uint8."""
    shape = f"uint8[1,{side},{side},{channels}]"
    inputs = "x, scale, zero, w, scales, zeros, scale, zero, bias"
    attributes = "kernel_shape = [3,3], pads = [1,1,1,1], channels_last = 1"
    graph = f"conv ({shape} x) => ({shape} y) {{ y = com.microsoft.QLinearConv <{attributes}> ({inputs}) }}"
    weights: dict[str, NDArray[Any]] = {
        "scale": np.array(0.01, np.float32),
        "zero": np.array(128, np.uint8),
        "w": np.ones((channels, channels, 3, 3), np.int8),
        "scales": np.full(channels, 0.01, np.float32),
        "zeros": np.zeros(channels, np.int8),
        "bias": np.zeros(channels, np.int32),
    }
    return build_model(graph, weights)


def _memory_gb_s(threads: int) -> float:
    """Reads of a buffer by all threads, each its part, in 10^9 bytes per second.

    The upper quartile: a virtual machine shares memory with others, and for moments a third more than usual
    was seen.
    """
    parts = np.array_split(np.ones(_BUFFER_BYTES // 8, np.uint64), threads)
    with ThreadPoolExecutor(threads) as pool:
        passes = time_runs(
            lambda: list(pool.map(np.bitwise_or.reduce, parts)), seconds=2 * _PEAK_S, min_runs=3
        )
    return _BUFFER_BYTES / float(np.quantile(passes.latencies_ms, 0.25)) / 1e6


def _best_s(call: Callable[[], object]) -> float:
    call()
    clock = time.perf_counter
    begin, best = clock(), [math.inf] * _REPRODUCED
    while (elapsed := clock() - begin) < _PEAK_S or (best[-1] > _EQUAL * best[0] and elapsed < _MAX_PEAK_S):
        start = clock()
        call()
        best = sorted([*best, clock() - start])[:_REPRODUCED]
    return best[0]
