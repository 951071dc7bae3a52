"""What each means against drift does over twelve segments, measured on the miniature, whose every frame has a truth.

    python tests/bench/drift_remedies.py COMFYUI_DIR [--scenes 8] [--json FILE]

Drawn scenes of 149 frames, 192x192, one person, segments of 17 frames with 5 of history, 20 Euler steps, guidance 1,
through the pack's own loop (`scail_model/video/engine.py`) in ComfyUI's `comfy` package, without a server. For each
setting, one thing differs from the official way. Columns: PSNR to the truth in the first and in the last segment, of
the whole picture and inside the figures; how far the mean colour of the last segment is off (CIE76); and the change of
the still background at a seam over the usual change from frame to frame. Runs on a GPU, or slowly on the CPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import torch

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS / "miniature")]

SIZE, LENGTH, OVERLAP, SEGMENTS = 192, 17, 5, 12
FRAMES = LENGTH + (SEGMENTS - 1) * (LENGTH - OVERLAP)
HELD_OUT = 2_000_900_000
WAYS = {
    "official": {},
    "history: latents": {"history": "latents"},
    "history_strength 0.75": {"history_strength": 0.75},
    "history_strength 0.5": {"history_strength": 0.5},
    "colour_match: overlap": {"colour_match": "overlap"},
    "colour_match: first segment": {"colour_match": "first segment"},
    "noise: seed per segment": {"noise": "seed per segment"},
    "noise: same noise": {"noise": "same noise"},
    "overlap 1": {"overlap": 1},
    "overlap 9": {"overlap": 9},
    "additional reference": {"additional": "alone"},
    "additional reference as a still video": {"additional": "video"},
}


def start_comfyui(folder: str) -> None:
    sys.path.insert(0, folder)
    sys.argv = sys.argv[:1]
    import comfy.options

    comfy.options.enable_args_parsing(False)
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()
    import comfy.utils

    comfy.utils.PROGRESS_BAR_ENABLED = False


class Silent:
    """Nobody watches."""

    def __getattr__(self, name: str):
        return lambda *_, **__: None


class Bench:
    def __init__(self) -> None:
        import comfy.sd
        import comfy.utils

        from scail_model.comfy.loader import load

        self.model = load(TESTS / "miniature/nano_scail2.safetensors")
        self.vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(TESTS / "miniature/nano_vae.safetensors")))

    def reference(self, identities, pictures: list[torch.Tensor], as_video: bool):
        """The encoded references; the miniature has no image encoder."""
        from scail_model.inputs.reference import Pictures, encode_reference

        return encode_reference(Pictures(SIZE, SIZE, list(torch.cat(pictures)), identities,
                                         cut_out=identities.replacement, as_video=as_video),
                                self.vae.encode, lambda _: None)

    def make(self, drawn, mode: str, way: dict, seed: int) -> torch.Tensor:
        """The video [T, H, W, 3] of a drawn scene."""
        from words import context

        from scail_model.comfy.host import ComfyHost
        from scail_model.files.jobs import Job
        from scail_model.identity import binding, mask_sources
        from scail_model.media.clips import TensorClip
        from scail_model.media.encoding import Encoding
        from scail_model.media.video_file import FileClip
        from scail_model.segments import plan_segments
        from scail_model.video.engine import make_video
        from scail_model.video.task import SegmentInputs, Settings, VideoTask

        additional = way.get("additional")
        by_choice = ("additional", "history_strength")
        options = {name: value for name, value in way.items() if name not in by_choice}
        masks = [levels(drawn.reference_mask), *([levels(drawn.additional_mask)] if additional else [])]
        pictures = [levels(drawn.reference), *([levels(drawn.additional)] if additional else [])]
        identities = binding.bind(
            mode, mask_sources.from_colours(levels(drawn.driving_mask), FRAMES, "driving"),
            mask_sources.pictures(mask_sources.from_colours(torch.cat(masks), len(masks), "reference")), repaint=True)
        reference = self.reference(identities, [picture / 255 for picture in pictures], additional == "video")
        settings = replace(Settings("euler", 20, 3.0, 1.0, seed, LENGTH, OVERLAP, black_background=False), **options)
        plan = plan_segments(FRAMES, LENGTH, settings.overlap)
        prompt = [[context([""]), {}]]
        inputs = SegmentInputs(prompt, prompt, "", reference, "", 1.0, way.get("history_strength", 1.0))
        clip = TensorClip(levels(drawn.driving), Fraction(16))
        task = VideoTask(clip, identities, settings, plan, [inputs] * len(plan), [None] * len(plan), Fraction(16),
                         Encoding("lossless", 0), "")
        with tempfile.TemporaryDirectory() as folder:
            made = make_video(task, ComfyHost(self.model, self.vae), Job(Path(folder) / "job", {}), Silent())
            video = FileClip(made.path)
            return video.read(0, len(video)).float() / 255


def levels(video: torch.Tensor) -> torch.Tensor:
    """The world's [1, T, 3, h, w] in 0..1 -> frames uint8 [T, h, w, 3]."""
    return (video[0].movedim(1, -1) * 255).round().byte()


