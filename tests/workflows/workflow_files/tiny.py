"""Any API workflow made small enough to run on the CPU: tiny models, few steps, small pictures."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import assets
import golden
import words
from safetensors.torch import save_file

from scail_model.files import prompts

WIDTH, HEIGHT = 64, 32  # of the results
LENGTH = 9  # of a segment
STEPS = 2
_MODEL, _VAE, _LORA = "tiny.safetensors", "tiny_vae.safetensors", "lora.safetensors"
NO_TEXT = "no_text"

# node -> what stands in for it; their inputs are dropped
_STAND_INS = {"CLIPTextEncode": "TestText", "CLIPVisionLoader": "TestClipVision"}
_DROPPED = ("CLIPLoader", "CheckpointLoaderSimple", "PrimitiveString", "UNETLoader", "RTDETR_detect",
            "SAM3DBody_Loader")
# and those that are shown the drawn masks; these inputs stay
_SEGMENTERS = {"SAM3_VideoTrack": ("TestDrawnTrack", ("images", "max_objects", "initial_mask")),
               "SAM3_Detect": ("TestDrawnDetect", ("image", "positive_coords"))}
# and those that read the drawn bodies from their file; these inputs stay
_DETECTORS = {"SCAIL2LoadNLF": ("TestBodies", ()), "SAM3DBody_Predict": ("TestDrawnBodies", ("image",)),
              "SDPoseKeypointExtractor": ("TestDrawnKeyPoints", ("image",))}
_VALUES = {
    ("SCAIL2LoadModel", "model_name"): _MODEL,
    ("VAELoader", "vae_name"): _VAE,
    ("LoraLoaderModelOnly", "lora_name"): _LORA,
    ("SCAIL2LoadLora", "lora_name"): _LORA,
    ("SCAIL2ReframeReference", "width"): WIDTH,
    ("SCAIL2ReframeReference", "height"): HEIGHT,
    ("SCAIL2EncodeReference", "width"): WIDTH,
    ("SCAIL2EncodeReference", "height"): HEIGHT,
    ("SCAIL2CropPerson", "width"): WIDTH,
    ("SCAIL2CropPerson", "height"): HEIGHT,
    ("SCAIL2Preflight", "steps"): STEPS,
    ("SCAIL2Preflight", "segment_length"): LENGTH,
    ("SCAIL2SampleVideo", "steps"): STEPS,
    ("SCAIL2SampleVideo", "segment_length"): LENGTH,
    ("SCAIL2Schedule", "steps"): STEPS,
    ("BasicScheduler", "steps"): STEPS,
    ("SCAIL2MotionTransfer", "length"): LENGTH,
}


def write_models(models: Path) -> None:
    """The golden transformer and a LoRA for it, in ComfyUI's model folders."""
    (models / "diffusion_models").mkdir(parents=True, exist_ok=True)
    save_file(golden.tiny_weights(), models / "diffusion_models" / _MODEL)
    assets.write_lora(models)


def make_vae(server) -> None:
    """A random Wan VAE of width 4, made by ComfyUI itself."""
    path = server.base / "models/vae" / _VAE
    server.run({"vae": {"class_type": "TestMakeVae", "inputs": {"path": str(path), "width": 4}}})


def write_miniature(models: Path, transformer: Path, vae: Path, model_name: str = _MODEL, vae_name: str = _VAE) -> None:
    """Files of the trained miniature, in the places of the random ones unless told otherwise, and the empty prompt as
    it reads it."""
    for source, target in ((transformer, f"diffusion_models/{model_name}"), (vae, f"vae/{vae_name}")):
        (models / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, models / target)
    prompts.save([[words.context([""]), {}]], models / "scail2_prompts", NO_TEXT, overwrite=True)


def without_text(prompt: dict[str, dict]) -> dict[str, dict]:
    """A shrunk workflow with the empty prompt of `write_miniature` in the place of random text."""
    loader = {"class_type": "SCAIL2LoadPrompt", "inputs": {"file": f"{NO_TEXT}.safetensors"}}
    return {name: copy.deepcopy(loader) if node["class_type"] == "TestText" else node for name, node in prompt.items()}


def shrink(prompt: dict[str, dict], **values: Any) -> dict[str, dict]:
    """A copy of an API workflow that runs on `write_models`'s files and `make_vae`'s; `values` overrides inputs of
    these names in every node that has them. Continued segments begin where the shortened one before ends."""
    small = {}
    for name, node in copy.deepcopy(prompt).items():
        kind = node["class_type"]
        if kind in _DROPPED:
            continue
        if kind in _STAND_INS:
            inputs = {"seed": int(name.split(":")[-1])} if kind == "CLIPTextEncode" else {}
            small[name] = {"class_type": _STAND_INS[kind], "inputs": inputs}
            continue
        if kind in _SEGMENTERS:
            small |= _segmenter(name, node, prompt)
            continue
        if kind in _DETECTORS:
            small[name] = _detector(node)
            continue
        inputs = node["inputs"]
        if kind == "SCAIL2MotionTransfer" and inputs["start_frame"]:
            inputs["start_frame"] = LENGTH
        inputs |= {key: value for (of, key), value in _VALUES.items() if of == kind}
        inputs |= {key: value for key, value in values.items() if key in inputs}
        small[name] = node
    return small


def _segmenter(name: str, node: dict, prompt: dict[str, dict]) -> dict[str, dict]:
    """What stands in for a SAM3 node, with the loaders of the drawn mask that belongs to its pictures."""
    stand_in, kept = _SEGMENTERS[node["class_type"]]
    inputs = {key: value for key, value in node["inputs"].items() if key in kept}
    return {name: {"class_type": stand_in, "inputs": inputs | {"drawn": [f"{name}_drawn", 0]}},
            **drawn_masks(f"{name}_drawn", inputs[kept[0]], prompt)}


def _detector(node: dict) -> dict:
    """What stands in for a detector of bodies or points, with the file of the drawing."""
    stand_in, kept = _DETECTORS[node["class_type"]]
    inputs = {key: value for key, value in node["inputs"].items() if key in kept}
    named = {"name": "joints"} if stand_in == "TestBodies" else {}
    return {"class_type": stand_in, "inputs": {"path": "driving_bodies.safetensors", **named, **inputs}}


def drawn_masks(name: str, pictures: list, prompt: dict[str, dict]) -> dict[str, dict]:
    """Nodes that load the drawn masks of the pictures behind a link; the one called `name` gives them as an IMAGE."""
    source = prompt[pictures[0]]
    while source["class_type"] not in ("LoadImage", "LoadVideo"):
        source = next(prompt[source["inputs"][key][0]] for key in ("image", "video") if key in source["inputs"])
    if source["class_type"] == "LoadImage":
        return {name: {"class_type": "LoadImage", "inputs": {"image": _mask_file(source["inputs"]["image"])}}}
    loader = {"class_type": "LoadVideo", "inputs": {"file": _mask_file(source["inputs"]["file"])}}
    return {f"{name}_file": loader,
            name: {"class_type": "GetVideoComponents", "inputs": {"video": [f"{name}_file", 0]}}}


def _mask_file(file: str) -> str:
    return file.replace(".", "_mask.")
