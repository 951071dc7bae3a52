"""The definitions of `kernels.causal_video` in plain PyTorch: the operations of Wan's VAE in ComfyUI, one by one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def norm_silu(x: Tensor, bias: Tensor | None, gamma: Tensor, scale: float,
              before: Tensor | None) -> tuple[Tensor, Tensor]:
    """See `causal_video.norm_silu`."""
    y = F.silu(F.normalize(_biased(x, bias), dim=1) * scale * gamma.view(-1, 1, 1, 1) + 0)  # the sum turns -0 into 0
    after = y[:, :, -2:]
    if after.shape[2] == 1:
        after = F.pad(after, (0, 0, 0, 0, 1, 0))
    return (y if before is None else torch.cat((before, y), dim=2)), after


def add_(x: Tensor, bias: Tensor | None, y: Tensor | None, y_bias: Tensor | None) -> Tensor:
    """See `causal_video.add_`."""
    x = _biased(x, bias)
    return x if y is None else x + _biased(y, y_bias)


def upsampled(x: Tensor, bias: Tensor | None, in_time: bool) -> Tensor:
    """See `causal_video.upsampled`."""
    halves = _biased(x, bias).chunk(2, dim=1) if in_time else (_biased(x, bias),)
    pictures = torch.stack(halves, dim=3)[0].flatten(1, 2).movedim(0, 1)  # [T, C, H, W]
    return F.interpolate(pictures.contiguous(), scale_factor=2.0, mode="nearest-exact")


def _biased(x: Tensor, bias: Tensor | None) -> Tensor:
    return x if bias is None else x + bias.view(-1, 1, 1, 1)
