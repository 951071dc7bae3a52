"""What a batch costs beside its videos: the same rows queued by hand in one ComfyUI, and made by `scail2 batch run`.

    python tests/bench/batch_overhead_gpu.py COMFYUI_DIR FOLDER --checkpoint random_14b.safetensors [--json FILE]
    python tests/bench/batch_overhead_gpu.py COMFYUI_DIR FOLDER --tiny                        on a CPU

`workflows/api/animation.json` with a 14B network (`random_checkpoint.py` writes one), VAE and CLIP of the real size,
all with random weights, and a stand-in for the text encoder; a driving video of 81 frames, 896x512, guidance 1,
another seed in each row. By hand: ComfyUI is started, all graphs are queued at once, and the time runs from the start
to the end of the last. As a batch: the whole command, with Ray, the report page, strips and verdicts. FOLDER keeps
both results.

Needs a CUDA GPU with 60 GB unless --tiny. Prints both times, their ratio, the seconds of each row, and how often the
network was loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import save_file

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
ROOMS = "workflows", "host", "unit", "miniature", "bench", "demo"
sys.path[:0] = [*(str(TESTS / room) for room in ROOMS), str(ROOT)]

from workflow_files import tiny  # noqa: E402

from scail_model.batch.comfy_process import free_port  # noqa: E402

PACK = ("__init__.py", "nodes", "scail_model", "workflows", "js", "pyproject.toml")
LOADED = "Requested to load SCAIL2"  # in ComfyUI's log
NETWORK, VAE, CLIP = "network.safetensors", "vae.safetensors", "clip_vision.safetensors"


def write_base(base: Path, options: argparse.Namespace) -> None:
    """The folder that ComfyUI is started over: packs, models."""
    pack = base / "custom_nodes/scail2"
    pack.mkdir(parents=True)
    for part in PACK:
        (pack / part).symlink_to(ROOT / part)
    (base / "custom_nodes/testpack").symlink_to(TESTS / "host/testpack")
    models = base / "models"
    for folder in ("diffusion_models", "vae", "clip_vision"):
        (models / folder).mkdir(parents=True)
    if options.tiny:
        nano = TESTS / "miniature"
        tiny.write_miniature(models, nano / "nano_scail2.safetensors", nano / "nano_vae.safetensors", NETWORK, VAE)
    else:
        (models / "diffusion_models" / NETWORK).symlink_to(options.checkpoint.resolve())
        sys.path.insert(0, str(options.comfyui))
        from video_overhead_gpu import vae_weights

        save_file(vae_weights(), models / "vae" / VAE)
        save_file(clip_weights(options.comfyui), models / "clip_vision" / CLIP)


def clip_weights(comfyui: Path) -> dict[str, torch.Tensor]:
    """Random ones of CLIP ViT-H/14's image encoder."""
    import comfy.clip_model
    import comfy.ops

    config = json.loads((comfyui / "comfy/clip_vision_config_h.json").read_text())
    network = comfy.clip_model.CLIPVisionModelProjection(config, torch.float16, "cpu", comfy.ops.manual_cast)
    generator = torch.Generator().manual_seed(0)
    return {name: (torch.randn(tensor.shape, generator=generator) * 0.02).half() if tensor.is_floating_point()
            else tensor for name, tensor in network.state_dict().items()}


def write_rows(folder: Path, options: argparse.Namespace) -> Path:
    """The workflow, its input files and a manifest of rows that differ in their seed."""
    import drawing

    size = (128, 224) if options.tiny else (512, 896)
    drawing.write_job(folder, size, options.frames)
    graph = json.loads((ROOT / "workflows/api/animation.json").read_text())
    small = tiny.shrink(graph, steps=options.steps, segment_length=options.segment_length, width=size[1],
                        height=size[0], model_name=NETWORK, vae_name=VAE, guidance=1.0, shift=1.0)
    if options.tiny:
        small = tiny.without_text(small)
    else:
        loader = next(name for name, node in graph.items() if node["class_type"] == "CLIPVisionLoader")
        small[loader] = {"class_type": "CLIPVisionLoader", "inputs": {"clip_name": CLIP}}
    (folder / "workflow.json").write_text(json.dumps(small))
    manifest = folder / "batch.json"
    files = {"\"Reference picture\".image": "reference.png", "\"Reference mask\".image": "reference_mask.png",
             "\"Driving video\".file": "driving.mp4", "\"Driving mask\".file": "driving_mask.mp4"}
    manifest.write_text(json.dumps({
        "defaults": {"workflow": "workflow.json", **files},
        "rows": [{"id": f"row{number}", "SCAIL2SampleVideo.seed": number} for number in range(options.rows)]}))
    return manifest


