"""The features on weights that have learned, in a real ComfyUI: what comes out, measured against the drawn truth.

The miniature SCAIL-2 of tests/miniature knows one drawn world. A graph is sampled once and serves several tests.
"""

from __future__ import annotations

import functools
import shutil
from dataclasses import replace

import measure
import pytest
import torch
import world
from graphs import Graph, add_motion, add_sample_video
from miniature_graphs import MODEL, add_models, add_scene, save_prompt
from miniature_scenes import FRAMES, WEIGHTS, Scene, batch, write_tensors
from safetensors.torch import load_file, save_file

STEPS, SEED, OVERLAP = 4, 3, 5
ONE, TWO = Scene(seed=5), Scene(seed=11, people=2)
BACK = Scene(seed=3, size=160, behind=True)  # the smallest size that the miniature was trained with
CASES = [replace(scene, mode=mode) for scene in (ONE, TWO) for mode in ("animation", "replacement")]
NAMES = [f"{('one', 'two')[scene.people - 1]} {scene.mode}" for scene in CASES]

# Measured with the weights in tests/miniature; set them anew with other weights. PSNR in dB.
LEVELS = {  # of the whole picture and inside the figures
    "one animation": (25.33, 23.48), "one replacement": (27.08, 24.12),
    "two animation": (25.26, 21.63), "two replacement": (23.93, 20.35),
}
BELOW = 0.4  # that a result may be under its level
MARGIN = 5.0  # inside the figures, over either trivial answer
OTHER_MODE = 5.0  # over the truth of the other mode
SWAPPED = 5.0  # inside the figures, over the truth with the looks exchanged
HIDDEN = 5.0  # what the figure loses without its mask
ROUNDED = 0.3  # what smaller weights may lose
SEAM = 0.6  # jump of the background with history, in parts of the jump without
SPOTS_RIGHT = 0.5  # more with an additional reference
WORD = "green"  # the miniature follows a word in nine clips of ten, and here
SHIRT_ERROR, GUIDANCE = 0.5, 3.0  # with the word, in parts of what it is without
STRENGTH, FURTHER = 11.0, 4 / 255  # of negative_strength, and how much further from its word's colour a shirt gets
LORA_STEPS, LORA_GAIN = 1, 3.0


@pytest.fixture(scope="module")
def models(comfy):
    """The miniature in the session's ComfyUI."""
    models = comfy.base / "models"
    written = add_models(models)
    halved, lora = models / "diffusion_models/nano_bf16.safetensors", models / "loras/nano_lora.safetensors"
    weights = load_file(WEIGHTS / "nano_scail2.safetensors")
    save_file({name: tensor.bfloat16() for name, tensor in weights.items()}, halved)
    shutil.copy(WEIGHTS / "nano_lora.safetensors", lora)
    written += [halved, lora, *(save_prompt(models, word) for word in world.WORDS)]
    yield models
    for path in written:
        path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def made(comfy, models, tmp_path_factory):
    """Frames [T, h, w, 3] that a graph makes of a scene: made(scene, sample, **options), each only once."""
    folder = tmp_path_factory.mktemp("miniature")

    @functools.cache
    def run(scene, sample, **options):
        name = f"{run.cache_info().misses}"
        write_tensors(scene, folder / f"{name}_in.safetensors")
        graph = Graph(folder / f"{name}_in.safetensors")
        image = sample(graph, scene, **options)
        comfy.run(graph.save(folder / f"{name}.safetensors", image=image))
        return load_file(folder / f"{name}.safetensors")["image"]

    return lambda scene, sample=by_schedule, **options: run(scene, sample, **options)


# Graphs

def load(graph, file=MODEL, weight_dtype="default", precision="exact", lora=False):
    model = graph.add("model", "SCAIL2LoadModel", model_name=file, weight_dtype=weight_dtype, precision=precision)
    if lora:
        model = graph.add("lora", "LoraLoaderModelOnly", model=model, lora_name="nano_lora.safetensors",
                          strength_model=1.0)
    return model


def decoded(graph, model, steps=STEPS, guidance=1.0, seed=SEED):
    """SCAIL2Schedule under SamplerCustom, on the node called motion."""
    graph.add("schedule", "SCAIL2Schedule", solver="unipc", steps=steps, shift=3.0)
    graph.add("sampled", "SamplerCustom", model=model, add_noise=True, noise_seed=seed, cfg=guidance,
              positive=["motion", 0], negative=["motion", 1], sampler=["schedule", 0], sigmas=["schedule", 1],
              latent_image=["motion", 2])
    return graph.add("decoded", "VAEDecode", samples=["sampled", 0], vae=["vae", 0])


