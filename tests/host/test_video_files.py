"""What Sample SCAIL-2 Video reads and writes: rates, sound, trimmed videos, codecs; and jobs that are found again."""

import json
import time
from fractions import Fraction

import assets
import av
import numpy as np
import pytest
import torch
from comfyui import ComfyUI
from graphs import Graph, add_inputs, load
from safetensors.torch import load_file, save_file
from sampling import sample, sampled

from scail_model.files.jobs import GIB

RATES = (Fraction(25), Fraction(30000, 1001))
CLIP, CLICK = 13, 7  # frames, and the one at which the click begins
FILES = ("bf16.safetensors", "fp8_old.safetensors", "fp8_new.safetensors", "int8.safetensors", "sat.pt")


def clip_name(rate):
    return f"click{float(rate):.0f}.mp4"


@pytest.fixture(scope="module", autouse=True)
def clips(comfy):
    frames = load_file(comfy.images)["driving1"][:CLIP]
    for rate in RATES:
        assets.write_video(comfy.base / "input" / clip_name(rate), frames, rate=rate,
                           sound=assets.click(CLIP / rate, CLICK / rate))


def video_inputs(graph, rate, frames=CLIP):
    """The inputs, with the driving video from a file."""
    add_inputs(graph, frames=frames)
    graph.add("driving", "LoadVideo", file=clip_name(rate))
    return graph


def run(comfy, graph, **options):
    """Sample, and save the video as a user does; returns the run, and the saved file."""
    graph.add("file", "SaveVideo", video=["sampled", 0], filename_prefix="file", format="auto", codec="auto")
    found = sample(comfy, graph, steps=1, segment_length=9, **options)
    newest = max((comfy.base / "output").glob("file_*.mp4"), key=lambda path: path.stat().st_mtime_ns)
    return found, newest


# Sound and pictures

@pytest.mark.parametrize("rate", RATES, ids=str)
def test_rate_frames_and_sound_of_a_file(comfy, graph, rate):
    """The click is heard at its frame, and not half a frame off."""
    _, saved = run(comfy, video_inputs(graph, rate), codec="h264")
    found = assets.probe(saved)
    assert (found["frames"], found["fps"], found["size"]) == (CLIP, rate, (64, 64))
    assert found["sound"] == pytest.approx(float(CLIP / rate), abs=1024 / assets.SAMPLE_RATE)  # whole packets
    assert assets.heard(saved) == pytest.approx(float(CLICK / rate), abs=float(0.5 / rate))


def test_a_video_drives_to_the_same_latents_as_its_frames(comfy, graph):
    video, _ = run(comfy, video_inputs(graph, RATES[0]))
    graph.add("file_of_frames", "LoadVideo", file=clip_name(RATES[0]))
    graph.add("driving", "GetVideoComponents", video=["file_of_frames", 0])
    frames, _ = run(comfy, graph)
    assert video.folder != frames.folder  # they are keyed by different bytes
    for segment in (1, 2):
        assert torch.equal(video.latent(segment), frames.latent(segment))


def test_a_trimmed_video_brings_its_own_frames_and_sound(comfy, graph):
    """Frames 5 to 10 of the file, by core's node."""
    video_inputs(graph, RATES[0], frames=6)
    graph.add("whole", "LoadVideo", file=clip_name(RATES[0]))
    graph.add("driving", "Video Slice", video=["whole", 0], start_time=0.2, duration=0.24, strict_duration=True)
    trimmed, saved = run(comfy, graph)
    found = assets.probe(saved)
    assert (found["frames"], found["fps"]) == (6, 25)
    assert found["sound"] == pytest.approx(0.24, abs=1024 / assets.SAMPLE_RATE)
    assert assets.heard(saved) == pytest.approx((CLICK - 5) / 25, abs=0.02)

    graph.add("components", "GetVideoComponents", video=["whole", 0])
    graph.add("driving", "ImageFromBatch", image=["components", 0], batch_index=5, length=6)
    frames, _ = run(comfy, graph)
    assert torch.equal(trimmed.latent(1), frames.latent(1))


# Codecs

@pytest.fixture(scope="module")
def exact(comfy):
    """A lossless run of two segments."""
    return run(comfy, video_inputs(Graph(comfy.images), RATES[0]), codec="lossless")


def is_copied(found, saved):
    """Save Video encodes nothing anew."""
    return all(assets.packets_of(saved, kind) == assets.packets_of(found.video, kind) != []
               for kind in ("video", "audio"))


