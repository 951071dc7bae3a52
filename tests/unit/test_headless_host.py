"""The engine on the command line's host: the official numbers, and a plain loop with the same small models."""

from __future__ import annotations

import math

import golden
import pytest
import torch
import torch.nn.functional as F

from scail_model.config import TransformerConfig
from scail_model.files.jobs import Job
from scail_model.headless import encoders
from scail_model.headless.device import DECODER
from scail_model.headless.host import HeadlessHost
from scail_model.headless.inputs import Files, Inputs, read_inputs
from scail_model.headless.sampling import sample_latent
from scail_model.headless.weights import open_weights
from scail_model.inputs import conditioning
from scail_model.inputs.reference import Pictures
from scail_model.masks import pack_driving_mask, pack_mask
from scail_model.preflight.budget import OFFLOADED, RESIDENT, Work, estimate
from scail_model.segments import plan_segments
from scail_model.video import not_finite, open_clip
from scail_model.video.engine import make_video
from scail_model.video.options import VideoOptions
from scail_model.video.segment_inputs import Given
from scail_model.video.start import make_task
from scail_model.video.task import Settings
from tests.demo import drawing, small_models

CPU = torch.device("cpu")
GIB = 2**30


class Watch:
    """Remembers what it is told."""

    def __init__(self):
        self.told = []

    def stage(self, segment, text):
        self.told.append((segment, text))

    def step(self, segment, step, denoised):
        self.told.append("step")

    def finished(self, segment, part, *, kept):
        self.told.append((segment, "finished"))

    def tick(self):
        pass


def golden_runs():
    cases = []
    for name in ("E1_sampling_anim_2seg", "E2_sampling_repl_add2_2seg"):
        tensors, info = golden.load(name)
        cases += [pytest.param(tensors, info, run, id=f"{name[:2]}-{run['name']}") for run in info["runs"]]
    return cases


@pytest.mark.parametrize(("tensors", "info", "run"), golden_runs())
def test_segments_end_at_the_official_latents(tensors, info, run):
    references = {"reference_latents": tensors["ref_latent"][None], "reference_masks": tensors["ref_masks"][None]}
    if info["additional_refs"]:
        references["additional_latents"] = tensors["additional_ref_latents"][None]
        references["additional_masks"] = tensors["additional_ref_masks"][None]
    negative = tensors["context_null"][None] if run["guide_scale"] > 1 else None
    settings = Settings(run["solver"], run["steps"], run["shift"], run["guide_scale"], 0, 81, 5, False)
    for segment in range(2):
        conditions = {**references, "driving_latents": tensors[f"seg{segment}.pose_latent"][None],
                      "driving_masks": tensors[f"seg{segment}.driving_masks"][None],
                      "replacement": info["replace_flag"]}
        history = tensors["seg1.history_latent"][None] if segment else None
        with torch.inference_mode():
            latent = sample_latent(
                golden.tiny_transformer(), tensors["context"][None], negative, golden.clip_features(1)[None],
                conditions, tensors[f"seg{segment}.noise"][None], settings, guidance=run["guide_scale"],
                history=history)
        difference = (latent[0] - tensors[f"{run['name']}.seg{segment}.final"]).abs().max()
        assert difference < 1e-4


def test_noise_of_all_segments_comes_from_one_generator():
    """The golden noise is what the official code drew on a CPU."""
    tensors, info = golden.load("E1_sampling_anim_2seg")
    generator = torch.Generator().manual_seed(info["runs"][0]["seed"])
    for segment in range(2):
        noise = tensors[f"seg{segment}.noise"]
        assert torch.equal(torch.randn(noise.shape, generator=generator), noise)


@pytest.mark.parametrize(("frames", "replacement"), [(5, True), (13, False), (16, True)],
                         ids=["one segment", "two full segments", "three, the last padded"])
def test_the_engine_makes_what_a_plain_loop_makes(tmp_path, frames, replacement):
    small_models.write_encoders(tmp_path / "encoders")
    small_models.write_transformer(tmp_path / "transformer.safetensors")
    inputs, segments = read(tmp_path, frames, replacement), plan_segments(frames, 9, 5)
    options = VideoOptions(solver="euler", steps=2, guidance=2.5, segment_length=9, overlap=5, codec="lossless")
    files = encoders.find_encoders(tmp_path / "encoders")
    host, watch = HeadlessHost(files, open_weights(tmp_path / "transformer.safetensors"), CPU, torch.float32,
                               offload=True, stage=lambda text: None), Watch()
    prompts = host.encode_text("a word", ""), host.encode_text("", "negative")
    pictures = Pictures(96, 64, inputs.references, inputs.identities, cut_out=replacement, as_video=False)
    with torch.inference_mode():
        task, name = make_task(options, 7, (), Given(*prompts, [pictures]), inputs.driving, inputs.identities, host)
        job = Job(tmp_path / name, {})
        made = make_video(task, host, job, watch)
        assert host.find_not_finite(task.inputs[0]) == not_finite.AROSE
        texts = encoders.encode_texts(files, [prompt.tokens for prompt in prompts], CPU, torch.float32)
        pixels = conditioning.reference_pixels(inputs.references[0], inputs.identities, 0, 64, 96, cut_out=replacement)
        clip = encoders.encode_clip(files, conditioning.clip_input(pixels), CPU)
        expected, latents = plain_loop(inputs, small_models.transformer(), texts, clip, replacement)
    kept = sorted(job.folder.glob("*.latent.safetensors"))
    assert len(kept) == len(latents) == len(segments)
    for path, latent in zip(kept, latents, strict=True):
        torch.testing.assert_close(job.load(path.name)["samples"], latent, rtol=0, atol=1e-4)
    video = open_clip(made.path)
    assert (len(video), video.size) == (frames, (64, 96))
    assert (video.read(0, frames).int() - expected.int()).abs().max() <= 1
    assert watch.told.count("step") == 2 * len(segments)
    assert (len(segments) - 1, "decoding") in watch.told


