"""ComfyUI and the command line give the same video of the same files.

The trained miniature on both sides, from a user's files. What does not depend on a library of encoders is equal to the
bit; decoded frames, from two implementations of the VAE, differ by a level of 255 at most. With one VAE for both hosts
their files are equal.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import assets
import door_records
import language
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from graphs import Graph
from miniature_graphs import MODEL, NOTHING, VAE, add_models, save_prompt
from miniature_scenes import WEIGHTS
from safetensors.torch import load_file, save_file
from sampling import sampled
from workflow_files import drawings

from scail_model.headless import encoders
from scail_model.headless.cli import main
from scail_model.headless.host import HeadlessHost
from scail_model.video import open_clip
from tests.demo import drawing, small_models

SIZE, FRAMES = (96, 64), 15  # three segments of 9 that share 5; the last is filled up with its last frame
STEPS, SEED, WORD = 2, 3, "green"
# so long that ComfyUI asks the network for both prompts one after the other, as the command line does; a batch rounds
# in other places
LONG = f"{WORD} and nothing else here"


@dataclass(frozen=True)
class Case:
    """plan: of both. guidance: where it is 1, the negative prompt is not read. rate: half of the driving video's, which
    then has twice the frames; 0 for its own. whole_picture: without masks. posed: driven by the skeletons of people
    that a detector has found, on the command line from its file. draft: of a video with twice the steps. larger: how
    many times, of each side. negative: the other prompt, which is read by negative_strength too."""

    mode: str
    people: int = 1
    back: bool = False  # with an additional reference
    guidance: float = 1.0
    plan: str = ""
    history: str = "frames"
    solver: str = "unipc"
    history_strength: float = 1.0
    prompt: str = WORD
    sigmas: str = ""
    rate: float = 0.0
    driving_end: float = 1.0
    whole_picture: bool = False
    posed: bool = False
    draft: bool = False
    precision: str = "exact"
    larger: int = 1
    negative: str = ""
    negative_strength: float = 0.0
    plate: str = "off"

    @property
    def size(self) -> tuple[int, int]:
        return (64, 32) if self.draft else (SIZE[0] * self.larger, SIZE[1] * self.larger)

    @property
    def steps(self) -> int:
        return 4 * STEPS if self.draft else STEPS

    @property
    def drawn(self) -> int:
        """Frames of the driving video."""
        return 2 * FRAMES if self.rate else FRAMES

    @property
    def replacement(self) -> bool:
        return self.mode == "replacement"


CASES = {
    "animation of two": Case("animation", people=2, guidance=3.0,
                             plan='[{"segments": 2, "driving_strength": 0.5, "seed": 9}]'),
    "replacement with a view from behind": Case("replacement", back=True, history_strength=0.8, solver="euler",
                                                sigmas="1, 0.6, 0"),
    "half the rate, without masks, the driving video for the first step": Case(
        "animation", rate=drawing.FPS / 2, driving_end=0.5, whole_picture=True),
    "two skeletons": Case("animation", people=2, posed=True),
    "away from a word": Case("animation", negative=LONG, negative_strength=11.0, prompt=""),
    "draft of two with a view from behind": Case("animation", people=2, back=True, draft=True),
}


@dataclass(frozen=True)
class Door:
    """What one side has made. job: folder of the finished work; record: of `door_records`."""

    video: Path
    job: Path
    record: Path

    @property
    def samplings(self) -> list:
        return door_records.read(self.record, "sampled")

    @property
    def encoded(self) -> dict[tuple, list[torch.Tensor]]:
        """Frames that the VAE was given, by shape: reference pictures, driving frames and history have others."""
        found = defaultdict(list)
        for tensors, _ in door_records.read(self.record, "encoded"):
            found[tuple(tensors["frames"].shape[:3])].append(tensors["frames"])
        return found

    @property
    def frames(self) -> torch.Tensor:
        clip = open_clip(self.video)
        return clip.read(0, len(clip)).int()


@pytest.fixture(scope="module")
def models(comfy, tmp_path_factory):
    """The miniature for both: in ComfyUI's folders, and as a folder of encoders, which is returned."""
    folder = tmp_path_factory.mktemp("encoders")
    torch.save(load_file(WEIGHTS / "nano_vae.safetensors"), folder / "Wan2.1_VAE.pth")
    language.write_text_encoder(folder)
    small_models.clip().save_pretrained(folder / "image_encoder")
    written = [*add_models(comfy.base / "models"),
               *(save_prompt(comfy.base / "models", prompt) for prompt in (WORD, LONG))]
    yield folder
    for path in written:
        path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def files(comfy, tmp_path_factory):
    """A case's files, by the options of the command line; ComfyUI has the same in its input folder."""

    def write(case: Case) -> dict[str, Path]:
        folder = tmp_path_factory.mktemp("files")
        job = drawing.write_job(folder, SIZE, case.drawn, case.replacement, tone=True, people=case.people,
                                back=case.back)
        if case.posed:
            write_skeletons(folder, comfy.base / "input")
        for path in job.values():
            shutil.copy(path, comfy.base / "input" / path.name)
        return job

    return write


