"""The levels of a pixel: what a float picture is in 8 bits.

A picture that is stored, measured or compared in 8 bits has the same levels in every part of the program.
"""

import torch
from torch import Tensor

BLACK, WHITE = 0, 255

def to_levels(pixels: Tensor) -> Tensor:
    """Float in 0..1, of any shape -> uint8: 255 times the value in float32, rounded half to even, then clamped.

    uint8 comes back as it is, not copied. Values outside 0..1, as bicubic resizing leaves them, become 0 and 255.
    """
    if pixels.dtype == torch.uint8:
        return pixels
    return pixels.float().mul(255).round_().clamp_(0, 255).to(torch.uint8)


def opaque(pixels: Tensor, ground: int) -> Tensor:
    """Pixels [..., 3 or 4], float in 0..1 or uint8 -> [..., 3]: those with alpha over a level of grey."""
    if pixels.shape[-1] == 3:
        return pixels
    top = 255 if pixels.dtype == torch.uint8 else 1
    share = pixels[..., 3:].float() / top
    shown = pixels[..., :3].float() * share + ground * top / 255 * (1 - share)
    return shown.round().to(torch.uint8) if top == 255 else shown
