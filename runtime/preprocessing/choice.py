"""Preprocessing as a user states it: a preset by name, fields as text; and what a network's input adds.

Sources of the constants: ImageNet, torchvision's weights and timm's ``IMAGENET_DEFAULT_MEAN`` and ``_STD``;
Inception, timm's ``IMAGENET_INCEPTION_MEAN`` and ``_STD``; CLIP, timm's ``OPENAI_CLIP_MEAN`` and ``_STD``;
MNIST and CIFAR-10, mean and standard deviation over all pixels of the training images. The numbers 0.2023,
0.1994 and 0.2010, which circulate for CIFAR-10, are means of the images' own deviations.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeAlias, get_args, get_type_hints

from cnntk.runtime.artifact.spec import Interpolation, Preprocessing, TensorSpec
from cnntk.runtime.errors import UsageError

__all__ = [
    "IMAGENET",
    "MNIST",
    "PRESETS",
    "PreprocessingChoice",
    "agreed_preprocessing",
    "field_text",
    "is_image",
    "parse_preprocessing",
    "resolve_preprocessing",
    "suggested_preset",
    "unstated",
]

PreprocessingChoice: TypeAlias = str | Mapping[str, str] | Preprocessing
"""``imagenet``, ``imagenet,mean=0.5``, ``{"preset": "imagenet", "mean": "0.5"}``, or a `Preprocessing`."""

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MNIST = (0.1307,), (0.3081,)
_CIFAR10 = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
_CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_HALF = (0.5,), (0.5,)
_NEUTRAL = (0.0,), (1.0,)

_Values = tuple[tuple[float, ...], tuple[float, ...]]
_PRESET = "preset"
_FIELD = re.compile(r",(?=\s*\w+\s*=)")
_BOOLEANS = {"true": True, "false": False}


def _preset(values: _Values, interpolation: Interpolation = "bilinear", **steps: Any) -> dict[str, Any]:
    defaults = {f.name: f.default for f in fields(Preprocessing)}
    names = ("resize", "antialias", "levels", "crop_ratio", "crop_start", "invert", "scale")
    same = {name: defaults[name] for name in names}
    return {**same, "interpolation": interpolation, "mean": values[0], "std": values[1], **steps}


_CROP: dict[str, Any] = {"resize": "shortest", "crop_start": "round"}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "imagenet": _preset(IMAGENET, **_CROP, crop_ratio=0.875),
    "imagenet-bicubic": _preset(IMAGENET, "bicubic", **_CROP, crop_ratio=0.875),
    "clip": _preset(_CLIP, "bicubic", **_CROP),
    "inception": _preset(_HALF, "bicubic", **_CROP, crop_ratio=0.875),
    "mnist": _preset(MNIST),
    "cifar10": _preset(_CIFAR10),
    "unit": _preset(_NEUTRAL),
    "none": _preset(_NEUTRAL, scale=1.0),
}
"""All fields that a network's input does not say, by name. Mean and std are in the order red, green, blue, or
one number for all channels. ``unit``: values from 0 to 1; ``none``: values from 0 to 255."""


def parse_preprocessing(texts: str | Sequence[str]) -> dict[str, str]:
    """Parses ``imagenet``, ``mean=0.5,0.5,0.5`` or both, in one text or several: fields by name, as text.

    Raises:
        UsageError: There is no such preset or field, a value has the wrong form, or one is stated twice.
    """
    result: dict[str, str] = {}
    for text in [texts] if isinstance(texts, str) else texts:
        for item in _FIELD.split(text):
            name, equals, value = (part.strip() for part in item.partition("="))
            name, value = (name, value) if equals else (_PRESET, name)
            if name in result:
                raise UsageError(f"--preprocessing: {name} is stated twice, {result[name]} and {value}")
            result[name] = value
    _parse(result)
    return result


def resolve_preprocessing(
    choice: PreprocessingChoice, tensor: TensorSpec, current: Preprocessing | None = None
) -> Preprocessing:
    """Returns the preprocessing for a network's input.

    Args:
        choice: Preset and fields; a whole `Preprocessing` is used only where there is no ``current``.
        tensor: Input (N, C, height, width), or (N, height, width, C) for layout NHWC.
        current: Preprocessing whose fields stay where ``choice`` has none.

    Raises:
        UsageError: ``choice`` is not valid, or the input is no image.
    """
    if isinstance(choice, Preprocessing):
        return current or choice
    preset, values = _parse(parse_preprocessing(choice) if isinstance(choice, str) else choice)
    base = (
        _input_fields(tensor, values)
        if current is None
        else {f.name: getattr(current, f.name) for f in fields(current)}
    )
    color = values.get("color", base["color"])
    channels = 1 if color == "gray" else 3
    merged = {**base, **_for_channels(preset, color, channels), **values}
    for name in ("mean", "std"):
        if len(merged[name]) == 1:
            merged[name] *= channels
    try:
        result = Preprocessing(**merged)
    except ValueError as error:
        raise UsageError(f"--preprocessing: {error}") from error
    _check_range(result, stated="scale" in values)
    if tensor.dtype == "uint8" and current is None and not result.keeps_pixels:
        raise UsageError(
            f"--preprocessing: the input {tensor.name} is uint8, so the network normalizes pixel values "
            "itself; use --preprocessing none"
        )
    return result


def agreed_preprocessing(
    name: str, current: Preprocessing | None, tensor: TensorSpec, choice: PreprocessingChoice | None
) -> Preprocessing | None:
    """Returns the preprocessing that a file states or, where it states none, that of ``choice``.

    Args:
        name: Name of the file, for messages.
        current: Preprocessing in the file.
        tensor: Input that images enter by.
        choice: The user's own statement; None without one.

    Raises:
        UsageError: Both are stated and differ.
    """
    if choice is None or not choice:
        return current
    try:
        result = resolve_preprocessing(choice, tensor, current)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
    if current is not None:
        for field in fields(current):
            old, new = getattr(current, field.name), getattr(result, field.name)
            if old != new:
                raise UsageError(
                    f"{name}: states its own preprocessing, with {field.name} {field_text(old)}, not "
                    f"{field_text(new)}; leave out --preprocessing, or export the model again with it"
                )
    return result


def is_image(tensor: TensorSpec) -> bool:
    """Whether an input has the form of images, with 1 or 3 channels first or last."""
    shape = tensor.shape
    return len(shape) == 4 and (shape[1] in (1, 3) or shape[3] in (1, 3)) and _is_numeric(tensor.dtype)


def suggested_preset(tensor: TensorSpec) -> str | None:
    """Returns the preset to try first for an input, with sizes that it leaves open; None for no image."""
    if not is_image(tensor):
        return None
    sides = tensor.shape[1:3] if _is_channels_last(tensor.shape) else tensor.shape[2:]
    is_open = any(isinstance(side, str) for side in sides)
    channels = tensor.shape[3 if _is_channels_last(tensor.shape) else 1]
    preset = "none" if tensor.dtype == "uint8" else "mnist" if channels == 1 else "imagenet"
    return f"{preset},height=224,width=224" if is_open else preset


def unstated(tensor: TensorSpec) -> str:
    """Returns the phrase for a file that does not state how images become its input, and what to do."""
    layout = ", layout NHWC" if _is_channels_last(tensor.shape) else ""
    shape = ", ".join(map(str, tensor.shape))
    return (
        f"does not state how images become its input {tensor.name} ({tensor.dtype} [{shape}]{layout}); add "
        f"--preprocessing {', '.join(PRESETS)}, or fields like mean=0.5,std=0.5"
    )


def _parse(choice: Mapping[str, str]) -> tuple[str | None, dict[str, Any]]:
    """The preset, and the fields as values."""
    texts = dict(choice)
    preset = texts.pop(_PRESET, None)
    if preset is not None and preset not in PRESETS:
        close = difflib.get_close_matches(preset, PRESETS, n=1)
        hint = f"did you mean {close[0]}? Else " if close else ""
        raise UsageError(
            f"--preprocessing {preset}: no such preset; {hint}choose one of {', '.join(PRESETS)}, or state "
            "fields as name=value"
        )
    return preset, {name: _parse_field(name, text) for name, text in texts.items()}


def _parse_field(name: str, text: str) -> Any:
    all_hints = get_type_hints(Preprocessing)
    hints = {field.name: all_hints[field.name] for field in fields(Preprocessing)}
    if name not in hints:
        raise UsageError(f"--preprocessing {name}: no such field; the fields are {', '.join(hints)}")
    kind, choices = hints[name], get_args(hints[name])
    is_choice = bool(choices) and isinstance(choices[0], str)
    try:
        if kind is bool:
            return _BOOLEANS[text.lower()]
        if kind in (int, float):
            return kind(_number(text))
        if is_choice:
            return choices[choices.index(text)]
        return tuple(choices[0](_number(item)) for item in text.split(","))
    except (ValueError, KeyError, ZeroDivisionError) as error:
        expected = f"one of {', '.join(choices)}" if is_choice else getattr(kind, "__name__", kind)
        raise UsageError(f"--preprocessing {name}={text}: expected {expected}") from error


def _number(text: str) -> float:
    """Like ``0.5`` or ``1/255``."""
    dividend, _, divisor = text.partition("/")
    return float(dividend) / float(divisor or 1)


def _input_fields(tensor: TensorSpec, values: Mapping[str, Any]) -> dict[str, Any]:
    """Color, size and layout of an input, and a normalization that changes nothing but uint8's range."""
    shape = tensor.shape
    layout = values.get("layout", "NHWC" if _is_channels_last(shape) else "NCHW")
    axis = 1 if layout == "NCHW" else 3
    text = f"the input {tensor.name} has shape [{', '.join(map(str, shape))}]"
    if len(shape) != 4 or shape[axis] not in (1, 3) or not _is_numeric(tensor.dtype):
        hint = (
            f"; its layout is {'NHWC' if axis == 1 else 'NCHW'}: leave out layout={layout}"
            if is_image(tensor)
            else ""
        )
        raise UsageError(
            f"--preprocessing: {text} of {tensor.dtype}; expected an image with 1 or 3 channels{hint}"
        )
    sides = dict(zip(("height", "width"), shape[2:] if axis == 1 else shape[1:3], strict=True))
    if missing := [name for name, side in sides.items() if isinstance(side, str) and name not in values]:
        raise UsageError(
            f"--preprocessing: {text}, which leaves its size open; state that of the network's training "
            f"images, like {','.join(f'{name}=224' for name in missing)}"
        )
    channels = shape[axis]
    return {
        **_preset(_NEUTRAL, scale=1.0 if tensor.dtype == "uint8" else 1 / 255),
        "color": "gray" if channels == 1 else "rgb",
        **sides,
        "layout": layout,
    }


