"""The run over segments without ComfyUI: the official numbers, and a plain loop with the same small models."""

from __future__ import annotations

from fractions import Fraction

import golden
import pytest
import torch
import torch.nn.functional as F

from scail_model.config import TransformerConfig
from scail_model.headless import encoders, pipeline
from scail_model.headless.inputs import Files, Inputs, read_inputs
from scail_model.headless.memory import Load, check_memory
from scail_model.masks import pack_driving_mask, pack_mask
from scail_model.segments import plan_segments
from tests.demo import drawing, small_models

CPU = torch.device("cpu")
GIB = 2**30


class Watch:
    """Progress that remembers."""

    def __init__(self):
        self.told = []

    def stage(self, text):
        self.told.append(text)

    def step(self):
        self.told.append("step")


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
    sampling = pipeline.Sampling(run["solver"], run["steps"], run["shift"], run["guide_scale"])
    for segment in range(2):
        conditions = {**references, "driving_latents": tensors[f"seg{segment}.pose_latent"][None],
                      "driving_masks": tensors[f"seg{segment}.driving_masks"][None],
                      "replacement": info["replace_flag"]}
        history = tensors["seg1.history_latent"][None] if segment else None
        with torch.inference_mode():
            latent = pipeline.sample_segment(
                golden.tiny_transformer(), pipeline.Texts(tensors["context"][None], negative),
                golden.clip_features(1)[None], conditions, tensors[f"seg{segment}.noise"][None], history, sampling)
        difference = (latent[0] - tensors[f"{run['name']}.seg{segment}.final"]).abs().max()
        assert difference < 1e-4


def test_noise_of_all_segments_comes_from_one_generator():
    """The golden noise is what the official code drew on a CPU."""
    tensors, info = golden.load("E1_sampling_anim_2seg")
    generator = torch.Generator().manual_seed(info["runs"][0]["seed"])
    for segment in range(2):
        noise = tensors[f"seg{segment}.noise"]
        assert torch.equal(torch.randn(noise.shape, generator=generator), noise)


class RecordingVAE(encoders.VAE):
    """The real VAE, which keeps the latents that it decodes."""

    def __init__(self, files):
        super().__init__(files, CPU)
        self.decoded = []

    def decode(self, latent):
        self.decoded.append(latent)
        return super().decode(latent)


@pytest.mark.parametrize(("frames", "replacement"), [(5, True), (13, False), (16, True)],
                         ids=["one segment", "two full segments", "three, the last padded"])
def test_generate_equals_a_plain_loop(tmp_path, frames, replacement):
    small_models.write_encoders(tmp_path / "encoders")
    vae = RecordingVAE(encoders.find_encoders(tmp_path / "encoders"))
    inputs = read(tmp_path, frames, replacement)
    segments = plan_segments(frames, 9, 5)
    generator = torch.Generator().manual_seed(1)
    texts = pipeline.Texts(*(torch.randn(1, length, 4096, generator=generator) for length in (4, 1)))
    clip = torch.randn(1, 257, 1280, generator=generator)
    sampling = pipeline.Sampling("euler", 2, 3.0, 2.5)
    transformer, watch = small_models.transformer(), Watch()
    with torch.inference_mode():
        references = pipeline.encode_references(vae, inputs, cut_out=replacement)
        parts = pipeline.generate(transformer, vae, inputs, texts, clip, references, segments, sampling, seed=7,
                                  offload=True, progress=watch)
        made = torch.cat(list(parts))
        expected, latents = plain_loop(inputs, transformer, texts, clip, replacement)
    assert made.shape == (frames, 64, 96, 3)
    assert len(latents) == len(vae.decoded) == len(segments)
    for found, latent in zip(vae.decoded, latents, strict=True):
        torch.testing.assert_close(found, latent, rtol=0, atol=1e-4)
    assert (made.int() - expected.int()).abs().max() <= 1
    assert watch.told.count("step") == 2 * len(segments)
    assert f"segment {len(segments)} of {len(segments)}: decoding" in watch.told


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
    labels = inputs.identities.driving_labels(0, total)
    while not result or start + 5 < total:
        known = 5 if result else 0
        stop = min(start + 9, total)
        length = 4 * -(-(stop - start - 1) // 4) + 1
        index = [min(number, total - 1) for number in range(start, start + length)]
        driving = inputs.driving[index].movedim(-1, 1).float() / 127.5 - 1
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
                    for text in (texts.positive, texts.negative))
            x = x + (following - sigma) * (u + 2.5 * (v - u))
        if known:
            x[:, :, :2] = history
        latents.append(x)
        decoded = vae.decode(x * std + mean).sample  # [1, 3, T, H, W]
        result.append((decoded / 2 + 0.5)[0].movedim(0, 1)[known : stop - start])
        start += 4
    return (torch.cat(result).movedim(1, -1) * 255).round().to(torch.uint8), latents


def read(folder, frames, replacement=False) -> Inputs:
    """A drawn job of 96x64 pixels, at that size."""
    job = drawing.write_job(folder / "job", (96, 64), frames, replacement)
    files = Files([job["image"]], [job["mask_image"]], job["pose"], job["mask_video"])
    return read_inputs(files, 96, 64, replacement)


def test_inputs_are_cropped_to_the_result(tmp_path):
    job = drawing.write_job(tmp_path, (128, 64), 2, fps=Fraction(24))
    inputs = read_inputs(Files([job["image"]], [job["mask_image"]], job["pose"], job["mask_video"]), 64, 32, False)
    assert inputs.driving.shape == (2, 32, 64, 3)
    assert inputs.driving.dtype == torch.uint8
    assert (inputs.width, inputs.height, inputs.fps, inputs.swapped) == (64, 32, 24, False)
    assert [tuple(image.shape) for image in inputs.references] == [(64, 128, 3)]
    assert (len(inputs.identities.driving), *inputs.identities.driving.size) == (2, 64, 128)


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

@pytest.mark.parametrize(("width", "height", "measured"), [(896, 512, 33.89), (1280, 704, 37.06)])
def test_the_estimate_is_the_measured_peak(width, height, measured):
    load = Load(TransformerConfig(), width, height, 81, 0, offload=True)
    assert load.gpu_bytes() / GIB == pytest.approx(measured, rel=0.01)


@pytest.mark.parametrize(("free", "offload", "shortest", "advice"), [
    (38, False, 9, "--offload_model true"),
    (33, True, 9, "--segment_len 57"),
    (31.5, True, 33, "--target_w 448 --target_h 256"),
    (24, True, 9, "ComfyUI nodes"),
])
def test_too_little_memory_names_the_next_setting_that_fits(free, offload, shortest, advice):
    load = Load(TransformerConfig(), 896, 512, 81, 0, offload)
    with pytest.raises(RuntimeError, match="896x512 in segments of 81 frames needs about") as error:
        check_memory(load, shortest, round(free * GIB))
    assert advice in str(error.value)
    check_memory(load, 9, 80 * GIB)
