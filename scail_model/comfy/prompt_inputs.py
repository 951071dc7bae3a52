"""What the nodes that ask for a prompt share: their inputs, and what is read from them."""

from __future__ import annotations

from dataclasses import dataclass

from comfy_api.latest import io
from torch import Tensor

from ..identity.identities import ANIMATION, REPLACEMENT, Identities
from ..prompting.examples import MOST_CHARACTERS, own_examples
from ..prompting.frames import MOST_FRAMES, USUAL_FRAMES, frame_indices
from ..prompting.instructions import Request
from ..prompting.pictures import fitted
from .schema import IdentitiesType, as_clip


@dataclass(frozen=True)
class Asked:
    """frames, references: pictures [h, w, 3] in 0..1."""

    request: Request
    frames: list[Tensor]
    references: list[Tensor]


def prompt_inputs() -> list[io.Input]:
    return [
        io.Image.Input("reference", tooltip="The character: one picture, or a batch of several."),
        io.MultiType.Input("driving", [io.Image, io.Video],
                           tooltip="The driving video as it was filmed, not a rendered skeleton."),
        io.Combo.Input("mode", options=[ANIMATION, REPLACEMENT], default=ANIMATION,
                       tooltip="animation: the prompt describes the reference's scene. replacement: that of the "
                               "driving video."),
        io.String.Input("instruction", default="", multiline=True, optional=True,
                        tooltip="What the video should show, in your own words."),
        IdentitiesType.Input("identities", optional=True,
                             tooltip="From Bind SCAIL-2 Identities: its mode takes the place of `mode`."),
        io.Int.Input("frames", default=USUAL_FRAMES, min=1, max=MOST_FRAMES, optional=True,
                     tooltip="Frames of the driving video that are shown, evenly from the first to the last."),
        io.String.Input("examples", default="", multiline=True, optional=True,
                        tooltip=f"Prompts that show the style, of which {MOST_CHARACTERS} characters are used. Empty: "
                                "the pack's own."),
    ]


def read_request(reference: Tensor, driving, mode: str, instruction: str, identities: Identities | None, frames: int,
                 examples: str, node_id: str) -> Asked:
    """The inputs of a node, read. Raises as `as_clip` does, and ValueError for pictures that nobody can look at."""
    _check(reference, "reference")
    if isinstance(driving, Tensor):
        _check(driving, "driving video")
    if identities is not None:
        mode = REPLACEMENT if identities.replacement else ANIMATION
    clip = as_clip(driving, told_on=node_id)
    try:
        shown = clip.at(frame_indices(len(clip), frames))
    finally:
        clip.close()
    request = Request(mode, len(shown), len(reference), instruction, examples.strip() or own_examples(mode),
                      MOST_CHARACTERS)
    return Asked(request, [fitted(frame / 255) for frame in shown], list(map(fitted, reference)))


def _check(pictures: Tensor, name: str) -> None:
    """[n, h, w, 3 or 4]"""
    if len(pictures) == 0:
        raise ValueError(f"The {name} has no pictures: connect an output that has at least one.")
    if pictures.shape[-1] not in (3, 4):
        raise ValueError(f"The {name} has {pictures.shape[-1]} colour channels: turn it into RGB.")
    if any(not picture.isfinite().all() for picture in pictures):
        raise ValueError(f"The {name} has pixels that are no numbers (NaN): look at the node that has made it.")