def write_skeletons(folder: Path, inputs: Path) -> None:
    """Two dolls of 44 cm near the camera, as large in the picture as people, but with limbs that are not lost in so few
    pixels: for the command line as a user would write them, and for the stand-in of NLF."""
    width, height = SIZE
    joints = drawings.joints("two_people", frames=FRAMES, width=width, height=height) / 4
    np.savez(folder / "poses.npz", joints=joints.numpy(), size=(height, width), rate=float(drawing.FPS))
    save_file({"joints": joints}, inputs / "bodies.safetensors")


@pytest.fixture(scope="module")
def doors(comfy, models, files, tmp_path_factory):
    """Both sides' work of a case, made once."""
    made = {}

    def make(name: str) -> tuple[Door, Door]:
        if name not in made:
            folder, job = tmp_path_factory.mktemp("doors"), files(CASES[name])
            made[name] = by_comfy(comfy, models, CASES[name], folder), by_command(models, CASES[name], job, folder)
        return made[name]

    return make


def add_files(graph: Graph, models: Path, case: Case) -> None:
    """The files through ComfyUI's loaders and the pack's nodes, as far as Sample SCAIL-2 Video."""
    graph.add("model", "SCAIL2LoadModel", model_name=MODEL, weight_dtype="default")
    graph.add("vae", "VAELoader", vae_name=VAE)
    graph.add("clip", "TestClipVision", weights=str(models / "image_encoder/model.safetensors"))
    graph.add("positive", "SCAIL2LoadPrompt", file=f"{case.prompt or NOTHING}.safetensors")
    graph.add("negative", "SCAIL2LoadPrompt", file=f"{case.negative or NOTHING}.safetensors")
    for name, (first, second) in {"image": ("reference", "back"), "mask": ("reference_mask", "back_mask")}.items():
        graph.add(name, "LoadImage", image=f"{first}.png")
        if case.back:
            graph.add(f"{name}_back", "LoadImage", image=f"{second}.png")
            graph.add(f"{name}s", "ImageBatch", image1=[name, 0], image2=[f"{name}_back", 0])
    pictures, masks = ([f"{name}s" if case.back else name, 0] for name in ("image", "mask"))
    graph.add("driving", "LoadVideo", file="driving.mp4")
    graph.add("driving_mask", "LoadVideo", file="driving_mask.mp4")
    graph.add("identities", "SCAIL2Identities", mode=case.mode, driving_masks=["driving_mask", 0],
              reference_masks=masks)
    if case.posed:
        graph.add("bodies", "TestBodies", path="bodies.safetensors", name="joints")
        graph.add("poses", "SCAIL2Poses", poses=["bodies", 0], driving=["driving", 0])
        graph.set("identities", driving_masks=["poses", 0])
    if case.whole_picture:
        graph.set("identities", driving_masks=["driving", 0], reference_masks=pictures, whole_picture=True)
    graph.add("reference", "SCAIL2EncodeReference", vae=["vae", 0], clip_vision=["clip", 0], image=pictures,
              identities=["identities", 0], width=SIZE[0] * case.larger, height=SIZE[1] * case.larger)


def sampling_inputs() -> dict[str, list]:
    names = ("model", "positive", "negative", "vae", "reference", "driving", "identities")
    return {name: [name, 0] for name in names}


