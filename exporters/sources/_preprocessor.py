"""Translates transformers' ``preprocessor_config.json`` to `Preprocessing`, as far as that can express it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnntk.runtime.artifact.spec import Preprocessing

# Numbers of Pillow's filters.
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}

# Steps that Preprocessing can't express, with the value that switches each off.
_FOREIGN = {
    "rescale_offset": False,
    "include_top": False,
    "do_pad": False,
    "do_thumbnail": False,
    "do_crop": False,
}


class Unmapped(Exception):  # noqa: N818 - no error: the caller makes a note of it
    """The configuration has a step that `Preprocessing` can't express; the message names it."""


def center_crop(
    shape: tuple[int, ...],
    ratio: float,
    interpolation: str,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    stretch: bool = False,
) -> Preprocessing:
    """Returns torchvision's and timm's steps: resize by Pillow, center crop, division by 255, normalization.

    Args:
        shape: (3, H, W) of the network's input.
        ratio: Ratio of the crop to the resized side, in (0, 1].
        interpolation: Name of Pillow's filter.
        mean: Mean of each channel, of values 0..1.
        std: Standard deviation of each channel.
        stretch: Whether both sides are resized to the size, or the shortest side, which keeps the ratio.
    """
    return Preprocessing(
        color="rgb",
        height=shape[1],
        width=shape[2],
        resize="stretch" if stretch else "shortest",
        interpolation=interpolation,  # type: ignore[arg-type]
        crop_ratio=ratio,
        crop_start="round",
        mean=tuple(map(float, mean)),
        std=tuple(map(float, std)),
    )


def preprocessing_of(config: Mapping[str, Any], channels: int) -> Preprocessing:
    """Returns the steps that a configuration describes, for a network of so many channels.

    Raises:
        Unmapped: A step is unknown to `Preprocessing` or incomplete.
    """
    for key, harmless in _FOREIGN.items():
        if config.get(key, harmless) != harmless:
            raise Unmapped(f"{key}: {config[key]!r}")
    if config.get("do_resize", True) is not True:
        raise Unmapped("images are not resized")
    if channels not in (1, 3):
        raise Unmapped(f"{channels} channels")
    mean, std = _normalization(config, channels)
    try:
        return Preprocessing(
            color=_color(config, channels),
            interpolation=_interpolation(config),
            scale=float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0,
            mean=mean,
            std=std,
            **_geometry(config),
        )
    except ValueError as error:
        raise Unmapped(str(error)) from error


def _color(config: Mapping[str, Any], channels: int) -> Any:
    if channels == 1:
        return "gray"
    return "bgr" if config.get("do_flip_channel_order", False) else "rgb"


def _interpolation(config: Mapping[str, Any]) -> Any:
    if config.get("resample") not in _FILTERS:
        raise Unmapped(f"resample: {config.get('resample')!r}")
    return _FILTERS[config["resample"]]


def _normalization(config: Mapping[str, Any], channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if not config.get("do_normalize", "image_mean" in config):
        return (0.0,) * channels, (1.0,) * channels
    if "image_mean" not in config or "image_std" not in config:
        raise Unmapped("do_normalize without image_mean and image_std")
    return tuple(map(float, config["image_mean"])), tuple(map(float, config["image_std"]))


def _geometry(config: Mapping[str, Any]) -> dict[str, Any]:
    size = config.get("size")
    size = {"shortest_edge": size} if isinstance(size, int) and config.get("do_center_crop") else size
    size = {"height": size, "width": size} if isinstance(size, int) else size
    kind = str(config.get("image_processor_type", config.get("feature_extractor_type", "")))
    match size:
        case {"shortest_edge": int(edge)} if kind.startswith("ConvNext"):
            return _convnext(edge, config)
        case _ if "crop_pct" in config and config["crop_pct"] is not None:
            raise Unmapped(f"crop_pct of {kind or 'an unknown processor'}")
        case {"height": int(height), "width": int(width)}:
            crop = _crop(config) if config.get("do_center_crop", False) else (height, width)
            if crop[0] * width != crop[1] * height or crop[0] > height:
                raise Unmapped(f"a crop of {crop[0]}x{crop[1]} out of {height}x{width}")
            return {"height": crop[0], "width": crop[1], "resize": "stretch", "crop_ratio": crop[0] / height}
        case {"shortest_edge": int(edge)} if config.get("do_center_crop", False):
            height, width = _crop(config)
            if height != width or height > edge:
                raise Unmapped(f"a crop of {height}x{width} out of {edge}")
            return {"height": height, "width": width, "resize": "shortest", "crop_ratio": height / edge}
    raise Unmapped(f"size: {size!r}")


def _convnext(edge: int, config: Mapping[str, Any]) -> dict[str, Any]:
    """Applies ConvNeXt's rule: below 384 pixels a crop of ``crop_pct``, from there on a stretch."""
    if edge >= 384:
        return {"height": edge, "width": edge, "resize": "stretch"}
    ratio = float(config.get("crop_pct") or 224 / 256)
    return {"height": edge, "width": edge, "resize": "shortest", "crop_ratio": edge / int(edge / ratio)}


def _crop(config: Mapping[str, Any]) -> tuple[int, int]:
    match config.get("crop_size"):
        case int(edge):
            return edge, edge
        case {"height": int(height), "width": int(width)}:
            return height, width
    raise Unmapped(f"crop_size: {config.get('crop_size')!r}")
