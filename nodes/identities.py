"""Bind SCAIL-2 Identities: which colour is who, on both sides, and the mode of the whole graph."""

import torch
from comfy_api.latest import io

from ..scail_model import identities as ids
from .types import CATEGORY, IdentitiesType


class SCAIL2Identities(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2Identities",
            display_name="Bind SCAIL-2 Identities",
            category=CATEGORY,
            description="Ties each person of the reference to a person of the driving video by colour, and sets the "
                        "mode for everything after it. Backgrounds are painted as the mode needs them.",
            search_aliases=["colored mask", "mask", "scail mask", "replacement", "animation"],
            inputs=[
                io.Combo.Input("mode", options=list(ids.MODES), default=ids.ANIMATION,
                               tooltip="animation: the reference picture comes to life in its own scene. replacement: "
                                       "the reference takes the person's place in the driving video."),
                io.MultiType.Input("driving_masks", [io.Image, io.Mask],
                                   tooltip="Mask of every driving frame: a colour video (blue, red, green, magenta, "
                                           "cyan, yellow: one per person) or the plain MASK of one person."),
                io.MultiType.Input("reference_masks", [io.Image, io.Mask],
                                   tooltip="One mask per reference picture, the primary first, in the same colours; or "
                                           "plain MASKs of one person."),
                io.Combo.Input("contradicting_background", options=["refuse", "repaint"], default="refuse",
                               optional=True, advanced=True,
                               tooltip="What to do when the background of a colour mask means the other mode (black "
                                       "and white swapped). refuse: stop with a message, because the mode may be a "
                                       "mistake. repaint: the mode is right, paint the background as it needs."),
            ],
            outputs=[
                IdentitiesType.Output("identities", tooltip="Masks and mode, for the other SCAIL-2 nodes."),
                io.Image.Output("driving_preview", tooltip="The driving mask as the model will see it."),
                io.Image.Output("reference_preview", tooltip="The primary reference's mask as the model will see it."),
                io.String.Output("report", tooltip="People found, and how much of the picture each covers."),
            ],
        )

    @classmethod
    def execute(cls, mode: str, driving_masks: torch.Tensor, reference_masks: torch.Tensor,
                contradicting_background: str = "refuse") -> io.NodeOutput:
        driving, references = _labels(driving_masks, "driving"), _labels(reference_masks, "reference")
        if contradicting_background == "refuse":
            ids.refuse_other_mode(mode, driving if driving_masks.ndim == 4 else None,
                                  references[0] if reference_masks.ndim == 4 else None)
        bound = ids.bind(mode, driving, list(references))
        return io.NodeOutput(bound, _image(bound.driving_colours(0, len(driving))), _image(bound.reference_colours(0)),
                             ids.report(bound))


def _labels(masks: torch.Tensor, name: str) -> torch.Tensor:
    """IMAGE [T, H, W, 3] or MASK [T, H, W] -> label maps uint8 [T, H, W]."""
    if masks.ndim == 3:
        return ids.labels_from_mask(masks)
    return ids.labels_from_colours(masks[..., :3], name)


def _image(colours: torch.Tensor) -> torch.Tensor:
    """uint8 [T, 3, H, W] -> IMAGE [T, H, W, 3]."""
    return colours.movedim(1, -1).float() / 255
