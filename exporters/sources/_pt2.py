"""Reads a ``.pt2`` file of torch.export without running code from it.

torch.export.load unpickles, and evaluates texts: shape expressions go through sympy's ``eval``, names become
Python source, operators and types of inputs are looked up in modules, guards are source code, and compiled
models are loaded as libraries. So torch reads another archive, which is made here: pickles are read by its
reader of plain weights and written anew, each text has passed a check, and all else is left out.
"""

from __future__ import annotations

import ast
import io
import json
import keyword
import pickle
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch
from torch.export import ExportedProgram

from cnntk.exporters.sources.console import suppress_output
from cnntk.models.trust import TRUST_HINT
from cnntk.runtime.errors import ArtifactCorrupt, UsageError
from cnntk.runtime.sections import shorten

_MODEL = "models/model.json"
_FORMAT = ("archive_format", "archive_version", "byteorder", "version", ".data/version")
_OLD_PROGRAM, _OLD_INPUTS = "serialized_exported_program.json", "serialized_example_inputs.pt"
_OLD_TENSORS = ("serialized_state_dict.pt", "serialized_constants.pt")


class _UntrustedError(Exception):
    """The archive holds something that torch would run, or that is not known to be plain data."""


def load_pt2(file: Path, *, trust: bool) -> ExportedProgram:
    """Returns the program in the file.

    Args:
        file: A file of torch.export.save.
        trust: Whether torch may read it as it is, which runs the code in it.

    Raises:
        ArtifactCorrupt: The file is damaged.
        UsageError: It needs more than plain data, and is not trusted.
    """
    try:
        with suppress_output(), file.open("rb") as stream:
            return torch.export.load(file if trust else _plain_archive(stream))
    except _UntrustedError as error:
        raise UsageError(f"{file}: {error}, which could run code; {TRUST_HINT}") from error
    except Exception as error:  # torch, zipfile and json raise many types, as the damaged byte will have it
        message = f"{file}: not a valid .pt2 file; save it again with torch.export.save"
        raise ArtifactCorrupt(message) from error


def _plain_archive(stream: BinaryIO) -> BinaryIO:
    """An archive with the program and its weights alone."""
    target = io.BytesIO()
    with ZipFile(stream) as source, ZipFile(target, "w", ZIP_STORED) as plain:
        _check_sizes(source, stream.seek(0, io.SEEK_END))
        if _OLD_PROGRAM in source.namelist():  # of torch up to 2.7
            plain.writestr("version", source.read("version"))
            plain.writestr(_OLD_PROGRAM, _plain_program(source.read(_OLD_PROGRAM)))
            for name in _OLD_TENSORS:
                plain.writestr(name, _plain_pickle(source.read(name), name))
            plain.writestr(_OLD_INPUTS, b"")
        else:
            _copy_archive(source, plain)
    target.seek(0)
    return target


def _copy_archive(source: ZipFile, plain: ZipFile) -> None:
    root = source.namelist()[0].partition("/")[0]
    names = {name.removeprefix(f"{root}/") for name in source.namelist()}
    for name in names.intersection(_FORMAT):
        plain.writestr(f"{root}/{name}", source.read(f"{root}/{name}"))
    plain.writestr(f"{root}/{_MODEL}", _plain_program(source.read(f"{root}/{_MODEL}")))
    plain.writestr(f"{root}/data/sample_inputs/model.pt", b"")
    for folder, kind in (("data/weights", "weights"), ("data/constants", "constants")):
        legacy, config = f"{folder}/model.pt", f"{root}/{folder}/model_{kind}_config.json"
        if legacy in names:
            plain.writestr(f"{root}/{legacy}", _plain_pickle(source.read(f"{root}/{legacy}"), legacy))
        else:
            payloads = json.loads(source.read(config))
            plain.writestr(config, json.dumps(_checked(payloads)))
            _copy_tensors(source, plain, f"{root}/{folder}", list(payloads["config"].values()))


