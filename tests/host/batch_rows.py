"""Rows of the miniature for a ComfyUI of the batch's own: a workflow in a file, files beside it, an engine."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
from comfyui import COMFYUI, ComfyUI
from graphs import Graph
from miniature_graphs import MODEL, NOTHING, VAE, add_models, save_prompt

from scail_model.batch.comfy_engine import ComfySpec
from scail_model.batch.manifest import Row
from tests.demo import drawing
from tests.demo.faster import FASTER

SIZE, FRAMES, STEPS, WORD = (96, 64), 15, 2, "green"  # three segments of 9 that share 5
SEGMENTS = 3


def write_models(comfy: ComfyUI) -> list[Path]:
    """The miniature in the folders of the worker's ComfyUI, which a batch's reads too."""
    return [*add_models(comfy.base / "models"), save_prompt(comfy.base / "models", WORD)]


def write_row(folder: Path) -> Row:
    """A row of a workflow whose sampler can be made slow; all of its files lie in `folder`."""
    drawing.write_job(folder, SIZE, FRAMES, tone=True)
    graph = Graph("")
    graph.add("model", "SCAIL2LoadModel", model_name=MODEL, weight_dtype="default")
    graph.add("vae", "VAELoader", vae_name=VAE)
    graph.add("clip", "TestClipVision")
    graph.add("positive", "SCAIL2LoadPrompt", file=f"{WORD}.safetensors")
    graph.add("negative", "SCAIL2LoadPrompt", file=f"{NOTHING}.safetensors")
    for name in ("reference", "reference_mask"):
        graph.add(name, "LoadImage", image=f"{name}.png")
    for name in ("driving", "driving_mask"):
        graph.add(name, "LoadVideo", file=f"{name}.mp4")
    graph.add("identities", "SCAIL2Identities", mode="animation", driving_masks=["driving_mask", 0],
              reference_masks=["reference_mask", 0])
    graph.add("encoded", "SCAIL2EncodeReference", vae=["vae", 0], clip_vision=["clip", 0], image=["reference", 0],
              identities=["identities", 0], width=SIZE[0], height=SIZE[1])
    graph.add("slow", "TestSlowSampler", sleep=0.0, silence=15.0)
    graph.add("sampled", "SCAIL2SampleVideo", model=["model", 0], positive=["positive", 0], negative=["negative", 0],
              vae=["vae", 0], reference=["encoded", 0], driving=["driving", 0], identities=["identities", 0], seed=3,
              solver="euler", steps=STEPS, shift=3.0, guidance=1.0, segment_length=9, overlap=5, codec="h264",
              sampler=["slow", 0])
    graph.add("saved", "SaveVideo", video=["sampled", 0], filename_prefix="video/made", format="auto", codec="auto")
    graph.add("report", "PreviewAny", source=["sampled", 1])
    for name, node in graph.items():
        node["_meta"] = {"title": name.capitalize()}
    (folder / "workflow.json").write_text(json.dumps(graph))
    return Row("made", "row 1", folder / "workflow.json", {}, {}, "", folder)


def with_values(row: Row, id: str, **values) -> Row:
    """Another row; values by ClassType__input."""
    return replace(row, id=id, values={name.replace("__", "."): value for name, value in values.items()})


def spec(comfy: ComfyUI, **changes) -> ComfySpec:
    """Of the ComfyUI under test, with the models and packs of the worker's."""
    return replace(ComfySpec(COMFYUI, arguments=("--cpu", "--base-directory", str(comfy.base), "--disable-api-nodes")),
                   **changes)


def requirements(folder: Path) -> dict[str, str]:
    """The environment of such a ComfyUI: as in `comfyui.ComfyUI`."""
    package = Path(cv2.__file__).parent
    folder.mkdir(exist_ok=True)
    if not (folder / package.name).exists():
        (folder / package.name).symlink_to(package)
    return {"OMP_NUM_THREADS": "1", **FASTER, "PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get(
        "PYTHONPATH"))))}


def copy_files(row: Row, comfy: ComfyUI) -> dict:
    """The row's workflow for a ComfyUI that has its files under their own names."""
    for path in row.base.iterdir():
        if path.suffix in (".png", ".mp4"):
            shutil.copy(path, comfy.base / "input" / path.name)
    return json.loads((row.base / "workflow.json").read_text())
