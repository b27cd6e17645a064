"""`evaluate` counts what torch and plain loops count."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from cnntk import evaluate
from cnntk.data import open_data
from cnntk.evaluation.options import EvaluateOptions
from cnntk.models.checkpoint import load_checkpoint
from cnntk.runtime import Classifier
from cnntk.runtime.artifact.spec import METADATA_KEY, ModelSpec
from cnntk.runtime.codec import as_json
from cnntk.runtime.errors import DataError, UnsupportedArtifact, UsageError
from cnntk.shipped import shipped_checkpoint, shipped_model

LENET = shipped_model()
LABELS = ("dark", "light", "left")


def torch_logits(pixels: np.ndarray) -> torch.Tensor:
    """Logits of the checkpoint that the shipped artifact was exported from."""
    checkpoint = load_checkpoint(shipped_checkpoint())
    p = checkpoint.spec.preprocessing
    assert p is not None
    x = (torch.from_numpy(pixels)[:, None].float() * p.scale - p.mean[0]) / p.std[0]
    with torch.no_grad():
        return checkpoint.module.eval()(x)


Digits = tuple[np.ndarray, np.ndarray]


def test_equals_torch_to_the_image(digits: Digits, digit_folders: Callable[..., Path]) -> None:
    logits, labels = torch_logits(digits[0]), torch.from_numpy(digits[1])
    result = evaluate(LENET, data=str(digit_folders(len(labels))))
    score = result.models[0]
    assert result.images == score.images == len(labels) == 359
    assert score.correct == int((logits.argmax(1) == labels).sum())
    assert score.top5 is not None
    top5 = (logits.topk(5).indices == labels[:, None]).any(1)
    assert score.top5.value == pytest.approx(float(top5.double().mean()), abs=1e-12)
    loss = float(torch.nn.functional.cross_entropy(logits.double(), labels))
    assert score.loss.value == pytest.approx(loss, rel=1e-5)
    assert score.loss.low < loss < score.loss.high
    assert result.holds
    assert not result.notes


def test_tables_equal_counting(digits: Digits, digit_folders: Callable[..., Path]) -> None:
    labels, predicted = digits[1].tolist(), torch_logits(digits[0]).argmax(1).tolist()
    pairs = list(zip(labels, predicted, strict=True))
    score = evaluate(LENET, data=str(digit_folders(len(labels)))).models[0]
    assert {(int(c.label), int(c.predicted)): c.images for c in score.confusion} == {
        pair: pairs.count(pair) for pair in set(pairs)
    }
    for one in score.classes:
        digit = int(one.label)
        assert (one.images, one.predicted) == (labels.count(digit), predicted.count(digit))
        assert one.recall is not None
        assert one.precision is not None
        assert one.recall.value == pairs.count((digit, digit)) / one.images
        assert one.precision.value == pairs.count((digit, digit)) / one.predicted
    worst = max(score.confused_pairs, key=lambda pair: pair.images)
    assert score.confused_pairs[0] == worst


def test_mistakes_are_wrong_and_the_worst(tmp_path: Path) -> None:
    score = evaluate(LENET, data="digits").models[0]
    test, classify = open_data("digits").test, Classifier(LENET)
    assert len(score.mistakes) == 24
    probabilities = [one.label_probability for one in score.mistakes]
    assert probabilities == sorted(probabilities)
    for one in score.mistakes[:3]:
        index = int(one.image.removeprefix("number ")) - 1
        pixels = test.images.pixels[index]  # type: ignore[attr-defined]
        assert one.label == str(test.labels[index]) != one.predicted == classify(pixels).best.label
        (tmp_path / "one.png").write_bytes(one.thumbnail)
        with Image.open(tmp_path / "one.png") as picture:
            assert picture.size == one.size == (8, 8)
            assert np.array_equal(np.asarray(picture), pixels[:, :, 0])


def test_an_array_gives_what_the_classifier_gives() -> None:
    classify, test = Classifier(LENET), open_data("digits").test
    pixels = test.images.pixels  # type: ignore[attr-defined]
    right = [classify(pixels[i]).best.label == str(label) for i, label in enumerate(test.labels)]
    assert evaluate(LENET, data="digits").models[0].correct == sum(right)


def test_both_forms_of_a_folder(digit_folders: Callable[..., Path]) -> None:
    folder = digit_folders(60)
    first, second = (evaluate(LENET, data=text) for text in (str(folder), f"folder:{folder}"))
    assert first.models[0].confusion == second.models[0].confusion
    assert (first.images, first.data) == (60, "digits")


def test_the_test_folder_of_a_split(digit_folders: Callable[..., Path], tmp_path: Path) -> None:
    digit_folders(30, name="all/train")
    digit_folders(12, name="all/val")
    result = evaluate(LENET, data=str(tmp_path / "all"))
    assert result.images == 12
    assert any("val are used" in note for note in result.notes)


def test_a_table_of_labels(digit_folders: Callable[..., Path], tmp_path: Path) -> None:
    folder = digit_folders(20)
    with (folder / "labels.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "label"])
        for file in sorted(folder.rglob("*.png"))[:5]:
            writer.writerow([file.relative_to(folder), file.parent.name])
    assert evaluate(LENET, data=str(folder)).images == 5


def with_labels(tmp_path: Path, labels: tuple[str, ...]) -> Path:
    model = onnx.load(LENET)
    entry = next(p for p in model.metadata_props if p.key == METADATA_KEY)
    spec = replace(ModelSpec.from_json(entry.value, "lenet"), labels=labels, digest="", fingerprints={})
    entry.value = spec.to_json()
    (tmp_path / "named.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "named.onnx"


WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def test_labels_in_another_order_are_matched_by_name(
    digit_folders: Callable[..., Path], tmp_path: Path
) -> None:
    """Folders sort as eight, five, four, ...: by position almost nothing would be right."""
    named = with_labels(tmp_path, WORDS)
    by_name = evaluate(named, data=str(digit_folders(60, WORDS, "words"))).models[0]
    by_number = evaluate(LENET, data=str(digit_folders(60))).models[0]
    assert by_name.correct == by_number.correct > 20
    assert [one.label for one in by_name.classes] == list(WORDS)


def test_classes_are_numbered_in_order_for_a_model_without_labels(digit_folders: Callable[..., Path]) -> None:
    """The order of torchvision's ImageFolder; a note says so, as it may be another one."""
    names = [f"{letter}-{word}" for letter, word in zip("abcdefghij", WORDS, strict=True)]
    result = evaluate(LENET, data=str(digit_folders(60, names, "words")))
    assert result.models[0].correct == evaluate(LENET, data=str(digit_folders(60))).models[0].correct
    assert any("'a-zero' is 0, 'b-one' is 1" in note for note in result.notes)


