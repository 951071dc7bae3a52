"""Which model files a graph in API format names, and which of them are in ComfyUI's folders.

ComfyUI refuses a graph with a missing file before any node runs, with an error for each loader that names neither
folder nor size. So this is asked beforehand, by the page and by programs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import folder_paths

from ..preflight.model_files import Needed, report

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


def model_files(question: Mapping[str, Any]) -> dict[str, Any]:
    """{"prompt": a graph in API format} -> {"files": a file each, "text": the list as a text, "ok": whether all are
    there}."""
    needed = list(dict.fromkeys(_needed(question["prompt"])))
    return {"files": [file.values() for file in needed], "text": report(needed),
            "ok": all(file.state == "there" for file in needed)}


def _needed(prompt: Mapping[str, Any]) -> Iterator[Needed]:
    for node in prompt.values():
        for name, value in node["inputs"].items():
            folder = _LOADERS.get((node["class_type"], name))
            if folder is not None and isinstance(value, str) and value.lower().endswith(_ENDS):
                path = folder_paths.get_full_path(folder, value)
                place = Path(path) if path else _folder(folder) / value
                yield Needed(value, place.parent, place.stat().st_size if path else None)


def _folder(name: str) -> Path:
    """Of several, the one of that name: ComfyUI also looks into `unet` and `clip`, the names of old."""
    folders = [Path(path) for path in folder_paths.get_folder_paths(name)]
    return next((path for path in folders if path.name == name), folders[0])
