"""Baselines of simulated sessions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from simulated_latencies import normals, samples

from cnntk.benchmark.baseline import Baseline
from cnntk.benchmark.latency import Case, Setting, summarize_sessions
from cnntk.benchmark.machine import detect_machine
from cnntk.benchmark.statistics.samples import LatencySamples

HERE = detect_machine()
SETTINGS = {"threads": 2, "batch": 1, "device": "cpu"}


def sessions(level: float, *, seed: int, count: int = 5, between: float = 0.01) -> list[LatencySamples]:
    """Each with a level of its own around ``level``, and neighbors that are alike."""
    rng = np.random.default_rng(seed)
    levels = level * np.exp(between * rng.normal(size=count))
    return [
        samples(one * row)
        for one, row in zip(levels, np.exp(0.1 * normals(rng, count, 300, 0.5)), strict=True)
    ]


def case(
    level: float = 1.0, *, seed: int = 0, count: int = 5, between: float = 0.01, **settings: Setting
) -> Case:
    items = sessions(level, seed=seed, count=count, between=between)
    return replace(summarize_sessions(items, {**SETTINGS, **settings}), model_sha256="ab" * 32)


def baseline(**cases: Case) -> Baseline:
    return Baseline.create(HERE, cases)
