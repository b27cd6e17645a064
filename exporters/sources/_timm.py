"""A network of the timm library, where it is installed."""

from __future__ import annotations

import difflib
import importlib
import math
import sys
from collections.abc import Mapping
from typing import Any

from torch import nn

from cnntk.exporters.options import ExportOptions
from cnntk.exporters.source import Source
from cnntk.exporters.sources._factory import MISFITS, build_with_weights
from cnntk.exporters.sources._preprocessor import center_crop
from cnntk.exporters.sources._torchvision import import_torchvision
from cnntk.exporters.sources.console import suppress_output
from cnntk.exporters.sources.inputs import dtype_of, input_specs, one_shape
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.errors import MissingDependency, UsageError

_FILTERS = frozenset({"nearest", "bilinear", "bicubic", "lanczos"})


def from_timm(name: str, options: ExportOptions) -> Source:
    """Opens timm's network ``name`` with the user's weights or random ones; nothing is downloaded.

    ``options.kwargs`` are passed to ``timm.create_model``; ``in_chans``, and ``img_size`` of networks of one
    size, follow the input shape.
    """
    text = f"timm:{name}"
    timm = _import_timm(text)
    _check_name(timm, name)
    shape = one_shape(options.input_shape, text)
    with suppress_output():
        built = build_with_weights(
            lambda: timm.create_model(name, pretrained=False, **_arguments(timm, name, shape, options)),
            text,
            options,
            _translate,
        )
    module = built.module
    config = timm.data.resolve_model_data_config(module)
    shape = shape or _input_shape(config["input_size"], options.kwargs)
    preprocessing, notes = preprocessing_of({**config, **_test_crop(module, shape)}, shape)
    labels = _labels(timm, module)
    is_classifier = bool(labels or options.kwargs.get("num_classes"))
    if not is_classifier:
        outputs = getattr(module, "num_classes", 0)
        what = f"timm does not say that its {outputs} outputs are classes" if outputs else "it has no classes"
        notes = (*notes, f"{what}, so it is no classifier (--head classifier makes it one)")
    return Source(
        name=name,
        inputs=input_specs(shape, dtype_of(module)),
        module=module,
        classifier=is_classifier,
        labels=labels,
        preprocessing=preprocessing,
        provenance={**built.provenance, "timm": timm.__version__},
        notes=(*notes, *built.notes),
    )


def preprocessing_of(
    config: Mapping[str, Any], shape: tuple[int, ...]
) -> tuple[Preprocessing | None, tuple[str, ...]]:
    """Translates timm's data configuration; where it can't be expressed, the result is None and a note.

    timm resizes to floor(size / crop_pct) and crops the center: ``center`` resizes the shortest side,
    ``squash`` both sides. ``border`` pads with the mean, which `Preprocessing` can't.

    Args:
        config: Result of timm's ``resolve_data_config``.
        shape: (C, H, W) of the network's input.
    """
    mode, percent = config["crop_mode"], float(config["crop_pct"])
    interpolation = config["interpolation"]
    shares = {side / math.floor(side / percent) for side in shape[1:]}
    is_expressible = mode in ("center", "squash") and len(shares) == 1 and max(shares) <= 1
    if not is_expressible or interpolation not in _FILTERS or shape[0] != 3:
        steps = f"{mode} crop of {percent:g}, {interpolation}, {shape[0]} channels"
        return None, (
            f"timm's preprocessing ({steps}) can't be expressed in cnntk, so the file takes arrays only",
        )
    stretch = mode == "squash"
    return center_crop(shape, shares.pop(), interpolation, config["mean"], config["std"], stretch=stretch), ()


def _import_timm(text: str) -> Any:
    import_torchvision(text)
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise MissingDependency(
            f"{text} needs timm, which is not installed ({error}); pip install timm"
        ) from error


def _check_name(timm: Any, name: str) -> None:
    """Raises UsageError where timm has no network of this name; a tag may follow it after a dot."""
    if timm.is_model(name):
        return
    close = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise UsageError(
        f"timm:{name}: timm {timm.__version__} has no such network; {hint}see timm.list_models()"
    )


def _arguments(timm: Any, name: str, shape: tuple[int, ...] | None, options: ExportOptions) -> dict[str, Any]:
    """Returns the arguments of ``create_model``: the user's, and those that ``--input`` implies."""
    arguments: dict[str, Any] = dict(options.kwargs)
    config = timm.get_pretrained_cfg(name)
    if shape is None or config is None:
        return arguments
    if shape[0] != config.input_size[0]:
        arguments.setdefault("in_chans", shape[0])
    if config.fixed_input_size and shape[1:] != tuple(config.input_size[1:]):
        arguments.setdefault("img_size", shape[1:])
    return arguments


def _translate(module: nn.Module, state: dict[str, Any]) -> dict[str, Any]:
    """Translates names of the original release, or of earlier timm, by the filter in timm's module."""
    translate = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    try:
        return state if translate is None else dict(translate(state, module))
    except MISFITS:
        return state  # the check of names then says what is missing


def _input_shape(input_size: tuple[int, ...], arguments: Mapping[str, Any]) -> tuple[int, ...]:
    """Returns (C, H, W) of timm's configuration, as the user's arguments of ``create_model`` change it."""
    channels, size = arguments.get("in_chans", input_size[0]), arguments.get("img_size", input_size[1:])
    return (channels, size, size) if isinstance(size, int) else (channels, *size)


def _test_crop(module: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """Returns timm's crop for its test size, where the input has that size."""
    config = module.pretrained_cfg
    if shape == tuple(config.get("test_input_size") or ()) and config.get("test_crop_pct"):
        return {"crop_pct": config["test_crop_pct"]}
    return {}


def _labels(timm: Any, module: Any) -> tuple[str, ...]:
    """Returns the labels of the subset of ImageNet that has as many classes as the network; else none."""
    classes = getattr(module, "num_classes", 0)
    subset = timm.data.infer_imagenet_subset({"num_classes": classes})
    return tuple(timm.data.ImageNetInfo(subset).label_descriptions()) if subset else ()
