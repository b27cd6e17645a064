"""An image classifier of torchvision, where it is installed."""

from __future__ import annotations

import difflib
import importlib
import re
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnntk.exporters.options import ExportOptions
from cnntk.exporters.source import Source
from cnntk.exporters.sources._factory import build_with_weights
from cnntk.exporters.sources._preprocessor import center_crop
from cnntk.exporters.sources.console import suppress_output
from cnntk.exporters.sources.inputs import dtype_of, input_specs, one_shape
from cnntk.models.weights_reference import split_reference
from cnntk.runtime.errors import MissingDependency, UsageError

SCHEME = "torchvision.models"

# Arguments that torchvision's builders set themselves where they load weights that they download.
_TRANSFORM_INPUT = frozenset({"googlenet", "inception_v3"})

_DENSE_LAYER = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")

_TASKS = {
    "detection": "an object detector",
    "segmentation": "a segmentation network",
    "video": "a video network",
    "optical_flow": "an optical flow network",
    "quantization": "a quantized network; export the float one and use cnntk quantize",
}


def from_torchvision(name: str, options: ExportOptions) -> Source:
    """Opens torchvision's classifier ``name`` with the user's weights or random ones; nothing is downloaded.

    Preprocessing and labels are those of one entry of its weights enum: ``options.kwargs["weights"]``, else
    the entry whose file has the name of ``--weights``, else ``DEFAULT``. The other ``options.kwargs`` are
    passed to its builder.
    """
    text = f"{SCHEME}:{name}"
    models = import_torchvision(text).models
    _check_is_classifier(models, name)
    kwargs = dict(options.kwargs)
    entry, notes = _weights_entry(models, name, kwargs.pop("weights", None), options.weights)
    transforms, labels = entry.transforms(), tuple(entry.meta["categories"] or ())
    crop, edge = transforms.crop_size[0], transforms.resize_size[0]
    shape = one_shape(options.input_shape, text) or (3, crop, crop)
    if shape[0] != 3:
        raise UsageError(f"{text}: torchvision's networks take 3 channels, --input has {shape[0]}")
    arguments = {**_builder_defaults(name, shape, options), **kwargs}
    with suppress_output():
        built = build_with_weights(
            lambda: models.get_model(name, weights=None, **arguments), text, options, _translate
        )
    interpolation = transforms.interpolation.value
    preprocessing = center_crop(shape, crop / edge, interpolation, transforms.mean, transforms.std)
    return Source(
        name=name,
        inputs=input_specs(shape, dtype_of(built.module)),
        module=built.module,
        classifier=True,
        labels=labels if arguments.get("num_classes", len(labels)) == len(labels) else (),
        preprocessing=preprocessing,
        provenance={**built.provenance, "torchvision": importlib.import_module("torchvision").__version__},
        notes=(*notes, *built.notes),
    )


def import_torchvision(source: str) -> Any:
    """Returns torchvision, also where its operators are built for another torch.

    PyPI's torchvision is built for CUDA: beside a CPU build of torch its library does not load, and its
    import fails where it registers shapes for ``nms``, an operator of object detectors. Classifiers call none
    of its operators, so the missing ones are declared, without kernels: a network that calls one still fails.

    Raises:
        MissingDependency: It is not installed, or can't be imported for another reason.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise MissingDependency(
                f"{source} needs torchvision, which can't be imported: {error}"
            ) from error
    except ImportError as error:
        raise MissingDependency(
            f"{source} needs torchvision, which is not installed ({error}); pip install torchvision, of the "
            "release that belongs to your torch"
        ) from error
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    for operator in ("nms", "qnms"):
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{operator}", schema)
    return importlib.import_module("torchvision")


def _check_is_classifier(models: Any, name: str) -> None:
    """Raises UsageError where torchvision has no classifier of this name."""
    classifiers = models.list_models(module=models)
    if name in classifiers:
        return
    if name in models.list_models():
        package = models.get_model_builder(name).__module__.split(".")[2]
        raise UsageError(
            f"{SCHEME}:{name}: {_TASKS.get(package, package)}; expected an image classifier of torchvision"
        )
    close = difflib.get_close_matches(name, classifiers, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise UsageError(
        f"{SCHEME}:{name}: torchvision has no such classifier; {hint}see torchvision.models.list_models()"
    )


def _weights_entry(models: Any, name: str, entry: str | None, file: Any) -> tuple[Any, tuple[str, ...]]:
    """Returns the weights entry whose preprocessing and labels apply, and a note where that is a guess."""
    entries = models.get_model_weights(name)
    if entry is not None:
        if entry not in entries.__members__:
            raise UsageError(
                f"{SCHEME}:{name}: weights={entry}: no such entry; expected one of "
                f"{', '.join(entries.__members__)}"
            )
        return entries[entry], ()
    by_file = {Path(candidate.url).name: candidate for candidate in entries}
    if file is not None and (name_of_file := split_reference(file)[0].name) in by_file:
        return by_file[name_of_file], ()
    others = ", ".join(e.name for e in entries if e is not entries.DEFAULT)
    note = f"preprocessing and labels are those of {entries.DEFAULT}; --kwargs weights=... chooses {others}"
    return entries.DEFAULT, (note,) if others else ()


def _translate(module: nn.Module, state: dict[str, Any]) -> dict[str, Any]:
    """Translates the names in the files of DenseNets, which are from before module names had no dots."""
    return {_DENSE_LAYER.sub(r"\1\2.", key): tensor for key, tensor in state.items()}


def _builder_defaults(name: str, shape: tuple[int, ...], options: ExportOptions) -> dict[str, Any]:
    """Returns the arguments with which torchvision builds the network for its own weights."""
    if name in _TRANSFORM_INPUT:
        return {"transform_input": True, "init_weights": options.weights is None}
    return {"image_size": shape[1]} if name.startswith("vit_") else {}
