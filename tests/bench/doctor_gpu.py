"""The doctor on a GPU, under ComfyUI's dynamic memory management and without a server: what its node measures.

    python tests/bench/random_checkpoint.py random_14b.safetensors
    python tests/bench/doctor_gpu.py COMFYUI_DIR random_14b.safetensors [--json doctor.json]

Without a GPU it runs too, for trying.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

from lowvram_gpu import start_comfyui  # noqa: E402


def start(folder: str) -> None:
    if torch.cuda.is_available():
        start_comfyui(folder)
        return
    sys.path.insert(0, folder)
    sys.argv = sys.argv[:1]
    import comfy.options

    comfy.options.enable_args_parsing(False)
    from comfy.cli_args import args

    args.cpu = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("comfyui", help="a ComfyUI checkout")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    start(options.comfyui)

    from scail_model.comfy import doctor, loader
    from scail_model.doctor.report import Report

    told = time.monotonic()

    def at(text: str) -> None:
        nonlocal told
        if text and time.monotonic() - told > 5:
            told = time.monotonic()
            print(text, flush=True)

    with torch.inference_mode():
        report = Report(doctor.host(loader.load(options.checkpoint), doctor.chosen))
        report.examine(at)
    print(report.as_text())
    if options.json:
        options.json.write_text(report.as_json())


if __name__ == "__main__":
    main()
