"""How much of a long video's time is not the network's, and where it goes, at the real size.

    python tests/bench/video_overhead_gpu.py COMFYUI_DIR [--frames 157] [--steps 8] [--codec h264] [--json FILE]
    python tests/bench/video_overhead_gpu.py COMFYUI_DIR --tiny | --stand-ins 1          on a CPU

A 14B network and a VAE of Wan 2.1's size with random bfloat16 weights under ComfyUI's memory management; a drawn
driving video of 1920x1080 with sound, and a mask of that size; segments of 512x896, guidance 1, through the pack's own
loop. Everything is done twice, and only the second time counts: the weights are on the GPU then. Prints the seconds of
every stage of the caller's thread, each without those inside it, so that they add up to the whole; what the threads
beside it do; and the share of all but the network, for this run, and reckoned from it for the official 40 steps with
guidance 5, where only the calls become more.

Needs a CUDA GPU with 60 GB; only ComfyUI's `comfy` package is used, no server. --tiny runs the miniature at 128x224 on
a CPU. --stand-ins has the real sizes, a network that only takes its time, and a VAE that takes none: all the rest as it
is.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from lowvram_gpu import random_weights, start_comfyui

TESTS = Path(__file__).parents[1]
SOURCE_WIDTH, SOURCE_HEIGHT = 1920, 1080
NETWORK, VAE = "network", ("VAE encode", "VAE decode")


@dataclass
class Clock:
    """Seconds by stage, each without the stages inside it. GPU work is waited for, so that it counts where it is
    begun. beside: of other threads, whose work the caller does not wait for."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    beside: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    inside: threading.local = field(default_factory=threading.local)

    def timed(self, name: str, call, *arguments, **options):
        main = threading.current_thread() is threading.main_thread()
        outer, self.inside.spent = getattr(self.inside, "spent", 0.0), 0.0
        _wait(main)
        started = time.perf_counter()
        try:
            return call(*arguments, **options)
        finally:
            _wait(main)
            spent = time.perf_counter() - started
            (self.seconds if main else self.beside)[name] += spent - self.inside.spent
            self.inside.spent = outer + spent

    def watch(self, owner, name: str, stage: str) -> None:
        """Time every call of a function or method."""
        call = getattr(owner, name)
        setattr(owner, name, lambda *arguments, **options: self.timed(stage, call, *arguments, **options))


def _wait(main: bool) -> None:
    if main and torch.cuda.is_available():
        torch.cuda.synchronize()


def watch_stages(clock: Clock) -> None:
    import comfy.sample

    from scail_model.comfy import preflight
    from scail_model.files import jobs
    from scail_model.inputs import driving
    from scail_model.media import encoding
    from scail_model.video import lane, noise, segment_files

    clock.watch(preflight, "check", "check of the inputs")
    clock.watch(noise.Noise, "__init__", "noise")
    clock.watch(noise.Noise, "of", "noise")
    clock.watch(comfy.sample, "sample_custom", "sampling but for the network")
    clock.watch(driving, "segment_pixels", "reading frames")
    clock.watch(driving, "segment_mask", "masks")
    clock.watch(driving.Reader, "waited", "waiting for frames and masks")
    clock.watch(encoding, "write_part", "writing a part")
    clock.watch(lane.Lane, "finish", "waiting for a part to be written")
    clock.watch(jobs.Job, "save", "latents and ends to disk")
    clock.watch(jobs.Job, "load", "latents and ends from disk")
    clock.watch(jobs.Job, "tell", "job.json")
    clock.watch(segment_files.SegmentFiles, "prepare_sound", "sound")
    clock.watch(segment_files.SegmentFiles, "joined", "joining")


class TimedVae:
    """Decodes, and then answers with a drawn scene: what random weights make is noise, which takes an encoder twice
    the time of a picture."""

    def __init__(self, vae, clock: Clock) -> None:
        self._vae, self._clock = vae, clock

    def __getattr__(self, name: str):
        return getattr(self._vae, name)

    def encode(self, pixels):
        return self._clock.timed(VAE[0], self._vae.encode, pixels)

    def decode(self, latent):
        frames = self._clock.timed(VAE[1], self._vae.decode, latent)
        *_, height, width, _ = frames.shape
        scene = torch.from_numpy(draw_scene(2 * width, height))
        shown = [scene[:, left : left + width] for left in pan(frames.shape[-4], width)]
        return (torch.stack(shown).float() / 255).reshape(frames.shape)