def test_a_class_that_the_model_does_not_know(digit_folders: Callable[..., Path], tmp_path: Path) -> None:
    named = with_labels(tmp_path, WORDS)
    folder = digit_folders(30, (*WORDS[:9], "horse"), "horses")
    with pytest.raises(DataError, match=r"its class 'horse' is not one of .*named.*'zero'.*0 to 9"):
        evaluate(named, data=str(folder))


def test_equal_labels_are_told_apart_by_their_numbers(
    digit_folders: Callable[..., Path], tmp_path: Path
) -> None:
    named = with_labels(tmp_path, ("crane", "crane", *WORDS[2:]))
    with pytest.raises(DataError, match="its class 'crane' is several of"):
        evaluate(named, data=str(digit_folders(40, ("crane", *WORDS[1:]), "cranes")))
    score = evaluate(named, data=str(digit_folders(40))).models[0]
    assert [one.label for one in score.classes][:2] == ["crane (0)", "crane (1)"]


def test_unreadable_images_are_named(digit_folders: Callable[..., Path]) -> None:
    folder = digit_folders(20)
    damaged = sorted(folder.rglob("*.png"))[3]
    damaged.write_bytes(damaged.read_bytes()[:40])
    result = evaluate(LENET, data=str(folder))
    assert result.images == 19
    assert not result.holds
    assert len(result.unreadable) == 1
    assert damaged.name in result.unreadable[0]


def test_no_image_can_be_read(tmp_path: Path) -> None:
    for name in "01":
        (tmp_path / "bad" / name).mkdir(parents=True)
        (tmp_path / "bad" / name / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match="none of its images can be read"):
        evaluate(LENET, data=str(tmp_path / "bad"))


def test_a_sample_is_balanced_and_repeatable() -> None:
    first, again, other = (evaluate(LENET, data="digits", max_images=50, seed=s) for s in (1, 1, 2))
    assert {one.images for one in first.models[0].classes} == {5}
    assert first.models[0].confusion == again.models[0].confusion
    assert first.models[0].mistakes[0].image != other.models[0].mistakes[0].image
    assert "50 of 359 images are used, balanced by class, seed 1 (--max-images)" in first.notes


def worse_copy(tmp_path: Path) -> Path:
    """The LeNet with noise on its last layer."""
    model = onnx.load(LENET)
    weight = next(w for w in model.graph.initializer if w.name == "11.bias")
    values = onnx.numpy_helper.to_array(weight) + np.linspace(-6, 6, 10, dtype=np.float32)
    weight.CopyFrom(onnx.numpy_helper.from_array(values, "11.bias"))
    entry = next(p for p in model.metadata_props if p.key == METADATA_KEY)
    spec = ModelSpec.from_json(entry.value, "lenet")
    entry.value = replace(spec, digest="", fingerprints={}).to_json()
    (tmp_path / "worse.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "worse.onnx"


def test_models_are_compared_on_the_same_images(tmp_path: Path) -> None:
    same, worse = shutil.copy(LENET, tmp_path / "same.onnx"), worse_copy(tmp_path)
    result = evaluate([LENET, same, worse], data="digits")
    equal, difference = result.comparisons
    assert (equal.gained, equal.lost, equal.p, equal.verdict) == (0, 0, 1.0, "no difference")
    changed = difference.gained + difference.lost
    tail = sum(math.comb(changed, k) for k in range(difference.lost, changed + 1)) / 2**changed
    assert difference.p == pytest.approx(min(1.0, 2 * 2 * tail))  # two-sided, and Holm of two
    assert difference.verdict == "worse"
    first, _, last = result.models
    assert difference.difference.value == pytest.approx(last.top1.value - first.top1.value)
    assert difference.difference.low < difference.difference.value < difference.difference.high < 0
    texts = [text for section in result.sections() for _, text in section.lines]
    assert any("no difference can be seen with 359 images" in text for text in texts)
    assert any("worse than" in text for text in texts)


@pytest.fixture
def tiny_images(tmp_path: Path) -> str:
    """An image for each class of the tiny network: dark, light, and light on the left."""
    left = np.where(np.arange(4) < 2, 255, 0).astype(np.uint8)[None].repeat(4, 0)
    for label, pixels in enumerate((np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8), left)):
        (folder := tmp_path / "images" / str(label)).mkdir(parents=True)
        Image.fromarray(pixels).save(folder / "a.png")
    return str(tmp_path / "images")


