"""Weights like those of a trained network, without training one.

Freshly initialized networks hide faults: zero branches multiply errors away, and batch norms with mean 0 and
variance 1 do nothing. So parameters that are constant are drawn at random around their value, and batch norms
get the statistics of activations on photographs, augmented as in training: else the variance of some channels
is near 0, and images of another kind are amplified a thousandfold.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cnntk.runtime.artifact.spec import TensorSpec

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def photo_batch(spec: TensorSpec, size: int, seed: int) -> Tensor:
    """Returns random crops of scikit-learn's two photographs, normalized as for ImageNet.

    Args:
        spec: Input of the network: images (N, C, H, W), or indices of colors (N, length).
        size: Number of images.
        seed: Seed of the crops.
    """
    import torch.nn.functional as F
    from sklearn.datasets import load_sample_images

    generator = torch.Generator().manual_seed(seed)
    if len(spec.shape) != 4:
        sides = [side if isinstance(side, int) else size for side in spec.shape]
        return torch.randint(0, 512, sides, generator=generator, dtype=getattr(torch, spec.dtype))
    channels, height, width = (int(side) for side in spec.shape[1:])
    photos = (
        torch.stack([torch.tensor(photo) for photo in load_sample_images().images]).permute(0, 3, 1, 2) / 255
    )
    images = []
    for _ in range(size):
        scale, top, left = torch.rand(3, generator=generator).tolist()
        side = int(100 + scale * (photos.shape[2] - 100))
        photo = photos[int(torch.randint(len(photos), (1,), generator=generator))]
        y, x = int(top * (photo.shape[1] - side)), int(left * (photo.shape[2] - side))
        crop = photo[None, :, y : y + side, x : x + side]
        images.append(F.interpolate(crop, (height, width), mode="bilinear", antialias=True)[0])
    batch = torch.stack(images)
    batch = (batch - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]
    batch = batch if channels == 3 else batch.mean(1, keepdim=True).expand(-1, channels, -1, -1)
    return batch.to(getattr(torch, spec.dtype)).contiguous()


def augmented(images: Tensor, seed: int) -> Tensor:
    """Changes the colors of photographs, and erases a rectangle of each second one with noise."""
    if images.dim() != 4:
        return images
    generator = torch.Generator().manual_seed(seed)
    gains, shifts = torch.rand(2, *images.shape[:2], 1, 1, generator=generator)
    images = images * (0.3 + 1.2 * gains) + shifts - 0.5
    height, width = images.shape[2] * 2 // 3, images.shape[3] * 2 // 3
    for index, image in enumerate(images):
        if index % 2:
            noise = torch.randn(image[:, :height, :width].shape, generator=generator)
            top, left = (int(torch.randint(side // 3, (1,), generator=generator)) for side in image.shape[1:])
            image[:, top : top + height, left : left + width] = noise
    return images


def make_trained_like(module: nn.Module, images: Tensor, seed: int) -> None:
    """Replaces constant parameters and the batch norms' statistics in place.

    Args:
        module: Network in evaluation mode.
        images: Batch on which the statistics are measured.
        seed: Seed of the parameters.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            _vary(name, parameter, generator)
        norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.train()
            norm.momentum = 1.0
        if norms:
            module(augmented(images, seed))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval()
            norm.momentum = momentum


def _vary(name: str, parameter: Tensor, generator: torch.Generator) -> None:
    """Draws a constant parameter anew: matrices like a linear layer's, scales and shifts around it."""
    if not parameter.is_floating_point() or parameter.numel() == 0:
        return
    value = float(parameter.flatten()[0])
    if not bool((parameter == value).all()):
        return
    noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32).to(parameter.dtype)
    is_scale = parameter.squeeze().dim() <= 1 and not name.endswith("bias")
    if abs(value) > 0.01:  # scale of a norm: trained ones spread around it
        parameter.mul_(1 + 0.2 * noise.clamp(-2, 2) * (parameter.numel() > 1))
    elif is_scale:  # scale of a residual branch, 0 or tiny before training
        parameter.copy_(0.2 + 0.05 * noise.clamp(-2, 2))
    elif parameter.squeeze().dim() <= 1:
        parameter.copy_(0.05 * noise)
    else:
        parameter.copy_(noise * min(0.1, parameter[0].numel() ** -0.5))
