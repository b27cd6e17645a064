from dataclasses import replace

from cnntk.runtime.artifact.spec import Preprocessing, TensorSpec
from cnntk.runtime.preprocessing.steps import preprocessing_steps, preprocessing_text

IMAGENET = Preprocessing(
    "rgb",
    224,
    224,
    resize="shortest",
    crop_ratio=0.875,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)


def test_steps_in_words() -> None:
    assert ", ".join(preprocessing_steps(IMAGENET)) == (
        "RGB, resize shortest side to 256 (bilinear), center crop 224×224, divide by 255, "
        "mean 0.485 0.456 0.406, std 0.229 0.224 0.225"
    )
    plain = Preprocessing("bgr", 32, 64, antialias=False, scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)
    assert preprocessing_steps(plain) == ("BGR", "resize to 32×64 (bilinear, without antialiasing)")
    inverted = Preprocessing("gray", 8, 8, invert="always", scale=1 / 127.5, mean=(1.0,), std=(1.0,))
    assert preprocessing_steps(inverted)[2:] == ("invert", "divide by 127.5", "mean 1", "std 1")
    exact = Preprocessing("rgb", 8, 8, crop_ratio=0.8, levels="float32", mean=(0.0,) * 3, std=(1.0,) * 3)
    assert preprocessing_steps(exact, "x")[1:3] == (
        "resize to 10x10 (bilinear, values not rounded)",
        "center crop 8x8",
    )
    pillow = preprocessing_steps(replace(IMAGENET, resize_form="exact"))
    assert pillow[1] == "resize shortest side to 256 (bilinear, equal to Pillow to the bit)"
    assert "sums in float32" in preprocessing_steps(replace(IMAGENET, resize_form="fast"))[1]


def test_who_preprocesses() -> None:
    array = TensorSpec("input", "float32", ("N", 3, 224, 224))
    assert preprocessing_text(IMAGENET, [array]).startswith("to be done by the app: RGB, ")
    image = TensorSpec("image", "uint8", ("N", "H", "W", "C"))
    assert preprocessing_text(IMAGENET, [image]).startswith("inside the file: RGB, ")
    fixed = replace(image, shape=("N", 256, 256, 3))
    assert preprocessing_text(IMAGENET, [fixed]).startswith("the app resizes images to the input's size, ")
