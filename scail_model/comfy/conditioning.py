"""References and driving video -> the conditioning values that SCAIL-2 models read in ComfyUI.

The keys and layouts are those of core's `WanSCAILToVideo`, so core's SCAIL-2 model reads them too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import comfy.clip_vision
import comfy.conds
import comfy.model_management
import node_helpers
import numpy as np
import torch
from torch import Tensor

from .. import geometry
from ..config import CLIP_DIM, CLIP_TOKENS, TransformerConfig
from ..geometry import cover_crop
from ..identity.identities import Identities
from ..inputs import driving
from ..inputs.crops import Crop
from ..inputs.reference import Reference
from ..media.clips import Clip
from ..plate.lock import PlateLock, read_filmed
from ..plate.plate import Plate
from ..segments import Segment, segment_at
from ..video.task import Settings
from . import video_vae
from .held_plate import HeldPlate

NEGATIVE_TEXT, NEGATIVE_STRENGTH = "scail2_negative_text", "scail2_negative_strength"  # what our network reads
_DRIVING = "pose_video_latent"
_TEXT_TOKENS = TransformerConfig().text_len
# what core's nodes for other video models put beside a prompt
_OF_OTHER_MODELS = ("concat_latent_image", "concat_mask", "time_dim_concat", "vace_frames", "camera_conditions",
                    "audio_embed", "face_video_pixels", "reference_motion", "control_video", "control")


@dataclass(frozen=True)
class Motion:
    """One segment: conditioning values, the LATENT to sample, and how many of its frames are real."""

    values: dict[str, Any]
    latent: dict[str, Tensor]
    frames: int


def encode_clip(clip_vision, pixels: Tensor) -> comfy.clip_vision.Output:
    """CLIP features of a ready input [1, 3, 224, 224]; ComfyUI's own encoder would resize and crop it again.

    Raises ValueError if the model is not the ViT-H of Wan 2.1.
    """
    comfy.model_management.load_model_gpu(clip_vision.patcher)
    hidden = clip_vision.model(pixel_values=pixels.to(clip_vision.load_device), intermediate_output=-2)[1]
    if tuple(hidden.shape[1:]) != (CLIP_TOKENS, CLIP_DIM):
        raise ValueError(f"The CLIP vision model gives features of shape {list(hidden.shape[1:])}, but SCAIL-2 needs "
                         f"{[CLIP_TOKENS, CLIP_DIM]}: load clip_vision_h.")
    output = comfy.clip_vision.Output()
    output["penultimate_hidden_states"] = hidden.to(comfy.model_management.intermediate_device())
    return output


def encode_motion(vae, reference: Reference, clip: Clip, identities: Identities, segment: Segment, *,
                  history: Tensor | None = None, crop: Crop | None = None, plate: Plate | None = None) -> Motion:
    """Conditioning and latent of one segment, whose last frame is repeated to its length. crop: of the driving
    frames. plate: what the latent is held to outside of the people, None for nothing."""
    size = reference.height, reference.width
    pixels = driving.segment_pixels(clip, identities, segment, size, crop)
    mask = driving.segment_mask(identities, segment, size, clip.tick)
    latents = video_vae.encode(vae, pixels.movedim(1, -1))
    lock = None
    if plate is not None:
        filmed = read_filmed(plate, segment, clip.tick)
        lock = filmed.locked(video_vae.encode(vae, filmed.frames), history)
    return motion(reference, segment, latents, mask, replacement=identities.replacement, history=history, lock=lock)


def motion(reference: Reference, segment: Segment, latents: Tensor, mask: Tensor, *, replacement: bool,
           history: Tensor | None = None, driving_strength: float = 1.0, lock: PlateLock | None = None) -> Motion:
    """Conditioning and latent of one segment.

    latents: of the driving frames, [1, 16, T', H / 16, W / 16]; mask: `driving.segment_mask`. history: clean latent
    frames [1, 16, t, H / 8, W / 8] that the segment begins with. driving_strength: the driving latent is multiplied by
    it, as by core's pose_strength. lock: where the latent is held to what was filmed.
    """
    samples = torch.zeros(1, 16, (segment.length - 1) // 4 + 1, reference.height // 8, reference.width // 8)
    latent = {"samples": samples}
    if history is not None:
        samples[:, :, : history.shape[2]] = history
        latent["noise_mask"] = torch.ones_like(samples[:, :1])
        latent["noise_mask"][:, :, : history.shape[2]] = 0
    values = motion_values(reference.latents, reference.masks, reference.clip, latents * driving_strength, mask,
                           replacement=replacement)
    if lock is not None:
        values["control"] = HeldPlate(lock)
    return Motion(values, latent, segment.stop - segment.start)


def motion_values(references: list[Tensor], masks: Tensor, clip: Any, driving_latents: Tensor, driving_mask: Tensor, *,
                  replacement: bool) -> dict[str, Any]:
    """The conditioning values of `motion`. references, masks, clip: as in `Reference`."""
    # core's context windows expect mask frames for the video after those of the references
    video_masks = masks.new_zeros(1, driving_latents.shape[2], *masks.shape[2:])
    return {
        "reference_latents": references,
        "ref_mask_28ch": torch.cat((masks, video_masks), dim=1),
        _DRIVING: driving_latents,
        "driving_mask_28ch": driving_mask.movedim(1, 0)[None],  # [1, T', 28, h', w']
        "ref_mask_flag": not replacement,
        "clip_vision_output": clip,
    }


def single_segment(clip: Clip, identities: Identities, start: int, length: int, overlap: int) -> Segment:
    """The segment whose first new frame is driving frame `start`. `length` counts the `overlap` frames before it too;
    where the video ends earlier, the segment is as short as 4n+1 allows.

    Raises ValueError if the masks do not belong to the video, or `start` lies outside of it.
    """
    geometry.check_frame_count(len(clip), len(identities.driving), stored=clip.stored, trim=True)
    geometry.check_shape("driving mask", identities.driving.size, "driving video", clip.size)
    return segment_at(len(clip), start, length, overlap)


def history_frames(previous: Tensor, overlap: int, reference: Reference) -> Tensor:
    """The last `overlap` of the previous frames [T, h, w, 3], at the size of the result.

    Raises ValueError if there are fewer.
    """
    if len(previous) < overlap:
        raise ValueError(f"There are {len(previous)} previous frames, but the overlap is {overlap}: connect all frames "
                         "of the segment before, or lower the overlap.")
    frames = previous[-overlap:, ..., :3].movedim(-1, 1)
    return cover_crop(frames, reference.height, reference.width).movedim(1, -1)


def check_prompt(entries: list, name: str) -> None:
    """Raise ValueError if a CONDITIONING has more tokens than SCAIL-2 reads, holds for a part of the picture, or
    carries what a node for another model has set: the base class of core's models would read some of it."""
    for _, options in entries:
        if options.get("area") is not None:
            raise ValueError(f"The {name} prompt holds for an area, as ConditioningSetArea sets it, but SCAIL-2 reads "
                             "it for the whole picture: remove that node.")
        foreign = next((key for key in _OF_OTHER_MODELS if options.get(key) is not None), None)
        if foreign is not None:
            raise ValueError(f"The {name} prompt carries {foreign}, which a node for another model has set, such as "
                             "WanImageToVideo: connect the text prompt as CLIP Text Encode gives it.")
    longest = max(embedding.shape[1] for embedding, _ in entries)
    if longest > _TEXT_TOKENS:
        raise ValueError(f"The {name} prompt has {longest} tokens, but SCAIL-2 reads {_TEXT_TOKENS}: shorten it.")


def check_vae(vae) -> None:
    """Raise ValueError unless this is a VAE of Wan 2.1's kind: 16 channels, and time as a third axis."""
    if vae.latent_channels != 16 or vae.latent_dim != 3:
        raise ValueError(f"The VAE has {vae.latent_channels} channels and {vae.latent_dim} axes, but SCAIL-2 needs Wan "
                         "2.1's with 16 and 3: load wan_2.1_vae.")


def check_steering(negative: list, strength: float) -> None:
    """Raise ValueError for a negative CONDITIONING that attention cannot be steered away from."""
    if not strength:
        return
    remedy = "connect the text as CLIP Text Encode gives it, or set negative_strength to 0."
    if len(negative) > 1:
        raise ValueError(f"The negative prompt has {len(negative)} parts, as ConditioningCombine makes them, but "
                         f"negative_strength steers away from one text: {remedy}")
    options = negative[0][1]
    if (options.get("start_percent", 0.0), options.get("end_percent", 1.0)) != (0.0, 1.0):
        raise ValueError("The negative prompt holds for a part of the sampling, as ConditioningSetTimestepRange sets "
                         f"it, but negative_strength steers away from it in every step: {remedy}")
    if options.get("mask") is not None:
        raise ValueError("The negative prompt holds for a part of the picture, as ConditioningSetMask sets it, but "
                         f"negative_strength steers away from it everywhere: {remedy}")


def steered(entries: list, negative: list, strength: float) -> list:
    """A positive CONDITIONING whose attention is steered away from the negative one; as it is at strength 0.

    The values go past what a MODEL of core's reads, straight to the network. ValueError as `check_steering`.
    """
    if not strength:
        return entries
    check_steering(negative, strength)
    values = {NEGATIVE_TEXT: comfy.conds.CONDRegular(negative[0][0]),
              NEGATIVE_STRENGTH: comfy.conds.CONDConstant(strength)}
    return [[embedding, {**options, "model_conds": {**options.get("model_conds", {}), **values}}]
            for embedding, options in entries]


def with_values(entries: list, values: dict[str, Any]) -> list:
    """A CONDITIONING with `values` set on every entry."""
    return [[embedding, {**options, **values}] for embedding, options in entries]


def with_motion(entries: list, values: dict[str, Any], start: float = 0.0, end: float = 1.0) -> list:
    """A CONDITIONING with a motion's values, the driving video from `start` to `end` of the sampling only.

    The parts are those of core's node: of the steps as the MODEL's own shift spreads them.
    """
    if (start, end) == (0.0, 1.0):
        return with_values(entries, values)
    driving, others = _split(values)
    return node_helpers.conditioning_set_values_with_timestep_range(with_values(entries, others), driving, start, end)


def driving_levels(settings: Settings, model) -> tuple[float, float]:
    """The noise levels between which the driving video is followed: by the schedule's shift, or, for noise levels that
    another node gives, by the MODEL's, as in core's graphs."""
    if not settings.sigmas:
        return settings.driving_levels
    sigma = model.get_model_object("model_sampling").percent_to_sigma
    return sigma(settings.driving_start), sigma(settings.driving_end)


def with_motion_between(entries: list, values: dict[str, Any], levels: tuple[float, float], model) -> list:
    """The same, the driving video between two noise levels of the sampling, the higher one first."""
    driving, others = _split(values)
    sigma = model.get_model_object("model_sampling").percent_to_sigma
    divided = []
    for embedding, options in entries:
        options = {**options, **others}
        # in a prompt's own range, whose parts ComfyUI turns into levels before the sampling
        highest = sigma(max(options.pop("clip_start_percent", 0.0), options.pop("start_percent", 0.0)))
        lowest = sigma(min(options.pop("clip_end_percent", 1.0), options.pop("end_percent", 1.0)))
        for upper, lower, more in ((math.inf, _next(levels[0], math.inf), {}), (*levels, driving),
                                   (_next(levels[1], -math.inf), -math.inf, {})):
            upper, lower = min(upper, highest), max(lower, lowest)
            if lower <= upper:
                divided.append([embedding, {**options, **more, "timestep_start": upper, "timestep_end": lower}])
    return divided


def _split(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The driving video's values, and the others; masks stay with these, as in core's node."""
    return ({_DRIVING: values[_DRIVING]}, {name: value for name, value in values.items() if name != _DRIVING})


def _next(level: float, towards: float) -> float:
    """The next float32 number: levels are compared in float32."""
    return float(np.nextafter(np.float32(level), np.float32(towards)))