def _for_channels(preset: str | None, color: str, channels: int) -> dict[str, Any]:
    """The fields of a preset, with mean and std in the network's order of channels."""
    if preset is None:
        return {}
    steps = dict(PRESETS[preset])
    for name in ("mean", "std"):
        if len(steps[name]) not in (1, channels):
            raise UsageError(
                f"--preprocessing {preset}: is for images in color, and the network takes gray ones; use "
                "mnist, or unit with the network's own mean and std"
            )
        if color == "bgr":
            steps[name] = steps[name][::-1]
    return steps


def _check_range(p: Preprocessing, *, stated: bool) -> None:
    """Refuses mean and std that are stated for values from 0 to 255 where scale makes smaller ones.

    A large mean alone is accepted with a stated scale: networks were trained so by mistake.
    """
    highest = 255 * p.scale
    numbers = p.std if stated else (*p.mean, *p.std)
    if highest <= 2 and max(map(abs, numbers)) > 4 * max(highest, 1):
        mean, std = (field_text(tuple(round(v / 255, 6) for v in values)) for values in (p.mean, p.std))
        raise UsageError(
            f"--preprocessing: mean={field_text(p.mean)} and std={field_text(p.std)} are of values from 0 to "
            f"255, but scale={field_text(p.scale)} makes values from 0 to {highest:.3g}; use mean={mean} and "
            f"std={std}, or scale=1"
        )


def _is_channels_last(shape: Sequence[object]) -> bool:
    return len(shape) == 4 and shape[1] not in (1, 3) and shape[3] in (1, 3)


def _is_numeric(dtype: str) -> bool:
    return dtype.startswith(("float", "bfloat")) or dtype == "uint8"


def field_text(value: object) -> str:
    """Returns a value of a field as ``--preprocessing`` reads it."""
    if isinstance(value, tuple):
        return ",".join(map(field_text, value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        divisor = next((n for n in (255, 65025) if value == 1 / n), None)
        return f"1/{divisor}" if divisor else f"{value!r}".removesuffix(".0")
    return str(value)
