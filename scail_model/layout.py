"""What lies where in the token sequence, and whether a forward's inputs fit together."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from .config import CLIP_DIM, CLIP_TOKENS, TransformerConfig
from .rope import TRAINED_POSITIONS, Positions


class Layout(NamedTuple):
    """What decides the positions of a token sequence; sizes in latent frames and latent pixels."""

    frames: int
    height: int
    width: int
    replacement: bool
    additional_references: int
    driven: bool = True
    positions: Positions = TRAINED_POSITIONS

    @property
    def area(self) -> int:
        """Tokens of a frame."""
        return self.height * self.width // 4

    @property
    def video(self) -> slice:
        """Rows of the video tokens in the sequence."""
        first = (self.additional_references + 1) * self.area
        return slice(first, first + self.frames * self.area)

    @property
    def tokens(self) -> int:
        """Of the whole sequence."""
        return self.video.stop + self.driven * self.frames * self.area // 4


def checked_layout(config: TransformerConfig, x: Tensor, context: Tensor, clip_features: Tensor | None,
                   replacement: bool, positions: Positions, **conditions: Tensor | None) -> Layout:
    """The layout of the sequence; ValueError if a size, frame count, text length or batch does not fit."""
    batch, channels, frames, height, width = x.shape
    if height % 4 or width % 4:
        raise ValueError(
            f"The video latent is {width}x{height} ({width * 8}x{height * 8} pixels), but SCAIL-2 needs multiples "
            f"of 32 pixels: use width {_nearest(width)} and height {_nearest(height)}."
        )
    negative = conditions["negative_context"]
    for name, text in (("text", context), ("negative text", negative)):
        if text is not None and text.shape[1] > config.text_len:
            raise ValueError(f"The {name} has {text.shape[1]} tokens, but SCAIL-2 reads {config.text_len}: "
                             "shorten the prompt.")
    additional = conditions["additional_latents"]
    if (additional is None) != (conditions["additional_masks"] is None):
        raise ValueError("additional_latents and additional_masks belong together: give both or neither.")
    driven = conditions["driving_latents"] is not None
    if driven != (conditions["driving_masks"] is not None):
        raise ValueError("driving_latents and driving_masks belong together: give both or neither.")
    extra = 0 if additional is None else additional.shape[2]
    mask_frames = (1, 1 + frames)
    expected = {
        "x": [(batch, config.out_dim, frames, height, width)],
        "context": [(batch, context.shape[1], config.text_dim)],
        "negative_context": [(batch, 0 if negative is None else negative.shape[1], config.text_dim)],
        "clip_features": [(batch, CLIP_TOKENS, CLIP_DIM)],
        "reference_latents": [(batch, 16, 1, height, width)],
        "reference_masks": [(batch, config.mask_dim, n, height, width) for n in mask_frames],
        "driving_latents": [(batch, 16, frames, height // 2, width // 2)],
        "driving_masks": [(batch, config.mask_dim, frames, height // 2, width // 2)],
        "history_mask": [(batch, 4, frames, height, width)],
        "additional_latents": [(batch, 16, extra, height, width)],
        "additional_masks": [(batch, config.mask_dim, extra, height, width)],
    }
    for name, value in {"x": x, "context": context, "clip_features": clip_features, **conditions}.items():
        if value is not None and tuple(value.shape) not in expected[name]:
            wanted = " or ".join(str(list(shape)) for shape in expected[name])
            raise ValueError(f"{name} has shape {list(value.shape)}, but a video latent of {list(x.shape)} needs "
                             f"{wanted}: encode it for the same size and frame count.")
    return Layout(frames, height, width, bool(replacement), extra, driven, positions)


def _nearest(size: int) -> str:
    """The two multiples of 32 pixels around a latent size, in pixels."""
    below = max(size // 4 * 4, 4)
    return f"{below * 8} or {below * 8 + 32}" if size % 4 else f"{size * 8}"
