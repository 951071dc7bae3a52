"""Who is who: which pixels of the driving video and of the reference pictures belong to which person.

A label map gives every pixel one number: 0 black (nobody), 1..6 an identity in the order of `masks.PALETTE`, 7 white
(surroundings). Colour masks become label maps when they come in and are painted again when the model needs them, so
compression noise is gone and the background is what the mode asks for, whatever it was:

    mode           driving background    reference background
    animation      black                 white (the reference's scene is kept)
    replacement    white (the video's)   black

Source: SCAIL-2, arXiv 2606.10804 (environment switch), and section "Mask" of the official README.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .masks import PALETTE

ANIMATION, REPLACEMENT = "animation", "replacement"
MODES = (ANIMATION, REPLACEMENT)
NAMES = ("blue", "red", "green", "magenta", "cyan", "yellow")
BLACK, WHITE = 0, 7

# a pixel with a component between these levels is no clear colour; lossy files have some at every edge
_DARK, _BRIGHT = 64, 191
# Blurred edges are a few pixels wide; a patch of unclear pixels of this size is a colour of its own.
_PATCH = 7
_PATCH_LIMIT = 0.001  # share of a frame
_UNCLEAR_LIMIT = 0.15

_COLOURS = torch.tensor(((0, 0, 0), *PALETTE, (255, 255, 255)), dtype=torch.uint8)  # [8, 3], by label


@dataclass(frozen=True)
class Identities:
    """Label maps of one job. driving uint8 [T, H, W]; references uint8 [h, w], the primary first."""

    mode: str
    driving: Tensor
    references: tuple[Tensor, ...]

    @property
    def replacement(self) -> bool:
        return self.mode == REPLACEMENT

    def driving_colours(self, start: int, stop: int) -> Tensor:
        """Mask frames as the model wants them, uint8 [T, 3, H, W]; frames past the end repeat the last one."""
        frames = torch.arange(start, stop).clamp(max=len(self.driving) - 1)
        return paint(self.driving[frames], WHITE if self.replacement else BLACK)

    def reference_colours(self, index: int) -> Tensor:
        """Mask of one reference as the model wants it, uint8 [1, 3, h, w].

        Additional references keep their own background: black round a person, white for a picture of the place.
        """
        if index > 0:
            return paint(self.references[index][None])
        return paint(self.references[0][None], BLACK if self.replacement else WHITE)


def bind(mode: str, driving: Tensor, references: list[Tensor]) -> Identities:
    """Check that both sides show the same people and put them together.

    driving uint8 [T, H, W], references uint8 [h, w] each. Raises ValueError for an unknown mode, an empty mask and an
    identity that only one side has.
    """
    if mode not in MODES:
        raise ValueError(f'mode is "{mode}", but it must be {" or ".join(MODES)}: choose one of them.')
    present = {"driving": _identities(driving), "reference": _identities(references[0])}
    for side, found in present.items():
        if not found:
            raise ValueError(f"The {side} mask shows nobody: paint the person in {NAMES[0]} (or connect another mask).")
    for side, other in (("reference", "driving"), ("driving", "reference")):
        lonely = sorted(present[other] - present[side])
        if lonely:
            names = ", ".join(NAMES[label - 1] for label in lonely)
            raise ValueError(f"The {other} mask shows {names}, but the {side} mask does not: give each person the same "
                             "colour in both masks.")
    return Identities(mode, driving, tuple(references))


def labels_from_colours(rgb: Tensor, name: str) -> Tensor:
    """Colour mask [T, H, W, 3], uint8 or float in 0..1 -> label map uint8 [T, H, W], each pixel its nearest colour.

    The soft edges of a compressed or resized mask are snapped. Raises ValueError if a frame has patches of another
    colour, or is unclear all over; `name` is what the message calls the mask.
    """
    levels = rgb if rgb.dtype == torch.uint8 else rgb.float().mul(255).round().clamp(0, 255).to(torch.uint8)
    labels = torch.empty(levels.shape[:3], dtype=torch.uint8)
    table = torch.zeros(8, dtype=torch.uint8)  # red + 2 * green + 4 * blue -> label
    for label, (red, green, blue) in enumerate((_COLOURS > 127).long().tolist()):
        table[red + 2 * green + 4 * blue] = label
    for index, frame in enumerate(levels):  # one frame at a time: a clip's comparison would be large
        _refuse_unclear(frame, index, name)
        bits = (frame > 127).long()
        labels[index] = table[(bits[..., 0] + 2 * bits[..., 1] + 4 * bits[..., 2]).cpu()]
    return labels


def _refuse_unclear(frame: Tensor, index: int, name: str) -> None:
    unclear = ((frame > _DARK) & (frame < _BRIGHT)).any(dim=-1).float()  # [H, W]
    # erosion: 1 where the whole patch around a pixel is unclear
    patches = -F.max_pool2d(-unclear[None], _PATCH, stride=1, padding=_PATCH // 2)
    if patches.mean() > _PATCH_LIMIT or unclear.mean() > _UNCLEAR_LIMIT:
        raise ValueError(
            f"Of frame {index} of the {name} mask {unclear.mean():.1%} of the pixels are no mask colour: use pure "
            f"black, white, {', '.join(NAMES)}, saved without heavy compression."
        )


def labels_from_mask(mask: Tensor) -> Tensor:
    """One person's mask, float [T, H, W] in 0..1 -> label map uint8 [T, H, W] with the first identity."""
    return (mask > 0.5).to(torch.uint8).cpu()


