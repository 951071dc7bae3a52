"""`make demo-comfyui`: the demo through a real ComfyUI, posted as a program posts it, from `workflows/api`.

A ComfyUI process on the CPU loads this pack; `animation.json` and `replacement.json` run on drawn clips with small
models in the place of the large ones (`tests/workflows/workflow_files/tiny.py` says which).

    python tests/demo/make_demo_comfyui.py FOLDER        COMFYUI_PATH: the folder of ComfyUI, default ~/ComfyUI
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / folder) for folder in ("workflows", "host", "unit")] + [str(TESTS.parent)]

import drawing  # noqa: E402
from comfyui import COMFYUI, ComfyUI  # noqa: E402
from make_demo import sheet  # noqa: E402
from workflow_files import tiny  # noqa: E402

SIZE = (192, 192)
FRAMES = 29  # two segments of 17 that share 5
# the workflows' file names -> what the demo draws
INPUTS = {"reference.png": "image", "reference_mask.png": "mask_image", "driving.mp4": "pose",
          "driving_mask.mp4": "mask_video"}
PROOF = """The weights are random and a stand-in gives the text, so it is noise. What this proves: the pack loads
in this ComfyUI, and its workflows run as a program posts them, over two segments, to videos as long as the clip."""


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    if not (COMFYUI / "main.py").exists():
        sys.exit(f"There is no ComfyUI at {COMFYUI}: set COMFYUI_PATH to the folder that holds its main.py.")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as base:
        tiny.write_models(Path(base) / "models")
        with ComfyUI(Path(base)) as server:
            tiny.make_vae(server)
            for mode in ("animation", "replacement"):
                make(server, mode, folder)
    sys.stdout.write(f"\nIn {time.monotonic() - started:.0f} s: comfyui_animation.mp4, comfyui_replacement.mp4 and a "
                     f"contact sheet (.png) of each, in {folder}.\n{PROOF}\n")


def make(server: ComfyUI, mode: str, folder: Path) -> None:
    """Run one API workflow, fetch its video, and lay out the sheet."""
    job = drawing.write_job(folder / "inputs" / mode, SIZE, FRAMES, replacement=mode == "replacement", tone=True)
    for name, part in INPUTS.items():
        shutil.copy(job[part], server.base / "input" / name)
    workflow = json.loads((TESTS.parent / "workflows/api" / f"{mode}.json").read_text(encoding="utf-8"))
    prompt = tiny.shrink(workflow, width=SIZE[0], height=SIZE[1], segment_length=17, steps=4, guidance=1.0)
    sys.stdout.write(f"POST /prompt workflows/api/{mode}.json ({len(prompt)} nodes)\n")
    sys.stdout.flush()
    outputs = server.run(prompt, timeout=300)
    (saved,) = [entry for output in outputs.values() for entry in output.get("images", [])
                if entry["filename"].endswith(".mp4")]
    result = folder / f"comfyui_{mode}.mp4"
    shutil.copy(server.base / "output" / saved["subfolder"] / saved["filename"], result)
    sheet(job, result).save(folder / f"comfyui_{mode}.png")


if __name__ == "__main__":
    main()