def by_comfy(comfy, models: Path, case: Case, folder: Path) -> Door:
    graph = Graph("")
    add_files(graph, models, case)
    graph.add("sampled", "SCAIL2SampleVideo", **sampling_inputs(), seed=SEED, solver=case.solver, steps=case.steps,
              shift=3.0, guidance=case.guidance, segment_length=9, overlap=5, codec="lossless", plan=case.plan,
              history=case.history, history_strength=case.history_strength, rate=float(case.rate),
              driving_end=case.driving_end, draft=case.draft, negative_strength=case.negative_strength)
    if case.posed:
        graph.set("sampled", driving=["poses", 0])
    if case.sigmas:
        graph.set("sampled", sigmas=graph.add("sigmas", "ManualSigmas", sigmas=case.sigmas))
    graph.add("report", "PreviewAny", source=["sampled", 1])
    record = folder / "comfy"
    comfy.run(recording(str(record)))
    try:
        found = sampled(comfy.run(graph)["report"]["text"][0])
    finally:
        comfy.run(recording(""))
    return Door(found.video, found.folder, record)


def recording(folder: str) -> Graph:
    graph = Graph("")
    graph.add("record", "TestRecordDoor", folder=folder)
    return graph


def by_command(models: Path, case: Case, files: dict[str, Path], folder: Path) -> Door:
    options = {"ckpt_dir": models, "scail_path": WEIGHTS / "nano_scail2.safetensors", **files, "prompt": case.prompt,
               "target_w": SIZE[0], "target_h": SIZE[1], "segment_len": 9, "segment_overlap": 5,
               "sample_solver": case.solver, "sample_steps": case.steps, "sample_guide_scale": case.guidance,
               "base_seed": SEED, "codec": "lossless", "plan": case.plan, "history": case.history,
               "history_strength": case.history_strength, "sigmas": case.sigmas, "rate": float(case.rate),
               "driving_end": case.driving_end, "negative_prompt": case.negative,
               "negative_strength": case.negative_strength,
               "job_dir": folder / "jobs", "save_file": folder / "video.mp4"}
    record = door_records.DoorRecord(
        folder / "command", vae=encoders.VAE, host=HeadlessHost, frames=lambda pixels: pixels.movedim(1, -1),
        reference=lambda host, inputs: host._reference(inputs.reference), clip=lambda reference: reference.clip,
        text=lambda host, inputs: host._embedding(inputs.positive))
    try:
        asked = {"replace_flag": case.replacement, "whole_picture": case.whole_picture, "draft": case.draft}
        flags = [f"--{name}" for name, given in asked.items() if given]
        if case.whole_picture:
            options = {name: value for name, value in options.items() if name not in ("mask_image", "mask_video")}
        if case.posed:
            options["pose"] = options.pop("mask_video").with_name("poses.npz")
        assert main(["generate", *flags, *(f"--{name}={value}" for name, value in options.items())]) == 0
    finally:
        record.stop()
    (job,) = (folder / "jobs").glob("*/")
    return Door(folder / ("video.draft.mp4" if case.draft else "video.mp4"), job, record.folder)


def padded(text: torch.Tensor) -> torch.Tensor:
    """As the network reads a prompt: with zero rows after the text."""
    return F.pad(text, (0, 0, 0, 512 - text.shape[1]))


