import io
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from cnntk.benchmark import _inputs
from cnntk.benchmark.options import BenchOptions
from cnntk.benchmark.stages import STAGES, check_images, classify_in_stages, expand_images, measure_stages
from cnntk.benchmark.workload import Workload
from cnntk.runtime import Classifier
from cnntk.runtime.errors import ImageError, UnsupportedArtifact, UsageError
from cnntk.shipped import shipped_model


def drawn(kind: str, side: int, seed: int = 0) -> bytes:
    levels = np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, kind)
    return file.getvalue()


@pytest.fixture(params=["graph", "host"])
def artifact(request: pytest.FixtureRequest, tiny_onnx: Path) -> Path:
    """One that prepares images itself, and one whose images are prepared on the host."""
    return shipped_model() if request.param == "graph" else tiny_onnx


def test_the_steps_are_those_of_the_classifier(artifact: Path, tmp_path: Path) -> None:
    classifier = Classifier(artifact)
    for seed, kind in enumerate(("PNG", "JPEG", "BMP")):
        file = tmp_path / f"image.{kind}"
        file.write_bytes(drawn(kind, 40, seed))
        best, took_ns = classify_in_stages(classifier, file)
        assert best == classifier(file).best == classify_in_stages(classifier, file.read_bytes())[0]
        assert len(took_ns) == len(STAGES)
        assert min(took_ns) > 0


def test_each_format_has_its_row(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(drawn("PNG", 30))
    (tmp_path / "b.png").write_bytes(drawn("PNG", 20))
    result = measure_stages(
        Workload(artifact, seconds=0.1), [tmp_path / "a.png", tmp_path / "b.png", drawn("JPEG", 30)]
    )
    assert [(row.format, row.images) for row in result.formats] == [("JPEG", 1), ("PNG", 2)]
    for row in result.formats:
        assert row.runs >= 20
        assert [stage.name for stage in row.stages] == list(STAGES)
        for stage in row.stages:
            assert 0 <= stage.time_ms.low <= stage.time_ms.value <= stage.time_ms.high
        assert sum(stage.share for stage in row.stages) == pytest.approx(1)
        assert [stage.time_ms.value / row.sum_ms for stage in row.stages] == [
            stage.share for stage in row.stages
        ]
        assert row.unaccounted_ms.low <= row.unaccounted_ms.value <= row.unaccounted_ms.high
        assert row.call_ms > 0 < row.sum_ms
    assert "files come from the system's cache, not from the disk, once they were read" in result.notes


def test_what_takes_long_shows_where_it_is(tiny_onnx: Path) -> None:
    """A large PNG of noise is mostly decoding, for a network of one layer."""
    (row,) = measure_stages(Workload(tiny_onnx, seconds=0.1), [drawn("PNG", 800)]).formats
    decode = row.stages[STAGES.index("decode")]
    assert decode.share > 0.5


def test_without_images_one_is_drawn_and_reported(artifact: Path) -> None:
    result = measure_stages(Workload(artifact, seconds=0.1))
    size = "28x28" if artifact == shipped_model() else "4x4"
    names = [f"JPEG {size}", "JPEG 500x375", "JPEG 1920x1080", f"PNG {size}"]
    assert [row.name for row in result.formats] == names
    assert [row.size for row in result.formats][1:3] == [(375, 500), (1080, 1920)]
    assert any(
        note.startswith(f"no images: measured with images made in memory, of {size}") for note in result.notes
    )
    assert "images are bytes in memory: nothing is read" in result.notes
    in_graph = any(note.startswith("the graph resizes images itself") for note in result.notes)
    assert in_graph == (artifact == shipped_model())


def test_a_resize_in_the_graph_is_preprocessing() -> None:
    """A run of LeNet takes microseconds, the resize of a photograph milliseconds."""
    _, _, large, _ = measure_stages(Workload(shipped_model(), seconds=0.1)).formats
    preprocess, run = (STAGES.index(name) for name in ("preprocess", "run"))
    assert large.stages[preprocess].time_ms.value > 2 * large.stages[run].time_ms.value


def test_images_that_were_not_reached_are_reported(tiny_onnx: Path) -> None:
    result = measure_stages(Workload(tiny_onnx, seconds=0.01), [drawn("PNG", 8)] * 100_000)
    left = 100_000 - result.formats[0].images
    assert f"{left} of 100000 images were not reached in the time limit" in result.notes


def test_what_is_no_image_is_refused(tiny_onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no PNG"):
        measure_stages(Workload(tiny_onnx), [tmp_path / "no PNG"])
    with pytest.raises(ImageError):
        measure_stages(Workload(tiny_onnx), [b"neither"])


def test_what_is_no_classifier_is_refused(foreign_onnx: Path) -> None:
    with pytest.raises(
        UnsupportedArtifact, match=r"does not state how .*; it can't be measured end to end: leave"
    ):
        measure_stages(Workload(foreign_onnx))


def test_files_of_folders_and_patterns(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(drawn("PNG", 4))
    (tmp_path / "empty").mkdir()
    both = (str(tmp_path / "a.png"), str(tmp_path / "b.png"))
    assert (
        expand_images([str(tmp_path)])
        == expand_images([str(tmp_path / "*.png")])
        == expand_images(both)
        == both
    )
    for names, message in (
        ([str(tmp_path), str(tmp_path / "empty")], "empty: contains no image"),
        ([str(tmp_path / "*.gif")], "no file matches this pattern"),
        ([*both, str(tmp_path / "c.png")], "c.png: no such file"),
    ):
        with pytest.raises(UsageError, match=message):
            expand_images(names)


@pytest.mark.parametrize("as_bytes", [False, True])
def test_an_unreadable_image_is_named(tiny_onnx: Path, tmp_path: Path, as_bytes: bool) -> None:
    (tmp_path / "a.png").write_bytes(drawn("PNG", 4))
    (tmp_path / "b.png").write_text("no image")
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    images = [file.read_bytes() for file in files] if as_bytes else files
    classifier = Classifier(tiny_onnx)
    check_images(classifier, images[:1])
    with pytest.raises(ImageError, match="image 2 of 2: " if as_bytes else r"b\.png: not a readable image"):
        check_images(classifier, images)


def test_answers_that_are_not_finite_are_accepted_and_reported(tiny_onnx: Path) -> None:
    expected = "outputs are not finite; Engine refuses them by default, bench does not"
    assert expected not in measure_stages(Workload(tiny_onnx, seconds=0.1)).notes
    model = onnx.load(tiny_onnx)
    bias = next(w for w in model.graph.initializer if w.name == "bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(3, np.nan, np.float32), "bias"))
    onnx.save(model, tiny_onnx)
    assert expected in measure_stages(Workload(tiny_onnx, seconds=0.1)).notes


def test_of_slow_runs_there_are_fewer(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_inputs, "SLOW_S", 0)
    (row,) = measure_stages(Workload(tiny_onnx, seconds=1e-6), [drawn("PNG", 4)]).formats
    assert row.runs == 3


def test_a_file_of_others_with_stated_preprocessing(foreign_onnx: Path) -> None:
    result = measure_stages(Workload(foreign_onnx, seconds=0.02), [drawn("PNG", 8)], "unit")
    assert [stage.name for stage in result.formats[0].stages] == list(STAGES)
    with pytest.raises(UsageError, match="belongs to --end-to-end"):
        BenchOptions(preprocessing="unit")