class StandInVae:
    """Answers at once."""

    def __init__(self, vae) -> None:
        self._vae = vae

    def __getattr__(self, name: str):
        return getattr(self._vae, name)

    def encode(self, pixels):
        frames, height, width = pixels.shape[:3]
        return torch.zeros(1, 16, (frames + 3) // 4, height // 8, width // 8)

    def decode(self, latent):
        groups, height, width = latent.shape[2:]
        return torch.zeros(4 * groups - 3, 8 * height, 8 * width, 3)


class Watch:
    def __getattr__(self, name: str):
        return lambda *_, **__: None


def write_clip(path: Path, frames: int) -> None:
    """A scene that pans, with a tone."""
    scene = draw_scene(2 * SOURCE_WIDTH, SOURCE_HEIGHT)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=16, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = SOURCE_WIDTH, SOURCE_HEIGHT, "yuv420p"
        tone = container.add_stream("aac", rate=48000, layout="mono")
        for left in pan(frames, SOURCE_WIDTH):
            picture = np.ascontiguousarray(scene[:, left : left + SOURCE_WIDTH])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
        wave = np.sin(np.arange(48000 * frames // 16) / 20).astype(np.float32)[None]
        sound = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        sound.sample_rate = 48000
        container.mux(tone.encode(sound))
        container.mux(tone.encode())


def pan(frames: int, width: int) -> Iterator[int]:
    """Left edges of a window over a scene of twice its width."""
    return (8 * index % width for index in range(frames))


def draw_scene(width: int, height: int) -> np.ndarray:
    """Noise whose strength grows with its size, as in photographs; coded, as large as a real video. uint8 [H, W, 3]."""
    draw = torch.Generator().manual_seed(0)
    scene = sum(torch.nn.functional.interpolate(torch.randn(1, 3, height // size, width // size, generator=draw),
                                                (height, width), mode="bicubic") * size**0.5
                for size in (4, 8, 16, 32, 64, 128))
    return (128 + scene[0].movedim(0, -1) * 40 / scene.std()).clamp(0, 255).byte().numpy()


def mask_frames(frames: int):
    """A person who walks, one colour mask [h, w, 3] after the other."""
    for index in range(frames):
        mask, left = torch.zeros(SOURCE_HEIGHT, SOURCE_WIDTH, 3, dtype=torch.uint8), 400 + 4 * index % 800
        mask[200:1000, left : left + 400, 2] = 255
        yield mask


def vae_weights() -> dict[str, torch.Tensor]:
    """Random ones of Wan 2.1's VAE."""
    import comfy.ldm.wan.vae

    network = comfy.ldm.wan.vae.WanVAE(dim=96, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2,
                                       temperal_downsample=[False, True, True])
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, parameter in network.state_dict().items():
        spread = (1.5 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.1
        drawn = torch.randn(parameter.shape, generator=generator) * spread
        tensors[name] = torch.ones(parameter.shape) if name.endswith("gamma") else drawn
    return tensors


def make_models(options: argparse.Namespace, clock: Clock):
    """The MODEL with its calls timed, and the VAE."""
    import comfy.sd
    import comfy.utils
    from comfy.patcher_extension import WrappersMP

    from scail_model.comfy.loader import load, load_state_dict

    if options.tiny or options.stand_ins is not None:
        nano = TESTS / "miniature"
        model = load(nano / "nano_scail2.safetensors")
        vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(nano / "nano_vae.safetensors")))
    else:
        model = load_state_dict(random_weights(), {}, {"precision": options.precision})
        vae = comfy.sd.VAE(sd=vae_weights())
    model = model.clone()

    def network(executor, x, *given, **named):
        def stand_in():
            time.sleep(options.stand_ins)
            return x[:, :16] * 0.5

        return clock.timed(NETWORK, executor, x, *given, **named) if options.stand_ins is None else (
            clock.timed(NETWORK, stand_in))

    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "clock", network)
    return model, TimedVae(vae if options.stand_ins is None else StandInVae(vae), clock)


def bind(frames: int):
    from scail_model.identity import binding, mask_sources

    reference_mask = torch.full((1, SOURCE_HEIGHT, SOURCE_WIDTH, 3), 255, dtype=torch.uint8)
    reference_mask[:, 200:1000, 400:800, :2] = 0
    return binding.bind("animation", mask_sources.from_colours(mask_frames(frames), frames, "driving"),
                        mask_sources.pictures(mask_sources.from_colours(reference_mask, 1, "reference")))


def run(model, vae, folder: Path, job: Path, clock: Clock, options: argparse.Namespace) -> float:
    """One whole video, as the node makes it; returns its seconds."""
    from scail_model.comfy import keys, preflight
    from scail_model.comfy.host import ComfyHost
    from scail_model.files.content_keys import digest
    from scail_model.files.jobs import Job
    from scail_model.inputs.reference import Pictures, encode_reference
    from scail_model.kernels.precision import FAST
    from scail_model.media import scan, video_file
    from scail_model.media.encoding import Encoding
    from scail_model.segments import plan_segments
    from scail_model.sparse.settings import SparseSettings
    from scail_model.video.engine import make_video
    from scail_model.video.task import SegmentInputs, Settings, VideoTask

    height, width, text = (128, 224, model.model.model_config.unet_config["text_dim"]) if options.tiny else (
        512, 896, 4096)
    identities = clock.timed("binding the masks", bind, options.frames)
    pictures = Pictures(width, height, torch.rand(1, SOURCE_HEIGHT, SOURCE_WIDTH, 3), identities, cut_out=True,
                        as_video=False)
    reference = clock.timed("reference", encode_reference, pictures, vae.encode, lambda _: None)
    prompt = [[torch.randn(1, 512, text), {}]]
    for known in (scan._scanned, keys._known, clock.seconds, clock.beside):
        known.clear()  # as in a new graph

    started = time.perf_counter()
    clip = clock.timed("opening the driving video", video_file.FileClip, folder / "driving.mp4")
    # random weights attend almost evenly: whatever is left out is a large error, and a limit would compute everything
    sparse = SparseSettings(error_limit=0.0) if options.precision == FAST else None
    settings = Settings("unipc", options.steps, 3.0, 1.0, 0, 81, 5, black_background=False, sparse=sparse)
    preflight.check(model, prompt, prompt, vae, reference, clip, identities, settings, 16.0, sampler=None,
                    history_strength=1.0, lossless=False, folder=folder, timed=False, full=None,
                    sparse=sparse or SparseSettings())
    key = clock.timed("keys", lambda: digest(keys.model_key(model), keys.vae_key(vae), clip.digest(),
                                             identities.digest(), keys.prompt_key([prompt])))
    plan = plan_segments(options.frames, 81, 5)
    inputs = SegmentInputs(prompt, prompt, "", reference, "", 1.0, 1.0)
    task = VideoTask(clip, identities, settings, plan, [inputs] * len(plan), [None] * len(plan), Fraction(16),
                     Encoding(options.codec, 14), key)
    make_video(task, ComfyHost(model, vae), Job(job, {}), Watch())
    _wait(True)
    return time.perf_counter() - started


def table(clock: Clock, total: float) -> str:
    rest = total - sum(clock.seconds.values())
    rows = [*sorted(clock.seconds.items(), key=lambda row: -row[1]), ("everything else", rest)]
    lines = [f"{name:36} {spent:8.2f} s {spent / total:7.1%}" for name, spent in rows]
    beside = [f"{name:36} {spent:8.2f} s" for name, spent in clock.beside.items()]
    return "\n".join((*lines, f"{'in all':36} {total:8.2f} s", "beside it, in other threads:", *beside))


def summary(clock: Clock, total: float, options: argparse.Namespace) -> dict:
    network, vae = clock.seconds[NETWORK], sum(clock.seconds[name] for name in VAE)
    outside, official = total - network, network * 2 * 40 / options.steps
    return {"device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            "precision": options.precision, "steps": options.steps, "frames": options.frames,
            "codec": options.codec, "total": round(total, 2),
            "seconds": {name: round(spent, 3) for name, spent in clock.seconds.items()},
            "beside": {name: round(spent, 3) for name, spent in clock.beside.items()},
            "outside_network": round(outside, 2), "share": round(outside / total, 4), "vae": round(vae, 2),
            "neither": round(outside - vae, 2),
            "share_of_40_steps_with_guidance": round(outside / (official + outside), 4)}


def start(options: argparse.Namespace) -> None:
    if not options.tiny and options.stand_ins is None:
        start_comfyui(options.comfyui)
        return
    sys.path.insert(0, options.comfyui)
    sys.argv = sys.argv[:1]
    import comfy.cli_args

    comfy.cli_args.args.cpu = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("comfyui", help="a ComfyUI checkout")
    parser.add_argument("--frames", type=int, default=157, help="157 are two segments, 81 are one")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--codec", default="h264")
    parser.add_argument("--precision", default="exact", help="of the 14B network")
    parser.add_argument("--tiny", action="store_true", help="the miniature, on a CPU")
    parser.add_argument("--stand-ins", type=float, metavar="SECONDS",
                        help="a network that answers after so many seconds, and a VAE that does so at once")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    start(options)
    import logging

    import comfy.utils

    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    comfy.utils.PROGRESS_BAR_ENABLED = False
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        folder = Path(folder)
        write_clip(folder / "driving.mp4", options.frames)
        watch_stages(clock)
        models = make_models(options, clock)
        # the first run compiles kernels and brings the weights, for which one step is enough
        run(*models, folder, folder / "first", clock, argparse.Namespace(**{**vars(options), "steps": 1}))
        total = run(*models, folder, folder / "second", clock, options)
    print(table(clock, total))
    result = summary(clock, total, options)
    print(json.dumps({name: value for name, value in result.items() if not isinstance(value, dict)}, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
