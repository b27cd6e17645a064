"""Options of the command line, made from the options dataclasses of the library.

A field becomes an option: its flag is ``--field-name``, its type follows from the annotation, its help is the
first sentence of its entry in the class's ``Attributes:``. The field's metadata may say otherwise:

    flag: The flags, separated by spaces, like ``"--learning-rate --lr"``; None for a field without an option.
    metavar: Name of the value in the help.
    group: Heading under which the help lists the option.
    help: Text of the help, where the docstring's first sentence does not serve.
    min, max: Smallest and largest number.
    repeated: True where the option may be repeated, and ``parse`` takes all of its texts.
    parse: Function from the text (of a repeated option: from each text) to the value; its ValueError is
        reported with the option's name.
"""

from __future__ import annotations

import contextlib
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from typing import Any, Literal, TypeVar

import click
from click.shell_completion import CompletionItem

from cnntk.cli.output import json_alone
from cnntk.runtime.session.devices import parse_device_name

__all__ = [
    "Command",
    "add_options",
    "command",
    "device_option",
    "json_option",
    "option",
    "preprocessing_option",
    "to_options",
]

T = TypeVar("T")
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

GENERAL = "General"
_PATHS = ("FILE", "FOLDER", "PATH", "IMAGE", "OTHER", "CHECKPOINT")
"""Names of values that are paths."""

_ENTRY = re.compile(r"(\w+): (.*)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`])")


class _PathText(click.types.StringParamType):
    """Text that a shell completes to the names of files and folders."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """Leaves the completion to the shell."""
        return [CompletionItem(incomplete, type="file")]


class _Option(click.Option):
    """An option with the heading under which the help lists it."""

    def __init__(self, *args: Any, group: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group
        if self.metavar in _PATHS:
            self.type = _PathText()
        elif self.metavar is None and isinstance(self.type, click.types.IntParamType):
            self.metavar = "N"
        elif self.metavar is None and isinstance(self.type, click.types.FloatParamType):
            self.metavar = "NUMBER"

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Leaves out a range that ends only where the type of the number does."""
        extra = super().get_help_extra(ctx)
        if (getattr(self.type, "max", None) or 0) >= 2**31:
            extra.pop("range", None)
        return extra


class Command(click.Command):
    """A command whose help has its options in groups, and examples that work."""

    examples: tuple[str, ...] = ()

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; with --json, whatever the user's code prints is no part of the document."""
        with json_alone(ctx) if ctx.params.get("as_json") else contextlib.nullcontext():
            return super().invoke(ctx)

    def get_short_help_str(self, limit: int = 200) -> str:
        """The first sentence of the help, in full."""
        return super().get_short_help_str(200)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes a list of options for each group, output and general ones last."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)) is not None:
                groups.setdefault(getattr(param, "group", GENERAL), []).append(record)
        last = {title: groups.pop(title) for title in ("Output", GENERAL) if title in groups}
        for title, records in {**groups, **last}.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the examples."""
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def command(*examples: str) -> Callable[[Callable[..., Any]], Command]:
    """Makes a function a command, with examples of its use."""

    def decorate(function: Callable[..., Any]) -> Command:
        decorated = click.command(cls=Command)(function)
        decorated.examples = examples
        for param in decorated.params:
            if isinstance(param, click.Argument):
                param.type = _PathText()
        return decorated

    return decorate


def option(*flags: str, group: str = "Options", **settings: Any) -> Decorator:
    """An option that belongs to no options dataclass, as `click.option` takes it."""
    return click.option(*flags, cls=_Option, group=group, **settings)


def device_option(group: str = "Options") -> Decorator:
    """The option ``--device``, whose name is checked at once; what is available, where it is used."""

    def callback(ctx: click.Context, param: click.Parameter, value: str) -> str:
        parse_device_name(value)
        return value

    return option(
        "--device",
        default="cpu",
        show_default=True,
        group=group,
        help="Device: cpu, cuda, cuda:1 or auto.",
        callback=callback,
    )


def preprocessing_option(group: str, text: str) -> Decorator:
    """The option by which a user states how images become a model's input."""

    def parse(texts: Sequence[str]) -> object:
        from cnntk.runtime.preprocessing.choice import parse_preprocessing

        return parse_preprocessing(texts)

    return option(
        "--preprocessing",
        metavar="PRESET|K=V",
        multiple=True,
        callback=_parser(parse),
        group=group,
        help=text,
    )


