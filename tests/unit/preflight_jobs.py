"""Jobs for the check that are drawn: people as boxes, on a machine without a GPU; and what the check finds in them."""

from dataclasses import replace

import torch

from scail_model.config import TransformerConfig
from scail_model.identity import binding, mask_sources
from scail_model.inputs.conditioning import reference_mask
from scail_model.media.clips import TensorClip
from scail_model.preflight.budget import Machine
from scail_model.preflight.checks import check
from scail_model.preflight.job import Job, Transformer

GIB = 2**30
WHOLE = (32, 16, 64, 112)  # left, top, right, bottom of a person in a frame of 96x128
NO_GPU = Machine(0, 0, 64 * GIB, None)
MODEL = Transformer(TransformerConfig(dim=256, ffn_dim=512, num_heads=2, num_layers=2), 2**20, 0, lora=False)
REAL = Transformer(TransformerConfig(), 33 * GIB, 0, lora=False)


def masks(boxes, height=128, width=96):
    """MASK of one person, float [T, H, W]: a (left, top, right, bottom) for each frame, or None."""
    drawn = torch.zeros(len(boxes), height, width)
    for mask, box in zip(drawn, boxes, strict=True):
        if box:
            left, top, right, bottom = box
            mask[top:bottom, left:right] = 1
    return drawn


def bound(*people, mode="animation", references=None, names="", size=(128, 96), reference_size=(128, 96)):
    """People by their boxes in each frame; each reference picture by a box for each person."""
    references = references or [[people[0][0] or WHOLE] * len(people)]
    driving = mask_sources.from_masks([masks(boxes, *size) for boxes in people], "driving")
    pictures = [mask_sources.from_masks([masks([box], *reference_size) for box in picture], "reference")
                for picture in references]
    return binding.bind(mode, driving, pictures, names=names)


def encoded(identities, height, width):
    order = [*range(1, len(identities.references)), 0]
    return torch.stack([reference_mask(identities, index, height, width)[:, 0] for index in order])


def clip(frames, height, width):
    return TensorClip(torch.zeros(frames, height, width, 3, dtype=torch.uint8))


def job(identities=None, width=96, height=128, **changes):
    """A job without errors or warnings, on a machine without a GPU, but for the changes."""
    identities = identities or bound([WHOLE] * 17)
    plain = Job(identities, clip(len(identities.driving), 128, 96), 16.0, width, height,
                encoded(identities, height, width), {"positive": 80, "negative": 2}, "unipc", 40,
                "40 steps, shift 3", 5.0, 81, 5, black_background=False, transformer=MODEL, machine=NO_GPU)
    return replace(plain, **changes)


def texts(job, *levels):
    """code -> text of the findings; a code that comes twice would hide one."""
    found = [finding for finding in check(job) if finding.level in (levels or ("error", "warning"))]
    assert len({finding.code for finding in found}) == len(found)
    return {finding.code: finding.text for finding in found}
