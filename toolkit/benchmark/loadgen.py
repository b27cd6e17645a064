"""The system that MLPerf's load generator sends its queries to; runs in a process of its own.

The load generator calls back from C++, where an exception of Python's would end the process without a word:
what fails there says why on the standard error, and ends it.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark.inputs import batch_inputs, fixed_batch
from cnntk.benchmark.stages import prepared
from cnntk.runtime.batch_split import pad_batch
from cnntk.runtime.batching.batch_assembly import batch_dimension, stack
from cnntk.runtime.batching.batching import BatchingEngine
from cnntk.runtime.classifier import Classifier
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import MissingDependency, UsageError

__all__ = ["measured"]

_RULES = "resnet50"
"""MLPerf's benchmark whose settings are taken: image classification."""

_VALID_S = 600
"""Seconds that a valid run lasts at least."""

_STRIDE = 7919

Arrays = dict[str, NDArray[Any]]
Query = Sequence[Any]


def measured(
    model: str,
    device: str,
    threads: int | None,
    scenario: str,
    seconds: float | None,
    target_qps: float | None,
    target_latency_ms: float | None,
    batch: int,
    sample_count: int,
    paths: list[str],
    labels: list[int],
) -> dict[str, Any]:
    """One scenario, and the accuracy where there are labeled images; the log's entries as they are."""
    import mlperf_loadgen as lg

    # Nobody else whom it measures looks for NaN.
    engine = Engine(model, device, threads=threads, allow_nonfinite=True)
    _check_batch(engine)
    samples = _Files(engine, paths) if paths else _Noise(engine, sample_count)
    system = (_Queue if scenario == "Server" else _Direct)(lg, engine, samples, batch)
    settings = _settings(lg, scenario, system, seconds)
    if target_qps is not None:
        settings.server_target_qps = target_qps
    if target_latency_ms is not None:
        settings.server_target_latency_ns = int(1e6 * target_latency_ms)
    log, _ = _test(lg, settings, system)
    found = {
        "log": log,
        "different_samples": len(samples),
        "batch": system.batch,
        "fixed_batch": system.fixed,
        "padding": system.padding,
        "accuracy": None,
        "accuracy_images": 0,
    }
    if paths:
        settings.mode = lg.TestMode.AccuracyOnly
        settings.max_duration_ms = 0
        settings.server_target_qps = 0.5 / system.seconds_of(1)  # one after the other, not in ten hours
        _, answers = _test(lg, settings, system)
        right = sum(answers[i] == label for i, label in enumerate(labels))
        found |= {"accuracy": right / len(labels), "accuracy_images": len(labels)}
    return found


def _check_batch(engine: Engine) -> None:
    """Each row of a fixed batch must have an answer of its own, that samples may be padded to it."""
    fixed = fixed_batch(engine) or 1
    if fixed > 1 and batch_dimension((*engine.inputs, *engine.outputs)) != fixed:
        raise UsageError(
            f"{engine.name}: its batch is fixed at {fixed}, but not all its inputs and outputs have {fixed} "
            "rows, so no answer is known to be that of one sample; export it with a free batch or with 1"
        )


class _Noise:
    """Different samples without end: one array of noise, turned round."""

    def __init__(self, engine: Engine, count: int) -> None:
        fixed = fixed_batch(engine)
        whole = batch_inputs(engine, fixed or 1)
        self._one = {name: array[:1] for name, array in whole.items()} if fixed else whole
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Arrays:
        return {name: np.roll(array, index * _STRIDE) for name, array in self._one.items()}


class _Files:
    """Images, prepared."""

    def __init__(self, engine: Engine, paths: Sequence[str]) -> None:
        self._classifier, self._paths = Classifier(engine), paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Arrays:
        pixels = self._classifier.read(self._paths[index])
        return {self._classifier.engine.inputs[0].name: prepared(self._classifier, pixels)}


class _System(ABC):
    """What both ways to answer have in common: samples in memory, and answers handed back.

    To a fixed batch, samples are padded with copies of the last one. MLPerf's rules leave the batch to the
    system ("dynamically switching between one or more batch sizes" is allowed), and nothing is cached.

    Attributes:
        fixed: the only batch that the model takes; None where it is free.
        batch: samples that run together at most.
    """

    def __init__(self, lg: Any, engine: Engine, samples: _Noise | _Files, batch: int) -> None:
        self.engine, self.samples, self.fixed = engine, samples, fixed_batch(engine)
        self.batch = self.fixed or batch
        self._lg, self._loaded = lg, dict[int, Arrays]()
        self._classifies = engine.spec is not None and engine.spec.head == "classifier"

    def load(self, indices: Sequence[int]) -> None:
        self._loaded = {index: self.samples[index] for index in indices}

    def unload(self, indices: Sequence[int]) -> None:
        self._loaded = {}

    @abstractmethod
    def issue(self, queries: Query) -> None:
        """Takes queries in, each of one sample."""

    @property
    @abstractmethod
    def padding(self) -> int:
        """Copies that were run so far to fill a fixed batch."""

    def seconds_of(self, count: int) -> float:
        """To answer so many samples together: median of 10, after 3."""
        self._loaded = {0: self.samples[0]}
        queries, taken = [self._lg.QuerySample(0, 0)] * count, []
        for _ in range(13):
            start = time.perf_counter()
            self.answer(queries, self.engine.run(self.inputs(queries)), complete=_nowhere)
            taken.append(time.perf_counter() - start)
        return statistics.median(taken[3:])

    def inputs(self, queries: Query) -> Arrays:
        """Of these samples, which are of one size."""
        together = stack([self._loaded[query.index] for query in queries])
        return pad_batch(together, self.fixed) if self.fixed else together

    def answer(
        self, queries: Query, answers: Arrays, complete: Callable[[list[Any]], None] | None = None
    ) -> None:
        """Hands back the number of each class; of what is no classifier, that it is done."""
        best = np.zeros(len(queries), dtype=np.int64)
        if self._classifies:
            best = np.argmax(answers["probabilities"][: len(queries)], axis=1).astype(np.int64)
        at, size, response = best.ctypes.data, best.itemsize, self._lg.QuerySampleResponse
        responses = [response(query.id, at + size * i, size) for i, query in enumerate(queries)]
        (complete or self._lg.QuerySamplesComplete)(responses)