def refuse_other_mode(mode: str, driving: Tensor | None, reference: Tensor | None) -> None:
    """Raise ValueError if the background of a colour mask means the other mode: white where the mode means black.

    driving [T, H, W] and the primary reference [h, w] are label maps; None for a mask that has no background.
    """
    expected = {"driving": BLACK, "reference": WHITE} if mode == ANIMATION else {"driving": WHITE, "reference": BLACK}
    other = REPLACEMENT if mode == ANIMATION else ANIMATION
    colours = {BLACK: "black", WHITE: "white"}
    for name, labels in (("driving", driving), ("reference", reference)):
        if labels is None:
            continue
        white, black = (labels == WHITE).sum().item(), (labels == BLACK).sum().item()
        found = WHITE if white > black else BLACK
        if white + black and found != expected[name]:
            raise ValueError(f"The {name} mask has a {colours[found]} background, which means {other}, but the mode is "
                             f"{mode} (background {colours[expected[name]]}): change the mode, or let the background "
                             "be repainted.")


def paint(labels: Tensor, background: int | None = None) -> Tensor:
    """Label map uint8 [T, H, W] -> colours uint8 [T, 3, H, W], with one background for black and white if given."""
    if background is not None:
        labels = torch.where(people(labels), labels, background)
    return _COLOURS[labels.long()].movedim(-1, 1)


def report(identities: Identities) -> str:
    """One line per person: colour, share of the primary reference and of the driving frames where it is seen."""
    driving, reference = identities.driving, identities.references[0]
    lines = [f"mode: {identities.mode}; {len(driving)} driving frames, {len(identities.references)} reference(s)"]
    for label in sorted(_identities(reference)):
        shares = (driving == label).flatten(1).float().mean(dim=1)  # [T]
        seen = shares > 0
        lines.append(
            f"{NAMES[label - 1]}: {(reference == label).float().mean():.1%} of the reference; in {int(seen.sum())} "
            f"driving frames, {shares[seen].mean():.1%} of the picture there"
        )
    return "\n".join(lines)


def people(labels: Tensor) -> Tensor:
    """Where a label map shows somebody, bool."""
    return (labels != BLACK) & (labels != WHITE)


def _identities(labels: Tensor) -> set[int]:
    return set(torch.unique(labels).tolist()) - {BLACK, WHITE}
