"""`peaks`: the most that this machine can do, by measurement: multiply-adds in float and int8, and memory.

Measured by what an install has: onnxruntime's own best kernels, on convolutions that fill its blocks and stay
in the cache, and numpy reading memory that no cache holds. Of multiplying the best of many short runs counts:
other processes can only take away from it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark.layers.small_graphs import model, node, tensor, value
from cnntk.benchmark.statistics.samples import time_runs
from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import write_bytes
from cnntk.runtime.log import log
from cnntk.runtime.session.cores import usable_cores
from cnntk.runtime.session.devices import import_onnxruntime, resolve_device
from cnntk.runtime.session.session_factory import SessionSettings, open_session

__all__ = ["Peaks", "cache_bytes", "peaks", "user_cache"]

_SECONDS, _MOST_SECONDS = 0.6, 4.0
"""For each kind of numbers: the former where the best comes again, up to the latter where it does not."""

_AGAIN, _ALIKE = 3, 1.03
"""How often the best has to be met, and within which factor: else others are at work, and better may come."""

_FLOAT, _INT8 = (128, 28), (256, 28)
"""Channels, and height and width, of convolutions of 3 x 3: 1 to 2 ms each, so that some run undisturbed."""

_BUFFER = 256 << 20
"""Bytes of memory to read, many times what a cache holds."""


@dataclass(frozen=True)
class Peaks:
    """The most that the CPU can do.

    Attributes:
        float32_gmacs: 10^9 multiply-adds a second of float32.
        int8_gmacs: 10^9 multiply-adds a second, uint8 by int8.
        memory_gb_s: 10^9 bytes a second that are read from memory.
        threads: that did it.
        cache_bytes: of the largest cache; None where the system does not say.
    """

    float32_gmacs: float
    int8_gmacs: float
    memory_gb_s: float
    threads: int
    cache_bytes: int | None

    def gmacs(self, numbers: str) -> float | None:
        """Of that type; None where it was not measured."""
        return {"float32": self.float32_gmacs, "int8": self.int8_gmacs}.get(numbers)

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def peaks(threads: int | None = None, *, folder: Path | None = None, again: bool = False) -> Peaks:
    """The machine's peaks: from the user's cache where they were measured before, else measured in 3 to 10 s.

    Args:
        threads: on the CPU; by default one for each core that this process may use.
        folder: where they are kept; by default `user_cache`.
        again: measure even so, and keep the better of each.

    Raises:
        UsageError: threads are less than 1.
    """
    threads = usable_cores() if threads is None else threads
    if threads < 1:
        raise UsageError(f"threads {threads}: at least 1")
    file = (folder or user_cache()) / f"peaks-{_key(threads)}.json"
    known = _kept(file)
    if known is not None and not again:
        return known
    found = _measured(threads)
    if known is not None:
        found = Peaks(
            float32_gmacs=max(found.float32_gmacs, known.float32_gmacs),
            int8_gmacs=max(found.int8_gmacs, known.int8_gmacs),
            memory_gb_s=max(found.memory_gb_s, known.memory_gb_s),
            threads=threads,
            cache_bytes=found.cache_bytes,
        )
    _keep(file, found)
    return found


def user_cache() -> Path:
    """The folder where the user's system keeps what can be made again, for cnntk."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "cnntk"


def cache_bytes(root: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> int | None:
    """Size of the CPU's largest cache, as Linux tells it; None where it does not."""
    factors = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    sizes = []
    for file in root.glob("index*/size"):
        try:
            text = file.read_text().strip()
            sizes.append(int(text.rstrip("KMG")) * factors.get(text[-1:], 1))
        except (OSError, ValueError):  # a container may hide it
            continue
    return max(sizes, default=None)


def _key(threads: int) -> str:
    from cnntk.benchmark.machine import detect_machine

    parts = [detect_machine().identity, threads, import_onnxruntime().__version__]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _kept(file: Path) -> Peaks | None:
    try:
        return Peaks(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        log.warning("%s: can't be used (%s); the machine is measured again", file, error)
        return None


def _keep(file: Path, found: Peaks) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, json.dumps(found.to_json()).encode())
    except (OSError, UsageError) as error:
        log.warning("%s: can't be written (%s); the machine is measured each time", file, error)


def _measured(threads: int) -> Peaks:
    return Peaks(
        float32_gmacs=_multiplied(_float_convolution(*_FLOAT), np.float32, _FLOAT, threads),
        int8_gmacs=_multiplied(_int8_convolution(*_INT8), np.uint8, _INT8, threads),
        memory_gb_s=_read(threads),
        threads=threads,
        cache_bytes=cache_bytes(),
    )


def _multiplied(graph: bytes, dtype: Any, size: tuple[int, int], threads: int) -> float:
    """10^9 multiply-adds a second of a convolution of 3 x 3."""
    channels, side = size
    session = open_session(graph, resolve_device("cpu"), SessionSettings(threads=threads)).session
    shape = session.get_inputs()[0].shape
    inputs = {"x": np.ones(shape, dtype)}
    return channels * channels * 9 * side * side / _best_s(lambda: session.run(None, inputs)) / 1e9


def _float_convolution(channels: int, side: int) -> bytes:
    shape = (1, channels, side, side)
    weight = np.full((channels, channels, 3, 3), 0.01, np.float32)
    conv = node("Conv", ["x", "w"], "y", {"pads": [1, 1, 1, 1]})
    ends = ([value(name, np.float32, shape)] for name in "xy")
    return model([conv], [tensor("w", weight)], *ends)


def _int8_convolution(channels: int, side: int) -> bytes:
    """As `cnntk quantize` writes them: channels last, weights in int8 by channel, values in uint8."""
    shape = (1, side, side, channels)
    weights: dict[str, NDArray[Any]] = {
        "scale": np.array(0.01, np.float32),
        "zero": np.array(128, np.uint8),
        "w": np.ones((channels, channels, 3, 3), np.int8),
        "scales": np.full(channels, 0.01, np.float32),
        "zeros": np.zeros(channels, np.int8),
        "bias": np.zeros(channels, np.int32),
    }
    inputs = ["x", "scale", "zero", "w", "scales", "zeros", "scale", "zero", "bias"]
    attributes: dict[str, int | Sequence[int]] = {
        "kernel_shape": [3, 3],
        "pads": [1, 1, 1, 1],
        "channels_last": 1,
    }
    conv = node("QLinearConv", inputs, "y", attributes, microsoft=True)
    ends = ([value(name, np.uint8, shape)] for name in "xy")
    return model([conv], [tensor(name, numbers) for name, numbers in weights.items()], *ends)


def _read(threads: int) -> float:
    """10^9 bytes a second, of a buffer that all threads read, each its part.

    The upper quartile: memory is shared with others outside of this machine, if it is a virtual one, and for
    moments a third more than usual was seen.
    """
    parts = np.array_split(np.ones(_BUFFER // 8, np.uint64), threads)
    with ThreadPoolExecutor(threads) as pool:
        passes = time_runs(
            lambda: list(pool.map(np.bitwise_or.reduce, parts)), seconds=2 * _SECONDS, min_runs=3
        )
    return _BUFFER / float(np.quantile(passes.latencies_ms, 0.25)) / 1e6


def _best_s(call: Callable[[], object]) -> float:
    """The fastest run."""
    call()
    clock = time.perf_counter
    begin, best = clock(), [math.inf] * _AGAIN
    while (passed := clock() - begin) < _SECONDS or (best[-1] > _ALIKE * best[0] and passed < _MOST_SECONDS):
        start = clock()
        call()
        best = sorted([*best, clock() - start])[:_AGAIN]
    return best[0]
