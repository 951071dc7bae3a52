"""The trained miniature in ComfyUI's folders, and scenes of the drawn world as inputs of a graph."""

from __future__ import annotations

from pathlib import Path

import words
from graphs import Graph
from miniature_scenes import WEIGHTS, Scene

from scail_model.files import prompts

MODEL, VAE = "nano.safetensors", "nano_vae.safetensors"
NOTHING = "nothing"  # the empty prompt's file
_FILES = {f"diffusion_models/{MODEL}": "nano_scail2.safetensors", f"vae/{VAE}": VAE}


def add_models(models: Path) -> list[Path]:
    """Links to transformer and VAE, and the empty prompt as they read it -> the new files."""
    for name, source in _FILES.items():
        (models / name).unlink(missing_ok=True)
        (models / name).symlink_to(WEIGHTS / source)
    return [*(models / name for name in _FILES), save_prompt(models, "")]


def save_prompt(models: Path, word: str) -> Path:
    conditioning = [[words.context([word]), {}]]
    return prompts.save(conditioning, models / "scail2_prompts", word or NOTHING, overwrite=True)


def add_scene(graph: Graph, scene: Scene, *, word: str = "", additional: bool = False) -> None:
    """Everything of a scene as the pack's nodes want it; `graph.images` is what `write_tensors` has written."""
    count = "s" if additional else ""
    graph.add("vae", "VAELoader", vae_name=VAE)
    graph.add("clip", "TestClipVision")
    graph.add("positive", "SCAIL2LoadPrompt", file=f"{word or NOTHING}.safetensors")
    graph.add("negative", "SCAIL2LoadPrompt", file=f"{NOTHING}.safetensors")
    graph.pictures("driving", "driving")
    graph.add("identities", "SCAIL2Identities", mode=scene.mode,
              driving_masks=graph.pictures("driving_mask", "driving_mask"),
              reference_masks=graph.pictures("reference_mask", f"reference_mask{count}"))
    graph.add("reference", "SCAIL2EncodeReference", vae=["vae", 0], clip_vision=["clip", 0],
              image=graph.pictures("reference_image", f"reference{count}"), identities=["identities", 0],
              width=scene.size, height=scene.size)
