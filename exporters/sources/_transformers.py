"""An image classifier of the transformers library: a local folder, or a model type with random weights."""

from __future__ import annotations

import contextlib
import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from torch import nn

from cnntk.exporters.options import INPUT, ExportOptions
from cnntk.exporters.source import Source
from cnntk.exporters.sources._factory import MISFITS, BuiltNetwork, build_with_weights
from cnntk.exporters.sources._preprocessor import Unmapped, preprocessing_of
from cnntk.exporters.sources._torchvision import import_torchvision
from cnntk.exporters.sources.console import suppress_output
from cnntk.exporters.sources.inputs import dtype_of, input_specs, one_shape
from cnntk.exporters.sources.outputs import name_outputs
from cnntk.models.user_errors import one_line, with_cause
from cnntk.runtime.artifact.spec import Preprocessing, TensorSpec
from cnntk.runtime.errors import CheckpointError, MissingDependency, UsageError

PREPROCESSOR = "preprocessor_config.json"
DEFAULT_SIZE = 224


@dataclass(frozen=True)
class _Description:
    """The facts about a classifier that its configuration states."""

    config: Any
    shape: tuple[int, ...]
    labels: tuple[str, ...]
    notes: tuple[str, ...]
    preprocessing: Preprocessing | None = None


def from_transformers(name: str, options: ExportOptions) -> Source:
    """Opens the classifier in the folder ``name``, or one of the model type ``name``; nothing is downloaded.

    ``options.kwargs`` override fields of the configuration.
    """
    with contextlib.suppress(MissingDependency):
        import_torchvision(f"transformers:{name}")  # transformers fails where it is installed but can't load
    try:
        import transformers
    except ImportError as error:
        raise MissingDependency(
            f"transformers:{name} needs transformers, which is not installed; pip install transformers"
        ) from error
    folder = Path(name) if Path(name).is_dir() else None
    with _silent(transformers):
        config = _config(transformers, name, folder, options.kwargs)
        description = _describe(config, folder, one_shape(options.input_shape, f"transformers:{name}"))
        if folder is not None and options.weights is None and not options.random:
            built = BuiltNetwork(_trained(transformers, folder, config), {"weights": folder.resolve().name})
        else:
            built = build_with_weights(lambda: _fresh(transformers, config), f"transformers:{name}", options)
    return Source(
        name=Path(name).resolve().name if folder else name,
        inputs=_inputs(built.module, description),
        module=name_outputs(built.module, only="logits"),
        classifier=True,
        labels=description.labels,
        preprocessing=description.preprocessing,
        provenance={**built.provenance, "transformers": transformers.__version__},
        notes=(*description.notes, *built.notes),
    )


def _inputs(module: nn.Module, description: _Description) -> tuple[TensorSpec, ...]:
    """Returns the image, or its colors as palette indices in rows, for networks that read it like a text."""
    if getattr(module, "main_input_name", None) == "input_ids":
        length = getattr(description.config, "n_positions", None)
        if length is None:
            raise UsageError(
                f"a {description.config.model_type} takes texts besides images; cnntk exports image networks"
            )
        return (TensorSpec(INPUT, "int64", ("N", length)),)
    return input_specs(description.shape, dtype_of(module))


@contextlib.contextmanager
def _silent(transformers: Any) -> Iterator[None]:
    """Suppresses output and the progress bar that transformers shows while it reads weights."""
    logging = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with suppress_output():
            yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _config(transformers: Any, name: str, folder: Path | None, fields: Mapping[str, Any]) -> Any:
    from huggingface_hub.errors import StrictDataclassError

    model_types = transformers.models.auto.modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    if folder is None and name not in model_types:
        close = difflib.get_close_matches(name, model_types, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(
            f"transformers:{name}: not a folder or a model type of an image classifier; {hint}the types are "
            f"{', '.join(model_types)}. Nothing is downloaded: fetch a model first and name its folder"
        )
    if folder is not None and not (folder / "config.json").is_file():
        raise UsageError(f"{folder}: no config.json, so not a folder that transformers wrote")
    try:
        if folder is None:
            config = transformers.AutoConfig.for_model(name, **fields)
        else:
            config = transformers.AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, **fields
            )
    except (*MISFITS, StrictDataclassError) as error:
        raise UsageError(
            f"transformers:{name}: transformers refuses its configuration: {one_line(error)}"
        ) from error
    if config.model_type not in model_types:
        raise UsageError(
            f"transformers:{name}: {config.model_type} is not an image classifier of transformers"
        )
    return config


def _fresh(transformers: Any, config: Any) -> nn.Module:
    config.architectures = config.architectures or []  # None is too little for types of several classes
    module: nn.Module = transformers.AutoModelForImageClassification.from_config(config)
    return module


def _trained(transformers: Any, folder: Path, config: Any) -> nn.Module:
    from safetensors import SafetensorError

    try:
        module, report = transformers.AutoModelForImageClassification.from_pretrained(
            folder, config=config, local_files_only=True, trust_remote_code=False, output_loading_info=True
        )
    except (*MISFITS, OSError, SafetensorError, UnpicklingError) as error:
        raise CheckpointError(f"{folder}: its weights can't be loaded: {with_cause(error)}") from error
    for problem in ("missing_keys", "mismatched_keys", "error_msgs"):
        if names := sorted(map(str, report.get(problem, ()))):
            raise CheckpointError(
                f"{folder}: weights {problem.replace('_', ' ')}, {names[0]} first of {len(names)}: "
                "they belong to another network"
            )
    return module  # type: ignore[no-any-return]


def _describe(config: Any, folder: Path | None, shape: tuple[int, ...] | None) -> _Description:
    processor = _processor(folder)
    shape, notes = (shape, ()) if shape else _shape(config, processor)
    labels = tuple(str(label) for _, label in sorted((config.id2label or {}).items()))
    if all(label == f"LABEL_{i}" for i, label in enumerate(labels)):
        labels = ()  # transformers' placeholders
    description = _Description(config, shape, labels, notes)
    if processor is None:
        return description
    try:
        preprocessing = preprocessing_of(processor, shape[0])
    except Unmapped as reason:
        note = f"{PREPROCESSOR} has a step that cnntk can't express ({reason}), so the file takes arrays only"
        return replace(description, notes=(*notes, note))
    if (preprocessing.height, preprocessing.width) != shape[1:]:
        preprocessing = replace(preprocessing, height=shape[1], width=shape[2])
    return replace(description, preprocessing=preprocessing)


def _processor(folder: Path | None) -> dict[str, Any] | None:
    file = folder / PREPROCESSOR if folder else None
    if file is None or not file.is_file():
        return None
    try:
        data = json.loads(file.read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{file}: not valid JSON ({error})") from error
    return data if isinstance(data, dict) else None


def _shape(config: Any, processor: Mapping[str, Any] | None) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Returns (C, H, W) by the configuration, the image processor, or the default size with a note."""
    vision = getattr(config, "vision_config", config)
    channels = getattr(vision, "num_channels", None) or getattr(config, "num_channels", None) or 3
    size = getattr(vision, "image_size", None) or getattr(config, "image_size", None)
    if size is None and processor is not None:
        with contextlib.suppress(Unmapped):
            preprocessing = preprocessing_of(processor, channels)
            size = (preprocessing.height, preprocessing.width)
    if size is None:
        note = f"the configuration has no image size; assuming {DEFAULT_SIZE} pixels (--input sets another)"
        return (channels, DEFAULT_SIZE, DEFAULT_SIZE), (note,)
    height, width = (size, size) if isinstance(size, int) else size
    return (channels, int(height), int(width)), ()
