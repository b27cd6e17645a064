"""The sliding windows of convolution and pooling nodes: their attributes, and what they leave of a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from cnntk.exporters.shapes.dims import Dim, Shape
from cnntk.models.reference.shapes import output_size

__all__ = ["Axis", "transposed_window", "window", "window_axes"]


@dataclass(frozen=True)
class Axis:
    """A window along one axis.

    Attributes:
        kernel: taps.
        stride: step between windows.
        dilation: distance between taps.
        before: pixels of padding in front.
        after: pixels of padding behind.
        auto: ONNX's ``auto_pad``; ``before`` and ``after`` count under ``NOTSET`` alone.
        ceil: whether a last window that hangs over the end counts.
    """

    kernel: int
    stride: int = 1
    dilation: int = 1
    before: int = 0
    after: int = 0
    auto: str = "NOTSET"
    ceil: bool = False

    @property
    def reach(self) -> int:
        """Pixels from the first tap to the last, both included."""
        return self.dilation * (self.kernel - 1) + 1


def window_axes(node: ir.Node, kernel: Shape = ()) -> tuple[Axis, ...]:
    """The window of a convolution or pooling node, axis by axis.

    Args:
        node: the node.
        kernel: where the node does not say: of its weight.
    """
    taps = node.attributes.get_ints("kernel_shape", ()) or tuple(k for k in kernel if isinstance(k, int))
    rank = len(taps)
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    pads = node.attributes.get_ints("pads", (0,) * 2 * rank) if auto == "NOTSET" else (0,) * 2 * rank
    strides = node.attributes.get_ints("strides", (1,) * rank)
    dilations = node.attributes.get_ints("dilations", (1,) * rank)
    ceil = bool(node.attributes.get_int("ceil_mode", 0))
    columns = zip(taps, strides, dilations, pads[:rank], pads[rank:], strict=True)
    return tuple(Axis(*column, auto, ceil) for column in columns)


def window(node: ir.Node, before: Shape, kernel: Shape) -> tuple[Shape, str]:
    """What a convolution or a pooling leaves of a map (N, C, ...), and the arithmetic as text.

    Raises:
        ValueError: nothing is left.
    """
    axes = window_axes(node, kernel)
    return _each(
        [_slide(n, axis) for n, axis in zip(before[2:], axes, strict=True)], "the map before it is not known"
    )


def transposed_window(node: ir.Node, before: Shape, kernel: Shape) -> tuple[Shape, str]:
    """What a transposed convolution makes of a map (N, C, ...): (n - 1)s + d(k - 1) + 1 + o - p - p'."""
    if told := node.attributes.get_ints("output_shape", ()):
        return tuple(told), "as it is told"
    axes = window_axes(node, kernel)
    extra = node.attributes.get_ints("output_padding", (0,) * len(axes))
    rows = zip(before[2:], axes, extra, strict=True)
    return _each([_unslide(n, axis, more) for n, axis, more in rows], "the map before it is not known")


def _each(found: Sequence[tuple[Dim, str]], unknown: str) -> tuple[Shape, str]:
    texts = dict.fromkeys(text or unknown for _, text in found)
    return tuple(size for size, _ in found), "; ".join(texts)


def _slide(n: Dim, axis: Axis) -> tuple[Dim, str]:
    if not isinstance(n, int):
        return None, ""
    if axis.auto in ("SAME_UPPER", "SAME_LOWER"):
        size = -(-n // axis.stride)
        return size, f"ceil({n}/{axis.stride}) = {size}"
    size = _ceil_size(n, axis) if axis.ceil else _floor_size(n, axis)
    rounding = "ceil" if axis.ceil else "floor"
    room = f"{n} + {_pads(axis)} - {axis.dilation}*({axis.kernel}-1) - 1"
    return size, f"{rounding}(({room})/{axis.stride}) + 1 = {size}"


def _floor_size(n: int, axis: Axis) -> int:
    if axis.before == axis.after:
        return output_size(n, axis.kernel, axis.stride, axis.before, axis.dilation)
    return output_size(n + axis.before + axis.after, axis.kernel, axis.stride, 0, axis.dilation)


def _ceil_size(n: int, axis: Axis) -> int:
    """Rounded up, but a window that would start behind the pixels does not count."""
    room = n + axis.before + axis.after + axis.stride - 1
    size = output_size(room, axis.kernel, axis.stride, 0, axis.dilation)
    return size - 1 if (size - 1) * axis.stride >= n + axis.before else size


def _unslide(n: Dim, axis: Axis, extra: int) -> tuple[Dim, str]:
    if not isinstance(n, int):
        return None, ""
    if axis.auto in ("SAME_UPPER", "SAME_LOWER"):
        return n * axis.stride, f"{n}*{axis.stride} = {n * axis.stride}"
    size = (n - 1) * axis.stride + axis.reach + extra - axis.before - axis.after
    grown = f"({n}-1)*{axis.stride} + {axis.dilation}*({axis.kernel}-1) + 1 + {extra}"
    return size, f"{grown} - {_pads(axis).replace(' + ', ' - ')} = {size}"


def _pads(axis: Axis) -> str:
    return f"2*{axis.before}" if axis.before == axis.after else f"{axis.before} + {axis.after}"
