"""The result of a bench with every part, and figures that never change."""

from __future__ import annotations

from typing import Any

import numpy as np
from made_up_traces import lognormal, trace
from numpy.typing import NDArray

from cnntk.benchmark.case import Case
from cnntk.benchmark.cold_start import StartUp
from cnntk.benchmark.compare import Comparison, SpeedVerdict
from cnntk.benchmark.latency import PERCENTS, Latency
from cnntk.benchmark.layers.peaks import Peaks
from cnntk.benchmark.layers.report import LayerReport, LayerRow
from cnntk.benchmark.layers.roofline import Limit
from cnntk.benchmark.machine import Machine
from cnntk.benchmark.memory import Memory
from cnntk.benchmark.opponent import Opponent
from cnntk.benchmark.regression import BaselineNote, CaseVerdict
from cnntk.benchmark.result import BenchResult, Rivalry
from cnntk.benchmark.scenarios import SETTINGS, ScenarioResult
from cnntk.benchmark.stages import STAGES, FormatStages, Stage, Stages
from cnntk.benchmark.statistics.findings import Finding
from cnntk.benchmark.statistics.intervals import Estimate, mean_estimate, percentiles
from cnntk.benchmark.statistics.samples import WarmUp
from cnntk.benchmark.sweep import Cell, Sweep

PEAKS = Peaks(float32_gmacs=112.0, int8_gmacs=448.0, memory_gb_s=28.0, threads=2, cache_bytes=33_554_432)


def latency(latencies_ms: NDArray[np.float64]) -> Latency:
    runs = trace(latencies_ms)
    mean = mean_estimate(latencies_ms)
    return Latency(
        device="cpu",
        threads=1,
        batch=1,
        warm_up=WarmUp(1881, 0.306, True, 0.037, "steady after 0.037 s, 226 runs", 0.631),
        percentiles_ms={f"{p:g}": found for p, found in percentiles(latencies_ms, PERCENTS).items()},
        mean_ms=mean,
        images_per_second=Estimate(*(1000 / ms for ms in (mean.value, mean.high, mean.low))),
        trace=runs,
        findings=(Finding("other_processes", "other processes used 76 % of the 2 cores"),),
    )


def layer(name: str, time_ms: float, multiply_adds: int, moved: int, **others: Any) -> LayerRow:
    limit: Limit = "compute" if multiply_adds else "in cache"
    given: dict[str, Any] = {
        "name": name,
        "kind": "Conv",
        "ops": ("FusedConv",),
        "fused": (),
        "time_ms": time_ms,
        "share": 0.25,
        "multiply_adds": multiply_adds,
        "bytes": moved,
        "numbers": "float32" if multiply_adds else "",
        "gmacs_per_s": multiply_adds / time_ms / 1e6 if multiply_adds and time_ms else None,
        "gb_per_s": moved / time_ms / 1e6 if moved and time_ms else None,
        "limit": limit,
        "distance": 0.59 if multiply_adds else None,
    }
    return LayerRow(**{**given, **others})


def layers(*rows: LayerRow, peaks: Peaks | None = PEAKS) -> LayerReport:
    return LayerReport(
        model="net.onnx",
        device="cpu",
        threads=2,
        batch=1,
        rows=rows,
        run_ms=2.1,
        runs=474,
        profiler_us=2.75,
        peaks=peaks,
        findings=("the profiler adds 2.7 us to each of 5 nodes",),
    )


def sweep(*cells: tuple[int, int, float]) -> Sweep:
    """Of (batch, threads, ms)."""
    alone = {batch: ms for batch, threads, ms in cells if threads == 1}
    found = [
        Cell(
            batch,
            threads,
            ms,
            0.9 * ms,
            1.2 * ms,
            1e3 * batch / ms,
            *_speed_up(alone.get(batch), ms, threads),
        )
        for batch, threads, ms in cells
    ]
    return Sweep(tuple(found), "cpu", 6, ("4 threads share the 2 cores that this process may use",))


def _speed_up(alone_ms: float | None, ms: float, threads: int) -> tuple[Any, ...]:
    """With its interval, in a word, and by threads."""
    if alone_ms is None:
        return (None,) * 5
    ratio = alone_ms / ms
    if threads == 1:
        return ratio, ratio, ratio, None, ratio
    word: SpeedVerdict = "faster" if 0.95 * ratio > 1 else "slower" if 1.05 * ratio < 1 else "no difference"
    return ratio, 0.95 * ratio, 1.05 * ratio, word, ratio / threads


def way(name: str, *times_ms: float) -> FormatStages:
    whole = sum(times_ms) or 1.0
    steps = [
        Stage(step, ms, 0.9 * ms, 1.1 * ms, ms / whole) for step, ms in zip(STAGES, times_ms, strict=True)
    ]
    return FormatStages(name, 3, 322, tuple(steps), sum(times_ms), 1.05 * whole, 0.05 * whole, 0.01, 0.02)


