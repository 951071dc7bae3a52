"""A folder with tiny inputs and the real workflow files, for tests of manifests."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
from PIL import Image

WORKFLOWS = Path(__file__).parents[2] / "workflows"
REPLACEMENT = WORKFLOWS / "api" / "replacement.json"
FILES = {"Reference picture.image": "anna.png", "Reference mask.image": "anna_mask.png",
         "Driving video.file": "dance.mp4", "Driving mask.file": "dance_mask.mp4"}


def write_inputs(folder: Path) -> Path:
    """Pictures and videos of 48x32 pixels, and the workflow as replacement.json."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("anna.png", "anna_mask.png", "boris.png"):
        write_picture(folder / name)
    for name, frames in (("dance.mp4", 9), ("dance_mask.mp4", 9), ("walk.mp4", 100), ("walk_mask.mp4", 100)):
        write_video(folder / name, frames)
    (folder / "replacement.json").write_bytes(REPLACEMENT.read_bytes())
    return folder


def write_picture(path: Path, seed: int = 0) -> None:
    pixels = np.random.default_rng((seed, sum(map(ord, path.name)))).integers(0, 255, (32, 48, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def write_video(path: Path, frames: int, **options: str) -> None:
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=16)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for index in range(frames):
            picture = np.full((32, 48, 3), (index * 5) % 250, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def changed_workflow(folder: Path, name: str, change) -> Path:
    """A copy of the workflow after `change(nodes)`."""
    nodes = json.loads(REPLACEMENT.read_text(encoding="utf-8"))
    change(nodes)
    path = folder / name
    path.write_text(json.dumps(nodes), encoding="utf-8")
    return path