@pytest.mark.parametrize("name", CASES)
def test_pixels_masks_segments_and_noise_are_equal(doors, name):
    comfy, command = doors(name)
    assert [about for _, about in comfy.samplings] == [about for _, about in command.samplings]
    assert [about["segment"] for _, about in command.samplings] == [[0, 9, 9, 0], [4, 13, 9, 5], [8, 15, 9, 5]]
    for (ours, _), (theirs, _) in zip(comfy.samplings, command.samplings, strict=True):
        for part in ("noise", "driving_mask", "reference_mask"):
            assert torch.equal(ours[part], theirs[part]), part
        torch.testing.assert_close(*(padded(side["text"]) for side in (ours, theirs)), rtol=0, atol=1e-5)
        for part in ("driving", "clip"):  # from other implementations of the same encoders
            torch.testing.assert_close(ours[part], theirs[part], rtol=0, atol=1e-3)
    full = CASES[name].size[::-1]  # height, width
    half = tuple(side // 2 for side in full)
    for shape, count in (((1, *full), 1 + CASES[name].back), ((9, *half), 3)):
        ours, theirs = comfy.encoded[shape], command.encoded[shape]
        assert len(ours) == len(theirs) == count
        assert all(map(torch.equal, ours, theirs)), shape
    assert len(comfy.encoded[(5, *full)]) == len(command.encoded[(5, *full)]) == 2  # history


@pytest.mark.parametrize("name", CASES)
def test_frames_are_equal_but_for_the_rounding_of_two_vaes(doors, name):
    comfy, command = doors(name)
    assert comfy.frames.shape == command.frames.shape == (FRAMES, *CASES[name].size[::-1], 3)
    assert (comfy.frames - command.frames).abs().max() <= 1
    assert command.frames.float().std() > 15  # not a flat picture


@pytest.mark.parametrize("name", [name for name in CASES if not CASES[name].posed])
def test_rate_and_sound_are_equal(doors, name):
    comfy, command = doors(name)
    found = assets.probe(comfy.video)
    assert found == assets.probe(command.video)
    assert found["fps"] == (CASES[name].rate or drawing.FPS)
    assert found["sound"] == pytest.approx(CASES[name].drawn / drawing.FPS, abs=0.05)  # as long as the driving video
    assert (comfy.job / "sound.m4a").read_bytes() == (command.job / "sound.m4a").read_bytes()
    assert assets.packets_of(comfy.video, "audio") == assets.packets_of(command.video, "audio")


TWINS = {
    "animation": Case("animation", people=2),
    "replacement, view from behind": Case("replacement", back=True, solver="euler", history_strength=0.8),
    "guidance": Case("animation", guidance=5.0, history="latents", prompt=LONG,
                     plan='[{"segments": 2, "driving_strength": 0.5}]', rate=drawing.FPS / 2, driving_end=0.6),
    "guidance, steered": Case("animation", guidance=3.0, negative=WORD, negative_strength=9.0),
    "replacement of two with a locked plate": Case("replacement", people=2, guidance=3.0, prompt=LONG, plate="lock"),
    "8-bit": Case("animation", people=2, precision="8-bit", negative=LONG, negative_strength=11.0),
    # 1,026 tokens: from 1,024 on there is something to choose
    "fast": Case("animation", people=2, precision="fast", larger=3),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in ("animation", "fast")))
                                  for name in TWINS])
def test_both_hosts_write_the_same_bytes(comfy, models, files, tmp_path, name):
    """In one process, with one VAE: all else is each host's own."""
    case = TWINS[name]
    files(case)
    graph = Graph("")
    add_files(graph, models, case)
    graph.set("model", attention="sparse" if case.precision == "fast" else "pytorch", precision=case.precision)
    graph.add("hosts", "TestTwoHosts", **sampling_inputs(), weights=str(WEIGHTS / "nano_scail2.safetensors"),
              folder=str(tmp_path), seed=SEED, solver=case.solver, steps=3, guidance=case.guidance, segment_length=9,
              history=case.history, history_strength=case.history_strength, plan=case.plan, rate=float(case.rate),
              driving_end=case.driving_end, sparse_density=0.3, sparse_error=0.3,
              negative_strength=case.negative_strength, plate=case.plate)
    comfy.run(graph)
    latents = [[load_file(path)["samples"] for path in sorted((tmp_path / host).glob("*.latent.safetensors"))]
               for host in ("comfy", "headless")]
    assert len(latents[0]) == len(latents[1]) == 3
    for ours, theirs in zip(*latents, strict=True):
        assert torch.equal(ours, theirs), f"differ by {(ours - theirs).abs().max():.2g}"
    assert assets.packets_of(tmp_path / "comfy.mp4", "video") == assets.packets_of(tmp_path / "headless.mp4", "video")
    errors = [[path.read_text() for path in sorted((tmp_path / host).glob("*.sparse.json"))]
              for host in ("comfy", "headless")]
    assert errors[0] == errors[1]
    assert ['"error"' in text for text in errors[0]] == [True] * 3 * (case.precision == "fast")
    assert (tmp_path / "comfy/sound.m4a").read_bytes() == (tmp_path / "headless/sound.m4a").read_bytes()


def test_skeletons_have_rate_and_sound_of_the_filmed_video(doors):
    """In a file they have the rate alone."""
    comfy, command = (assets.probe(door.video) for door in doors("two skeletons"))
    assert comfy["fps"] == command["fps"] == drawing.FPS
    assert comfy["sound"] == pytest.approx(FRAMES / drawing.FPS, abs=0.05)
    assert not command["sound"]


def test_both_skeletons_are_in_the_masks_of_every_segment(doors):
    for tensors, _ in doors("two skeletons")[1].samplings:
        colours = tensors["driving_mask"].reshape(4, 7, -1)  # of each 4 frames: white, red, green, blue, ...
        assert (colours[:, [1, 3]].amax(-1) > 0.5).all()
        assert not colours[:, [0, 2, 4, 5, 6]].any()
