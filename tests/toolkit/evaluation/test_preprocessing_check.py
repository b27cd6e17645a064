"""Networks that were trained, exported with a spec that is wrong in one thing: the check names it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest
import striped
import torch
from PIL import Image
from torch import nn

from cnntk.evaluation.preprocessing_check import ALPHA, PreprocessingCheck, check_preprocessing
from cnntk.exporters import export
from cnntk.runtime.classifier import Classifier
from cnntk.runtime.codec import as_json
from cnntk.runtime.errors import DataError, MissingDependency, UnsupportedArtifact

pytestmark = pytest.mark.slow  # networks are trained first

Way = Literal["host", "graph"]
Exported = Callable[..., Path]

RIGHT = {"mean": "0.5,0.5,0.5", "std": "0.5,0.5,0.5", "resize": "shortest"}
OTHER_MEAN = {"mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225"}

WRONG = [
    pytest.param({"color": "bgr"}, {"RGB"}, id="bgr"),
    pytest.param({"scale": "1"}, {"/255"}, id="no /255"),
    pytest.param({"scale": "1/65025"}, {"/255"}, id="twice /255"),
    pytest.param({"mean": "0,0,0", "std": "1,1,1"}, {"0.5/0.5"}, id="no mean"),
    pytest.param(OTHER_MEAN, {"0.5/0.5"}, id="imagenet"),
    pytest.param({"antialias": "false"}, {"antialias"}, id="no antialias"),
    pytest.param({"interpolation": "nearest"}, {"bilinear", "bicubic"}, id="nearest"),
    pytest.param({"resize": "stretch"}, {"crop"}, id="stretch"),
    pytest.param({"resize": "longest"}, {"crop"}, id="letterbox"),
    pytest.param({"invert": "always"}, {"not inverted"}, id="inverted"),
]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return striped.trained()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return striped.write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def exported(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The network with the right spec, but for some fields."""
    folder, files = tmp_path_factory.mktemp("models"), {}

    def make(way: Way, module: nn.Module | None = None, **fields: str) -> Path:
        key = (way, id(module), *sorted(fields.items()))
        if key not in files:
            file = folder / f"{len(files)}.onnx"
            export(
                module or network,
                file,
                input_shape=(3, 16, 16),
                labels=striped.LABELS,
                preprocessing={**RIGHT, **fields},
                preprocess=way,
            )
            files[key] = file
        return files[key]

    return make


def better(report: PreprocessingCheck) -> set[str]:
    return {c.name for c in report.variants if c.better}


@pytest.mark.parametrize("way", ["host", "graph"])
@pytest.mark.parametrize(("fields", "expected"), WRONG)
def test_what_is_wrong_is_named(
    fields: dict[str, str], expected: set[str], way: Way, exported: Exported, photos: Path
) -> None:
    report = check_preprocessing(exported(way, **fields), photos)
    best = report.best
    assert best is not None
    assert best.name in expected
    assert best.accuracy > 0.85
    assert best.accuracy > report.spec.accuracy + 0.3
    assert best.p < 1e-5
    assert not report.holds
    assert report.verdict.startswith(f"mismatch: {best.name} scores {100 * best.accuracy:.1f} % instead of")
    assert report.untested == ()


@pytest.mark.parametrize("fields", [{"color": "bgr"}, OTHER_MEAN, {"resize": "longest"}])
def test_the_named_options_fix_it(fields: dict[str, str], exported: Exported, photos: Path) -> None:
    """What the verdict says, typed."""
    best = check_preprocessing(exported("graph", **fields), photos).best
    assert best is not None
    fixed = dict(option.split("=", 1) for option in best.options)
    again = check_preprocessing(exported("graph", **{**fields, **fixed}), photos)
    assert again.holds, again.verdict
    assert again.spec.accuracy == pytest.approx(best.accuracy, abs=0.02)


@pytest.mark.parametrize("way", ["host", "graph"])
def test_of_a_right_spec_nothing_is_claimed(way: Way, exported: Exported, photos: Path) -> None:
    report = check_preprocessing(exported(way), photos)
    assert report.holds
    assert better(report) == set()
    assert report.spec.accuracy > 0.85
    assert "scores better than the spec's" in report.verdict
    assert {c.images for c in (report.spec, *report.variants)} == {96}


@pytest.mark.parametrize("seed", range(4))
def test_of_shuffled_labels_nothing_is_claimed(seed: int, exported: Exported, tmp_path: Path) -> None:
    folder = striped.write_photos(tmp_path / "shuffled", shuffle=seed)
    report = check_preprocessing(exported("host"), folder)
    assert report.holds, report.verdict
    assert any("is no better than guessing" in note for note in report.notes)


