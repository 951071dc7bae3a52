"""Peak main memory of ComfyUI while it makes long videos: Sample SCAIL-2 Video, and core's nodes chained by hand.

    python tests/bench/long_video_memory.py [--frames 200 2000] [--ways ours core] [--json FILE]

A real ComfyUI server (COMFYUI_PATH, default ~/ComfyUI) on the CPU for every run, with a tiny transformer and VAE of
random weights, 320x192, segments of 81 frames, one step, driving video and colour mask from .mp4 files, the result
saved as .mp4. Core has no loop: its graph has the node for a segment, a sampler and a decoder once for every 76 frames,
as its template has them by hand. Linux; prints the resident memory of the server process at rest and at its peak
(VmHWM), and the seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS / "host"), str(TESTS / "unit")]
# what glibc does by itself; the tests' servers keep freed memory, which is faster
os.environ |= {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}

import assets  # noqa: E402
from comfyui import ComfyUI  # noqa: E402
from graphs import Graph  # noqa: E402

WIDTH, HEIGHT, LENGTH, OVERLAP = 320, 192, 81, 5


def write_clips(folder: Path, frames: int) -> None:
    """A disc that wanders over a lawn, and its mask."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    lawn = np.stack((60 + columns / 4, 120 + 20 * np.sin(columns / 5 + rows / 7), 50 + rows / 4), -1)
    with av.open(str(folder / "drive.mp4"), "w") as clip, av.open(str(folder / "mask.mp4"), "w") as masks:
        streams = [container.add_stream("libx264", rate=16, options=options)
                   for container, options in ((clip, {"crf": "18"}), (masks, {"qp": "0"}))]
        for stream, pixels in zip(streams, ("yuv420p", "yuv444p"), strict=True):
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        for frame in range(frames):
            centre = WIDTH / 2 + 60 * np.sin(frame / 20)
            inside = ((columns - centre) / 30) ** 2 + ((rows - 100) / 60) ** 2 < 1
            picture, mask = lawn.copy(), np.zeros((HEIGHT, WIDTH, 3))
            picture[inside], mask[inside] = (200, 60, 40), (0, 0, 255)
            for container, stream, pixels in zip((clip, masks), streams, (picture, mask), strict=True):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24")))
        for container, stream in zip((clip, masks), streams, strict=True):
            container.mux(stream.encode())


def inputs(graph: Graph) -> None:
    graph.add("vae", "VAELoader", vae_name="wan_tiny.safetensors")
    graph.add("clip", "TestClipVision")
    graph.add("positive", "TestText", seed=1)
    graph.add("negative", "TestText", seed=2, tokens=2)
    graph.add("driving", "LoadVideo", file="drive.mp4")
    graph.add("mask", "LoadVideo", file="mask.mp4")
    graph.pictures("picture", "reference1")
    graph.pictures("picture_mask", "reference_mask1")


def ours(graph: Graph, frames: int) -> None:
    inputs(graph)
    graph.add("model", "SCAIL2LoadModel", model_name="fp32.safetensors", weight_dtype="default")
    graph.add("identities", "SCAIL2Identities", mode="animation", driving_masks=["mask", 0],
              reference_masks=["picture_mask", 0], driving=["driving", 0])
    graph.add("reference", "SCAIL2EncodeReference", vae=["vae", 0], clip_vision=["clip", 0], image=["picture", 0],
              identities=["identities", 0], width=WIDTH, height=HEIGHT)
    video = graph.add("sampled", "SCAIL2SampleVideo", model=["model", 0], positive=["positive", 0],
                      negative=["negative", 0], vae=["vae", 0], reference=["reference", 0], driving=["driving", 0],
                      identities=["identities", 0], seed=3, solver="euler", steps=1, shift=3.0, guidance=1.0)
    graph.add("file", "SaveVideo", video=video, filename_prefix="long", format="auto", codec="auto")


def core(graph: Graph, frames: int) -> None:
    inputs(graph)
    graph.add("model", "UNETLoader", unet_name="fp32.safetensors", weight_dtype="default")
    graph.add("features", "CLIPVisionEncode", clip_vision=["clip", 0], image=["picture", 0], crop="none")
    graph.add("driven", "GetVideoComponents", video=["driving", 0])
    graph.add("masks", "GetVideoComponents", video=["mask", 0])
    made, previous, whole = 0, {}, None
    while made < frames:
        begin = made - OVERLAP if previous else 0
        length = (min(LENGTH, frames - begin) - 1) // 4 * 4 + 1
        if begin + length <= made:
            break  # core has no way to make the last frames
        name = f"segment{made}"
        graph.add(name, "WanSCAILToVideo", positive=["positive", 0], negative=["negative", 0], vae=["vae", 0],
                  width=WIDTH, height=HEIGHT, length=length, batch_size=1, pose_video=["driven", 0],
                  pose_video_mask=["masks", 0], replacement_mode=False, pose_strength=1.0, pose_start=0.0,
                  pose_end=1.0, reference_image=["picture", 0], reference_image_mask=["picture_mask", 0],
                  clip_vision_output=["features", 0], video_frame_offset=made, previous_frame_count=OVERLAP, **previous)
        graph.add(f"{name}sampled", "KSampler", model=["model", 0], seed=3, steps=1, cfg=1.0, sampler_name="euler",
                  scheduler="simple", positive=[name, 0], negative=[name, 1], latent_image=[name, 2], denoise=1.0)
        graph.add(f"{name}frames", "VAEDecode", samples=[f"{name}sampled", 0], vae=["vae", 0])
        new = graph.add(f"{name}new", "ImageFromBatch", image=[f"{name}frames", 0],
                        batch_index=OVERLAP if previous else 0, length=4096)
        whole = new if whole is None else graph.add(f"{name}joined", "ImageBatch", image1=whole, image2=new)
        previous = {"previous_frames": [f"{name}frames", 0]}
        made = begin + length
    video = graph.add("video", "CreateVideo", images=whole, fps=16.0)
    graph.add("file", "SaveVideo", video=video, filename_prefix="long", format="auto", codec="auto")


WAYS = {"ours": ours, "core": core}


def peak(way: str, frames: int) -> dict[str, float]:
    """One run in a server of its own; MiB and seconds."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        assets.write_models(base / "models/diffusion_models")
        (base / "input").mkdir()
        write_clips(base / "input", frames)
        images = assets.write_pictures(base / "input")
        with ComfyUI(base) as comfy:
            comfy.run({"vae": {"class_type": "TestMakeVae", "inputs": {
                "path": str(base / "models/vae/wan_tiny.safetensors"), "width": 4}}})
            at_rest = _resident(comfy, "VmRSS")
            graph = Graph(images)
            WAYS[way](graph, frames)
            started = time.monotonic()
            outputs = comfy.run(graph, timeout=3600)
            seconds = time.monotonic() - started
            (entry,) = outputs["file"]["images"]
            made = assets.probe(base / "output" / entry["subfolder"] / entry["filename"])["frames"]
            return {"frames_out": made, "at_rest_mib": round(at_rest), "peak_mib": round(_resident(comfy, "VmHWM")),
                    "seconds": round(seconds)}


def _resident(comfy: ComfyUI, field: str) -> float:
    status = Path(f"/proc/{comfy.process.pid}/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--ways", nargs="+", default=list(WAYS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for way in options.ways:
        for frames in options.frames:
            rows.append({"way": way, "frames": frames, **peak(way, frames)})
            print(json.dumps(rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
