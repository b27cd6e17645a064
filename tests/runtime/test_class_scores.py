import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from cnntk.runtime import Classifier, Engine, ImageEngine, UnsupportedArtifact
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.class_scores import class_scores

HEAD = """
<ir_version: 10, opset_import: ["" : 18]>
net (float[{batch}, 1, 4, 4] x) => ({outputs})
<float[16, 5] w, float[1] one, int64[1] three = {{3}}>
{{
    flat = Flatten (x)
    y = MatMul (flat, w)
    {body}
}}
"""
P = Preprocessing("gray", 4, 4)


def engine(body: str, outputs: str = "float[N, 5] out", batch: object = "N") -> Engine:
    model = onnx.parser.parse_model(HEAD.format(body=body, outputs=outputs, batch=batch))
    weight = np.random.default_rng(0).standard_normal((16, 5)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(1, np.float32), "one"))
    return Engine(model.SerializeToString())


@pytest.mark.parametrize("batch", ["N", 1, 3])
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("out = Softmax (y)", "distribution"),
        ("out = LogSoftmax (y)", "log distribution"),
        ("out = Identity (y)", "logits"),
    ],
)
def test_a_classifier_is_seen_from_its_values(body: str, kind: str, batch: object) -> None:
    """The same network with three heads gives the same probabilities."""
    model = engine(body, f"float[{batch}, 5] out", batch)
    scores = class_scores(model)
    assert (scores.output, scores.kind, scores.classes) == ("out", kind, 5)
    images = list(np.random.default_rng(1).integers(0, 256, (2, 4, 4, 1), dtype=np.uint8))
    actual = Classifier(model, preprocessing=P).many(images)
    expected = Classifier(engine("out = Softmax (y)"), preprocessing=P).many(images)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)
        assert one.labels == ("0", "1", "2", "3", "4")
        assert (one.logits is None) is (kind == "distribution")


@pytest.mark.parametrize(
    ("body", "outputs", "message"),
    [
        ("out = Sigmoid (y)", "float[N, 5] out", "multi-label"),
        (
            "out = Identity (y) boxes = Identity (y)",
            "float[N, 5] out, float[N, 5] boxes",
            "none of its 2 outputs",
        ),
        ("boxes = Identity (y)", "float[N, 5] boxes", "its output is named boxes"),
        ("out, index = TopK (y, three)", "float[N, 3] out, int64[N, 3] index", "the largest values in order"),
        ("out = ReduceMean (y)", "float[1, 1] out", "one number an image"),
        ("z = Abs (y) s = ReduceL2 (y) out = Div (y, s)", "float[N, 5] out", "an embedding"),
        ("out = Transpose <perm = [1, 0]> (y)", "float[5, N] out", "has the shape 5x1 for a batch of 1"),
    ],
)
def test_what_is_no_classifier(body: str, outputs: str, message: str) -> None:
    model = engine(body, outputs)
    with pytest.raises(UnsupportedArtifact, match=f"is not a classifier: .*{message}"):
        class_scores(model)
    image = np.arange(16, dtype=np.uint8).reshape(4, 4)
    assert set(ImageEngine(model, preprocessing=P).run(image)) == {o.name for o in model.outputs}
    with pytest.raises(UnsupportedArtifact, match="is not a classifier"):
        Classifier(model, preprocessing=P)


def test_named_logits_beside_other_outputs() -> None:
    model = engine("logits = Identity (y) boxes = Identity (y)", "float[N, 5] boxes, float[N, 5] logits")
    assert class_scores(model).output == "logits"


def test_an_artifact_says_it(tiny_onnx: Path) -> None:
    scores = class_scores(Engine(tiny_onnx))
    assert (scores.output, scores.kind, scores.classes, scores.evidence) == (
        "probabilities",
        "distribution",
        3,
        "",
    )


def test_arrays_of_an_image_are_those_of_the_engine(tiny_onnx: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7), dtype=np.uint8)
    model = ImageEngine(tiny_onnx)
    outputs = model.run(pixels)
    batch = model.batch([model.prepare(model.read(pixels))])
    np.testing.assert_array_equal(outputs["logits"], model.engine.run({"input": batch})["logits"])
    assert outputs["logits"].shape == (1, 3)


def test_an_artifact_loads_nothing_that_recognizes_scores() -> None:
    """What other files need is no part of an app's start."""
    code = """
import sys
from cnntk.runtime import Classifier
from cnntk.shipped import shipped_model
Classifier(shipped_model())
print([name for name in ("score_recognition", "output_values") if f"cnntk.runtime.{name}" in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