def _copy_tensors(source: ZipFile, plain: ZipFile, folder: str, payloads: list[dict[str, Any]]) -> None:
    """Copies the tensors that the payloads name, in bytes or pickled: one file may be named as both."""
    pickled = {payload["path_name"] for payload in payloads if payload["use_pickle"]}
    for path in dict.fromkeys(payload["path_name"] for payload in payloads):
        _check(re.fullmatch(r"(weight|tensor)_\d+", path) is not None, "the object", path)
        name = f"{folder}/{path}"
        if path in pickled:
            plain.writestr(name, _plain_pickle(source.read(name), path))
        else:
            with source.open(name) as record, plain.open(name, "w", force_zip64=True) as copy:
                shutil.copyfileobj(record, copy)
    for payload in payloads:  # torch would fill a tensor of any size with zeros
        is_empty = source.getinfo(f"{folder}/{payload['path_name']}").file_size == 0
        if is_empty and {"as_int": 0} not in payload["tensor_meta"]["sizes"]:
            raise ValueError("a tensor without its bytes")


def _check_sizes(archive: ZipFile, size: int) -> None:
    """Raises BadZipFile for entries that would be larger than they are in the file."""
    entries = archive.infolist()
    if any(e.compress_type != ZIP_STORED for e in entries) or sum(e.file_size for e in entries) > size:
        raise BadZipFile("compressed or overlapping entries")


def _plain_pickle(data: bytes, name: str) -> bytes:
    """The same tensors, written anew."""
    with ZipFile(io.BytesIO(data)) as archive:
        _check_sizes(archive, len(data))
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _UntrustedError(f"holds more than tensors in {name!r}") from error
    copy = io.BytesIO()
    torch.save(content, copy)
    return copy.getvalue()


def _plain_program(data: bytes) -> bytes:
    return json.dumps(_checked(json.loads(data))).encode()


def _checked(value: Any, key: str = "", *, in_node: bool = False) -> Any:
    """Returns JSON data without what torch would run, each text checked by the field that it is in."""
    is_literal = in_node and key in ("as_string", "as_strings")  # in Python source, too
    if isinstance(value, str) and not is_literal:
        _TEXTS.get(key, _check_word)(value)
    if isinstance(value, list):
        return [_checked(item, key, in_node=in_node) for item in value]
    if not isinstance(value, dict):
        return value
    if key == "metadata":  # what messages about a node need
        return {name: str(value[name]) for name in _METADATA if name in value}
    checked = {}
    for name, item in value.items():
        _KEYS.get(key, _check_word)(name)
        if name in ("as_custom_obj", "custom_obj") or (name == "custom_obj_values" and item):
            raise _UntrustedError("holds objects of classes of its own")
        inside = name == "nodes" or (in_node and name != "as_graph")
        checked[name] = type(item)() if name in _LEFT_OUT else _checked(item, name, in_node=inside)
    return checked


_METADATA = ("nn_module_stack", "stack_trace", "torch_fn")
_LEFT_OUT = ("guards_code", "treespec_namedtuple_fields")  # source code, and names of types


def _check_word(text: str) -> None:
    _check(re.fullmatch(r"[\w.:+-]{0,100}", text) is not None, "the text", text)


def _check_name(text: str) -> None:
    """A name of a value, which becomes a variable in Python source."""
    _check(text == "" or (text.isidentifier() and not keyword.iskeyword(text)), "the name", text)


def _check_path(text: str) -> None:
    """A name of a weight, which becomes a string or an attribute in Python source."""
    _check(re.fullmatch(r"(?!__|.*\.__)[^\"'\\\x00-\x1f]{0,500}", text) is not None, "the name", text)


def _check_symbol(text: str) -> None:
    """A symbol with a range, or a shape of some, as ``2*s77``; torch counts up to the number in ``u77``."""
    _check(re.fullmatch(rf"{_SYMBOL}|(?![uz])[\w *+/,()-]{{1,200}}", text) is not None, "the symbol", text)


def _check_operator(text: str) -> None:
    _check(text in _OPERATORS or _is_tensor_operator(text), "the operator", text)


