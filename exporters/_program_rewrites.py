"""Rewrites of a captured torch program that make torch's translation of it to ONNX possible, or right.

Attention over 3, 5 or more dimensions becomes attention over 4, which alone torch translates. Bounds of which
one is an int and one a float, as in ``clamp(0.0, 6)``, become floats. The logarithm of a sigmoid becomes
``-softplus(-x)``: Log(Sigmoid(x)) is minus infinity where the sigmoid is 0, and has lost digits far above.
Weights bear numbers during the translation, which writes their names into Python code, and there loses those
that are keywords, have spaces, or equal the name that it gives to another weight.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Mapping
from typing import Any, cast

import onnx_ir as ir
import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import ExportGraphSignature, InputSpec, OutputSpec
from torch.fx.node import map_arg

_aten = torch.ops.aten
_ATTENTION = _aten.scaled_dot_product_attention.default
_ATTENTION_BY_PRODUCTS = _aten._scaled_dot_product_attention_math.default
_LOG_SIGMOID = _aten.log_sigmoid.default
_THRESHOLD = 80
"""Where softplus(x) is x to the last bit of float64, and exp(x) is still finite in float32."""
_CLAMP = _aten.clamp.default


def rewrite_program(program: ExportedProgram) -> ExportedProgram:
    """Returns a program that torch can translate; ``program`` is not changed, and shares its weights."""
    module = fx.GraphModule(program.graph_module, copy.deepcopy(program.graph))
    for node, original in zip(module.graph.nodes, program.graph.nodes, strict=True):
        node.name = original.name  # the copy of one called like a function of Python's has another name
    signature, numbers = copy.deepcopy(program.graph_signature), _numbers(program)
    for node in list(module.graph.nodes):
        if node.target is _CLAMP and node.meta["val"].is_floating_point():
            node.args = tuple(map(_as_float, node.args))
            node.kwargs = {name: _as_float(value) for name, value in node.kwargs.items()}
        result = _replacement(node)
        if result is not None:
            node.replace_all_uses_with(result)
            signature.replace_all_uses(node.name, result.name)
            module.graph.erase_node(node)
    _rename_targets(signature, numbers)
    state, constants = _renamed(program.state_dict, numbers), _renamed(program.constants, numbers)
    return program._update(module, signature, state_dict=state, constants=constants)


def restore_weight_names(source: ExportedProgram, program: ExportedProgram, model: ir.Model) -> None:
    """Gives the weights of ``source``'s translation, ``program`` and ``model``, their names in ``source``."""
    names = {number: name for name, number in _numbers(source).items()}
    _rename_targets(program.graph_signature, names)
    for weights in (program.state_dict, program.constants):
        renamed = _renamed(weights, names)
        weights.clear()
        weights.update(renamed)
    renamed = {names.get(name, name): value for name, value in model.graph.initializers.items()}
    model.graph.initializers.clear()
    for name, value in renamed.items():
        value.name = name
        model.graph.initializers[name] = value


def _as_float(value: Any) -> Any:
    return float(value) if type(value) is int else value


def _replacement(node: fx.Node) -> fx.Node | None:
    """Adds what is to replace ``node``, and returns its result; None where ``node`` stays."""
    if node.target is _ATTENTION and node.meta["val"].dim() != 4:
        return _reduce_attention(node)
    if (source := _log_sigmoid_input(node)) is not None:
        negative = _add(node, _aten.neg.default, source)
        return _add(node, _aten.neg.default, _add(node, _aten.softplus.default, negative, 1, _THRESHOLD))
    return None


def _log_sigmoid_input(node: fx.Node) -> fx.Node | None:
    """The input of a LogSigmoid, or of a sigmoid whose logarithm ``node`` is; else None."""
    source: Any = node.args[0] if node.args else None
    if node.target is _LOG_SIGMOID:
        return cast("fx.Node", source)
    if node.target is _aten.log.default and source.target is _aten.sigmoid.default:
        return cast("fx.Node", source.args[0])
    return None


def _reduce_attention(node: fx.Node) -> fx.Node:
    """Adds attention over 4 dimensions that equals ``node``, which has more or fewer; returns its result.

    Leading dimensions are added, or those in front of the heads become one. Where the inputs differ in them,
    or the mask has them, torch's definition by two matrix products and a softmax is added.
    """
    inputs, others = cast("tuple[fx.Node, ...]", node.args[:3]), node.args[3:]
    options: dict[str, Any] = {
        **dict(zip(("attn_mask", "dropout_p", "is_causal"), others, strict=False)),
        **node.kwargs,
    }
    rank, mask = node.meta["val"].dim(), options.get("attn_mask")
    if rank < 4:
        wide = [_repeat(node, _aten.unsqueeze.default, value, 4 - rank) for value in inputs]
        return _repeat(node, _aten.squeeze.dim, _add(node, _ATTENTION, *wide, **options), 4 - rank)
    leading, *rest = [value.meta["val"].shape[:-3] for value in inputs]
    fixed = all(isinstance(d, int) for d in leading[1:]) and all(other == leading for other in rest)
    if fixed and (mask is None or mask.meta["val"].dim() == 2):
        flat = [_add(node, _aten.flatten.using_ints, value, 0, -4) for value in inputs]
        result = _add(node, _ATTENTION, *flat, **options)
        return _add(node, _aten.unflatten.int, result, 0, [-1, *leading[1:]])
    return _add(node, operator.getitem, _add(node, _ATTENTION_BY_PRODUCTS, *inputs, **options), 0)


def _repeat(node: fx.Node, target: Any, value: fx.Node, times: int) -> fx.Node:
    """Adds ``target(value, 0)``, as many times."""
    for _ in range(times):
        value = _add(node, target, value, 0)
    return value


def _add(node: fx.Node, target: Any, *args: Any, **options: Any) -> fx.Node:
    """Adds a call in front of ``node``, from the same line of the user's."""
    with node.graph.inserting_before(node):
        call: fx.Node = node.graph.call_function(target, args, options)
    fake_args, fake_options = map_arg((args, options), lambda n: n.meta["val"])
    call.meta = {**node.meta, "val": target(*fake_args, **fake_options)}
    return call


def _numbers(program: ExportedProgram) -> dict[str, str]:
    """Name of each weight during the translation."""
    return {name: f"weight_{index}" for index, name in enumerate((*program.state_dict, *program.constants))}


def _rename_targets(signature: ExportGraphSignature, names: Mapping[str, str]) -> None:
    specs: list[InputSpec | OutputSpec] = [*signature.input_specs, *signature.output_specs]
    for spec in specs:
        if spec.target is not None:
            spec.target = names.get(spec.target, spec.target)


def _renamed(weights: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in weights.items()}
