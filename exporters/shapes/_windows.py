"""The sliding windows of convolution and pooling nodes: attributes and output sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from cnntk.exporters.shapes._dims import Dim, Shape
from cnntk.models.reference.shapes import output_size


@dataclass(frozen=True)
class Axis:
    """A window along one axis.

    Attributes:
        kernel: Number of taps.
        stride: Distance between windows in pixels.
        dilation: Distance between taps in pixels.
        before: Padding in front in pixels.
        after: Padding behind in pixels.
        auto: ONNX's ``auto_pad``; ``before`` and ``after`` apply only to ``NOTSET``.
        ceil: Whether a last window that extends beyond the end counts.
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
        node: Convolution or pooling node.
        kernel: Spatial shape of its weight, for nodes without ``kernel_shape``.
    """
    taps = node.attributes.get_ints("kernel_shape", ()) or tuple(k for k in kernel if isinstance(k, int))
    rank = len(taps)
    if not rank:
        return ()
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    pads = node.attributes.get_ints("pads", (0,) * 2 * rank) if auto == "NOTSET" else (0,) * 2 * rank
    strides = node.attributes.get_ints("strides", (1,) * rank)
    dilations = node.attributes.get_ints("dilations", (1,) * rank)
    ceil = bool(node.attributes.get_int("ceil_mode", 0))
    columns = zip(taps, strides, dilations, pads[:rank], pads[rank:], strict=True)
    return tuple(Axis(*column, auto, ceil) for column in columns)


def window(node: ir.Node, before: Shape, kernel: Shape) -> tuple[Shape, str]:
    """Spatial shape of a convolution's or pooling's output for an input (N, C, ...), and the arithmetic.

    Raises:
        ValueError: The output is empty.
    """
    axes = window_axes(node, kernel)
    return _join([_slide(n, axis) for n, axis in zip(before[2:], axes, strict=True)])


def transposed_window(node: ir.Node, before: Shape, kernel: Shape) -> tuple[Shape, str]:
    """Spatial shape of a transposed convolution's output: (n - 1)s + d(k - 1) + 1 + o - p - p'."""
    if shape := node.attributes.get_ints("output_shape", ()):
        return tuple(shape), "attribute output_shape"
    axes = window_axes(node, kernel)
    extra = node.attributes.get_ints("output_padding", (0,) * len(axes))
    rows = zip(before[2:], axes, extra, strict=True)
    return _join([_unslide(n, axis, more) for n, axis, more in rows])


def _join(axes: Sequence[tuple[Dim, str]]) -> tuple[Shape, str]:
    texts = dict.fromkeys(text or "the size of its input is not known" for _, text in axes)
    return tuple(size for size, _ in axes), "; ".join(texts)


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
    """The size rounded up, without a window that would start behind the pixels."""
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
