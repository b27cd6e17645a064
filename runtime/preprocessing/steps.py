"""What happens to an image, in words."""

from __future__ import annotations

from collections.abc import Sequence

from cnntk.runtime.artifact.spec import IMAGE_INPUT, Preprocessing, TensorSpec

__all__ = ["preprocessing_steps", "preprocessing_text"]

_COLORS = {"rgb": "RGB", "bgr": "BGR", "gray": "grayscale"}

_FORMS = {"operator": "", "exact": ", equal to Pillow to the bit", "fast": ", sums in float32"}


def preprocessing_text(p: Preprocessing, inputs: Sequence[TensorSpec], times: str = "×") -> str:
    """Which steps a file of these inputs does, and which are left to the app."""
    image = next((tensor for tensor in inputs if tensor.name == IMAGE_INPUT), None)
    steps = ", ".join(preprocessing_steps(p, times))
    if image is not None and any(isinstance(side, int) for side in image.shape[1:3]):
        return f"the app resizes images to the input's size, the rest is inside the file: {steps}"
    return f"{'to be done by the app' if image is None else 'inside the file'}: {steps}"


def preprocessing_steps(p: Preprocessing, times: str = "×") -> tuple[str, ...]:
    """What happens to an image, step by step, in words: ``RGB``, ``resize shortest side to 256``, ..."""
    height, width = p.edges
    size, edges = f"{p.height}{times}{p.width}", f"{height}" if height == width else f"{height}{times}{width}"
    filters = p.interpolation if p.antialias else f"{p.interpolation}, without antialiasing"
    filters += ", values not rounded" if p.levels == "float32" else _FORMS[p.resize_form]
    resize = {
        "stretch": f"resize to {height}{times}{width} ({filters})",
        "shortest": f"resize shortest side to {edges} ({filters})",
        "longest": f"resize longest side to fit {size} ({filters}), pad with black",
    }[p.resize]
    crop = (
        (f"center crop {size}",) if p.resize != "longest" and (height, width) != (p.height, p.width) else ()
    )
    invert = {
        "never": (),
        "always": ("invert",),
        "light-background": ("invert images with a light background",),
    }[p.invert]
    divisor = f"{1 / p.scale:g}"
    exact = abs(float(divisor) * p.scale - 1) < 1e-6
    scale = f"divide by {divisor}" if exact else f"multiply by {p.scale:g}"
    scales = () if p.scale == 1 else (scale,)
    plain = not any(p.mean) and set(p.std) == {1.0}
    numbers = [" ".join(f"{v:.4g}" for v in values) for values in (p.mean, p.std)]
    normalize = () if plain else (f"mean {numbers[0]}", f"std {numbers[1]}")
    return _COLORS[p.color], resize, *crop, *invert, *scales, *normalize