def plain_loop(inputs, transformer, texts, clip, replacement):
    """The official procedure written out: Euler, guidance 2.5, shift 3, two steps, segments of 9 that share 5."""
    vae = small_models.vae()
    mean, std = (torch.tensor(values).view(1, 16, 1, 1, 1)
                 for values in (vae.config.latents_mean, vae.config.latents_std))

    def encode(video):  # [1, 3, T, H, W] in -1..1
        return (vae.encode(video).latent_dist.mode() - mean) / std

    def colours(labels, background):  # with one identity: 1 is blue
        picture = torch.full((*labels.shape, 3), background, dtype=torch.uint8)
        picture[labels == 1] = torch.tensor((0, 0, 255), dtype=torch.uint8)
        return picture.movedim(-1, 1)

    reference = inputs.references[0].movedim(-1, 0)[None]
    mask = inputs.identities.reference_labels(0)[None]
    if replacement:
        reference = reference * (mask == 1)
    reference_latent = encode((reference * 2 - 1)[:, :, None])
    reference_mask = pack_mask(colours(mask, 0 if replacement else 255))[None]
    generator = torch.Generator().manual_seed(7)
    result, latents, start, decoded = [], [], 0, None
    total = len(inputs.driving)
    frames = inputs.driving.read(0, total)
    labels = inputs.identities.driving_labels(0, total)
    while not result or start + 5 < total:
        known = 5 if result else 0
        stop = min(start + 9, total)
        length = 4 * -(-(stop - start - 1) // 4) + 1
        index = [min(number, total - 1) for number in range(start, start + length)]
        driving = frames[index].movedim(-1, 1).float() / 127.5 - 1
        driving_latent = encode(F.avg_pool2d(driving, 2).movedim(0, 1)[None])
        driving_mask = pack_driving_mask(colours(labels[index], 255 if replacement else 0))[None]
        x = torch.randn(1, 16, length // 4 + 1, 8, 12, generator=generator)
        history_mask = torch.zeros_like(x[:, :4])
        history = encode(decoded[:, :, -5:]) if known else None  # of the segment before
        for sigma, following in ((1.0, 0.75), (0.75, 0.0)):
            if known:
                x[:, :, :2], history_mask[:, :, :2] = history, 1
            inputs_of_model = dict(reference_latents=reference_latent, reference_masks=reference_mask,
                                   driving_latents=driving_latent, driving_masks=driving_mask, replacement=replacement,
                                   history_mask=history_mask)
            v, u = (transformer(x, torch.tensor([1000 * sigma]), text, clip, **inputs_of_model)
                    for text in texts)
            x = x + (following - sigma) * (u + 2.5 * (v - u))
        if known:
            x[:, :, :2] = history
        latents.append(x * std + mean)
        decoded = vae.decode(latents[-1]).sample  # [1, 3, T, H, W]
        result.append((decoded / 2 + 0.5)[0].movedim(0, 1)[known : stop - start])
        start += 4
    return (torch.cat(result).movedim(1, -1) * 255).round().to(torch.uint8), latents


def read(folder, frames, replacement=False) -> Inputs:
    """A drawn job of 96x64 pixels, at that size."""
    job = drawing.write_job(folder / "job", (96, 64), frames, replacement)
    files = Files([job["image"]], [job["mask_image"]], job["pose"], job["mask_video"])
    return read_inputs(files, 96, 64, replacement)


@pytest.mark.parametrize(("source", "target", "swapped"), [
    ((96, 64), (64, 32), False), ((96, 64), (32, 64), True), ((64, 96), (64, 32), True), ((64, 96), (32, 64), False),
    ((64, 64), (64, 32), False), ((96, 64), (32, 32), False),
])
def test_orientation_is_the_references(tmp_path, source, target, swapped):
    job = drawing.write_job(tmp_path, source, 1)
    inputs = read_inputs(Files([job["image"]], [job["mask_image"]], job["pose"], job["mask_video"]), *target, False)
    assert inputs.swapped == swapped
    assert (inputs.width, inputs.height) == (target[::-1] if swapped else target)


# GPU memory

def work(width, height, weights):
    config = TransformerConfig()
    count = sum(map(math.prod, config.parameter_shapes().values()))
    return Work(config, width, height, (81,), 0, 40, 5.0, 2 * count, width, height, in_chunks=False, weights=weights,
                decoder=DECODER)


@pytest.mark.parametrize(("width", "height", "measured"), [(896, 512, 33.89), (1280, 704, 37.06)])
def test_the_estimate_is_the_measured_peak(width, height, measured):
    assert estimate(work(width, height, OFFLOADED)).least / GIB == pytest.approx(measured, rel=0.01)


def test_weights_that_stay_need_room_beside_the_vae():
    offloaded, resident = (estimate(work(896, 512, weights)).least for weights in (OFFLOADED, RESIDENT))
    assert resident - offloaded > 1 * GIB