def _across(image: Any) -> Any:
    return np.ascontiguousarray(image.transpose(1, 0, 2))


def _gray(image: Any) -> Any:
    return np.asarray(Image.fromarray(image).convert("L").convert("RGB"))


@pytest.mark.parametrize("way", ["host", "graph"])
@pytest.mark.parametrize(("name", "before"), [("transposed", _across), ("gray", _gray)])
def test_what_no_option_can_fix_is_named_too(
    name: str, before: Callable[[Any], Any], way: Way, tmp_path: Path
) -> None:
    network = striped.trained(before=before)
    if name == "gray":  # on which three channels are one, so that only the sum of their weights is learned
        weight = network[0].weight
        weight.data = weight.data.sum(1, keepdim=True) * torch.tensor([3.0, 1.0, -3.0]).reshape(1, 3, 1, 1)
    file = tmp_path / "model.onnx"
    export(network, file, input_shape=(3, 16, 16), labels=striped.LABELS, preprocessing=RIGHT, preprocess=way)
    report = check_preprocessing(file, striped.write_photos(tmp_path / "photos"))
    assert report.best is not None, [(c.name, c.accuracy) for c in report.variants]
    assert report.best.name == name
    assert report.best.options == ()
    assert "no --preprocessing option does" in report.verdict


@pytest.mark.parametrize("way", ["host", "graph"])
def test_two_mistakes_at_once_that_are_one_habit(way: Way, tmp_path: Path) -> None:
    """As Caffe's networks have it, whose levels no byte expresses beside ImageNet's."""
    caffe = replace(striped.TRUE, color="bgr", scale=1.0, mean=(103.939, 116.779, 123.68), std=(1.0,) * 3)
    file = tmp_path / "model.onnx"
    export(
        striped.trained(caffe),
        file,
        input_shape=(3, 16, 16),
        labels=striped.LABELS,
        preprocessing={**RIGHT, **OTHER_MEAN},
        preprocess=way,
    )
    best = check_preprocessing(file, striped.write_photos(tmp_path / "photos")).best
    assert best is not None
    assert best.name == "Caffe"
    assert best.options == ("color=bgr", "scale=1", "mean=103.939,116.779,123.68", "std=1,1,1")


def test_host_and_graph_score_alike(exported: Exported, photos: Path) -> None:
    reports = [check_preprocessing(exported(way, color="bgr"), photos) for way in ("host", "graph")]
    scores = [{c.name: (c.accuracy, c.gained, c.lost) for c in report.variants} for report in reports]
    assert scores[0] == scores[1]
    likely = [{c.name: c.log_likelihood for c in report.variants} for report in reports]
    assert likely[0] == pytest.approx(likely[1], rel=1e-3)


def test_the_spec_scores_as_the_classifier_does(exported: Exported, photos: Path) -> None:
    """A control of the whole way by another one."""
    for way in ("host", "graph"):
        classify = Classifier(exported(way))
        files = sorted(photos.glob("*/*.png"))
        right = [classify(file).best.label == file.parent.name for file in files]
        accuracy = check_preprocessing(exported(way), photos).spec.accuracy
        assert accuracy == pytest.approx(np.mean(right), abs=0.02)