def labels_option(group: str) -> Decorator:
    """The option by which a user names the classes of a model that has only their numbers."""

    def parse(file: str) -> tuple[str, ...]:
        from cnntk.exporters.options import read_labels

        return read_labels(file)

    return option(
        "--labels",
        metavar="FILE",
        callback=_parser(parse),
        group=group,
        help="Names of the classes of a MODEL that has only numbers: a text file with one a line.",
    )


json_option = option("--json", "as_json", is_flag=True, group=GENERAL, help="Print one JSON document.")


def add_options(options_class: type, *, skip: Sequence[str] = ()) -> Decorator:
    """Adds an option for each field of a dataclass but those named in ``skip``."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        hints, helps = typing.get_type_hints(options_class), attribute_texts(options_class)
        for field in reversed(fields(options_class)):
            if field.name not in skip and field.metadata.get("flag", "") is not None:
                flags, settings = _declaration(field, hints[field.name], helps.get(field.name, ""))
                function = option(*flags, **settings)(function)
        return function

    return decorate


def to_options(options_class: type[T], values: dict[str, Any]) -> T:
    """An instance of the dataclass; takes its fields out of the command's ``values``."""
    chosen = {f.name: (f, values.pop(f.name)) for f in fields(options_class) if f.name in values}  # type: ignore[arg-type]
    # click has an empty tuple for an option that may be repeated and was left out.
    return options_class(
        **{
            name: f.default if value == () and f.default is None else value
            for name, (f, value) in chosen.items()
        }
    )


def attribute_texts(documented: type) -> dict[str, str]:
    """The entries of a docstring's ``Attributes:``, each as one line."""
    _, _, text = (documented.__doc__ or "").partition("Attributes:\n")
    entries: dict[str, str] = {}
    name, margin = "", None
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        margin = indent if margin is None else margin
        if line.strip() and indent < margin:
            break
        if indent == margin and (match := _ENTRY.match(line.strip())):
            name, entries[match[1]] = match[1], match[2]
        elif name and line.strip():
            entries[name] += f" {line.strip()}"
    return entries


def _declaration(field: Field[Any], annotation: Any, text: str) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Flags and settings for `option`."""
    meta = field.metadata
    kind = _without_none(annotation)
    flags = meta.get("flag", f"--{field.name.replace('_', '-')}").split()
    default = field.default if field.default_factory is MISSING else field.default_factory()
    settings: dict[str, Any] = {
        "help": meta.get("help") or _SENTENCE_END.split(text)[0].replace("``", "").replace("`", ""),
        "group": meta.get("group", "Options"),
        "metavar": meta.get("metavar"),
        "callback": _parser(meta["parse"]) if "parse" in meta else None,
    }
    if default is MISSING:
        settings["required"] = True
    elif kind is bool:
        settings |= {"is_flag": True, "default": default}
        return (*flags, field.name), settings
    elif not isinstance(default, Mapping):
        shown = default not in (None, (), "") and "default" not in settings["help"].lower()
        settings |= {"default": default, "show_default": shown}
    return (*flags, field.name), settings | _value_settings(kind, meta)


def _value_settings(kind: Any, meta: Mapping[str, Any]) -> dict[str, Any]:
    """How the text of an option becomes a value of its type."""
    origin = typing.get_origin(kind)
    if origin is tuple and "parse" not in meta:
        item = typing.get_args(kind)[0]
        return {"multiple": True, **_value_settings(item, meta)}
    if meta.get("repeated"):
        return {"multiple": True}
    if origin in (dict, Mapping):
        metavar = meta.get("metavar") or "K=V"
        return {"multiple": True, "metavar": metavar, "callback": _parser(_pairs, meta.get("parse", str))}
    if "parse" in meta:
        return {"type": str}
    if origin is Literal:
        return {"type": click.Choice(typing.get_args(kind))}
    if kind in (int, float):
        low, high = meta.get("min"), meta.get("max")
        limits = (click.IntRange if kind is int else click.FloatRange)(low, high)
        return {"type": limits if (low, high) != (None, None) else kind}
    return {"type": str}


def _without_none(annotation: Any) -> Any:
    """``int`` of ``int | None``; of other unions the text that the command line passes on."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
        return kinds[0] if len(kinds) == 1 else str
    return annotation


def _parser(parse: Callable[..., Any], *more: Any) -> Callable[..., Any]:
    """A callback of click that reports what ``parse`` refuses; what is left out stays as it is."""

    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        if value is None or not isinstance(value, str | tuple):
            return value
        try:
            return parse(value, *more)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from error

    return callback


def _pairs(texts: Sequence[str], parse: Callable[[str], Any]) -> dict[str, Any]:
    """``name=value`` pairs."""
    result = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise ValueError(f"{text!r} is not of the form name=value")
        result[key] = parse(value)
    return result
