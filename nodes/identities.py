"""Bind SCAIL-2 Identities: which person of the reference is which of the driving video, and the mode of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy_api.latest import io, ui

from ..scail_model.comfy import partial_output
from ..scail_model.comfy.mask_inputs import MASK_TYPES, more_masks, read_masks
from ..scail_model.comfy.progress import working
from ..scail_model.comfy.schema import CATEGORY, DRIVING_TYPES, IdentitiesType, PosesType, TrackType, as_clip
from ..scail_model.drawing import previews
from ..scail_model.geometry import check_frame_count, check_picture_count, check_shape, size_of
from ..scail_model.identity import binding as bindings
from ..scail_model.identity import cards, mask_sources
from ..scail_model.identity.identities import ANIMATION, MODES, Identities, report
from ..scail_model.identity.mask_edits import Edits
from ..scail_model.identity.mask_sources import DRIVING, REFERENCE, Source
from ..scail_model.inputs.conditioning import driving_mask, reference_mask
from ..scail_model.media.clips import Clip
from ..scail_model.video.options import REFUSE, TRIM
from ..scail_model.video.timing import first_frames

_OFFER_RATE = "leave driving unconnected here and set rate to {:.4g} where the video is made"


def _without_fitting_masks() -> list[io.Input]:
    """The ways on for somebody whose masks are missing, or of another length."""
    return [
        io.Boolean.Input("whole_picture", default=False, optional=True, advanced=True,
                         tooltip="There are no masks: one person is all of every picture. Connect the driving video "
                                 "itself to driving_masks and the reference pictures themselves to reference_masks. "
                                 "For animation."),
        io.Combo.Input("length_mismatch", options=[REFUSE, TRIM], default=REFUSE, optional=True, advanced=True,
                       tooltip="What to do if the masks have another number of frames than driving. trim: leave the "
                               "frames at the end out that only one of them has; set it on Sample SCAIL-2 Video too."),
    ]


def _edits() -> list:
    """Inputs that edit the driving masks."""
    return [
        io.Int.Input("grow", default=0, min=-256, max=256, optional=True, advanced=True,
                     tooltip="Grow the driving masks by this many pixels of the driving video; negative "
                             "values shrink them."),
        io.Float.Input("feather", default=0.0, min=0.0, max=64.0, step=0.5, optional=True, advanced=True,
                       tooltip="Smooth the edges of the driving masks: a blur of this many pixels, then a "
                               "threshold."),
        io.Boolean.Input("fill_holes", default=False, optional=True, advanced=True,
                         tooltip="Fill holes in the driving masks."),
        io.Boolean.Input("keep_largest", default=False, optional=True, advanced=True,
                         tooltip="Keep only the largest piece of each person's driving mask."),
    ]


class SCAIL2Identities(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2Identities",
            display_name="Bind SCAIL-2 Identities",
            category=CATEGORY,
            description="Binds each person of the reference to a person of the driving video, from SAM3 tracks, plain "
                        "masks or colour masks, and sets the mode for all following nodes. Backgrounds are painted as "
                        "the mode needs them.",
            search_aliases=["colored mask", "mask", "scail mask", "replacement", "animation", "sam3"],
            inputs=[
                io.Combo.Input("mode", options=list(MODES), default=ANIMATION,
                               tooltip="animation: the reference picture comes to life in its own scene. replacement: "
                                       "the reference takes the person's place in the driving video."),
                io.MultiType.Input("driving_masks", [*MASK_TYPES, PosesType],
                                   tooltip="Mask of every driving frame: a SAM3 track, a colour video (blue, red, "
                                           "green, magenta, cyan, yellow: one per person), the plain MASK of one "
                                           "person, poses, whose masks are rendered, or identities, to reuse their "
                                           "driving masks."),
                io.MultiType.Input("reference_masks", [io.Image, io.Mask, TrackType],
                                   tooltip="One mask per reference picture, the primary first: colours, a SAM3 track "
                                           "of the pictures, or plain MASKs of one person."),
                io.Combo.Input("contradicting_background", options=["refuse", "repaint"], default="refuse",
                               optional=True, advanced=True,
                               tooltip="What to do if the background of a colour mask belongs to the other mode (black "
                                       "and white swapped). refuse: stop with a message, because the mode may be "
                                       "wrong. repaint: the mode is right, repaint the background."),
                more_masks("more_driving_masks", "Plain MASKs of further people in the driving video, if "
                                                 "driving_masks is the MASK of person 1."),
                more_masks("more_reference_masks", "Plain MASKs of further people in the reference pictures, if "
                                                   "reference_masks is the MASK of person 1."),
                io.MultiType.Input("driving", DRIVING_TYPES, optional=True,
                                   tooltip="The driving video: checked against its mask, and shown in the preview."),
                io.Image.Input("reference_image", optional=True,
                               tooltip="The reference pictures: checked against their masks, and previewed."),
                io.Combo.Input("order", options=list(bindings.ORDERS), default=bindings.LEFT_TO_RIGHT, optional=True,
                               tooltip="How the people of SAM3 tracks are numbered. People seen in an earlier frame "
                                       "come first. Colours and plain MASKs already have numbers."),
                io.String.Input("binding", default="", optional=True,
                                tooltip='Pairs reference:driving, for example "1:2, 2:1"; people that are not named '
                                        'are left out. "by position" binds the nearest; "by overlap" those whose '
                                        "masks overlap most in the first frame. Empty: equal colours, or equal "
                                        "numbers."),
                io.String.Input("front", default="", optional=True, advanced=True,
                                tooltip='Who is in front where masks overlap: reference numbers, front to back, such '
                                        'as "2, 1". Empty: in numerical order.'),
                io.String.Input("names", default="", optional=True, advanced=True,
                                tooltip='Names for previews and reports, such as "Anna, Ben".'),
                *_edits(),
                io.Int.Input("preview_frames", default=8, min=1, max=64, optional=True, advanced=True,
                             tooltip="How many driving frames the preview shows, spread over the video."),
                *_without_fitting_masks(),
            ],
            outputs=[
                IdentitiesType.Output("identities", tooltip="Masks and mode, for the other SCAIL-2 nodes."),
                io.Image.Output("driving_preview", tooltip="A few driving frames with the colour, number and name of "
                                                           "each person, as the model will see them."),
                io.Image.Output("reference_preview", tooltip="The same for the reference pictures."),
                io.String.Output("report", tooltip="The people, their share of the picture, and edits of the masks."),
                io.Image.Output("channels_preview", tooltip="The 28 mask channels of the reference and of the first "
                                                            "driving frames."),
            ],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,  # sent again to a page that is reopened
        )

    @classmethod
    @working("binding the identities")
    def execute(cls, mode: str, driving_masks, reference_masks, contradicting_background: str = "refuse",
                more_driving_masks=None, more_reference_masks=None, driving=None, reference_image=None,
                order: str = bindings.LEFT_TO_RIGHT, binding: str = "", front: str = "", names: str = "", grow: int = 0,
                feather: float = 0.0, fill_holes: bool = False, keep_largest: bool = False,
                preview_frames: int = 8, whole_picture: bool = False, length_mismatch: str = REFUSE) -> io.NodeOutput:
        if whole_picture:
            return _whole(mode, driving_masks, reference_masks, preview_frames, cls)
        people = read_masks(driving_masks, more_driving_masks, DRIVING, order, connected="driving_masks",
                            more_name="more_driving_masks")
        references = read_masks(reference_masks, more_reference_masks, REFERENCE, order, connected="reference_masks",
                                more_name="more_reference_masks")
        video = None if driving is None else as_clip(driving)
        if video is not None and length_mismatch == TRIM:
            people = replace(people, mask_set=people.mask_set.picked(range(min(len(video), len(people.mask_set)))))
            video = first_frames(video, len(people.mask_set))
        _check(people, video, references, reference_image)
        made_with = {"order": order, "binding": binding, "front": front, "names": names}
        try:
            bound = bindings.bind(mode, people, mask_sources.pictures(references), binding=binding, front=front,
                                  names=names, repaint=contradicting_background == "repaint")
        except ValueError:
            if all(map(bindings.shows_people, (people, mask_sources.pictures(references)[0]))):
                # the user can correct the binding in the table
                partial_output.send(_cards(people, references, video, reference_image, made_with))
            raise
        bound = bound.edited(Edits(keep_largest, fill_holes, feather, grow), throw_exception_if_processing_interrupted)
        return _shown(bound, video, reference_image, preview_frames, cls,
                      _cards(people, references, video, reference_image, made_with))


def _whole(mode: str, driving, pictures, preview_frames: int, node: type[io.ComfyNode]) -> io.NodeOutput:
    """The node's output without masks: its mask inputs have the driving video and the reference pictures."""
    for name, picture, kinds in (("driving_masks", driving, "the driving video"),
                                 ("reference_masks", pictures, "the reference pictures")):
        if isinstance(picture, Mapping | Identities) or isinstance(picture, torch.Tensor) and picture.ndim != 4:
            raise ValueError(f"whole_picture is on, but {name} has masks: connect {kinds} there, or turn whole_picture "
                             "off.")
    video = as_clip(driving)
    for name, picture in (("driving_masks", video.read(0, 1)[0]), ("reference_masks", pictures[0])):
        if mask_sources.is_colour_mask(picture):
            raise ValueError(f"whole_picture is on, but {name} shows people in the colours of masks: connect what the "
                             "masks were made from, or turn whole_picture off.")
    bound = bindings.bind_whole(mode, len(video), video.size, [size_of(picture) for picture in pictures])
    people, references = (mask_sources.whole_pictures(len(mask_set), mask_set.size, name)
                          for mask_set, name in ((bound.driving, DRIVING), (bound.references[0], REFERENCE)))
    table = _cards(people, references, video, pictures, {"order": "", "binding": "", "front": "", "names": ""})
    return _shown(bound, video, pictures, preview_frames, node, table)


