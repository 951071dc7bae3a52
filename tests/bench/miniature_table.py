"""What the miniature can and cannot do, measured on drawn scenes that its training never saw.

    python tests/bench/miniature_table.py [--folder tests/miniature] [--clips 32] [--identity-clips 100]
        [--device cuda] [--out FOLDER] [--only CASE,...] [--comfyui COMFYUI_DIR]

Every case is batched and goes the direct way: the pack's masks, sizes, network, solvers and LoRA, the miniature's VAE,
no nodes. Unless a row says otherwise: 192x192, 17 frames, 20 Euler steps, shift 3, guidance 1, no word, float32.
Prints the tables; with --out also writes them as table.json and table.md, and contact sheets as PNG. Needs torch,
safetensors, einops, numpy and pillow; the case `core` also needs ComfyUI's `comfy` package.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS / "miniature")]

from miniature_cases import CASES, Bench, Block, Table  # noqa: E402
from miniature_long import long  # noqa: E402
from miniature_models import EightBitAttention, Miniature  # noqa: E402
from miniature_plate import plate  # noqa: E402
from miniature_small import small  # noqa: E402

from scail_model.kernels.precision import PRECISIONS  # noqa: E402

CASES |= {"long": long, "small": small, "plate": plate}
_FRAMES_SHOWN = 5
_GREY, _GAP = 0.5, 6


def markdown(case: str, table: Table | str) -> str:
    """One case as a Markdown table under its description; the reason in words if it was skipped."""
    head = f"### {case}\n{' '.join((CASES[case].__doc__ or '').split())}\n"
    if isinstance(table, str):
        return f"{head}\nSkipped: {table}.\n"
    columns = list(dict.fromkeys(name for row in table.values() for name in row))
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(_number(row.get(column)) for column in columns)} |"
              for name, row in table.items()]
    return head + "\n" + "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def sheet(blocks: list[Block]) -> Image.Image:
    """Contact sheet, two blocks side by side; in each a few frames of every video, with the pictures at their left."""
    drawn = [F.pad(_drawn(block), (_GAP,) * 4, value=1.0) for block in blocks]
    if len(drawn) % 2:
        drawn.append(torch.ones_like(drawn[-1]))
    whole = torch.cat([torch.cat(drawn[index : index + 2], 2) for index in range(0, len(drawn), 2)], 1)
    return Image.fromarray((whole.clamp(0, 1) * 255).round().byte().movedim(0, -1).numpy())


def _drawn(block: Block) -> Tensor:
    """[3, rows * H, (1 + frames) * W]."""
    frames = len(block.videos[0])
    shown = [round(index * (frames - 1) / (_FRAMES_SHOWN - 1)) for index in range(_FRAMES_SHOWN)]
    empty = torch.full_like(block.pictures[0], _GREY)
    left = block.pictures + [empty] * (len(block.videos) - len(block.pictures))
    rows = zip(left, block.videos, strict=True)
    return torch.cat([torch.cat([picture, *video[shown]], 2) for picture, video in rows], 1)


def run(bench: Bench, cases: list[str], comfyui: str | None) -> dict[str, dict]:
    """The tables and seconds of all cases; each is printed as soon as it is there."""
    report: dict[str, dict] = {"tables": {}, "seconds": {}}
    for case in cases:
        start = time.perf_counter()
        if case == "core" and not comfyui:
            table: Table | str = "no --comfyui path was given"
        else:
            table = CASES[case](bench)
        if bench.miniature.device.type == "cuda":
            torch.cuda.synchronize()
        report["tables"][case], report["seconds"][case] = table, round(time.perf_counter() - start, 1)
        print(f"{markdown(case, table)}\n{report['seconds'][case]} s\n", flush=True)
    return report


def about(bench: Bench) -> dict:
    """What was measured, on what."""
    miniature = bench.miniature
    config, on_gpu = miniature.config, miniature.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if on_gpu else "cpu", "torch": torch.__version__,
        "precision": miniature.precision, "attention": getattr(miniature.attention, "name", "pytorch"),
        "clips": bench.clips, "identity_clips": bench.many,
        "transformer": {"dim": config.dim, "ffn_dim": config.ffn_dim, "layers": config.num_layers,
                        "parameters": sum(tensor.numel() for tensor in miniature.tensors.values())},
        "vae_parameters": sum(tensor.numel() for tensor in miniature.vae.parameters()),
    }


def write(folder: Path, report: dict, bench: Bench) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "table.md").write_text("\n".join(markdown(*entry) for entry in report["tables"].items()))
    for name, blocks in bench.sheets.items():
        sheet(blocks).save(folder / f"{name}.png", optimize=True)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=TESTS / "miniature", help="where the weights are")
    parser.add_argument("--clips", type=int, default=32, help="clips of a row (default: 32)")
    parser.add_argument("--identity-clips", type=int, default=100,
                        help="clips of a row that counts shares: people told apart, words followed (default: 100)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="folder for table.json, table.md and the contact sheets")
    parser.add_argument("--only", default=",".join(CASES), help=f"cases, with commas between: {', '.join(CASES)}")
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0], help="of the transformer")
    parser.add_argument("--comfyui", help="a ComfyUI checkout, for the case core")
    options = parser.parse_args()
    cases = options.only.split(",")
    if unknown := [case for case in cases if case not in CASES]:
        parser.error(f"unknown case {', '.join(unknown)}: choose from {', '.join(CASES)}")
    if options.comfyui:
        sys.path.insert(0, options.comfyui)
        sys.argv = sys.argv[:1]

    miniature = Miniature(options.folder, torch.device(options.device), options.precision)
    bench = Bench(miniature, options.clips, options.identity_clips)
    print(json.dumps(about(bench)), flush=True)
    report = about(bench) | run(bench, cases, options.comfyui)
    print(f"total {sum(report['seconds'].values()):.1f} s")
    if isinstance(miniature.attention, EightBitAttention):
        report["large_keys"] = round(miniature.attention.large / max(miniature.attention.calls, 1), 3)
        print(f"{report['large_keys']:.1%} of the blocks' calls had large keys and took the exact attention")
    if skipped := {case: table for case, table in report["tables"].items() if isinstance(table, str)}:
        print("SKIPPED: " + "; ".join(f"{case}: {reason}" for case, reason in skipped.items()))
    if options.out:
        write(options.out, report, bench)


if __name__ == "__main__":
    main()