class ByHand:
    """A ComfyUI as a user starts it."""

    def __init__(self, options: argparse.Namespace, base: Path, inputs: Path) -> None:
        self.port = free_port()
        self.log = base / "by_hand.log"
        self.process = subprocess.Popen(
            [options.python, "main.py", *arguments(options, base), "--port", str(self.port),
             "--input-directory", str(inputs), "--output-directory", str(base / "by_hand")],
            cwd=options.comfyui, stdout=self.log.open("w"), stderr=subprocess.STDOUT)

    def ask(self, path: str, body: dict | None = None):
        data = None if body is None else json.dumps(body).encode()
        address = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)

    def run(self, graphs: list[dict]) -> list[float]:
        """When each graph has ended, in seconds."""
        while True:
            try:
                self.ask("/system_stats")
                break
            except OSError:
                assert self.process.poll() is None, self.log.read_text()[-3000:]
                time.sleep(0.2)
        ids = [self.ask("/prompt", {"prompt": graph})["prompt_id"] for graph in graphs]
        while len(history := self.ask("/history")) < len(ids):
            time.sleep(0.2)
        return [end_of(history[name]["status"]["messages"]) for name in ids]


def end_of(messages: list) -> float:
    times = {kind: message["timestamp"] for kind, message in messages}
    assert "execution_success" in times, messages[-1]
    return times["execution_success"] / 1000


def pace(ends: list[float]) -> list[float]:
    """Seconds from each row's end to the next one's: without what is done once, with all that is done between rows."""
    return [round(after - before, 2) for before, after in pairwise(sorted(ends))]


def arguments(options: argparse.Namespace, base: Path) -> list[str]:
    return ["--base-directory", str(base), "--database-url", "sqlite:///:memory:", "--disable-api-nodes",
            "--front-end-root", str(base), *(["--cpu"] if options.tiny else [])]


def by_hand(options: argparse.Namespace, base: Path, manifest: Path) -> tuple[float, list[float], Path]:
    started = time.monotonic()
    server = ByHand(options, base, manifest.parent)
    try:
        graph = json.loads((manifest.parent / "workflow.json").read_text())
        sampler = next(name for name, node in graph.items() if node["class_type"] == "SCAIL2SampleVideo")
        graphs = []
        for number in range(options.rows):
            graphs.append(json.loads(json.dumps(graph)))
            graphs[-1][sampler]["inputs"]["seed"] = number
        rows = server.run(graphs)
        return time.monotonic() - started, rows, server.log
    finally:
        server.process.kill()
        server.process.wait()


def as_batch(options: argparse.Namespace, base: Path, manifest: Path) -> tuple[float, list[dict], Path]:
    started = time.monotonic()
    out, given = options.folder / "batch", os.environ.get("PYTHONPATH", "")
    subprocess.run([sys.executable, "-c", "import sys; from scail_model.headless.cli import main; sys.exit(main())",
                    "batch", "run", manifest, "--out", out, "--comfyui", options.comfyui,
                    "--comfyui_python", options.python, "--comfyui_args", " ".join(arguments(options, base)),
                    "--gpus", "1"],
                   check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *given.split(os.pathsep)])})
    seconds = time.monotonic() - started
    return seconds, [json.loads(path.read_text()) for path in sorted(out.glob("rows/*/report.json"))], out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("comfyui", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--frames", type=int, default=81)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--segment_length", type=int, default=81)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    base, inputs = options.folder / "base", options.folder / "inputs"
    inputs.mkdir(parents=True)
    write_base(base, options)
    manifest = write_rows(inputs, options)
    torch.set_num_threads(1)
    hand, rows, log = by_hand(options, base, manifest)
    batch, reports, out = as_batch(options, base, manifest)
    logs = "".join(path.read_text(errors="replace") for path in out.glob("rows/*/comfyui.log"))
    lines = [path.read_text().splitlines()[-1] for path in out.glob("rows/*/events.ndjson")]
    alone, made = pace(rows), pace([json.loads(line)["time"] for line in lines])
    values = {"rows": options.rows, "by hand, s": round(hand, 1), "batch, s": round(batch, 1),
              "row by hand, s": alone, "row in the batch, s": made,
              "ratio of the medians": round(statistics.median(made) / statistics.median(alone), 4),
              "stages": [report["stages"] for report in reports], "states": [report["state"] for report in reports],
              "loads by hand": log.read_text().count(LOADED), "loads in the batch": logs.count(LOADED)}
    text = json.dumps(values, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text)


if __name__ == "__main__":
    main()