def test_an_onnx_file_of_somebody_else(foreign_onnx: Path, tiny_images: str, tmp_path: Path) -> None:
    """Its classes have numbers only; its input is float32, which the stated preprocessing fills."""
    result = evaluate(foreign_onnx, data=tiny_images, preprocessing="unit")
    assert result.models[0].correct == 3
    model = onnx.load(foreign_onnx)
    del model.graph.output[0]  # its logits
    onnx.save(model, tmp_path / "probabilities.onnx")
    other = evaluate(tmp_path / "probabilities.onnx", data=tiny_images, preprocessing="unit").models[0]
    assert other.correct == 3
    assert other.loss.value == pytest.approx(result.models[0].loss.value)


def test_labels_of_a_file_that_has_only_numbers(
    foreign_onnx: Path, tiny_onnx: Path, tiny_images: str
) -> None:
    for number, name in enumerate(LABELS):
        (Path(tiny_images) / str(number)).rename(Path(tiny_images) / name)
    options = {"data": tiny_images, "preprocessing": "unit"}
    result = evaluate(foreign_onnx, labels=LABELS, **options)
    assert (result.notes, result.models[0].correct) == ((), 3)
    assert {score.label for score in result.models[0].classes} == set(LABELS)
    swapped = evaluate(foreign_onnx, labels=("light", "dark", "left"), **options)
    assert swapped.models[0].correct == 1
    both = evaluate([tiny_onnx, foreign_onnx], labels=LABELS, **options)
    assert [score.correct for score in both.models] == [3, 3]
    with pytest.raises(UsageError, match=r"2 labels, but .* has 3 classes"):
        evaluate(foreign_onnx, labels=("dark", "light"), **options)


def test_of_several_models_preprocessing_is_for_those_that_state_none(
    foreign_onnx: Path, tiny_onnx: Path, tiny_images: str
) -> None:
    """The artifact states its own, with another interpolation."""
    with pytest.raises(UsageError, match="states its own preprocessing"):
        evaluate(tiny_onnx, data=tiny_images, preprocessing="unit")
    result = evaluate([tiny_onnx, foreign_onnx], data=tiny_images, preprocessing="unit")
    assert [score.correct for score in result.models] == [3, 3]


def test_what_can_not_be_evaluated(foreign_onnx: Path, tiny_images: str) -> None:
    with pytest.raises(UnsupportedArtifact, match="--preprocessing"):
        evaluate(foreign_onnx, data=tiny_images)
    with pytest.raises(UsageError, match="preprocessing"):
        evaluate(LENET, data="digits", preprocessing="clip")


def test_all_models_are_checked_before_one_is_run(digit_folders: Callable[..., Path], tmp_path: Path) -> None:
    stages: list[str] = []
    other = shutil.copy(with_labels(tmp_path, tuple("abcdefghij")), tmp_path / "other.onnx")
    with pytest.raises(DataError, match=r"other\.onnx's labels"):
        evaluate(
            [with_labels(tmp_path, WORDS), other],
            data=str(digit_folders(10, WORDS)),
            progress=lambda stage, *_: stages.append(stage),
        )
    assert stages == []


def test_options() -> None:
    with pytest.raises(UsageError, match="max_images: expected at least 1"):
        EvaluateOptions("digits", max_images=0)
    with pytest.raises(UsageError, match="belongs to --calibrate"):
        EvaluateOptions("digits", output="x.onnx")
    with pytest.raises(UsageError, match="each named once"):
        evaluate([LENET, LENET], data="digits")
    with pytest.raises(UsageError, match="no such folder; expected one of digits, mnist:DIR"):
        evaluate(LENET, data="nothing")


def test_json_has_the_whole_confusion_and_no_pixels() -> None:
    document = json.loads(json.dumps(as_json(evaluate(LENET, data="digits", max_images=60))))
    score = document["models"][0]
    assert sum(cell["images"] for cell in score["confusion"]) == document["images"] == 60
    assert document["holds"] is True
    assert "thumbnail" not in score["mistakes"][0]
    assert score["calibration"]["bins"][-1]["high"] == 1.0
    assert score["calibration"]["verdict"] == "overconfident"
