"""The steps of `Preprocessing` in torch: for training, and as the reference for the graph and the host."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnntk.runtime.artifact.spec import Preprocessing

__all__ = ["Preprocess"]

# ITU-R BT.601 luma in 16-bit fixed point, as Pillow converts RGB to L.
_LUMA = (19595, 38470, 7471)

_LIGHT = 0.25
"""The same as `cnntk.runtime.preprocessing.preprocess.LIGHT_MARGIN`, which has the reason."""


class Preprocess(nn.Module):
    """Converts decoded images of one size to the network's input, step by step as `Preprocessing` has them.

    Takes uint8 (N, H, W, C), RGB or gray, and returns float32 (N, C, height, width), or (N, height, width, C)
    where ``p.layout`` is NHWC. Filters of uint8 images equal Pillow's to the bit; those of floats are
    torch's, which differ by rounding.

    Args:
        p: Preprocessing to apply.
    """

    factor: Tensor
    offset: Tensor

    def __init__(self, p: Preprocessing) -> None:
        super().__init__()
        self.preprocessing = p
        factor = torch.tensor([p.scale / s for s in p.std])
        offset = torch.tensor([-m / s for m, s in zip(p.mean, p.std, strict=True)])
        self.register_buffer("factor", factor.view(-1, 1, 1), persistent=False)
        self.register_buffer("offset", offset.view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Returns float32 in the network's layout."""
        values = self.pixel_values(images).float() * self.factor + self.offset
        return values if self.preprocessing.layout == "NCHW" else values.permute(0, 2, 3, 1).contiguous()

    def pixel_values(self, images: Tensor) -> Tensor:
        """Returns (N, C, height, width), 0 to 255, of type ``p.levels``: before normalization and layout."""
        p = self.preprocessing
        if p.color == "gray" and images.shape[3] == 3:
            images = _luma(images)
        levels = _resize(images.permute(0, 3, 1, 2), p.resized_size(*images.shape[1:3]), p)
        if p.resize != "longest":
            top, left = p.crop_offset(levels.shape[2] - p.height), p.crop_offset(levels.shape[3] - p.width)
            levels = levels[:, :, top : top + p.height, left : left + p.width]
        levels = levels.expand(-1, p.channels, -1, -1)
        levels = _invert(levels.flip(1) if p.color == "bgr" else levels, p)
        return _padded(levels, p) if p.resize == "longest" else levels


def _luma(rgb: Tensor) -> Tensor:
    weights = torch.tensor(_LUMA, dtype=torch.int32, device=rgb.device)
    total = (rgb.int() * weights).sum(dim=3, keepdim=True, dtype=torch.int32)
    return ((total + 0x8000) >> 16).to(torch.uint8)


def _resize(images: Tensor, size: tuple[int, int], p: Preprocessing) -> Tensor:
    dtype = torch.uint8 if p.levels == "uint8" else torch.float32
    if images.shape[2:] == size:
        return images.to(dtype)
    if p.interpolation == "nearest":
        rows, columns = (_nearest(n, m, images.device) for n, m in zip(images.shape[2:], size, strict=True))
        return images[:, :, rows[:, None], columns].to(dtype)
    if not p.antialias:
        levels = F.interpolate(images.float(), size, mode=p.interpolation)
        return levels if p.levels == "float32" else levels.round().clamp(0, 255).to(torch.uint8)
    if p.levels == "uint8":
        wide = _filtered(images.transpose(2, 3), size[1], p).transpose(2, 3)
        return _filtered(wide, size[0], p)
    wide = images.float()
    if images.shape[3] != size[1]:
        wide = F.interpolate(wide, (images.shape[2], size[1]), mode=p.interpolation, antialias=True)
    # torch 2.13 returns wrong values where it resizes the height of an image one pixel wide.
    wide = wide if size[1] > 1 else wide.expand(-1, -1, -1, 2)
    return F.interpolate(wide, (size[0], wide.shape[3]), mode=p.interpolation, antialias=True)[..., : size[1]]


def _filtered(images: Tensor, resized: int, p: Preprocessing) -> Tensor:
    """Resizes the height of uint8 (N, C, H, W) as Pillow does (13, ``Resample.c``).

    Weights are rounded to 22 bits, so that sums in float64 are exact and end at the same bytes everywhere.
    """
    size = images.shape[2]
    if size == resized:
        return images
    support, kernel = _KERNELS[p.interpolation]
    reach = support * max(1.0, size / resized)
    count = min(size, math.floor(2 * reach) + 2)
    center = (2 * torch.arange(resized, device=images.device) + 1) * size  # in 1 / (2 resized) pixels
    first = ((center / (2 * resized) - reach).ceil().long() - 1).clamp(0, size - count)
    pixels = first[:, None] + torch.arange(count, device=images.device)
    distance = ((2 * pixels + 1) * resized - center[:, None]).double() / (2 * max(size, resized))
    weights = kernel(distance.abs())
    weights = (weights / weights.sum(1, keepdim=True) * 2**22).round()
    rows = images.double().movedim(2, 0)  # (H, N, C, W)
    total = torch.zeros(resized, *rows.shape[1:], dtype=torch.float64, device=images.device)
    for k in range(count):
        total += weights[:, k].view(-1, 1, 1, 1) * rows[pixels[:, k]]
    levels = (total * 2.0**-22 + 0.5).floor().clamp(0, 255)
    return levels.to(torch.uint8).movedim(0, 2)


def _linear(x: Tensor) -> Tensor:
    return (1 - x).clamp(min=0)


def _cubic(x: Tensor) -> Tensor:
    """The cubic convolution kernel with a = -0.5 (Keys 1981)."""
    near, far = (1.5 * x - 2.5) * x * x + 1, (((x - 5) * x + 8) * x - 4) * -0.5
    return torch.where(x < 1, near, far * (x < 2))


def _lanczos(x: Tensor) -> Tensor:
    return torch.sinc(x) * torch.sinc(x / 3) * (x < 3)


_KERNELS = {"bilinear": (1, _linear), "bicubic": (2, _cubic), "lanczos": (3, _lanczos)}
"""Half the width of each of Pillow's filters, and its value at a distance of 0 or more."""


def _nearest(size: int, resized: int, device: torch.device) -> Tensor:
    """Returns indices as `cnntk.runtime.preprocessing.sampling.nearest` does."""
    return (2 * torch.arange(resized, device=device) + 1) * size // (2 * resized)


def _invert(levels: Tensor, p: Preprocessing) -> Tensor:
    if p.invert == "never":
        return levels
    inverted = 255 - levels
    return inverted if p.invert == "always" else torch.where(_light(levels), inverted, levels)


def _light(levels: Tensor) -> Tensor:
    """Returns for each image whether its outermost pixels are light: (N, 1, 1, 1)."""
    border = torch.ones(levels.shape[2:], dtype=torch.bool, device=levels.device)
    border[1:-1, 1:-1] = False
    total = (levels[:, :, border].double() - 127.5).sum(dim=(1, 2))
    return (total > _LIGHT).view(-1, 1, 1, 1)


def _padded(levels: Tensor, p: Preprocessing) -> Tensor:
    height, width = p.height - levels.shape[2], p.width - levels.shape[3]
    top, left = height // 2, width // 2
    return F.pad(levels, (left, width - left, top, height - top))