def rivalry(name: str, ratio: float | None, note: str = "") -> Rivalry:
    if ratio is None:
        return Rivalry(Opponent(name, None, note), None)
    found = Comparison(ratio, 0.96 * ratio, 1.04 * ratio, 2.345 * ratio, 2.345, 87)
    return Rivalry(Opponent(name, dict, note, 1e-7, 1.0), found)


def machine() -> Machine:
    return Machine(
        cpu="Made Up 9000",
        architecture="x86_64",
        cpu_features=("avx2", "fma"),
        cores=2,
        physical_cores=1,
        memory_bytes=25_300_000_000,
        governor="performance",
        system="Linux 6.1",
        python="3.11.7",
        onnxruntime="1.32.0",
        cnntk="0.1.0",
    )


def scenario(valid: bool) -> ScenarioResult:
    return ScenarioResult(
        scenario="SingleStream" if valid else "Offline",
        valid=valid,
        reasons=() if valid else ("lasted less than MLPerf's 600 s",),
        metric="90th percentile latency" if valid else "samples per second",
        value=2.71 if valid else 4321.0,
        unit="ms" if valid else "1/s",
        percentiles_ms={"50": 2.22, "90": 2.71} if valid else {},
        queries=12_345 if valid else 1,
        samples=12_345,
        batch=1 if valid else 32,
        accuracy=0.9876 if valid else None,
        accuracy_images=500 if valid else 0,
        settings=dict.fromkeys(SETTINGS, 0.0),
        loadgen="5.1",
        notes=("seeded noise was sent",),
    )


def plain_bench(**others: Any) -> BenchResult:
    """What alone is always measured."""
    values = 2.0 * lognormal(3000)  # and two far off
    values[[700, 1500]] = 30.0, 45.0
    given: dict[str, Any] = {
        "model": "/models/net.onnx",
        "name": "net",
        "sha256": "ab" * 32,
        "size_bytes": 252_300,
        "made": "2026-01-02T03:04:05+00:00",
        "machine": machine(),
        "latency": latency(values),
    }
    return BenchResult(**{**given, **others})


def full_bench(**others: Any) -> BenchResult:
    """Every part."""
    rows = (
        layer("preprocess", 0.122, 0, 1_660_000, ops=("Resize", "Transpose", "Expand", "Pad"), share=0.06),
        layer("features.0", 1.1, 90_000_000, 1_860_000, share=0.55, fused=("features.1",)),
        layer("features.3", 0.5, 40_000_000, 2_280_000, share=0.25, numbers="int8"),
        layer("classifier", 0.25, 1_000_000, 4_000_000, share=0.125, limit="memory", distance=0.571),
        layer("call", 0.03, 0, 0, kind="call", ops=(), limit=None, share=0.015),
    )
    estimate = Estimate(2.02, 1.98, 2.07)
    case = Case(
        settings={},
        model_sha256=None,
        runs=9000,
        median_ms=estimate,
        mean_ms=estimate,
        percentiles_ms={"90": estimate},
        others=None,
        sessions=((2.0,), (2.1,)),
    )
    given: dict[str, Any] = {
        "start_up": StartUp(268.0, 57.1, 18.7, ((8, 156.0), (32, 601.0)), 2.04, 1, "cpu", 1, 3),
        "memory": Memory(
            14_500_000,
            42_400_000,
            41_700_000,
            120_600_000,
            60_100_000,
            38_500_000,
            252_300,
            1,
            "/proc/self/status",
        ),
        "layers": layers(*rows),
        "sweep": sweep((1, 1, 2.0), (1, 2, 1.96), (8, 1, 15.3), (8, 2, 9.7), (32, 1, 61.0), (32, 2, 37.0)),
        "stages": Stages(
            (way("JPEG", 0.01, 0.73, 0.2, 2.0, 0.114), way("PNG", 0.01, 1.77, 0.2, 2.0, 0.113)),
            "cpu",
            1,
            ("made",),
        ),
        "against": (
            rivalry("torch, eager", 1.93, "answers the same"),
            rivalry("other.onnx", 1.01),
            rivalry("openvino 2026.1", 0.81),
            rivalry("torch, compiled", None, note="no compiler is installed"),
        ),
        "scenarios": (scenario(True), scenario(False)),
        "cases": {"latency": case},
        "notes": ("torch was not asked",),
    }
    return plain_bench(**{**given, **others})


def verdicts() -> tuple[CaseVerdict, ...]:
    return (
        CaseVerdict("latency", 1.8, 2.02, Estimate(12.2, 8.1, 16.4), True, "", 5.0),
        CaseVerdict(
            "batch 8", 15.0, 15.3, Estimate(2.0, -1.1, 5.2), False, "the model is another file than then", 5.0
        ),
        CaseVerdict("new", None, 7.77, None, False, "not in the baseline", 5.0),
    )


def baseline_note() -> BaselineNote:
    return BaselineNote(
        "base.json",
        "2026-09-30T07:15:00+00:00",
        ("cores: 8 there, 2 here",),
        ("onnxruntime: 1.20.1 there, 1.22.0 here",),
    )
