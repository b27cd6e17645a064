import numpy as np
import onnxruntime
import pytest

from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.preprocessing.preprocess import resize_and_crop
from cnntk.runtime.preprocessing.resizing import resize_attributes, shrink, shrinkable

SIZES = [(31, 47), (200, 64), (64, 64), (90, 80), (7, 9), (80, 80), (1, 1)]


def rgb(**fields: object) -> Preprocessing:
    return Preprocessing("rgb", 64, 64, mean=(0, 0, 0), std=(1, 1, 1), **fields)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize(
    "fields",
    [{}, {"resize": "shortest", "crop_ratio": 0.8}, {"resize": "shortest", "crop_start": "round"}],
    ids=str,
)
def test_what_is_left_is_of_one_size_and_all_that_is_looked_at(
    size: tuple, interpolation: str, fields: dict
) -> None:
    p = rgb(interpolation=interpolation, **fields)
    small = shrink(noise(*size), p)
    assert small.shape == (*(p.edges if p.resize == "shortest" else (64, 64)), 3)
    assert np.array_equal(shrink(small, p), small)  # nothing is left to be done
    whole, part = (resize_and_crop(image, p).astype(int) for image in (noise(*size), small))
    assert np.abs(whole - part).max() <= 2
    assert np.abs(whole - part).mean() < 0.1  # 64 to 80 makes many ties, which the two round apart


def test_a_wrong_filter_would_be_seen() -> None:
    small = shrink(noise(200, 300), rgb(interpolation="bicubic"))
    assert np.abs(small.astype(int) - resize_and_crop(noise(200, 300), rgb())).mean() > 0.5


def test_preprocessing_without_a_common_size_is_not_shrinkable() -> None:
    assert shrinkable(rgb())
    assert not shrinkable(rgb(resize="longest"))
    assert not shrinkable(rgb(levels="float32"))
    assert not shrinkable(rgb(antialias=False))


def test_the_node_is_the_one_that_onnx_reads_too() -> None:
    import onnx

    from cnntk.runtime.preprocessing.resizing import _model

    model = onnx.load_from_string(_model("bicubic"))
    onnx.checker.check_model(model, full_check=True)
    (node,) = model.graph.node
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    assert attributes == {**resize_attributes("bicubic"), "mode": b"cubic",
                     "coordinate_transformation_mode": b"half_pixel"}  # fmt: skip
    assert [o.version for o in model.opset_import] == [18]
    assert onnxruntime.InferenceSession(model.SerializeToString()).get_inputs()[0].shape == [
        "N",
        "H",
        "W",
        "C",
    ]