def _check_expression(text: str) -> None:
    """A shape, as sympy prints it: ``Mul(Integer(4), Symbol('s77', positive=True, integer=True))``."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval"))) if len(text) <= 1000 else []
    except SyntaxError:
        nodes = []
    _check(bool(nodes) and all(map(_is_arithmetic, nodes)), "the shape expression", text)


def _check_key(text: str) -> None:
    """A key of a dict in the inputs, which becomes a string in Python source."""
    _check(re.fullmatch(r"[\w .:/+-]{0,100}", text) is not None, "the key", text)


def _check_tree(text: str, check_name: Callable[[str], None], check_key: Callable[[str], None]) -> None:
    """The structure of the inputs or outputs: tuples, lists and dicts.

    The keys of its first two levels are names of arguments.
    """
    _, tree = json.loads(text)
    trees = [(tree, 0)]
    while trees:
        node, depth = trees.pop()
        _check(
            node["type"] in _TREES and isinstance(node["context"], str | None), "the type", str(node["type"])
        )
        for name in json.loads(node["context"] or "null") or ():
            _check(isinstance(name, str | int), "the key", str(name))
            (check_name if depth < 2 else check_key)(str(name))
        trees += [(child, depth + 1) for child in node["children_spec"]]


def _check(is_plain: bool, kind: str, text: str) -> None:
    if not is_plain:
        raise _UntrustedError(f"holds {kind} {shorten(text, 80)!r}")


_SYMBOL = r"[a-z]{1,4}\d{1,6}"
_TREES = (None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict")
_TEXTS: Mapping[str, Callable[[str], None]] = {
    **dict.fromkeys(("name", "as_name", "forward_arg_names"), _check_name),
    **dict.fromkeys(
        ("parameter_name", "buffer_name", "tensor_constant_name", "user_input_name", "fqn"), _check_path
    ),
    **dict.fromkeys(("target", "as_operator"), _check_operator),
    "expr_str": _check_expression,
    "in_spec": lambda text: _check_tree(text, _check_name, _check_key),
    "out_spec": lambda text: _check_tree(text, _check_path, _check_path),
}
_KEYS: Mapping[str, Callable[[str], None]] = {
    **dict.fromkeys(("tensor_values", "sym_int_values", "sym_float_values", "sym_bool_values"), _check_name),
    "range_constraints": _check_symbol,
    "config": _check_path,
}
_OPERATORS = frozenset(
    f"{module}.{name}"
    for module, names in {
        "_operator": "eq ne le ge lt gt neg pos mul add sub floordiv truediv mod and_ or_ getitem",
        "math": "trunc ceil floor",
        "torch": "sym_not sym_int sym_float sym_ite sym_max sym_min sym_sqrt",
        "torch.ops.higher_order": "cond while_loop scan wrap_with_set_grad_enabled wrap_with_autocast",
    }.items()
    for name in names.split()
)
_FUNCTIONS = frozenset(
    re.findall(
        r"\w+",
        """
        Symbol Integer Float Rational Add Mul Mod Max Min Pow PowByNatural FloorDiv PythonMod CleanDiv CeilDiv
        CeilToInt FloorToInt TruncToInt RoundToInt ToFloat IntTrueDiv FloatTrueDiv ModularIndexing Identity
        Where Equality Unequality StrictLessThan StrictGreaterThan LessThan GreaterThan And Or Not true false
        """,
    )
)
_MAX_POWER = 8


def _is_tensor_operator(text: str) -> bool:
    """Whether it is an operator of torch that reads and writes tensors only: two of them open files."""
    match = re.fullmatch(r"torch\.ops\.(aten|prims)\.(\w+)\.(\w+)", text)
    if match is None:
        return False
    operator = getattr(getattr(getattr(torch.ops, match[1]), match[2], None), match[3], None)
    if not isinstance(operator, torch._ops.OpOverload):
        return False
    return all(argument.name != "filename" for argument in operator._schema.arguments)


def _is_arithmetic(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="Pow" | "PowByNatural"), args=[base, power]):
            # A power of numbers alone can take all memory.
            is_symbol = isinstance(base, ast.Call) and ast.unparse(base.func) == "Symbol"
            return is_symbol and ast.unparse(power) in {f"Integer({n})" for n in range(_MAX_POWER + 1)}
        case ast.Call(func=ast.Name(id=name)):
            return name in _FUNCTIONS - {"Pow", "PowByNatural"}
        case ast.Name(id=name):
            return name in _FUNCTIONS or re.fullmatch(_SYMBOL, name) is not None
        case ast.Constant(value=str(text)):
            return re.fullmatch(rf"{_SYMBOL}|-?[\d.]+(e[+-]?\d+)?", text) is not None
        case ast.Constant(value=int() | float()):
            return True
        case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.FloorDiv()) | ast.UnaryOp(op=ast.USub()):
            return True
    return isinstance(node, ast.Expression | ast.keyword | ast.expr_context | ast.operator | ast.unaryop)