def by_schedule(graph, scene, *, start_frame=0, steps=STEPS, guidance=1.0, seed=SEED, word="", additional=False,
                negative="", **model):
    add_scene(graph, scene, word=word, additional=additional)
    add_motion(graph, start_frame=start_frame, length=FRAMES)
    if negative:
        graph.set("negative", file=f"{negative}.safetensors")
        graph.set("motion", negative_strength=STRENGTH)
    return decoded(graph, load(graph, **model), steps, guidance, seed)


def by_sample_video(graph, scene):
    add_scene(graph, scene)
    add_sample_video(graph, load(graph), steps=STEPS, seed=SEED, segment_length=FRAMES, overlap=OVERLAP)
    return graph.add("components", "GetVideoComponents", video=["sampled", 0])


def by_core(graph, scene):
    """Core's loader and its SCAIL-2 node, on the same files."""
    add_scene(graph, scene)
    graph.add("model", "UNETLoader", unet_name=MODEL, weight_dtype="default")
    graph.add("features", "CLIPVisionEncode", clip_vision=["clip", 0], image=["reference_image", 0], crop="none")
    graph.add("motion", "WanSCAILToVideo", positive=["positive", 0], negative=["negative", 0], vae=["vae", 0],
              width=scene.size, height=scene.size, length=scene.frames, batch_size=1, pose_video=["driving", 0],
              pose_video_mask=["driving_mask", 0], replacement_mode=scene.mode == "replacement", pose_strength=1.0,
              pose_start=0.0, pose_end=1.0, reference_image=["reference_image", 0],
              reference_image_mask=["reference_mask", 0], clip_vision_output=["features", 0], video_frame_offset=0,
              previous_frame_count=OVERLAP)
    return decoded(graph, ["model", 0])


# Modes and people

@pytest.mark.parametrize("scene", CASES, ids=NAMES)
def test_the_references_figures_make_the_driving_motion(made, scene):
    found, trivial = scene.score(made(scene)), scene.trivial()
    text = f"result {found}, trivial answers {trivial}"
    for answer in trivial.values():
        assert found["psnr_inside"] > answer["psnr_inside"] + MARGIN, text
        assert found["psnr"] > answer["psnr"], text


@pytest.mark.parametrize(("scene", "name"), list(zip(CASES, NAMES, strict=True)), ids=NAMES)
def test_nothing_is_lost_on_the_way(made, scene, name):
    """A little motion, mode or colour that does not arrive costs little, so this is near to what there should be."""
    found, (whole, inside) = scene.score(made(scene)), LEVELS[name]
    text = f"result {found}, level {whole:.2f} and {inside:.2f} inside"
    assert found["psnr"] > whole - BELOW, text
    assert found["psnr_inside"] > inside - BELOW, text


@pytest.mark.parametrize("scene", CASES, ids=NAMES)
def test_the_mode_says_whose_surroundings_are_shown(made, scene):
    other = replace(scene, mode="replacement" if scene.mode == "animation" else "animation")
    right, wrong = (each.score(made(scene))["psnr"] for each in (scene, other))
    assert right > wrong + OTHER_MODE, f"{right:.2f} dB to the truth of {scene.mode}, {wrong:.2f} to that of the other"


@pytest.mark.parametrize(("mode", "swapped"), [("animation", False), ("animation", True), ("replacement", False)])
def test_colours_say_who_is_who(made, mode, swapped):
    """The same two people and motions; only the colours of the driving mask change places."""
    scene = replace(TWO, mode=mode, swapped=swapped)
    other = replace(scene, swapped=not swapped)
    result = made(scene)
    right, wrong = (each.score(result)["psnr_inside"] for each in (scene, other))
    text = f"inside the figures {right:.2f} dB to the truth, {wrong:.2f} to the one with the looks exchanged"
    assert right > wrong + SWAPPED, text


def test_nobody_is_drawn_without_a_mask(made):
    hidden = replace(ONE, hidden=True)
    seen, unseen = ONE.score(made(ONE)), ONE.score(made(hidden))
    text = f"with the mask {seen}, without {unseen}"
    assert unseen["psnr_inside"] < seen["psnr_inside"] - HIDDEN, text
    assert unseen["iou"] < seen["iou"], text


