"""Pictures of the pack's nodes in the real frontend, for their help pages: after a run with the trained miniature."""

from __future__ import annotations

import shutil
from pathlib import Path

from browser import Browser
from comfyui import ComfyUI
from graphs import Graph, add_sample_video, load
from miniature_scenes import WEIGHTS
from workflow_files import drawings, notes, tiny

from tests.demo import drawing

SIZE, FRAMES, SEGMENT, STEPS = 192, 41, 17, 10  # three segments
MODEL, VAE = "miniature.safetensors", "miniature_vae.safetensors"
LORA = "miniature_lora.safetensors"
PROMPT = ("A tall red robot walks through an empty gray street while rain falls softly onto parked cars; its left arm "
          "swings, both eyes glow amber and the camera stays still in front of him.")


def write(docs: Path, base: Path) -> None:
    """Write docs/<node>.jpg for every node of the pack. base: an empty folder."""
    job = drawing.write_job(base / "input", (SIZE, SIZE), FRAMES, people=2, seed=4)
    tiny.write_miniature(base / "models", WEIGHTS / "nano_scail2.safetensors", WEIGHTS / "nano_vae.safetensors", MODEL,
                         VAE)
    (base / "models/loras").mkdir(parents=True, exist_ok=True)
    shutil.copy(WEIGHTS / "nano_lora.safetensors", base / "models/loras" / LORA)
    files = {option: path.name for option, path in job.items()}
    _write_poses(base)
    with ComfyUI(base) as server, Browser() as browser:
        server.run(_people(files, _read_poses()))  # a page lists the files once, also those of tracks and poses
        prompt, _ = _graph(files, base).numbered()
        browser.run(server, "pictures", vue=True, width=1600, height=2000, scale=1.5, prompt=prompt, folder=str(docs))


def _write_poses(base: Path) -> None:
    """Larger people than the miniature's, whose skeletons are known; and NLF's name."""
    drawn = base / "drawn"
    drawings.write(drawn, "two_people", frames=24, width=896, height=512)
    for path in drawn.iterdir():
        shutil.copy(path, base / "input" / f"poses_{path.name}")
    (base / "models/nlf").mkdir(parents=True)
    (base / "models/nlf" / notes.NLF).touch()


def _people(files: dict[str, str], graph: Graph | None = None) -> Graph:
    graph = Graph("") if graph is None else graph
    for name, option in (("reference_image", "image"), ("reference_mask", "mask_image")):
        graph.add(name, "LoadImage", image=files[option])
    for name, option in (("driving", "pose"), ("driving_mask", "mask_video")):
        graph.add(name, "LoadVideo", file=files[option])
    graph.add("identities", "SCAIL2Identities", mode="animation", driving_masks=["driving_mask", 0],
              reference_masks=["reference_mask", 0], driving=["driving", 0], reference_image=["reference_image", 0],
              names="Anna, Ben")
    graph.add("tracks", "SCAIL2SaveTracks", identities=["identities", 0], name="dance", driving=["driving", 0],
              overwrite=True)
    return graph


