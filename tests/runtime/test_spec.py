import json
from dataclasses import replace

import pytest

from cnntk.runtime.errors import ArtifactCorrupt, UnsupportedArtifact
from cnntk.runtime.spec import Layer, ModelSpec, Network, Preprocessing, TensorSpec

SPEC = ModelSpec(
    name="läufer 跑",
    labels=("a", "b"),
    inputs=(TensorSpec("input", "float32", ("N", 3, 8, 8)),),
    preprocessing=Preprocessing(
        color="bgr", height=8, width=8, resize="shortest", mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0)
    ),
    network=Network("lenet", {"num_classes": 2, "nested": {"x": [1, 2]}}),
    layers=(Layer("0", "Conv", ("N", 6, 8, 8), 456, 1000),),
    provenance={"data": "digits"},
    proof={"parity": {"bound": 1e-5}},
)


def edited(**changes: object) -> str:
    return json.dumps({**json.loads(SPEC.to_json()), **changes})


@pytest.mark.parametrize("spec", [SPEC, replace(SPEC, preprocessing=None, network=None, layers=())])
def test_survives_json(spec: ModelSpec) -> None:
    assert ModelSpec.from_json(spec.to_json(), "m.onnx") == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"),
        ("[]", "no field 'spec'"),
        (edited(colour="red"), "spec.colour is not a field"),
        (edited(labels=[1]), r"spec.labels\[0\] is 1, not str"),
        (edited(inputs=None), "spec.inputs is None"),
        (edited(head="regressor"), "spec.head is 'regressor'"),
        (edited(preprocessing={"color": "grey"}), "spec.preprocessing.height is missing"),
        (edited(preprocessing={"color": "grey", "height": 0, "width": 1}), "Preprocessing.height = 0"),
        (edited(preprocessing={"color": "grey", "height": True, "width": 1}), "height is True, not int"),
    ],
)
def test_damage_is_named(text: str, message: str) -> None:
    with pytest.raises(ArtifactCorrupt, match=message):
        ModelSpec.from_json(text, "m.onnx")


def test_later_version_is_refused() -> None:
    with pytest.raises(UnsupportedArtifact, match="spec version 2; this cnntk reads version 1"):
        ModelSpec.from_json(edited(spec=2), "m.onnx")


@pytest.mark.parametrize(
    "wrong",
    [
        {"mean": (0.0,)},
        {"std": (1.0, 0.0, 1.0)},
        {"crop_ratio": 0.0},
        {"crop_ratio": 1.5},
        {"background": (0, 0, 256)},
    ],
)
def test_impossible_preprocessing_is_refused(wrong: dict[str, object]) -> None:
    sound = {"color": "rgb", "height": 8, "width": 8, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    assert Preprocessing(**sound).channels == 3
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Preprocessing(**{**sound, **wrong})
