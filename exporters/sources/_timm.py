"""A network of the timm library, where it is installed."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from typing import Any

from cnntk.exporters.options import ExportOptions
from cnntk.exporters.source import Source
from cnntk.exporters.sources._factory import build_with_weights
from cnntk.exporters.sources.inputs import dtype_of, input_specs, one_shape
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.errors import MissingDependency, UsageError

_FILTERS = frozenset({"nearest", "bilinear", "bicubic", "lanczos"})


def from_timm(name: str, options: ExportOptions) -> Source:
    """Opens timm's network ``name`` with the user's weights or random ones; nothing is downloaded.

    ``options.kwargs`` are passed to ``timm.create_model``.
    """
    try:
        timm: Any = importlib.import_module("timm")
    except (ImportError, RuntimeError) as error:  # torchvision of another torch fails in its operators
        raise MissingDependency(
            f"timm:{name} needs timm and torchvision ({error}); "
            "pip install timm, with the torchvision that belongs to your torch"
        ) from error
    if not timm.is_model(name):
        raise UsageError(f"timm:{name}: timm {timm.__version__} has no such network; see timm.list_models()")
    module, provenance = build_with_weights(
        lambda: timm.create_model(name, pretrained=False, **options.kwargs), f"timm:{name}", options
    )
    config: Mapping[str, Any] = getattr(module, "pretrained_cfg", {})
    shape = one_shape(options.input_shape, f"timm:{name}") or tuple(config.get("input_size", (3, 224, 224)))
    preprocessing, notes = preprocessing_of(config, shape)
    return Source(
        name=name,
        inputs=input_specs(shape, dtype_of(module)),
        module=module,
        classifier=True,
        labels=tuple(config.get("label_names") or ()),
        preprocessing=preprocessing,
        provenance={**provenance, "timm": timm.__version__},
        notes=notes,
    )


def preprocessing_of(
    config: Mapping[str, Any], shape: tuple[int, ...]
) -> tuple[Preprocessing | None, tuple[str, ...]]:
    """Translates timm's ``pretrained_cfg``; where it can't be expressed, the result is None and a note.

    timm's ``center`` crop is `Preprocessing`'s ``shortest``; its ``squash`` is ``stretch`` at a ratio of 1.
    """
    mode, ratio = config.get("crop_mode", "center"), float(config.get("crop_pct", 0.875))
    interpolation = config.get("interpolation", "bilinear")
    # timm resizes to floor(size / crop_pct); the share that is left of that is what says the same.
    shares = {side / math.floor(side / ratio) for side in shape[1:]}
    fits = (mode == "center" and len(shares) == 1) or (mode == "squash" and ratio == 1.0)
    if not fits or interpolation not in _FILTERS or shape[0] != 3:
        note = f"timm's preprocessing ({mode} crop of {ratio:g}, {interpolation}) can't be expressed in cnntk"
        return None, (f"{note}, so the file takes arrays only",)
    preprocessing = Preprocessing(
        color="rgb",
        height=shape[1],
        width=shape[2],
        resize="shortest" if mode == "center" else "stretch",
        interpolation=interpolation,
        crop_ratio=shares.pop() if mode == "center" else 1.0,
        crop_start="round",
        mean=tuple(map(float, config.get("mean", (0.485, 0.456, 0.406)))),
        std=tuple(map(float, config.get("std", (0.229, 0.224, 0.225)))),
    )
    return preprocessing, ()