class _Direct(_System):
    """Runs what comes at once, in batches; nothing else comes meanwhile."""

    _padding = 0

    @property
    def padding(self) -> int:
        return self._padding

    def issue(self, queries: Query) -> None:
        for part in self._parts(queries):
            self.answer(part, self.engine.run(self.inputs(part)))
            self._padding += self.fixed - len(part) if self.fixed else 0

    def _parts(self, queries: Query) -> Iterator[Query]:
        """Neighbors of one size."""
        for _, alike in groupby(queries, key=lambda query: _shapes(self._loaded[query.index])):
            part = list(alike)
            yield from (part[i : i + self.batch] for i in range(0, len(part), self.batch))


class _Queue(_System):
    """Queues what comes, and runs together what waits."""

    def __init__(self, lg: Any, engine: Engine, samples: _Noise | _Files, batch: int) -> None:
        super().__init__(lg, engine, samples, batch)
        self._batching = BatchingEngine(engine, max_batch=self.batch, max_wait_ms=0, max_queue=1_000_000)

    @property
    def padding(self) -> int:
        done = self._batching.stats
        return self.fixed * done.batches - done.requests if self.fixed else 0

    def issue(self, queries: Query) -> None:
        for query in queries:
            future = self._batching.submit(self._loaded[query.index])
            future.add_done_callback(partial(self._done, query))

    def _done(self, query: Any, future: Future[Arrays]) -> None:
        _or_end(lambda: self.answer([query], future.result()))


def _settings(lg: Any, scenario: str, system: _System, seconds: float | None) -> Any:
    """MLPerf's own, with what it leaves to its users: how fast the system is, roughly."""
    settings = lg.TestSettings()
    if settings.FromConfig("", _RULES, scenario, 0):
        raise MissingDependency(
            "this mlcommons-loadgen brings no settings; run: pip install --upgrade mlcommons-loadgen"
        )
    settings.scenario = getattr(lg.TestScenario, scenario)
    settings.mode = lg.TestMode.PerformanceOnly
    settings.performance_sample_count_override = min(
        settings.performance_sample_count_override, len(system.samples)
    )
    stretch = 1.0
    if seconds is not None and seconds < _VALID_S:
        settings.max_duration_ms = int(1e3 * seconds)
        settings.min_query_count = 1 if scenario == "Offline" else settings.min_query_count
        stretch = _VALID_S / seconds  # queries are made beforehand, enough for 10 minutes
    if scenario == "SingleStream":
        settings.single_stream_expected_latency_ns = int(1e9 * stretch * system.seconds_of(1))
    elif scenario == "MultiStream":
        count = settings.multi_stream_samples_per_query
        per_query = system.seconds_of(min(system.batch, count)) * math.ceil(count / system.batch)
        settings.multi_stream_expected_latency_ns = int(1e9 * stretch * per_query)
    elif scenario == "Offline":
        per_second = system.batch / system.seconds_of(system.batch)
        settings.offline_expected_qps = per_second / stretch
    return settings


def _test(lg: Any, settings: Any, system: _System) -> tuple[dict[str, Any], dict[int, int]]:
    """Runs a test: the entries of its log, and the class of each sample in accuracy mode."""
    with tempfile.TemporaryDirectory() as folder:
        output = lg.LogOutputSettings()
        output.outdir = folder
        logs = lg.LogSettings()
        logs.log_output = output
        logs.enable_trace = False
        sut = lg.ConstructSUT(_ending(system.issue), _nowhere)
        count = len(system.samples)
        qsl = lg.ConstructQSL(
            count,
            min(count, settings.performance_sample_count_override),
            _ending(system.load),
            _ending(system.unload),
        )
        lg.StartTestWithLogSettings(sut, qsl, settings, logs)
        lg.DestroyQSL(qsl)
        lg.DestroySUT(sut)
        return _log(Path(folder)), _answers(Path(folder))


def _log(folder: Path) -> dict[str, Any]:
    """The last value of each entry, and under ``errors`` what went wrong."""
    found: dict[str, Any] = {"errors": []}
    for line in (folder / "mlperf_log_detail.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith(":::MLLOG "):
            continue
        entry = json.loads(line.removeprefix(":::MLLOG "), strict=False)
        if entry["metadata"]["is_error"]:
            found["errors"].append(entry["value"])
        else:
            found[entry["key"]] = entry["value"]
    return found


def _answers(folder: Path) -> dict[int, int]:
    text = (folder / "mlperf_log_accuracy.json").read_text(encoding="utf-8")
    rows = json.loads(text) if text.strip() else []
    return {row["qsl_idx"]: int(np.frombuffer(bytes.fromhex(row["data"]), np.int64)[0]) for row in rows}


def _nowhere(*arguments: Any) -> None:
    """Takes answers of trials, and the request to hold nothing back."""


def _shapes(arrays: Arrays) -> tuple[tuple[int, ...], ...]:
    return tuple(array.shape for array in arrays.values())


def _ending(function: Callable[..., None]) -> Callable[..., None]:
    return lambda *arguments: _or_end(partial(function, *arguments))


def _or_end(call: Callable[[], None]) -> None:
    try:
        call()
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
