"""Whatever a spec says, only a CnntkError leaves the runtime, and what loads gives the same results."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spec_mutations import SpecMutation, sealed, spec_mutations, split_spec
from torch import nn

from cnntk import inspect
from cnntk.cli.output import print_json, print_sections
from cnntk.exporters import export
from cnntk.inference.pipeline import infer
from cnntk.runtime import Classifier, CnntkError, Engine
from cnntk.runtime.classifier import Predictions
from cnntk.shipped import shipped_model

IMAGES = [
    np.random.default_rng(i).integers(0, 256, (*s, 3), np.uint8) for i, s in enumerate([(28, 28), (9, 40)])
]
RECORD = {
    "accuracy": {"images": 9, "drop": 0.1, "drop_low": -0.5, "drop_high": 0.7},
    "speed": {"ratio": 1.5, "low": 1.4, "high": 1.6, "machine": "cpu"},
    "config": {"target": "any", "layers": {"fc": {"precision": "int8", "reason": "faster"}}},
    "portable_to": "every CPU",
}
FIT = {"temperature": 1.5, "data": "digits", "images": 359, "ece_before": 0.09, "ece_after": 0.03}


@dataclass(frozen=True)
class Artifact:
    """An artifact and its results for the images."""

    path: Path
    probabilities: list[np.ndarray]

    def check(self, results: list[Predictions]) -> None:
        """Asserts that results are those of the sound spec, in batches of any size."""
        np.testing.assert_allclose([r.probabilities for r in results], self.probabilities, atol=1e-6)


@pytest.fixture(params=["shipped", "with a data file", "quantized"])
def artifact(request: pytest.FixtureRequest, tmp_path: Path) -> Artifact:
    path = tmp_path / "model.onnx"
    if request.param == "with a data file":
        export(
            nn.Sequential(nn.Flatten(), nn.Linear(3 * 28 * 28, 8)).eval(),
            path,
            input_shape=(3, 28, 28),
            preprocessing={"mean": "0.4,0.5,0.6"},
            external_data=True,
        )
    else:
        shutil.copy(shipped_model(), path)
    if request.param == "quantized":
        prefix, spec = split_spec(path.read_bytes())
        provenance = {**spec["provenance"], "calibration": FIT}
        text = json.dumps({**spec, "provenance": provenance, "quantization": RECORD, "digest": "0" * 64})
        path.write_bytes(sealed(prefix, text.encode()))
    return Artifact(path, [p.probabilities for p in Classifier(path).many(IMAGES)])


def steps(artifact: Artifact, image: Path, mutation: SpecMutation) -> Iterator[Callable[[], Any]]:
    """What apps and commands do with an artifact."""
    yield lambda: Engine(artifact.path).self_test()
    classify = Classifier(artifact.path)
    yield lambda: artifact.check([classify(each) for each in IMAGES])
    if mutation.path[0] != "preprocessing":  # in which a field that is missing has its default
        yield lambda: artifact.check(classify.many(IMAGES))
    yield lambda: [p.top(100) for p in classify.many(IMAGES)]
    yield lambda: list(infer(classify, [image]))
    inspection = inspect(artifact.path)
    yield lambda: print_sections(inspection.sections())
    yield lambda: print_json(inspection)


def errors_of(artifact: Artifact, image: Path, mutation: SpecMutation) -> list[CnntkError]:
    """The errors that are expected; any other exception fails the test."""
    errors = []
    try:
        for step in steps(artifact, image, mutation):
            try:
                step()
            except CnntkError as error:
                errors.append(error)
    except CnntkError as error:
        errors.append(error)
    return errors


def check_mutations(artifact: Artifact, image: Path, every: int) -> None:
    prefix, spec = split_spec(artifact.path.read_bytes())
    sound, mutations = 0, list(spec_mutations(spec))[::every]
    for mutation in mutations:
        artifact.path.write_bytes(sealed(prefix, mutation.text))
        with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8")):
            try:
                errors = errors_of(artifact, image, mutation)
            except Exception as error:  # whatever it is, the mutation must be named
                raise AssertionError(f"{mutation.name}: {error!r}") from error
        assert all(str(error).isprintable() and len(str(error)) < 700 for error in errors), mutation.name
        sound += not errors
    assert 0 < sound < len(mutations)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 255 \0\xff")
    return tmp_path / "a.pgm"


def test_odd_specs(artifact: Artifact, image: Path) -> None:
    check_mutations(artifact, image, 97)


@pytest.mark.slow
def test_every_odd_spec(artifact: Artifact, image: Path) -> None:
    check_mutations(artifact, image, 1)
