"""The result of a bench with every part, and figures that never change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simulated_latencies import lognormal, samples

from cnntk.benchmark.cold_start import ColdStart
from cnntk.benchmark.compare import Comparison, SpeedVerdict
from cnntk.benchmark.latency import PERCENTS, Case, Latency
from cnntk.benchmark.layers.report import LayerReport, LayerTime
from cnntk.benchmark.layers.roofline import Limit, Peaks
from cnntk.benchmark.machine import Machine
from cnntk.benchmark.memory import Memory
from cnntk.benchmark.regression import BaselineComparison, CaseComparison
from cnntk.benchmark.result import BenchResult, ComparisonResult
from cnntk.benchmark.stages import STAGES, FormatStages, Stage, Stages
from cnntk.benchmark.statistics.findings import Finding
from cnntk.benchmark.statistics.intervals import Estimate, mean_estimate, percentiles
from cnntk.benchmark.statistics.samples import WarmUp
from cnntk.benchmark.sweep import Sweep, SweepCell
from cnntk.benchmark.targets import Target

PEAKS = Peaks(float32_gmacs=112.0, int8_gmacs=448.0, memory_gb_s=28.0, threads=2, cache_bytes=33_554_432)


def latency(latencies_ms: NDArray[np.float64]) -> Latency:
    runs = samples(latencies_ms)
    mean = mean_estimate(latencies_ms)
    return Latency(
        device="cpu",
        threads=1,
        batch=1,
        warm_up=WarmUp(1881, 0.306, True, 0.037, "steady after 0.037 s, 226 runs", 0.631),
        percentiles_ms={f"{p:g}": actual for p, actual in percentiles(latencies_ms, PERCENTS).items()},
        mean_ms=mean,
        images_per_second=Estimate(*(1000 / ms for ms in (mean.value, mean.high, mean.low))),
        samples=runs,
        findings=(Finding("other_processes", "other processes used 31 % of the 2 cores", 0.31),),
    )


def layer(name: str, time_ms: float, multiply_adds: int, moved: int, **others: Any) -> LayerTime:
    limit: Limit = "compute" if multiply_adds else "in cache"
    fields: dict[str, Any] = {
        "name": name,
        "op_type": "Conv",
        "executed_ops": ("FusedConv",),
        "fused": (),
        "time_ms": time_ms,
        "share": 0.25,
        "multiply_adds": multiply_adds,
        "bytes": moved,
        "dtype": "float32" if multiply_adds else "",
        "limit": limit,
        "limit_fraction": 0.59 if multiply_adds else None,
    }
    return LayerTime(**{**fields, **others})


def layers(*rows: LayerTime, peaks: Peaks | None = PEAKS) -> LayerReport:
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
    items = []
    for batch, threads, ms in cells:
        cell = SweepCell(batch, threads, Estimate(ms, 0.9 * ms, 1.2 * ms), 1e3 * batch / ms)
        if batch in alone:
            cell = replace(cell, **_speed_up(alone[batch] / ms, threads))
        items.append(cell)
    return Sweep(tuple(items), "cpu", 6, ("4 threads share the 2 cores available to this process",))


def _speed_up(ratio: float, threads: int) -> dict[str, Any]:
    """The fields that compare a cell with one thread."""
    if threads == 1:
        return {"speed_up": Estimate(ratio, ratio, ratio), "efficiency": ratio}
    verdict: SpeedVerdict = (
        "faster" if 0.95 * ratio > 1 else "slower" if 1.05 * ratio < 1 else "no difference"
    )
    speed_up = Estimate(ratio, 0.95 * ratio, 1.05 * ratio)
    return {"speed_up": speed_up, "verdict": verdict, "efficiency": ratio / threads}


def format_stages(name: str, *times_ms: float) -> FormatStages:
    whole = sum(times_ms) or 1.0
    steps = [
        Stage(step, Estimate(ms, 0.9 * ms, 1.1 * ms), ms / whole)
        for step, ms in zip(STAGES, times_ms, strict=True)
    ]
    unaccounted = Estimate(0.05 * whole, 0.01, 0.02)
    return FormatStages(name, 3, 322, tuple(steps), sum(times_ms), 1.05 * whole, unaccounted)


def compared(name: str, ratio: float | None, note: str = "") -> ComparisonResult:
    if ratio is None:
        return ComparisonResult(Target(name, None, note), None)
    comparison = Comparison(ratio, 0.96 * ratio, 1.04 * ratio, 2.345 * ratio, 2.345, 87)
    return ComparisonResult(Target(name, dict, note, 1e-7, 1.0), comparison)


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


def plain_bench(**others: Any) -> BenchResult:
    """What alone is always measured."""
    values = 2.0 * lognormal(3000)  # and two far off
    values[[700, 1500]] = 30.0, 45.0
    fields: dict[str, Any] = {
        "model": "/models/net.onnx",
        "name": "net",
        "sha256": "ab" * 32,
        "size_bytes": 252_300,
        "created": "2026-01-02T03:04:05+00:00",
        "machine": machine(),
        "latency": latency(values),
    }
    return BenchResult(**{**fields, **others})


def full_bench(**others: Any) -> BenchResult:
    """Every part."""
    preparing = ("Resize", "Transpose", "Expand", "Pad")
    rows = (
        layer("preprocess", 0.122, 0, 1_660_000, executed_ops=preparing, share=0.06),
        layer("features.0", 1.1, 90_000_000, 1_860_000, share=0.55, fused=("features.1",)),
        layer("features.3", 0.5, 40_000_000, 2_280_000, share=0.25, dtype="int8"),
        layer("classifier", 0.25, 1_000_000, 4_000_000, share=0.125, limit="memory", limit_fraction=0.571),
        layer("call", 0.03, 0, 0, op_type="call", executed_ops=(), limit=None, share=0.015),
    )
    estimate = Estimate(2.02, 1.98, 2.07)
    case = Case(
        settings={},
        model_sha256=None,
        runs=9000,
        median_ms=estimate,
        mean_ms=estimate,
        percentiles_ms={"90": estimate},
        other_cpu_share=None,
        sessions=((2.0,), (2.1,)),
    )
    fields: dict[str, Any] = {
        "cold_start": ColdStart(268.0, 57.1, 18.7, ((8, 156.0), (32, 601.0)), 2.04, 1, "cpu", 1, 3),
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
            (
                format_stages("JPEG", 0.01, 0.73, 0.2, 2.0, 0.114),
                format_stages("PNG", 0.01, 1.77, 0.2, 2.0, 0.113),
            ),
            "cpu",
            1,
            ("made",),
        ),
        "against": (
            compared("torch, eager", 1.93, "same outputs"),
            compared("other.onnx", 1.01),
            compared("openvino 2026.1", 0.81),
            compared("torch, compiled", None, note="no compiler is installed"),
        ),
        "cases": {"latency": case},
        "baseline": baseline_comparison(),
        "notes": ("torch was not asked",),
    }
    return plain_bench(**{**fields, **others})


def case_comparisons() -> tuple[CaseComparison, ...]:
    note = "the model's file is not the baseline's"
    return (
        CaseComparison("latency", 1.8, 2.02, Estimate(12.2, 8.1, 16.4), True, "", 5.0),
        CaseComparison("batch 8", 15.0, 15.3, Estimate(2.0, -1.1, 5.2), False, note, 5.0),
        CaseComparison("new", None, 7.77, None, False, "not in the baseline", 5.0),
    )


def baseline_comparison(*cases: CaseComparison) -> BaselineComparison:
    return BaselineComparison(
        "base.json",
        "2026-09-30T07:15:00+00:00",
        ("cores: 8 in the baseline, 2 now",),
        ("onnxruntime: 1.20.1 in the baseline, 1.22.0 now",),
        cases or case_comparisons(),
    )