def _graph(files: dict[str, str], base: Path) -> Graph:
    """Every node of the pack, in one graph that runs."""
    graph = _people(files, _poses())  # of two nodes of a kind, the later one is shown
    graph.add("vae", "VAELoader", vae_name=VAE)
    graph.add("clip", "TestClipVision")
    graph.add("positive", "SCAIL2LoadPrompt", file=f"{tiny.NO_TEXT}.safetensors")
    graph.add("negative", "SCAIL2SavePrompt", conditioning=["positive", 0], name="negative", overwrite=True)
    graph.add("loaded tracks", "SCAIL2LoadTracks", file="dance.safetensors", driving=["driving", 0])
    graph.add("reframed", "SCAIL2ReframeReference", image=["reference_image", 0], identities=["identities", 0],
              width=SIZE, height=SIZE, driving=["driving", 0])
    graph.add("reference", "SCAIL2EncodeReference", vae=["vae", 0], clip_vision=["clip", 0],
              image=["reference_image", 0], identities=["identities", 0], width=SIZE, height=SIZE)
    model = graph.add("lora", "SCAIL2LoadLora", model=load(graph, MODEL), lora_name=LORA, strength=1.0)
    video = add_sample_video(graph, model, steps=STEPS, seed=3, segment_length=SEGMENT, codec="h264")
    given = graph["sampled"]["inputs"]
    graph.add("check", "SCAIL2Preflight", **{name: value for name, value in given.items() if name != "codec"})
    graph.add("jobs", "SCAIL2Jobs", action="list")
    graph.add("doctor", "SCAIL2Doctor", model=model)
    graph.add("drift", "SCAIL2DriftReport", video=video, segments=["sampled", 2], reference=["reference", 0])
    graph.add("motion", "SCAIL2MotionTransfer", positive=["positive", 0], negative=["negative", 0], vae=["vae", 0],
              reference=["reference", 0], driving=["driving", 0], identities=["identities", 0], length=SEGMENT,
              previous_frames=["previous", 0], start_frame=SEGMENT)
    graph.add("previous", "GetVideoComponents", video=["sampled", 0])
    _add_prompts(graph, base)
    graph.add("schedule", "SCAIL2Schedule", solver="unipc", steps=STEPS, shift=3.0)
    graph.add("replaced", "SCAIL2Identities", mode="replacement", driving_masks=["driving_mask", 0],
              reference_masks=["reference_mask", 0], contradicting_background="repaint", binding="1:1")
    graph.add("plate", "SCAIL2PlatePreview", driving=["driving", 0], identities=["replaced", 0], width=SIZE,
              height=SIZE, plate_grow=5, plate_feather=5)
    for name, source in (("rendered poses", ["rendered", 3]), ("positive conditioning", ["motion", 0]),
                         ("sigmas", ["schedule", 1]), ("reframed picture", ["reframed", 4]),
                         ("report", ["loaded tracks", 1]), ("prompt", ["written", 0]), ("question", ["asked", 1]),
                         ("checked prompt", ["checked", 0])):
        graph.add(name, "PreviewAny", source=source)
    return graph


def _add_prompts(graph: Graph, base: Path) -> None:
    """The nodes of prompts, with a stand-in of a text model."""
    graph.add("llm", "TestTextModel", answer=PROMPT, kind="sees", seen=str(base / "seen.json"))
    given = {"reference": ["reference_image", 0], "driving": ["driving", 0], "mode": "replacement",
             "instruction": "The robot walks home in the rain."}
    graph.add("written", "SCAIL2WritePrompt", clip=["llm", 0], temperature=0.0, **given)
    graph.add("asked", "SCAIL2AskForPrompt", **given)
    graph.add("checked", "SCAIL2CheckPrompt", answer=["written", 0])


def _poses() -> Graph:
    """The nodes of poses."""
    graph = _read_poses()
    graph.add("nlf", "SCAIL2LoadNLF", file=notes.NLF)
    graph.add("loaded poses", "SCAIL2LoadPoses", file="dance.safetensors", driving=["poses video", 0])
    graph.add("poses reference mask", "LoadImage", image="poses_reference_mask.png")
    graph.add("poses identities", "SCAIL2Identities", mode="animation", driving_masks=["poses mask", 0],
              reference_masks=["poses reference mask", 0])
    graph.add("retargeted", "SCAIL2RetargetPoses", poses=["poses", 0], image=["poses reference", 0],
              keypoints=["reference points", 0], identities=["poses identities", 0])
    graph.add("rendered", "SCAIL2RenderPoses", poses=["retargeted", 0], style="official", face=True, hands=True)
    graph.add("poses of the file", "PreviewAny", source=["loaded poses", 1])
    return graph


def _read_poses() -> Graph:
    """Poses from stand-ins of detectors, saved in a file."""
    graph = Graph("")
    graph.add("poses video", "LoadVideo", file="poses_driving.mp4")
    graph.add("poses mask", "LoadVideo", file="poses_driving_mask.mp4")
    graph.add("poses frames", "GetVideoComponents", video=["poses video", 0])
    graph.add("poses reference", "LoadImage", image="poses_reference.png")
    graph.add("bodies", "TestBodies", path="poses_driving_bodies.safetensors", name="joints")
    for name, pictures in (("points", "poses frames"), ("reference points", "poses reference")):
        graph.add(name, "TestDrawnKeyPoints", image=[pictures, 0], path="poses_driving_bodies.safetensors")
    graph.add("poses", "SCAIL2Poses", poses=["bodies", 0], detail=["points", 0], driving=["poses video", 0],
              masks=["poses mask", 0])
    graph.add("saved poses", "SCAIL2SavePoses", poses=["poses", 0], name="dance", overwrite=True)
    return graph
