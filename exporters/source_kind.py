"""What a text names as a source, and what is wrong with it, said before torch is imported."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any, Literal

from cnntk.exporters.options import ExportOptions, format_input
from cnntk.models import zoo
from cnntk.models.plugins import PluginGroup
from cnntk.models.python_names import check_reference, name_missing
from cnntk.models.weights_reference import is_weights_file, split_reference
from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import model_file, readable_file

__all__ = ["SOURCE_PLUGINS", "SourceKind", "check_source", "source_kind", "weights_missing"]

SourceKind = Literal[
    "checkpoint",
    "pt2",
    "onnx",
    "transformers",
    "timm",
    "torchvision.models",
    "plugin",
    "factory",
    "weights",
    "python file",
    "folder",
    "zoo",
]

_LIBRARIES: tuple[SourceKind, ...] = ("transformers", "timm", "torchvision.models")

SOURCE_PLUGINS = PluginGroup("cnntk.sources", "source", frozenset(_LIBRARIES))


def source_kind(text: str) -> SourceKind:
    """Returns which kind of source a text names; the last three are none, and `check_source` says why."""
    path, (scheme, _, rest) = Path(text), text.partition(":")
    if (path / "spec.json").is_file() or (path.suffix == ".safetensors" and _has_spec(path)):
        return "checkpoint"
    if path.suffix in (".pt2", ".onnx"):
        return "pt2" if path.suffix == ".pt2" else "onnx"
    for library in _LIBRARIES:
        if scheme == library and rest:
            return library
    if rest and scheme in SOURCE_PLUGINS.entry_points():
        return "plugin"
    if is_weights_file(str(split_reference(text)[0])):
        return "weights"
    if rest:
        return "factory"
    if path.suffix == ".py":
        return "python file"
    return "folder" if text not in zoo.names() and (path.is_dir() or os.sep in text) else "zoo"


def _has_spec(path: Path) -> bool:
    return path.with_name("spec.json").is_file()


def check_source(text: str, options: ExportOptions, *, needs_input: bool = True) -> None:
    """Checks what can be known of a source without torch: files, names in files, and missing options.

    Args:
        text: Source as `export` takes it.
        options: Options of the export.
        needs_input: Whether the user has to state the input of a factory; else the caller knows it.

    Raises:
        UsageError: There is no such source, or an option is missing or contradicts it. Where the text names a
            file in which there are networks, the notes of the exception are commands to type.
    """
    if options.weights is not None and options.random:
        raise UsageError("--weights and --random exclude each other")
    if options.weights is not None:
        readable_file(split_reference(options.weights)[0], "weights")
    match source_kind(text):
        case "pt2":
            readable_file(text, "a program of torch.export")
        case "onnx":
            model_file(text, "an ONNX file")
        case "factory":
            check_reference(text)
            if needs_input and options.input_shape is None:
                raise UsageError(f"{text}: the input shape is missing; pass it like --input 3x224x224")
        case "zoo":
            zoo.find(text)
            if options.weights is None and not options.random:
                raise UsageError(weights_missing(text))
        case "python file":
            raise _name_missing(text, options)
        case "folder":
            raise _no_checkpoint(Path(text))
        case "weights":
            readable_file(split_reference(text)[0], "weights")
        case _:
            pass


def weights_missing(name: str) -> str:
    """Returns what a user does about a source without weights."""
    text = f"{name}: pass its weights (--weights FILE), or --random to try it with random ones"
    is_library = name.partition(":")[0] in _LIBRARIES
    return text if is_library else f"{text}, or train it first (cnntk train {name} --data DATA)"


def _name_missing(text: str, options: ExportOptions) -> UsageError:
    """For a Python file alone: the commands for the networks in it, with the weights that the user named."""
    size = format_input(options.input_shape) if options.input_shape is not None else "CxHxW"
    weights = f" --weights {shlex.quote(str(options.weights))}" if options.weights is not None else ""
    error = name_missing(text, "export", f"--input {size}{weights}{' --random' if options.random else ''}")
    if options.weights is None and not options.random and hasattr(error, "__notes__"):
        error.add_note("with --weights FILE, or --random to try it, where its code does not load its weights")
    return error


def _no_checkpoint(folder: Path) -> UsageError:
    """For a folder or path that is no checkpoint: what it seems to be."""
    if not folder.is_dir():
        return UsageError(f"{folder}: no such checkpoint")
    config = _json_object(folder / "config.json")
    weights = [name for name in sorted(os.listdir(folder)) if is_weights_file(name)]
    index = next((name for name in weights if name.endswith(".json")), None)
    file = index or next(iter(weights), None)
    if "architecture" in config:  # as timm writes it
        command = f"cnntk export timm:{config['architecture']}"
        if isinstance(classes := config.get("num_classes"), int):
            command += f" --kwargs num_classes={classes}"
        return _command(folder, "timm", f"{command} --weights {folder / file if file else 'FILE'}")
    if "model_type" in config:
        kind = f"transformers ({config['model_type']})"
        return _command(folder, kind, f"cnntk export transformers:{folder}")
    if file is not None:
        command = f"cnntk export SOURCE --weights {folder / file}"
        return _command(folder, f"weights without their network ({file})", command)
    return UsageError(f"{folder}: not a checkpoint folder; expected spec.json and model.safetensors in it")


def _command(folder: Path, kind: str, command: str) -> UsageError:
    error = UsageError(f"{folder}: not a checkpoint folder of cnntk, but one of {kind}; type:")
    error.add_note(f"  {command}")
    return error


def _json_object(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
