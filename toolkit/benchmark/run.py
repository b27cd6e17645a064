"""`bench`: what a model costs where it runs, in figures that a decision can be built on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cnntk.benchmark.case import Case
from cnntk.benchmark.cold_start import start_up
from cnntk.benchmark.compare import compare_interleaved
from cnntk.benchmark.cuda.report import CudaTimes, cuda_times
from cnntk.benchmark.inputs import batch_inputs, chosen_batch, run_notes
from cnntk.benchmark.latency import Latency, measure_case, measure_latency
from cnntk.benchmark.layers.report import LayerReport, layer_times
from cnntk.benchmark.machine import machine
from cnntk.benchmark.memory import memory
from cnntk.benchmark.result import BenchResult, Rivalry
from cnntk.benchmark.scenarios import Scenario, ScenarioResult, measure_scenario
from cnntk.benchmark.stages import Stages, check_images, classifier_of, stages
from cnntk.benchmark.sweep import Sweep, sweep
from cnntk.benchmark.targets import opponents
from cnntk.data.labeled import LabeledFiles
from cnntk.runtime.artifact.digest import sha256_of
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import MissingDependency, UsageError
from cnntk.runtime.session.session_factory import check_threads

__all__ = ["Load", "Progress", "bench"]

Progress = Callable[[str], None]
"""Is told what is measured next."""


@dataclass(frozen=True)
class Load:
    """What scenarios are measured with.

    Attributes:
        seconds: to stop after; None for MLPerf's 10 minutes, without which no result is valid.
        queries_per_second: of Server.
        labeled: images that are sent, by which the accuracy is told; None for seeded noise.
    """

    seconds: float | None = None
    queries_per_second: float | None = None
    labeled: LabeledFiles | None = None


def bench(
    model: str | os.PathLike[str],
    *,
    device: str = "cpu",
    threads: int | Sequence[int] | None = None,
    batch: int | Sequence[int] | None = None,
    seconds: float = 3.0,
    first_answer: bool = True,
    layers: bool = False,
    images: Sequence[str | os.PathLike[str] | bytes] | None = None,
    against: Sequence[str] = (),
    weights: str | None = None,
    random: bool = False,
    scenarios: Sequence[Scenario] = (),
    load: Load | None = None,
    sessions: int = 0,
    progress: Progress | None = None,
) -> BenchResult:
    """Measures one model.

    Args:
        model: an ``.onnx`` file.
        device: as `Engine` takes it.
        threads: as `Engine` takes it; of several, all are swept over, and the first is used for the rest.
        batch: images a run, by default 1 or the model's fixed batch; of several, as with threads.
        seconds: for each kind of measurement that was asked for.
        first_answer: time to the first answer and memory, in processes of their own.
        layers: the time of each layer, and its distance to the machine's limits.
        images: end to end, from these files or bytes to labels; an empty sequence takes made ones.
        against: others to be measured in turn with the model, as
            `cnntk.benchmark.targets.opponents` takes them.
        weights: of a ``torch:SOURCE`` to be measured against that has none of its own.
        random: take seeded random weights for such a source.
        scenarios: MLPerf's; ``batch`` images run together at most, 32 if it isn't said.
        load: of the scenarios; by default seeded noise, for ``seconds``, which MLPerf takes for too short.
        sessions: processes in which latency is measured for a baseline; 0 for none.
        progress: is told what is measured.

    Raises:
        UsageError: an argument does not fit the model.
        MissingDependency: something that was asked for needs a package that is not installed.
        CnntkError: the model can't be loaded or run there.
    """
    all_threads, batches = _several(threads, "threads"), _several(batch, "batch")
    for count in all_threads:
        check_threads(count)
    engine = Engine(model, device, threads=all_threads[0] if all_threads else None)
    if all_threads and engine.device != "cpu":
        raise UsageError(f"threads: are for the CPU; leave them out on device {engine.device!r}")
    if (weights is not None or random) and not any(map(_is_torch_source, against)):
        raise UsageError("weights and random: are for torch:SOURCE, to be named in against")
    if images is not None:
        check_images(classifier_of(engine), images)
    size = chosen_batch(engine, batches)
    setting = _Setting(engine, size, seconds, progress or (lambda what: None))
    notes = list(run_notes(engine, size))
    parts: dict[str, Any] = {
        "against": tuple(_against(setting, against, weights, random)),
        "latency": _latency(setting),
        "cuda": _cuda(setting, notes),
        **(_fresh(setting, batches) if first_answer else {}),
        "layers": _layers(setting) if layers else None,
        "sweep": _sweep(setting, all_threads, batches),
        "stages": None if images is None else _stages(setting, images),
        "scenarios": tuple(_scenarios(setting, scenarios, load or Load(seconds=seconds), batches)),
        "cases": _cases(setting, sessions) if sessions else {},
    }
    made = datetime.now(UTC).isoformat(timespec="seconds")
    return BenchResult(
        **_identity(setting), **parts, made=made, machine=machine(engine.device), notes=tuple(notes)
    )


@dataclass(frozen=True)
class _Setting:
    """What is measured, and how.

    Attributes:
        engine: of the model; its file, its device and its threads are those of all parts, so that ``auto`` is
            decided once.
        batch: images a run.
        seconds: for each kind of measurement.
        told: what is measured next.
    """

    engine: Engine
    batch: int
    seconds: float
    told: Progress

    @property
    def asked(self) -> dict[str, Any]:
        """What most measurements take."""
        engine = self.engine
        return {
            "model": engine.name,
            "device": engine.device,
            "threads": engine.threads,
            "seconds": self.seconds,
        }


def _identity(setting: _Setting) -> dict[str, Any]:
    spec, file = setting.engine.spec, Path(setting.engine.name)
    beside = spec.data.size_bytes if spec is not None and spec.data else 0
    return {
        "model": setting.engine.name,
        "name": spec.name if spec is not None else file.stem,
        "sha256": sha256_of(file),
        "size_bytes": file.stat().st_size + beside,
    }


def _latency(setting: _Setting) -> Latency:
    setting.told("latency")
    return measure_latency(**setting.asked, batch=setting.batch)


def _cuda(setting: _Setting, notes: list[str]) -> CudaTimes | None:
    """None on another device, and where its libraries are missing: a note says what to install."""
    if not setting.engine.device.startswith("cuda"):
        return None
    setting.told("the GPU")
    try:
        engine = setting.engine
        return cuda_times(engine.name, device=engine.device, batch=setting.batch, seconds=setting.seconds)
    except MissingDependency as error:
        notes.append(str(error))
        return None


def _fresh(setting: _Setting, batches: Sequence[int]) -> dict[str, Any]:
    """What is measured in processes of their own."""
    asked = {name: setting.asked[name] for name in ("model", "device", "threads")}
    shapes = [setting.batch, *(batch for batch in batches if batch != setting.batch)]
    setting.told("time to the first answer")
    started = start_up(**asked, batches=shapes, processes=2)
    setting.told("memory")
    return {"start_up": started, "memory": memory(**asked, batch=setting.batch)}


def _layers(setting: _Setting) -> LayerReport:
    setting.told("layers")
    return layer_times(**setting.asked, batch=setting.batch)


def _sweep(setting: _Setting, threads: Sequence[int], batches: Sequence[int]) -> Sweep | None:
    if len(threads) < 2 and len(batches) < 2:
        return None
    setting.told("batches and threads")
    engine = setting.engine
    counts = threads or (engine.threads if engine.device == "cpu" else None,)
    asked = {**setting.asked, "threads": counts, "seconds": 2 * setting.seconds}
    return sweep(**asked, batches=batches or (setting.batch,))


def _stages(setting: _Setting, images: Sequence[str | os.PathLike[str] | bytes]) -> Stages:
    setting.told("end to end")
    return stages(**setting.asked, images=images, checked=True)


def _cases(setting: _Setting, sessions: int) -> dict[str, Case]:
    setting.told(f"latency, in {sessions} processes")
    return {"latency": measure_case(**setting.asked, batch=setting.batch, sessions=sessions)}


def _scenarios(
    setting: _Setting, scenarios: Sequence[Scenario], load: Load, batches: Sequence[int]
) -> Iterator[ScenarioResult]:
    for scenario in scenarios:
        setting.told(scenario)
        yield measure_scenario(
            **{**setting.asked, "seconds": load.seconds},
            scenario=scenario,
            target_qps=load.queries_per_second if scenario == "Server" else None,
            batch=batches[0] if batches else None,
            files=load.labeled,
        )


def _is_torch_source(name: str) -> bool:
    return name.startswith("torch:")


def _against(
    setting: _Setting, names: Sequence[str], weights: str | None = None, random: bool = False
) -> Iterator[Rivalry]:
    inputs = batch_inputs(setting.engine, setting.batch)

    def ours() -> object:
        # Nobody else looks for NaN in the answers, which took 5 % of a run of LeNet.
        return setting.engine.run(inputs, allow_nonfinite=True)

    for name in names:
        setting.told(f"against {name}")
        own: dict[str, Any] = {"weights": weights, "random": random} if _is_torch_source(name) else {}
        with opponents(name, setting.engine, inputs, **own) as found:
            for opponent in found:
                faced = None
                if opponent.call is not None:
                    faced = compare_interleaved(opponent.call, ours, seconds=2 * setting.seconds)
                yield Rivalry(opponent, faced)


def _several(given: int | Sequence[int] | None, what: str) -> tuple[int, ...]:
    values = () if given is None else (given,) if isinstance(given, int) else tuple(given)
    if any(value < 1 for value in values) or len(set(values)) < len(values):
        raise UsageError(f"{what} {', '.join(map(str, values))}: expected different numbers of 1 or more")
    return values
