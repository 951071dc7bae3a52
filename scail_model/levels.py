"""The levels of a pixel: what a float picture is in 8 bits.

A picture that is stored, measured or compared in 8 bits has the same levels in every part of the program.
"""

import torch
from torch import Tensor


def to_levels(pixels: Tensor) -> Tensor:
    """Float in 0..1, of any shape -> uint8: 255 times the value in float32, rounded half to even, then clamped.

    uint8 comes back as it is, not copied. Values outside 0..1, as bicubic resizing leaves them, become 0 and 255.
    """
    if pixels.dtype == torch.uint8:
        return pixels
    return pixels.float().mul(255).round_().clamp_(0, 255).to(torch.uint8)