def form_of(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.codec.canonical_name, stream.pix_fmt, stream.width, stream.height


def test_lossless_keeps_twelve_bits_of_what_was_decoded(exact):
    """Compared with the frames that the second segment starts from, which are kept as they are."""
    found, saved = exact
    assert form_of(saved) == ("hevc", "gbrp12le", 64, 64)
    assert is_copied(found, saved)
    pictures = assets.pictures_of(saved, "gbrp12le")
    assert pictures.shape == (CLIP, 64, 64, 3)
    assert np.array_equal(pictures, assets.pictures_of(found.video, "gbrp12le"))
    np.testing.assert_allclose(pictures[4:9] / 4095, found.end(1).numpy(), rtol=0, atol=0.51 / 4095)


@pytest.mark.parametrize(("codec", "encoder", "pixels", "bits"), [
    ("h264", "h264", "yuv420p", 8), ("h265 10-bit", "hevc", "yuv420p10le", 10)])
def test_codecs_for_looking_at(comfy, exact, graph, codec, encoder, pixels, bits):
    """The lightness of every pixel is that of the decoded frames (BT.709, limited range); nothing is sampled anew."""
    found, saved = run(comfy, video_inputs(graph, RATES[0]), codec=codec, quality=4)
    assert found.folder == exact[0].folder
    assert form_of(saved) == (encoder, pixels, 64, 64)
    assert is_copied(found, saved)
    stored = assets.pictures_of(saved, pixels)[:, :64]  # the lightness; the colours are below
    assert len(stored) == CLIP
    lightness = (stored / 2 ** (bits - 8) - 16) / 219
    expected = assets.pictures_of(exact[1], "gbrp12le") / 4095 @ (0.2126, 0.7152, 0.0722)
    error = np.abs(lightness - expected)
    assert error.mean() < 1.2 / 255
    assert error.max() < 14 / 255  # of a single pixel in pictures that are mostly noise


# Jobs that are found again

def add_variant(graph, name, model, **inputs):
    """Another Sample SCAIL-2 Video in the graph, with a report."""
    base = {"steps": 1, "segment_length": 9, "seed": 3, "solver": "euler", "shift": 3.0, "guidance": 1.0}
    links = {key: [key, 0] for key in ("positive", "negative", "vae", "reference", "driving", "identities")}
    graph.add(f"sampled {name}", "SCAIL2SampleVideo", model=model, **base | links | inputs)
    graph.add(f"report {name}", "PreviewAny", source=[f"sampled {name}", 1])


def run_variants(comfy, graph):
    """The runs by name."""
    outputs = comfy.run(graph)
    return {name.removeprefix("report "): sampled(outputs[name]["text"][0]) for name in graph
            if name.startswith("report ")}


def all_files(comfy, files, round, *strengths):
    """A graph with a video for each model file and LoRA strength. round: another number makes ComfyUI run it anew."""
    graph = add_inputs(Graph(comfy.images), frames=5)
    for file in files:
        graph.add(file, "SCAIL2LoadModel", model_name=file, weight_dtype="default")
        for strength in strengths:
            name, model = f"{file} {strength}", [file, 0]
            if strength:
                model = graph.add(f"lora {name}", "LoraLoaderModelOnly", model=model, lora_name="lora.safetensors",
                                  strength_model=strength)
            add_variant(graph, name, model, seed=30 + len(files), jobs_limit=1000.0 + round)
    return graph


def forget(comfy):
    """All models leave the memory, and all results of nodes."""
    comfy.post("/free", {"unload_models": True, "free_memory": True})
    time.sleep(0.5)


def make_jobs(comfy, files):
    """A job for each file, with and without a LoRA -> the runs by name."""
    made = run_variants(comfy, all_files(comfy, files, 0, 0)) | run_variants(comfy, all_files(comfy, files, 0, 0.7))
    assert [found.kept for found in made.values()] == [0] * 2 * len(files)
    assert len({found.folder for found in made.values()}) == 2 * len(files)
    return made


def assert_found(server, graph, made):
    """All is there, and no model is needed to see that."""
    size = server.log_size()
    again = run_variants(server, graph)
    assert [name for name, found in again.items() if not found.kept] == []
    assert {name: found.folder.name for name, found in again.items()} == {
        name: made[name].folder.name for name in again}
    assert "Requested to load SCAIL2" not in server.log_since(size)


def test_jobs_are_found_again_with_models_patched_and_unloaded(comfy):
    """While the LoRA is merged into the weights, and after the models were loaded anew."""
    made = make_jobs(comfy, FILES[:1])
    assert_found(comfy, all_files(comfy, FILES[:1], 1, 0, 0.7), made)
    forget(comfy)
    assert_found(comfy, all_files(comfy, FILES[:1], 2, 0.7, 0), made)


@pytest.mark.slow
def test_jobs_of_every_kind_of_file_are_found_again_in_another_process(comfy, tmp_path):
    made = make_jobs(comfy, FILES)
    assert_found(comfy, all_files(comfy, FILES, 1, 0, 0.7), made)
    forget(comfy)
    assert_found(comfy, all_files(comfy, FILES, 2, 0.7, 0), made)
    for folder in ("models", "input", "output"):
        (tmp_path / folder).symlink_to(comfy.base / folder)
    with ComfyUI(tmp_path) as other:
        assert_found(other, all_files(comfy, FILES, 0, 0.7, 0), made)


def test_other_inputs_are_another_job(comfy, tmp_path):
    """The smallest difference in anything that the result depends on."""
    graph = add_inputs(Graph(comfy.images), frames=1)
    model = load(graph)
    images = load_file(comfy.images)
    driving, mask = images["driving1"].clone(), images["driving_mask1"].clone()
    driving[0, 0, 0, 2] += 1
    edge = (mask[0, 32] > 0).any(-1).nonzero()[0]
    mask[0, 32, edge] = 0
    save_file({"driving": driving, "mask": mask}, tmp_path / "images.safetensors")
    weights = load_file(comfy.base / "models/vae/wan_tiny.safetensors")
    name = "decoder.head.2.bias"
    save_file(weights | {name: weights[name] + 1e-4}, comfy.base / "models/vae/other.safetensors")

    for part in ("driving", "mask"):
        graph.add(f"other_{part}", "TestImages", path=str(tmp_path / "images.safetensors"), name=part, frames=1)
    graph.add("other_identities", "SCAIL2Identities", **graph["identities"]["inputs"] | {
        "driving_masks": ["other_mask", 0]})
    graph.add("other_vae", "VAELoader", vae_name="other.safetensors")
    graph.add("other_text", "TestText", seed=9)
    graph.add("other_reference", "SCAIL2EncodeReference", **graph["reference"]["inputs"] | {
        "replacement_background": "keep", "image": graph.pictures("other_picture", "reference2")})
    for name, strength in (("lora", 0.7), ("stronger", 0.71)):
        graph.add(name, "LoraLoaderModelOnly", model=model, lora_name="lora.safetensors", strength_model=strength)
    add_variant(graph, "first", model)
    for number, change in enumerate((
            {"model": ["lora", 0]}, {"model": ["stronger", 0]}, {"positive": ["other_text", 0]},
            {"negative": ["other_text", 0]}, {"vae": ["other_vae", 0]}, {"driving": ["other_driving", 0]},
            {"identities": ["other_identities", 0]}, {"reference": ["other_reference", 0]}, {"seed": 4},
            {"solver": "unipc"}, {"shift": 3.01}, {"guidance": 1.1}, {"history": "latents"},
            {"colour_match": "overlap"}, {"noise": "same noise"}, {"driving_background": "black"},
            {"driving_background": "bbox"}, {"driving_background": "bbox", "driving_margin": 0.3})):
        add_variant(graph, str(number), change.pop("model", model), **change)
    found = run_variants(comfy, graph)
    assert len({run.folder for run in found.values()}) == len(found)
    assert {name: run.kept for name, run in found.items() if run.kept} == {}


# Room on the disk

def test_the_oldest_finished_jobs_make_room(comfy, graph):
    """Of two jobs of 2 GiB only the finished one goes, and only when the limit is passed."""
    jobs = comfy.base / "output/scail2_jobs"
    about = {"format": "scail2-job-1", "created": 1.0, "frames": 81, "size": "512x896", "segments": 1, "done": 1}
    for name, finished in (("finished", 2.0), ("broken_off", None)):
        (jobs / name).mkdir(parents=True)
        (jobs / name / "job.json").write_text(json.dumps(about | {"finished": finished}))
        with (jobs / name / "0001-x.mp4").open("wb") as file:
            file.truncate(2 * GIB)  # a hole, which takes no room
    try:
        add_inputs(graph, frames=1)
        found = sample(comfy, graph, steps=1, jobs_limit=5.0)
        assert "removed" not in found.report
        assert (jobs / "finished").exists()
        found = sample(comfy, graph, steps=1, jobs_limit=3.0)
        (line,) = (line for line in found.report.splitlines() if line.startswith("removed"))
        assert line.startswith("removed for jobs_limit: finished: 81 frames of 512x896, finished, 2.00 GiB, 1970-01-01")
        assert not (jobs / "finished").exists()
        assert (jobs / "broken_off/0001-x.mp4").exists()
        assert found.video.exists()
    finally:
        graph.clear()
        graph.add("jobs", "SCAIL2Jobs", action="clear all", job="broken_off")
        assert "removed broken_off: " in comfy.run(graph)["jobs"]["text"][0]
    assert not (jobs / "broken_off").exists()
