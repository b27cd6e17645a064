"""The user's own samples among what an export is tried on: they find what built-in inputs do not reach."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cnntk.exporters import export
from cnntk.exporters._prepare import prepare
from cnntk.exporters.checks._inputs import OutputCache, read_samples
from cnntk.exporters.checks._parity import compare_outputs
from cnntk.exporters.checks._static import list_samples
from cnntk.exporters.checks.reference import reference_outputs
from cnntk.exporters.options import ExportOptions
from cnntk.exporters.session import GraphSession
from cnntk.exporters.sources import open_source
from cnntk.runtime import Engine
from cnntk.runtime.errors import ExportCheckError, ParityError, UsageError

SHAPE = (3, 8, 8)
SAMPLES = {"input": 4 + np.random.default_rng(0).random((6, *SHAPE), np.float32) / 2}
"""Between 4 and 4.5: photos as some scale them; built-in inputs lie within 1 of 0, or 39 and more away."""


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def unseen(x: torch.Tensor) -> torch.Tensor:
    return torch.where((x > 3) & (x < 5), x, torch.zeros_like(x))


class Specialized(nn.Module):
    """Answers something else where it is captured, for values from 3 to 5."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer = x.mean((2, 3))
        return answer if torch.compiler.is_exporting() else answer + unseen(x).mean((2, 3))


class Mixing(nn.Module):
    """Mixes the images of a batch, for values from 3 to 5."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) + unseen(x).mean((0, 2, 3)) * x.amax((2, 3))


TRAPS = [
    (Specialized, ParityError, "the program that torch captured differs from the module"),
    (Mixing, ExportCheckError, "an image's output changes by .* with the rest of the batch"),
]


@pytest.mark.parametrize(("kind", "error", "message"), TRAPS, ids=[case[0].__name__ for case in TRAPS])
def test_a_fault_that_only_samples_reach(kind: type[nn.Module], error: type[Exception], message: str) -> None:
    assert export(kind().eval(), "m.onnx", input_shape=SHAPE).parity
    Path("m.onnx").unlink()
    with pytest.raises(error, match=message):
        export(kind().eval(), "m.onnx", input_shape=SHAPE, samples=SAMPLES)
    assert not Path("m.onnx").exists()
    ordinary = {"input": np.random.default_rng(1).random((2, *SHAPE), np.float32)}
    assert export(kind().eval(), "m.onnx", input_shape=SHAPE, samples=ordinary).parity


def test_a_wrong_graph_that_only_samples_reach(small_cnn: nn.Module) -> None:
    source = open_source(small_cnn, ExportOptions(SHAPE))
    for samples, wrong in ((None, False), (SAMPLES, True)):
        candidate = prepare(source, ExportOptions(), samples and read_samples(samples, source)).candidate
        session = GraphSession(candidate.model, optimize=True)

        def faulty(inputs: dict, session: object = session) -> dict:
            (x,) = inputs.values()
            outputs = session.run(inputs)
            off = np.where((x > 3) & (x < 5), x, 0).mean((1, 2, 3))[:, None]
            return {**outputs, "logits": outputs["logits"] + 1e-3 * off.astype(np.float32)}

        expected = reference_outputs(candidate.reference, candidate.inputs, candidate.eps)
        runs = OutputCache(faulty, candidate.inputs)
        if wrong:
            with pytest.raises(ParityError, match=r"logits: on sample \d differs from float64"):
                compare_outputs(runs, expected, lambda: "")
        else:
            assert compare_outputs(runs, expected, lambda: "")


def test_samples_stand_in_the_report(small_cnn: nn.Module) -> None:
    report = export(small_cnn, "m.onnx", input_shape=SHAPE, samples=SAMPLES)
    kinds = {p.kind for p in report.parity if p.output == "logits"}
    assert {"sample 1", "sample 2", "sample 3", "sample 4", "noise", "black"} <= kinds
    assert "sample 5" not in kinds
    assert all(p.batches == (1, 2, 3, 12) for p in report.parity)
    (check,) = [check for check in report.checks if check.name == "samples"]
    assert check.detail == "4 of 6 used as inputs: number 1, number 2, number 3, number 4"
    checks = Engine("m.onnx").spec.check_results["checks"]
    assert check.detail in [c["detail"] for c in checks]


@pytest.mark.parametrize("dtype", ["auto", "float16"])
def test_a_folder_of_images(tmp_path: Path, dtype: str) -> None:
    from cnntk.shipped import shipped_checkpoint

    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(2):
        array = np.random.default_rng(i).integers(0, 256, (40, 30), np.uint8)
        Image.fromarray(array).save(photos / f"{i}.png")
    report = export(shipped_checkpoint(), "m.onnx", samples=photos, preprocess="host", dtype=dtype)
    assert {"sample 1", "sample 2"} <= {p.kind for p in report.parity}
    assert any(c.detail == "2 of 2 used as inputs: 0.png, 1.png" for c in report.checks)


def test_samples_have_the_type_that_the_artifact_takes(small_cnn: nn.Module) -> None:
    half = {"input": SAMPLES["input"].astype(np.float16)}
    assert export(small_cnn, "m.onnx", input_shape=SHAPE, dtype="float16", samples=half).parity
    with pytest.raises(UsageError, match=r"array 'input': expected float16 \[n, 3, 8, 8\], got float32"):
        export(small_cnn, "n.onnx", input_shape=SHAPE, dtype="float16", samples=SAMPLES)
    assert not Path("n.onnx").exists()


def test_a_large_network_is_tried_on_two(monkeypatch: pytest.MonkeyPatch, small_cnn: nn.Module) -> None:
    from cnntk.exporters import _prepare as module

    monkeypatch.setattr(module, "_LARGE", 100)
    source = open_source(small_cnn, ExportOptions(SHAPE))
    samples = read_samples(SAMPLES, source)
    candidate = prepare(source, ExportOptions(), samples).candidate
    assert candidate.inputs.kinds == ("sample 1", "noise", "sample 2", "extremes", "hot pixel")
    assert list_samples(candidate).detail == "2 of 6 used as inputs: number 1, number 2"
