"""What a file is that is not SCAIL-2: by its first bytes, and by the names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

# First bytes -> what the file is, and what to do.
_FORMATS = {
    b"GGUF": "is a GGUF file: load it in ComfyUI with the node Unet Loader (GGUF) of ComfyUI-GGUF, or take the "
             ".safetensors file of the model",
    b"version https://git-lfs": "is a Git LFS pointer, not the file itself: run `git lfs pull` in its folder",
    b"<": "is a web page, not a model: download the file again, with a login where the site asks for one",
    b"{": "is a JSON text, not a model: give the .safetensors or .pt file that it belongs to",
    b"\x80": "is a torch file of the old format without zip: load and save it once with a current torch",
    b"\x89PNG": "is a picture: give the model's file", b"\xff\xd8\xff": "is a picture: give the model's file",
    b"RIFF": "is a picture, sound or video: give the model's file",
    b"\x1aE\xdf\xa3": "is a video: give the model's file",
    b"7z\xbc\xaf": "is an archive: unpack it first", b"Rar!": "is an archive: unpack it first",
    b"\x1f\x8b": "is an archive: unpack it first", b"\xfd7zXZ": "is an archive: unpack it first",
    b"\x89HDF": "is an HDF5 file: give the .safetensors or .pt file of the model",
    b"\x93NUMPY": "is a numpy file: give the .safetensors or .pt file of the model",
}

# Tensor names, or their beginnings, that identify another model; tried in this order.
_NAMES = (
    ("model.diffusion_model.transformer.layers.", "a SCAIL-2 checkpoint in SAT form: pass it through convert_sat"),
    ("model.diffusion_model.mixins.", "a SCAIL-2 checkpoint in SAT form: pass it through convert_sat"),
    ("first_stage_model.", "a Stable Diffusion checkpoint"),
    ("diffusion_model.", "a file whose names still carry a prefix: read it with load_checkpoint"),
    ("model.diffusion_model.", "a file whose names still carry a prefix: read it with load_checkpoint"),
    ("vace_blocks.", "Wan 2.1 VACE"),
    ("face_adapter.", "Wan 2.2 Animate"),
    ("motion_encoder.", "Wan 2.2 Animate"),
    ("casual_audio_encoder.", "Wan 2.2 S2V"),
    ("audio_proj.", "a Wan model driven by sound"),
    ("control_adapter.", "Wan Fun Camera"),
    ("controlnet", "a ControlNet"),
    ("double_blocks.", "a Flux or Hunyuan transformer"),
    ("single_blocks.", "a Flux or Hunyuan transformer"),
    ("transformer_blocks.", "a diffusers transformer"),
    ("input_blocks.", "a Stable Diffusion network"),
    ("down_blocks.", "a Stable Diffusion network in diffusers form"),
    ("decoder.middle.", "a Wan VAE"),
    ("decoder.mid_block.", "a VAE in diffusers form"),
    ("decoder.mid.", "a VAE"),
    ("shared.weight", "a T5 text encoder"),
    ("token_embedding.weight", "a T5 text encoder"),
    ("encoder.block.", "a T5 text encoder"),
    ("vision_model.", "a CLIP vision model"),
    ("visual.", "a CLIP vision model"),
    ("text_model.", "a CLIP text encoder"),
    ("model.layers.", "a language model"),
    ("model.embed_tokens.", "a language model"),
)
_WAN_BY_CHANNELS = {16: "Wan 2.1 text-to-video", 36: "Wan 2.1 image-to-video", 48: "Wan 2.2 5B",
                    32: "Wan 2.1 Fun", 52: "Wan 2.1 Fun Control"}
_LORA_PARTS = (".lora_", ".lora.", ".lokr_", ".hada_", ".oft_", ".dora_scale", ".diff_b", ".diff_m")
# Ends of names that tools for quantising add, of files that nothing else reads.
_QUANTISERS = {".qweight": "nunchaku", ".wscales": "nunchaku", ".absmax": "bitsandbytes", ".scales": "MLX",
               ".qzeros": "GPTQ or AWQ"}


class Shaped(Protocol):
    """A tensor, or the record of one."""

    @property
    def shape(self) -> tuple[int, ...]: ...


def format_of(start: bytes) -> str:
    """What a file is that begins like this and is neither safetensors nor a torch zip file, and what to do: the rest of
    a sentence that begins with its name."""
    if not start:
        return "is empty: download it again"
    if not start.strip(b"\0"):
        return "begins with zeros, so its download was not finished: download it again"
    if start[4:8] == b"ftyp":
        return "is a video: give the model's file"
    for magic, finding in _FORMATS.items():
        if start.lstrip().startswith(magic):
            return finding
    return "is neither a safetensors nor a torch file: download it again, or give a model or LoRA file"


def other_model(tensors: Mapping[str, Shaped]) -> str | None:
    """The model that these tensors (with names as in `checkpoint.with_official_names`) are if not SCAIL-2; None if they
    are SCAIL-2, or do not tell."""
    quantiser = next((tool for name in tensors for ending, tool in _QUANTISERS.items() if name.endswith(ending)), None)
    if quantiser:
        return f"one that {quantiser} has quantised, which only that tool reads"
    if "patch_embedding_mask.weight" in tensors:
        return None
    if any(part in name for name in tensors for part in _LORA_PARTS):
        return "a LoRA"
    for beginning, model in _NAMES:
        if any(name.startswith(beginning) for name in tensors):
            return model
    if "patch_embedding_pose.weight" in tensors:
        return "SCAIL-1 (SCAIL-Preview), which has no mask embedding"
    model = None
    if "patch_embedding.weight" in tensors:
        channels = tensors["patch_embedding.weight"].shape[1]
        model = _WAN_BY_CHANNELS.get(channels, f"a Wan transformer of {channels} input channels")
    if any(name.startswith("condition_embedder.") for name in tensors):
        return f"{model or 'a Wan transformer'} in diffusers form"
    return model
