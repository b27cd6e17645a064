import json
import math
from dataclasses import replace

import pytest

from cnntk.runtime.artifact.spec import Layer, ModelSpec, Network, Preprocessing, TensorSpec
from cnntk.runtime.errors import ArtifactCorrupt, UnsupportedArtifact

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
    check_results={"parity": [{"output": "logits", "onnx_error": 1e-6, "bound": 1e-5}], "later": {"x": 1}},
)


GRAY = {"color": "gray", "height": 1, "width": 1}


def edited(**changes: object) -> str:
    return json.dumps({**json.loads(SPEC.to_json()), **changes})


@pytest.mark.parametrize("spec", [SPEC, replace(SPEC, preprocessing=None, network=None, layers=())])
def test_survives_json(spec: ModelSpec) -> None:
    assert ModelSpec.from_json(spec.to_json(), "m.onnx") == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "no field 'spec'"),
        (edited(color="red"), "spec.color is not a field"),
        (edited(labels=[1]), r"spec.labels\[0\] is 1, not str"),
        (edited(inputs=None), "spec.inputs is None"),
        (edited(head="regressor"), "spec.head is 'regressor'"),
        (edited(preprocessing={"color": "gray"}), "spec.preprocessing.height is missing"),
        (edited(preprocessing={"color": "gray", "height": 0, "width": 1}), "Preprocessing.height = 0"),
        (edited(preprocessing={"color": "gray", "height": True, "width": 1}), "height is True, not int"),
        (edited(preprocessing={**GRAY, "antialias": 1}), "antialias is 1, not bool"),
        (edited(preprocessing={**GRAY, "levels": "int8"}), "levels is 'int8'"),
        (edited(preprocessing={**GRAY, "layout": "HWC"}), "layout is 'HWC'"),
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
        {"scale": 0.0},
        {"antialias": False, "interpolation": "lanczos"},
    ],
)
def test_impossible_preprocessing_is_refused(wrong: dict[str, object]) -> None:
    sound = {"color": "rgb", "height": 8, "width": 8, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    assert Preprocessing(**sound).channels == 3
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Preprocessing(**{**sound, **wrong})


def test_a_spec_of_before_means_what_it_meant() -> None:
    """Fields that are missing have the value that was the only one."""
    inputs = [{"name": "input", "dtype": "float32", "shape": ["N", 1, 1, 1]}]
    p = ModelSpec.from_json(edited(preprocessing=GRAY, inputs=inputs), "m.onnx").preprocessing
    assert p is not None
    assert (p.antialias, p.levels, p.layout) == (True, "uint8", "NCHW")


SHORTEST, LONGEST = ({**GRAY, "height": 224, "width": 224, "resize": how} for how in ("shortest", "longest"))


@pytest.mark.parametrize(
    ("options", "size", "expected"),
    [
        ({**GRAY, "height": 7, "width": 9}, (100, 200), (7, 9)),
        (SHORTEST, (224, 224), (224, 224)),
        (SHORTEST, (500, 375), (298, 224)),  # 298.67, as int() in torchvision and transformers
        ({**SHORTEST, "crop_ratio": 0.875}, (375, 500), (256, 341)),
        ({**SHORTEST, "crop_ratio": 224 / 235}, (300, 300), (235, 235)),
        ({**SHORTEST, "width": 112}, (100, 100), (224, 224)),
        ({**SHORTEST, "width": 112}, (100, 20), (560, 112)),
        (LONGEST, (375, 500), (168, 224)),
        (LONGEST, (448, 3), (224, 2)),  # 1.5, half up
        (LONGEST, (5000, 1), (224, 1)),
        ({**LONGEST, "width": 112}, (100, 100), (112, 112)),
        ({**LONGEST, "width": 112}, (300, 100), (224, 75)),
    ],
)
def test_sizes_are_whole_numbers(
    options: dict[str, object], size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert Preprocessing(**options).resized_size(*size) == expected
    turned = Preprocessing(**{**options, "height": options["width"], "width": options["height"]})
    assert turned.resized_size(*size[::-1]) == expected[::-1]


@pytest.mark.parametrize("crop", [1.0, 0.95, 0.9, 0.875, 0.5])
def test_an_edge_is_recovered_from_its_ratio(crop: float) -> None:
    """Sources keep ``size / edge``, of an edge that they worked out in their own way."""
    for size in range(1, 1100):
        for edge in (math.floor(size / crop), math.ceil(size / crop)):
            p = Preprocessing("gray", size, size, resize="shortest", crop_ratio=size / edge)
            assert p.edges == (edge, edge)


def test_a_crop_begins_where_torchvision_and_transformers_begin_it() -> None:
    p = Preprocessing("gray", 8, 8)
    assert [p.crop_offset(room) for room in range(60)] == [room // 2 for room in range(60)]
    p = replace(p, crop_start="round")
    assert [p.crop_offset(room) for room in range(60)] == [round(room / 2) for room in range(60)]
