"""What TestRecord has written: the calls of the diffusion model, and the same call of our network outside ComfyUI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from scail_model.transformer import SCAIL2Transformer


def recorded(folder: Path) -> list[dict[str, Tensor]]:
    return [load_file(path) for path in sorted(folder.glob("*.safetensors"))]


def forward(network: SCAIL2Transformer, call: dict[str, Tensor], **more: Any) -> Tensor:
    """The velocity that `network` gives for the inputs of one recorded call, and others."""
    extra = call["reference_latent"].shape[2] - 1
    references, masks = call["reference_latent"][:, :16], call["ref_mask_latents"]
    driving = call.get("pose_latents")  # missing outside of pose_start and pose_end
    return network(
        call["x"][:, :16], call["timestep"], call["context"], call["clip"], reference_latents=references[:, :, extra:],
        reference_masks=masks[:, :, extra : extra + 1],
        driving_latents=None if driving is None else driving[:, :16],
        driving_masks=None if driving is None else call["sam_latents"], replacement=not call["ref_mask_flag"],
        history_mask=call["x"][:, 16:], additional_latents=references[:, :, :extra] if extra else None,
        additional_masks=masks[:, :, :extra] if extra else None, **more)
