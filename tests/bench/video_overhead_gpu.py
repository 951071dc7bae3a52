"""How much of a long video's time is not the model's and not the VAE's, at the real size.

    python tests/bench/video_overhead_gpu.py COMFYUI_DIR [--steps 8] [--json FILE]

A 14B network and a VAE of Wan 2.1's size with random bfloat16 weights under ComfyUI's memory management; a drawn
driving video of 157 frames, 1920x1080, with sound, and a mask of that size; two segments of 512x896, guidance 1,
through the pack's own loop. Prints the seconds of every stage, and the share of everything but the calls of network and
VAE: for this run, and reckoned from it for the official 40 steps with guidance 5, where only the calls become more.
Needs a CUDA GPU with 60 GB; only ComfyUI's `comfy` package is used, no server.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from lowvram_gpu import random_weights, start_comfyui

WIDTH, HEIGHT, FRAMES = 896, 512, 157
SOURCE_WIDTH, SOURCE_HEIGHT = 1920, 1080


class Clock:
    """Seconds by name. GPU work is waited for, so that it counts where it is begun."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def timed(self, name: str, call, *arguments, **options):
        torch.cuda.synchronize()
        started = time.perf_counter()
        result = call(*arguments, **options)
        torch.cuda.synchronize()
        self.seconds[name] += time.perf_counter() - started
        return result


class TimedVae:
    def __init__(self, vae, clock: Clock) -> None:
        self._vae, self._clock = vae, clock

    def __getattr__(self, name: str):
        return getattr(self._vae, name)

    def encode(self, pixels):
        return self._clock.timed("vae", self._vae.encode, pixels)

    def decode(self, latent):
        return self._clock.timed("vae", self._vae.decode, latent)


class Watch:
    def __getattr__(self, name: str):
        return lambda *_, **__: None


def write_clip(path: Path) -> None:
    """A textured scene that pans, with a tone."""
    random = np.random.default_rng(0)
    scene = random.integers(0, 255, (SOURCE_HEIGHT // 8, SOURCE_WIDTH // 4, 3), dtype=np.uint8)
    scene = scene.repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=16, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = SOURCE_WIDTH, SOURCE_HEIGHT, "yuv420p"
        tone = container.add_stream("aac", rate=48000, layout="mono")
        for index in range(FRAMES):
            picture = np.ascontiguousarray(scene[:, 8 * index : 8 * index + SOURCE_WIDTH])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
        wave = np.sin(np.arange(48000 * FRAMES // 16) / 20).astype(np.float32)[None]
        sound = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        sound.sample_rate = 48000
        container.mux(tone.encode(sound))
        container.mux(tone.encode())


def mask_frames():
    """A person who walks, one colour mask [h, w, 3] after the other."""
    for index in range(FRAMES):
        mask = torch.zeros(SOURCE_HEIGHT, SOURCE_WIDTH, 3, dtype=torch.uint8)
        mask[200:1000, 400 + 4 * index : 800 + 4 * index, 2] = 255
        yield mask


def make_vae():
    import comfy.ldm.wan.vae
    import comfy.sd

    network = comfy.ldm.wan.vae.WanVAE(dim=96, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2,
                                       temperal_downsample=[False, True, True])
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, parameter in network.state_dict().items():
        spread = (1.5 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.1
        drawn = torch.randn(parameter.shape, generator=generator) * spread
        tensors[name] = torch.ones(parameter.shape) if name.endswith("gamma") else drawn
    return comfy.sd.VAE(sd=tensors)


def run(folder: Path, clock: Clock, steps: int) -> dict[str, float]:
    """One whole video; returns seconds by stage."""
    from comfy.patcher_extension import WrappersMP

    from scail_model import binding, comfy_conditioning, comfy_keys, mask_sources
    from scail_model.clips import FileClip
    from scail_model.comfy_loader import load_state_dict
    from scail_model.comfy_video import Choice, Settings, Work, make_video
    from scail_model.digests import digest
    from scail_model.jobs import Job
    from scail_model.movies import Encoding
    from scail_model.segments import plan_segments

    model, vae = load_state_dict(random_weights(), {}), TimedVae(make_vae(), clock)
    reference_mask = torch.full((1, SOURCE_HEIGHT, SOURCE_WIDTH, 3), 255, dtype=torch.uint8)
    reference_mask[:, 200:1000, 400:800, :2] = 0
    identities = binding.bind("animation", mask_sources.from_colours(mask_frames(), FRAMES, "driving"),
                              mask_sources.pictures(mask_sources.from_colours(reference_mask, 1, "reference")))
    comfy_conditioning.encode_clip = lambda *_: None
    reference = comfy_conditioning.encode_reference(vae, None, torch.rand(1, SOURCE_HEIGHT, SOURCE_WIDTH, 3),
                                                    identities, WIDTH, HEIGHT, cut_out=True)
    model = model.clone()
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "clock",
                               lambda executor, *given, **named: clock.timed("network", executor, *given, **named))
    prompt = [[torch.randn(1, 512, 4096), {}]]
    clock.seconds.clear()

    started = time.perf_counter()
    clip = clock.timed("reading the driving video once", FileClip, folder / "driving.mp4")
    key = clock.timed("keys", lambda: digest(comfy_keys.model_key(model), comfy_keys.vae_key(vae), clip.digest(),
                                             identities.digest(), comfy_keys.prompt_key([prompt])))
    settings = Settings("unipc", steps, 3.0, 1.0, 0, 81, 5, black_background=False)
    plan = plan_segments(FRAMES, 81, 5)
    choice = Choice(prompt, prompt, "", reference, "", 1.0, 1.0)
    work = Work(model, vae, clip, identities, settings, plan, [choice] * len(plan), [None] * len(plan), Fraction(16),
                Encoding("h264", 14), key)
    make_video(work, Job(folder / "job", {}), Watch())
    torch.cuda.synchronize()
    return {"total": time.perf_counter() - started, **clock.seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("comfyui", help="a ComfyUI checkout")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    start_comfyui(options.comfyui)
    import logging

    import comfy.utils

    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    comfy.utils.PROGRESS_BAR_ENABLED = False
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        write_clip(Path(folder) / "driving.mp4")
        seconds = run(Path(folder), Clock(), options.steps)
    other = seconds["total"] - seconds["network"] - seconds["vae"]
    official = seconds["network"] * 2 * 40 / options.steps
    result = {"gpu": torch.cuda.get_device_name(), "steps": options.steps,
              "seconds": {name: round(spent, 2) for name, spent in seconds.items()}, "other": round(other, 2),
              "share": round(other / seconds["total"], 4),
              "share_of_40_steps_with_guidance": round(other / (official + seconds["vae"] + other), 4)}
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
