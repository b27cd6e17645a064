"""The real load generator; it is an extra."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from cnntk.benchmark.scenarios import measure_scenario
from cnntk.data.labeled import LabeledFiles, labeled_files
from cnntk.runtime.errors import InferenceError, UnsupportedArtifact, UsageError
from cnntk.shipped import shipped_model

pytest.importorskip("mlperf_loadgen", reason="MLPerf's load generator is not installed: 'cnntk[loadgen]'")

SCENARIOS = ("SingleStream", "MultiStream", "Server", "Offline")
LABELS = ("dark", "light", "left")


@pytest.fixture
def files(tmp_path: Path) -> LabeledFiles:
    """Ten dark and ten light images of two sizes, two of them in the other's folder."""
    for label, level in (("dark", 10), ("light", 240)):
        (tmp_path / "images" / label).mkdir(parents=True)
        for i in range(10):
            side = 4 if i % 2 else 9
            levels = np.full((side, side), 250 - level if i == 9 else level, dtype=np.uint8)
            Image.fromarray(levels).save(tmp_path / "images" / label / f"{i}.png")
    return labeled_files(tmp_path / "images", LABELS)


def fixed_at(batch: int, model: Path, folder: Path) -> Path:
    """The same model with its batch fixed."""
    proto = onnx.load(model)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    onnx.save(proto, folder / "fixed.onnx")
    return folder / "fixed.onnx"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_short_run_is_measured_and_not_valid(tiny_onnx: Path, scenario: str) -> None:
    rate = {"target_qps": 200} if scenario == "Server" else {}
    found = measure_scenario(tiny_onnx, scenario, seconds=0.5, threads=1, **rate)
    assert not found.valid
    assert "lasted less than MLPerf's 600 s" in found.reasons
    assert found.value > 0
    assert found.settings["min_duration_ms"] == 600_000
    assert found.samples == found.queries * found.settings["samples_per_query"]
    assert found.settings["samples_per_query"] == 8 if scenario == "MultiStream" else found.queries >= 1
    assert found.batch == {"SingleStream": 1, "MultiStream": 8}.get(scenario, 32)
    assert found.notes[0] == "seeded noise was sent; labeled images would show the accuracy, too"
    assert found.notes[1:] == (() if found.batch == 1 else (f"at most {found.batch} samples ran together",))


def test_the_rules_are_those_of_image_classification(tiny_onnx: Path) -> None:
    found = measure_scenario(tiny_onnx, "Server", seconds=0.3, target_latency_ms=None)
    assert found.settings["target_latency_ns"] == 15_000_000
    assert found.settings["target_latency_percentile"] == 0.99
    assert found.settings["target_qps"] == 1
    assert (
        "1 query a second is MLPerf's placeholder; say with --qps (target_qps) what you expect" in found.notes
    )


def test_a_bound_that_can_not_be_held_is_a_reason(tiny_onnx: Path) -> None:
    found = measure_scenario(tiny_onnx, "Server", seconds=0.5, target_qps=100, target_latency_ms=1e-5)
    assert "fewer than 99% of the queries took 1e-05 ms or less" in found.reasons


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_accuracy_is_that_of_the_labels(tiny_onnx: Path, files: LabeledFiles, scenario: str) -> None:
    found = measure_scenario(tiny_onnx, scenario, seconds=0.2, files=files)
    assert (found.accuracy, found.accuracy_images) == (0.9, 20)
    assert "had 20 different samples, MLPerf at least 1024" in found.reasons
    assert not any("noise" in note for note in found.notes)


def test_images_of_any_size_go_to_a_graph_that_resizes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(12):
        (tmp_path / str(i % 10)).mkdir(exist_ok=True)
        side = 28 if i % 3 else 40
        Image.fromarray(rng.integers(0, 255, (side, side), np.uint8)).save(
            tmp_path / str(i % 10) / f"{i}.png"
        )
    files = labeled_files(tmp_path, tuple("0123456789"))
    assert measure_scenario(shipped_model(), "Offline", seconds=0.2, files=files).accuracy_images == 12


def test_an_image_that_can_not_be_read_ends_it(tiny_onnx: Path, files: LabeledFiles) -> None:
    Path(files.paths[3]).write_bytes(b"nothing")
    with pytest.raises(InferenceError, match=r"ended with status 1.*ImageError: .*3\.png"):
        measure_scenario(tiny_onnx, "SingleStream", seconds=0.2, files=files)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_fixed_batch_is_filled_with_copies(tiny_onnx: Path, tmp_path: Path, scenario: str) -> None:
    rate = {"target_qps": 200} if scenario == "Server" else {}
    found = measure_scenario(fixed_at(3, tiny_onnx, tmp_path), scenario, seconds=0.3, threads=1, **rate)
    told = [note for note in found.notes if "the model's batch is fixed at 3" in note]
    copies = {
        "SingleStream": 2 * found.queries,  # 1 sample a query
        "MultiStream": found.queries,  # 8, in batches of 3, 3 and 2
        "Offline": -found.samples % 3,  # all in one query
    }
    if scenario == "Server":  # by what waits together
        assert len(told) == 1
    elif copies[scenario]:
        ran = found.samples + copies[scenario]
        assert told[0].endswith(f": {copies[scenario]:,} of the {ran:,} samples that were run are padding")
    else:
        assert told == []


@pytest.mark.parametrize(("scenario", "batch"), [*((scenario, 7) for scenario in SCENARIOS), ("Server", 1)])
def test_copies_are_not_answers(
    tiny_onnx: Path, tmp_path: Path, files: LabeledFiles, scenario: str, batch: int
) -> None:
    model = fixed_at(batch, tiny_onnx, tmp_path)
    found = measure_scenario(model, scenario, seconds=0.2, files=files)
    assert (found.accuracy, found.accuracy_images) == (0.9, 20)
    filled = batch > 1 and not (scenario == "Offline" and found.samples % batch == 0)
    assert any("padding" in note for note in found.notes) == filled


def test_what_can_not_be_sent(foreign_onnx: Path, batch_of_3: Path, files: LabeledFiles) -> None:
    proto = onnx.load(batch_of_3)
    proto.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 6
    onnx.save(proto, batch_of_3)
    with pytest.raises(UsageError, match=r"fixed at 3, but not all .* have 3 rows.*export it with a free"):
        measure_scenario(batch_of_3, "Offline", seconds=0.2)
    with pytest.raises(UnsupportedArtifact, match="does not say how an image becomes its input"):
        measure_scenario(foreign_onnx, "Offline", seconds=0.2, files=files)
