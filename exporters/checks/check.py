"""Where a node comes from: the torch module, and the line of the user's code."""

from __future__ import annotations

import ast
import re

import onnx_ir as ir

__all__ = ["blame", "module_of"]

_SCOPES = "pkg.torch.onnx.name_scopes"
_STACK = "pkg.torch.onnx.stack_trace"
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in .*\n\s*(.+)')


def blame(node: ir.Node) -> str:
    """``Relu 'relu_1' (module layer1.0, net.py:12: x = F.relu(x))``, as far as it is known."""
    known = [text for text in (module_of(node) and f"module {module_of(node)}", _line(node)) if text]
    origin = f" ({', '.join(known)})" if known else ""
    return f"{node.op_type} {node.name or (node.outputs[0].name or '')!r}{origin}"


def module_of(node: ir.Node) -> str:
    """The torch module that a node came from, like ``features.3``; empty where it came from none."""
    try:
        scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
    except (SyntaxError, ValueError):
        return ""
    return str(scopes[-2]) if len(scopes) > 1 else ""


def _line(node: ir.Node) -> str:
    """The innermost line outside of torch."""
    frames = _FRAME.findall(node.metadata_props.get(_STACK, ""))
    own = [f for f in frames if "/torch/" not in f[0].replace("\\", "/")] or frames
    if not own:
        return ""
    file, number, code = own[-1]
    name = file.replace("\\", "/").rpartition("/")[2]
    return f"{name}:{number}: {code.strip()[:80]}"