# Length

def test_history_hides_the_seam(made):
    """Two segments of SCAIL2SampleVideo against two that do not know each other."""
    long = replace(ONE, frames=2 * FRAMES - OVERLAP)
    whole = made(long, by_sample_video)
    assert len(whole) == long.frames
    second = made(long, start_frame=FRAMES - OVERLAP, seed=SEED + 1)
    apart = torch.cat((whole[:FRAMES], second[OVERLAP:]))
    still = background_of(long.pictures())
    joined, cut = (jump(video, still, FRAMES) for video in (whole, apart))
    found, trivial = long.score(whole), long.trivial()
    assert joined < cut * SEAM, f"the background jumps by {joined:.4f} with history, by {cut:.4f} without"
    assert all(found["psnr_inside"] > answer["psnr_inside"] + MARGIN for answer in trivial.values()), (found, trivial)


def background_of(pictures):
    """Where nobody ever is, [h, w, 1]."""
    return (pictures.coverage[0].amax((0, 1)) < 0.01)[..., None]


def jump(video, still, frame):
    """Mean change from the frame before."""
    return (video[frame] - video[frame - 1]).abs()[still.expand_as(video[0])].mean().item()


# What leaves something to say

def measured(measurement, result, scene, *arguments):
    """One of the measures that draw the truth themselves."""
    return measurement(batch(result), scene.scenes, *arguments, scene.size, scene.size).item()


def test_an_additional_reference_shows_the_back(made):
    both, alone = (measured(measure.spots_right, made(BACK, additional=additional), BACK)
                   for additional in (True, False))
    assert both > alone + SPOTS_RIGHT, f"right spots: {both:.0%} with the additional reference, {alone:.0%} without"


def test_a_saved_prompt_colours_the_shirt(made):
    colour = torch.tensor([world.WORDS[WORD]])
    said, unsaid = (measured(measure.shirt_error, result, ONE, colour)
                    for result in (made(ONE, word=WORD, guidance=GUIDANCE), made(ONE)))
    assert said < unsaid * SHIRT_ERROR, f"shirts are off {WORD} by {said:.3f} with the word, by {unsaid:.3f} without"


def test_a_negative_word_moves_the_shirt_away_from_it_at_guidance_1(made):
    """The word of the reference's shirt, while the prompt says another one."""
    def off(word, result):
        return measured(measure.shirt_error, result, ONE, torch.tensor([world.WORDS[word]]))

    worn = min(set(world.WORDS) - {WORD}, key=lambda word: off(word, made(ONE)))
    steered, plain = (made(ONE, word=WORD, negative=negative) for negative in (worn, ""))
    assert off(worn, steered) > off(worn, plain) + FURTHER, (off(worn, steered), off(worn, plain))
    assert off(WORD, steered) < off(WORD, plain)


def test_the_lora_decides_in_few_steps(made):
    distilled, plain = (measured(measure.spots_psnr, made(BACK, steps=LORA_STEPS, lora=lora), BACK)
                        for lora in (True, False))
    text = f"{LORA_STEPS} steps: {distilled:.2f} dB on the spots with the LoRA, {plain:.2f} without"
    assert distilled > plain + LORA_GAIN, text


# Smaller weights, and core

@pytest.mark.parametrize("model", [{"file": "nano_bf16.safetensors"}, {"weight_dtype": "fp8_e4m3fn"},
                                   {"precision": "8-bit"}], ids=["bf16", "fp8_e4m3fn", "8-bit"])
def test_smaller_weights_are_as_good(made, model):
    result, full = made(ONE, **model), made(ONE)
    assert not torch.equal(result, full)
    smaller, larger = (ONE.score(each) for each in (result, full))
    text = f"{model}: {smaller}, full precision: {larger}"
    for name in ("psnr", "psnr_inside"):
        assert smaller[name] > larger[name] - ROUNDED, text


def test_better_than_cores_nodes(made):
    scenes = CASES[0], CASES[3]
    ours, core = ([scene.score(made(scene, sample)) for scene in scenes] for sample in (by_schedule, by_core))
    for name in ("psnr", "psnr_inside"):
        ahead = sum(left[name] - right[name] for left, right in zip(ours, core, strict=True)) / len(scenes)
        assert ahead > 0, f"{name}: {ahead:+.2f} dB on average; ours {ours}, core's nodes {core}"
