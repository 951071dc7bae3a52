"""`make demo-comfyui`: the demo through a real ComfyUI, posted as a program posts it, from `workflows/api`.

A ComfyUI process on the CPU loads this pack; `animation.json` and `replacement.json` run on drawn clips with the
trained miniature (or, without its files, with random weights) in the place of the large models. Stand-ins for text
encoder and CLIP: `tests/workflows/workflow_files/tiny.py` says which.

    python tests/demo/make_demo_comfyui.py FOLDER [--miniature FOLDER]
                                          COMFYUI_PATH: the folder of ComfyUI, default ~/ComfyUI
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / folder) for folder in ("workflows", "host", "unit", "miniature")] + [str(TESTS.parent)]

import drawing  # noqa: E402
from comfyui import COMFYUI, ComfyUI  # noqa: E402
from contact_sheet import Result, sheet  # noqa: E402
from make_demo import FRAMES, SHOWS, SIZE, STEPS, Miniature, Show  # noqa: E402
from workflow_files import tiny  # noqa: E402

# the workflows' file names -> what the demo draws
INPUTS = {"reference.png": "image", "reference_mask.png": "mask_image", "driving.mp4": "pose",
          "driving_mask.mp4": "mask_video"}
TRAINED = """The weights are the trained miniature's, and its empty prompt comes from a file. What this proves: the pack
loads in this ComfyUI, and its workflows run as a program posts them, over two segments, to videos as long as the clip,
which show the right motion of the right figures."""
RANDOM = """The weights are random and a stand-in gives the text, so it is noise. What this proves: the pack loads
in this ComfyUI, and its workflows run as a program posts them, over two segments, to videos as long as the clip."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a small SCAIL-2 video in ComfyUI.")
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("--miniature", type=Path, default=Miniature.folder, help="folder of the trained miniature")
    arguments = parser.parse_args()
    folder, miniature = arguments.folder, Miniature(arguments.miniature)
    folder.mkdir(parents=True, exist_ok=True)
    if not (COMFYUI / "main.py").exists():
        sys.exit(f"There is no ComfyUI at {COMFYUI}: set COMFYUI_PATH to the folder that holds its main.py.")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as base:
        tiny.write_models(Path(base) / "models")
        if miniature.trained:
            tiny.write_miniature(Path(base) / "models", miniature.transformer, miniature.vae)
        with ComfyUI(Path(base)) as server:
            if not miniature.trained:
                tiny.make_vae(server)
            lines = [f"{show.mode}: {make(server, show, folder, miniature.trained)}\n" for show in SHOWS]
    sys.stdout.write(f"\nIn {time.monotonic() - started:.0f} s: comfyui_animation.mp4, comfyui_replacement.mp4 and a "
                     f"contact sheet (.png) of each, in {folder}.\n{''.join(lines)}"
                     f"{TRAINED if miniature.trained else RANDOM}\n")


def make(server: ComfyUI, show: Show, folder: Path, trained: bool) -> Result:
    """Run one API workflow, fetch its video, and lay out the sheet."""
    job = drawing.write_job(folder / "inputs" / f"comfyui_{show.mode}", SIZE, FRAMES, show.mode == "replacement",
                            tone=True, people=show.people, seed=show.seed)
    for name, part in INPUTS.items():
        shutil.copy(job[part], server.base / "input" / name)
    workflow = json.loads((TESTS.parent / "workflows/api" / f"{show.mode}.json").read_text(encoding="utf-8"))
    prompt = tiny.shrink(workflow, width=SIZE[0], height=SIZE[1], segment_length=17, steps=STEPS, guidance=1.0)
    if trained:
        prompt = tiny.without_text(prompt)
    sys.stdout.write(f"POST /prompt workflows/api/{show.mode}.json ({len(prompt)} nodes)\n")
    sys.stdout.flush()
    outputs = server.run(prompt, timeout=600)
    (saved,) = [entry for output in outputs.values() for entry in output.get("images", [])
                if entry["filename"].endswith(".mp4")]
    path = folder / f"comfyui_{show.mode}.mp4"
    shutil.copy(server.base / "output" / saved["subfolder"] / saved["filename"], path)
    result = Result.of(f"ComfyUI, {STEPS} steps", path, job["pose"].with_name("truth.mp4"))
    sheet(show.mode, job, [result]).save(folder / f"comfyui_{show.mode}.png")
    return result


if __name__ == "__main__":
    main()