def _shown(bound: Identities, video: Clip | None, images: torch.Tensor | None, preview_frames: int,
           node: type[io.ComfyNode], table: dict[str, list]) -> io.NodeOutput:
    """The node's output: identities, previews and report, and the table on the node."""
    pictures = _previews(bound, video, images, preview_frames)
    return io.NodeOutput(bound, *pictures[:2], report(bound), pictures[2],
                         ui=ui.PreviewImage(_in_node(*pictures), cls=node).as_dict() | table)


def _check(people: Source, video: Clip | None, references: Source, images: torch.Tensor | None) -> None:
    """Raise ValueError if masks and pictures do not belong together."""
    if video is not None:
        check_frame_count(len(video), len(people.mask_set), trim=True, rate=video.rate, offer_rate=_OFFER_RATE)
        check_shape("driving mask", people.mask_set.size, "driving video", video.size)
    if images is not None:
        check_picture_count(len(images), len(references.mask_set))
        check_shape("reference mask", references.mask_set.size, "reference picture",
                    (images.shape[1], images.shape[2]))


def _cards(people: Source, references: Source, video: Clip | None, images: torch.Tensor | None,
           made_with: dict[str, str]) -> dict[str, list]:
    """Data for the table on the node: a card for each person, with its thumbnail as a temporary file, and the texts of
    this run."""
    people_cards = cards.cards(people, mask_sources.pictures(references)[0], video,
                               None if images is None else images[0])
    saved = ui.PreviewImage(torch.stack([card.thumbnail for card in people_cards]) / 255).as_dict()["images"]
    return {"scail2_identities": [card.values() | {"thumbnail": dict(file)}
                                  for card, file in zip(people_cards, saved, strict=True)],
            "scail2_texts": [made_with]}