def measured(result: torch.Tensor, drawn) -> dict[str, float]:
    import kornia.color
    import measure

    def part(start: int, stop: int) -> dict[str, torch.Tensor]:
        cut = replace(drawn, truth=drawn.truth[:, start:stop], coverage=drawn.coverage[:, start:stop])
        return measure.score(result[start:stop].movedim(-1, 1)[None], cut)

    def colour(frames: torch.Tensor) -> torch.Tensor:
        return kornia.color.rgb_to_lab(frames).mean((0, 2, 3))

    last = FRAMES - (LENGTH - OVERLAP)
    first, final = part(0, LENGTH), part(last, FRAMES)
    off = colour(result[last:].movedim(-1, 1)) - colour(drawn.truth[0, last:])
    still = (drawn.coverage[0].amax((0, 1)) < 0.01)[..., None].expand_as(result[0])
    jumps = (result[1:] - result[:-1]).abs()[:, still].mean(1)  # [T - 1]
    seams = torch.arange(LENGTH, FRAMES, LENGTH - OVERLAP) - 1
    usual = torch.ones(len(jumps), dtype=torch.bool)
    usual[seams] = False
    return {"whole_first": first["psnr"].item(), "whole_last": final["psnr"].item(),
            "inside_first": first["psnr_inside"].item(), "inside_last": final["psnr_inside"].item(),
            "colour_off": off.norm().item(), "seam": (jumps[seams].mean() / jumps[usual].mean()).item()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("comfyui", help="a ComfyUI checkout")
    parser.add_argument("--scenes", type=int, default=8, help="of each mode")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), help="which settings")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    start_comfyui(options.comfyui)
    import world

    bench, table, started = Bench(), {}, time.monotonic()
    with torch.inference_mode():
        for mode in ("animation", "replacement"):
            scenes = [world.make_scenes(world.Random(HELD_OUT + index), 1, 1, 1.0, replacement=mode == "replacement")
                      for index in range(options.scenes)]
            drawn = [world.draw(scene, SIZE, SIZE, FRAMES) for scene in scenes]
            for way in options.ways:
                found = [measured(bench.make(pictures, mode, WAYS[way], seed), pictures)
                         for seed, pictures in enumerate(drawn)]
                row = {name: round(sum(each[name] for each in found) / len(found), 3) for name in found[0]}
                table[f"{mode}, {way}"] = row
                print(f"{mode}, {way}", json.dumps(row), f"{time.monotonic() - started:.0f} s", flush=True)
    if options.json:
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        options.json.write_text(json.dumps({"device": device, "scenes": options.scenes, "rows": table}, indent=1))


if __name__ == "__main__":
    main()