def test_without_onnx_bytes_are_tried_and_the_rest_is_reported(
    exported: Exported, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, host = exported("graph", color="bgr"), exported("host", scale="1")
    monkeypatch.setitem(sys.modules, "onnx_ir", None)
    report = check_preprocessing(graph, photos)
    assert report.best is not None
    assert report.best.name == "RGB"
    assert {"no /255", "ImageNet"} <= set(report.untested)
    assert not {"inverted", "stretch", "no antialias", "transposed"} & set(report.untested)
    assert any("no /255" in note and "pip install 'cnntk[export]'" in note for note in report.notes)
    assert check_preprocessing(host, photos).untested == ()


def test_levels_between_bytes_need_onnx(
    exported: Exported, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = exported("graph", color="bgr", levels="float32")
    report = check_preprocessing(model, photos)
    assert report.best is not None
    assert report.best.name == "RGB"
    monkeypatch.setitem(sys.modules, "onnx_ir", None)
    with pytest.raises(MissingDependency, match=r"cnntk\[export\]"):
        check_preprocessing(model, photos)


def test_few_images_claim_nothing_and_say_so(exported: Exported, tmp_path: Path) -> None:
    report = check_preprocessing(
        exported("host", color="bgr"), striped.write_photos(tmp_path / "few", count=8)
    )
    assert report.holds
    assert any("8 images are too few" in note and "at least 10" in note for note in report.notes)
    enough = check_preprocessing(
        exported("host", color="bgr"), striped.write_photos(tmp_path / "more", count=16)
    )
    assert not enough.holds


def test_images_that_need_no_resize_can_t_tell_ways_to_resize(exported: Exported, tmp_path: Path) -> None:
    for index, image in enumerate(striped.photos(16, seed=3)[0]):
        folder = tmp_path / "small" / striped.LABELS[index % 8]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[:16, 32:48]).save(folder / f"{index}.png")
    report = check_preprocessing(exported("host"), tmp_path / "small")
    same = {c.name for c in report.variants if not c.differing}
    assert {"nearest", "bicubic", "no antialias", "stretch", "letterbox"} == same
    assert all(c.p == 1 for c in report.variants if not c.differing)
    assert any(note.startswith("make no difference") for note in report.notes)


def test_broken_images_are_reported(exported: Exported, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    broken = folder / "red rows dim" / "zz.png"
    broken.write_bytes(sorted(folder.glob("*/*.png"))[0].read_bytes()[:200])
    (folder / "red rows dim" / "notes.txt").write_text("no image")
    report = check_preprocessing(exported("host"), folder)
    assert report.spec.images == 96
    assert len(report.unreadable) == 1
    assert str(broken) in report.unreadable[0]
    for file in folder.glob("*/*.png"):
        file.write_bytes(b"")
    with pytest.raises(DataError, match="none of its images can be read"):
        check_preprocessing(exported("host"), folder)


def test_at_most_so_many_are_used_always_the_same(exported: Exported, photos: Path) -> None:
    model, done = exported("host", color="bgr"), []
    first = check_preprocessing(model, photos, max_images=40, progress=lambda *numbers: done.append(numbers))
    assert first.spec.images == 40
    assert any("40 of 96 images are used" in note for note in first.notes)
    assert first == check_preprocessing(model, photos, max_images=40)
    assert first != check_preprocessing(model, photos, max_images=40, seed=1)
    assert done == [(16, 40), (32, 40), (40, 40)]
    with pytest.raises(ValueError, match="max_images must be at least 1"):
        check_preprocessing(model, photos, max_images=0)


def test_numbers_name_classes(exported: Exported, tmp_path: Path) -> None:
    named = striped.write_photos(tmp_path / "photos", names=tuple(map(str, range(8))))
    assert check_preprocessing(exported("host"), named).spec.accuracy > 0.85


def test_the_report_is_json(exported: Exported, photos: Path) -> None:
    report = check_preprocessing(exported("host", scale="1"), photos)
    data = json.loads(json.dumps(as_json(report), allow_nan=False))
    assert data["holds"] is False
    assert data["variants"][0]["options"] == ["scale=1/255"]
    assert data["variants"][0]["better"] is True
    assert data["verdict"] == report.verdict
    assert all(c["better"] == (c["p"] < ALPHA) for c in data["variants"])


def test_other_files_are_refused(foreign_onnx: Path, tiny_onnx: Path, photos: Path) -> None:
    with pytest.raises(UnsupportedArtifact, match="does not state how images become its input"):
        check_preprocessing(foreign_onnx, photos)
    with pytest.raises(DataError, match="none of its classes is one of the model's"):
        check_preprocessing(tiny_onnx, photos)
    with pytest.raises(DataError, match="no such folder"):
        check_preprocessing(tiny_onnx, photos / "nowhere")


def test_a_file_of_others_with_stated_preprocessing(exported: Exported, photos: Path, tmp_path: Path) -> None:
    """The scores are those of the artifact, and a wrong statement is found out."""
    model = onnx.load(exported("host"))
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    for number, label in enumerate(striped.LABELS):
        shutil.copytree(photos / label, tmp_path / "photos" / str(number))
    report = check_preprocessing(tmp_path / "foreign.onnx", tmp_path / "photos", preprocessing=RIGHT)
    assert report.holds
    assert report.spec.accuracy == check_preprocessing(exported("host"), photos).spec.accuracy
    wrong = check_preprocessing(
        tmp_path / "foreign.onnx", tmp_path / "photos", preprocessing={**RIGHT, "color": "bgr"}
    )
    assert wrong.best is not None
    assert wrong.best.name == "RGB"