def _previews(bound: Identities, video: Clip | None, images: torch.Tensor | None, count: int
              ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Previews of driving video, references and channels, as IMAGEs."""
    names = dict(zip(bound.labels, bound.names, strict=True))
    indices = previews.chosen_frames(len(bound.driving), count)
    labels = torch.cat([bound.driving_labels(index, index + 1, bound.driving_background) for index in indices])
    driving = previews.overlay(None if video is None else video.at(indices), labels, names, indices)
    masks = torch.stack([bound.reference_labels(index, bound.reference_background(index))
                         for index in range(len(bound.references))])
    references = previews.overlay(images, masks, names, [])
    sheets = [previews.channels(reference_mask(bound, 0, *_on_grid(bound.references[0].size)), title="reference"),
              previews.channels(driving_mask(bound, 0, 1, *_on_grid(bound.driving.size)), title="driving video")]
    return driving, references, previews.contact_sheet([(sheet, "") for sheet in sheets])[None]


def _on_grid(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) rounded down to multiples of 32."""
    height, width = (max(side // 32 * 32, 32) for side in size)
    return height, width


def _in_node(driving: torch.Tensor, references: torch.Tensor, channels: torch.Tensor) -> torch.Tensor:
    """All pictures on one sheet, because their sizes differ."""
    shown = previews.chosen_frames(len(driving), 4)
    return previews.contact_sheet([*((picture, "reference") for picture in references),
                                   *((driving[index], "driving video") for index in shown)])[None]
