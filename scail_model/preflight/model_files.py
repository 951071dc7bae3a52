"""The model files that a graph needs: their sizes and sources, and what is said of those that are missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HUB = "https://huggingface.co"
_WAN = f"{_HUB}/Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files"
_SCAIL = f"{_HUB}/Comfy-Org/SCAIL-2/resolve/main/diffusion_models"
_COMPLETE = 0.95  # of the size in this table, which is rounded
THERE, INCOMPLETE, MISSING = "there", "incomplete", "missing"


@dataclass(frozen=True)
class ModelFile:
    """folder: in ComfyUI's models. gigabytes: as download pages count them, 1e9 bytes."""

    name: str
    folder: str
    gigabytes: float
    source: str

    @property
    def url(self) -> str:
        return f"{self.source}/{self.name}"


TRANSFORMER = ModelFile("wan2.1_14B_SCAIL_2_fp8_scaled.safetensors", "diffusion_models", 17.7, _SCAIL)
TRANSFORMER_FP16 = ModelFile("wan2.1_14B_SCAIL_2_fp16.safetensors", "diffusion_models", 32.8, _SCAIL)
TEXT_ENCODER = ModelFile("umt5_xxl_fp8_e4m3fn_scaled.safetensors", "text_encoders", 6.7, f"{_WAN}/text_encoders")
CLIP_VISION = ModelFile("clip_vision_h.safetensors", "clip_vision", 1.3, f"{_WAN}/clip_vision")
VAE = ModelFile("wan_2.1_vae.safetensors", "vae", 0.25, f"{_WAN}/vae")
DISTILLED_LORA = ModelFile("lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors", "loras", 0.74,
                           f"{_HUB}/Kijai/WanVideo_comfy/resolve/main/Lightx2v")
# SAM 3.1 (multiplex): SAM 3 itself has no tracking by a word in ComfyUI
SAM3 = ModelFile("sam3.1_multiplex_fp16.safetensors", "checkpoints", 1.7,
                 f"{_HUB}/Comfy-Org/sam3.1/resolve/main/checkpoints")
SAM3D_BODY = ModelFile("sam_3d_body_dinov3_bf16.safetensors", "detection", 2.8,
                       f"{_HUB}/Comfy-Org/sam-3d-body/resolve/main/detection")
# key points of bodies, faces and hands, and the boxes round people that it looks into
SDPOSE = ModelFile("sdpose_wholebody_fp16.safetensors", "checkpoints", 1.9,
                   f"{_HUB}/Comfy-Org/SDPose/resolve/main/checkpoints")
RT_DETR = ModelFile("rt_detr_v4-x-hgnet_fp16.safetensors", "diffusion_models", 0.12,
                    f"{_HUB}/Comfy-Org/SDPose/resolve/main/diffusion_models")
KNOWN = {file.name: file for file in (TRANSFORMER, TRANSFORMER_FP16, TEXT_ENCODER, CLIP_VISION, VAE, DISTILLED_LORA,
                                      SAM3, SAM3D_BODY, SDPOSE, RT_DETR)}

# loader and input -> folder of models; loaders of other packs that users have in these graphs too
_LOADERS = {
    ("SCAIL2LoadModel", "model_name"): "diffusion_models", ("UNETLoader", "unet_name"): "diffusion_models",
    ("UnetLoaderGGUF", "unet_name"): "diffusion_models", ("CLIPLoader", "clip_name"): "text_encoders",
    ("CLIPLoaderGGUF", "clip_name"): "text_encoders", ("CLIPVisionLoader", "clip_name"): "clip_vision",
    ("VAELoader", "vae_name"): "vae", ("LoraLoaderModelOnly", "lora_name"): "loras",
    ("SCAIL2LoadLora", "lora_name"): "loras", ("LoraLoader", "lora_name"): "loras",
    ("CheckpointLoaderSimple", "ckpt_name"): "checkpoints", ("SAM3DBody_Loader", "model_file"): "detection",
    ("SCAIL2LoadNLF", "file"): "nlf",
}
# a loader may offer names of no file
_ENDS = (".safetensors", ".sft", ".gguf", ".pt", ".pth", ".ckpt", ".bin", ".torchscript")


def named_files(prompt: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(folder of ComfyUI's models, name in it) of each model file that a graph in API format names."""
    for node in prompt.values():
        for name, value in node["inputs"].items():
            folder = _LOADERS.get((node["class_type"], name))
            if folder is not None and isinstance(value, str) and value.lower().endswith(_ENDS):
                yield folder, value


@dataclass(frozen=True)
class Needed:
    """A file that a graph names. place: the folder that it belongs into. found: bytes of what is there, None if nothing
    is."""

    name: str
    place: Path
    found: int | None

    @property
    def known(self) -> ModelFile | None:
        return KNOWN.get(Path(self.name.replace("\\", "/")).name)

    @property
    def state(self) -> str:
        if self.found is None:
            return MISSING
        whole = 0 if self.known is None else self.known.gigabytes * 1e9
        return INCOMPLETE if self.found < _COMPLETE * whole or not self.found else THERE

    @property
    def size(self) -> str | None:
        return None if self.known is None else f"{self.known.gigabytes:g} GB"

    def values(self) -> dict[str, str | None]:
        """For programs and the page."""
        return {"file": self.name, "folder": str(self.place), "state": self.state, "size": self.size,
                "url": None if self.known is None else self.known.url, "text": self.text()}

    def text(self) -> str:
        size = self.size or "unknown size"
        source = f", from {self.known.url}" if self.known is not None else ""
        if self.state == INCOMPLETE:
            found = (self.found or 0) / 1e9
            return f"{self.name} in {self.place} has only {found:.2f} GB of {size}: download it again{source}"
        return f"{self.name} ({size}) into {self.place}{source}"


def report(needed: Sequence[Needed]) -> str:
    """One list, or that all is there."""
    wanting = [file for file in needed if file.state != THERE]
    if not wanting:
        return f"All {len(needed)} model files are there." if len(needed) > 1 else "The model files are there."
    what = "missing" if all(file.state == MISSING for file in wanting) else "missing or incomplete"
    return "\n".join([f"{len(wanting)} of {len(needed)} model files are {what}:",
                      *(f"- {file.text()}" for file in wanting)])
