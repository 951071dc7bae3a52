"""Made frames in their plate, as parts are written, in one piece."""

import numpy as np
import torch

from scail_model.plate.composite import Composited


def composited(plate, start, made):
    """Made frames [n, H, W, 3] in 0..1 from frame `start` on, in the plate: float32 [n, h, w, 3] in 0..1."""
    return torch.stack(list(Composited(plate, made, start).pictures(0, len(made), lambda: None)))


def shares(plate, frames):
    """How much of each pixel of the first frames is made, float32 [frames, h, w]."""
    return np.stack([plate.share(frame) for frame in range(frames)])
