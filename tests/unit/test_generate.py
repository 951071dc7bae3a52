"""`scail2 generate` from files to a finished video, with small real models; and what it refuses, leaving nothing."""

from __future__ import annotations

import json
import os
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from scail_model.headless import host as host_module
from scail_model.headless import terminal
from scail_model.headless.cli import main
from tests.demo import drawing, small_models

FPS = Fraction(30000, 1001)
FRAMES = 12  # segments of 9 and, with 5 shared frames and one repeated at the end, 9
SIZE = (64, 64)
BLACK, WHITE, BLUE, RED = (0, 0, 0), (255, 255, 255), (0, 0, 255), (255, 0, 0)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """Files of an animation and of a replacement."""
    folder = tmp_path_factory.mktemp("jobs")
    return {mode: drawing.write_job(folder / mode, SIZE, FRAMES, mode == "replacement", tone=True, fps=FPS)
            for mode in ("animation", "replacement")}


@pytest.fixture(scope="module")
def plain(models, jobs, tmp_path_factory):
    """Frames of the animation with nothing changed."""
    return make(models, jobs["animation"], tmp_path_factory.mktemp("plain") / "plain.mp4")


@pytest.fixture
def out(tmp_path):
    """The result's path, alone in its folder."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "result.mp4"


def command(models, job, out, **changes):
    """Arguments of a run of two steps; `changes` are options, None leaves one out, True is a flag."""
    options = {"ckpt_dir": models / "encoders", "scail_path": models / "transformer.safetensors", **job,
               "target_w": SIZE[0], "target_h": SIZE[1], "segment_len": 9, "sample_steps": 2, "base_seed": 3,
               "prompt": "a figure waves", "save_file": out, **changes}
    argv = ["generate"]
    for name, value in options.items():
        if value is not None and value is not False:
            argv += [f"--{name}", *([] if value is True else [str(v) for v in np.atleast_1d(value)])]
    return argv


def make(*arguments, **changes):
    """Frames of the video of a run, uint8 [T, h, w, 3]."""
    argv = command(*arguments, **changes)
    assert main(argv) == 0
    return frames_of(argv[argv.index("--save_file") + 1])


def same(frames, others):
    """Whether two videos show the same; libx264's assembly turns equal frames into slightly different files."""
    difference = np.abs(frames.astype(int) - others.astype(int)).mean()
    return difference < 1


def frames_of(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_the_video_has_the_driving_clips_frames_rate_and_sound(models, jobs, out, capsys):
    frames = make(models, jobs["animation"], out)
    assert frames.shape == (FRAMES, SIZE[1], SIZE[0], 3)
    assert frames.std() > 1
    with av.open(str(out)) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        assert (video.average_rate, video.frames) == (FPS, FRAMES)
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert sound.rate == 44100
        samples = np.concatenate([block.to_ndarray() for block in container.decode(audio=0)], axis=1)
    # the driving clip's sound is half a second longer; AAC may round up to a block of 1024
    assert samples.shape[0] == 2
    assert 0 <= samples.shape[1] - FRAMES / FPS * 44100 < 1024
    spectrum = np.abs(np.fft.rfft(samples[0]))
    assert abs(spectrum.argmax() * 44100 / samples.shape[1] - 440) < 5
    assert {path.name for path in out.parent.iterdir()} == {out.name, f"{out.name}.json", "scail2_jobs"}
    text = capsys.readouterr().out
    for part in ("animation, 64x64, 12 frames at 29.97 per second, 2 segments", "unipc, 2 steps", "seed 3", str(out)):
        assert part in text


def test_a_record_lies_beside_the_video(models, jobs, out, capsys):
    make(models, jobs["animation"], out)
    record = json.loads(out.with_name(f"{out.name}.json").read_text())
    assert record["video"] == str(out)
    assert "\n".join(record["report"]) in capsys.readouterr().out
    assert record["check"]["ok"] is True
    assert record["segments"]["segments"][-1]["stop"] == record["segments"]["frames"]
    assert list(Path(record["job_folder"]).glob("0001-*.mp4"))


def test_without_sound_and_with_another_rate(models, tmp_path, out):
    job = drawing.write_job(tmp_path / "job", SIZE, 3, fps=Fraction(12))
    assert len(make(models, job, out)) == 3
    with av.open(str(out)) as container:
        assert not container.streams.audio
        assert container.streams.video[0].average_rate == 12


def test_a_seed_below_zero_is_drawn_and_told_and_makes_the_same_video_again(models, jobs, out, capsys, plain):
    frames = make(models, jobs["animation"], out, base_seed=-1)
    seed = int(capsys.readouterr().out.split("seed ")[1].split()[0])
    assert same(frames, make(models, jobs["animation"], out.with_name("again.mp4"), base_seed=seed))
    assert not same(frames, plain)


def test_replacement_cuts_the_reference_out_unless_told_not_to(models, jobs, out, capsys):
    cut = make(models, jobs["replacement"], out, replace_flag=True)
    assert "replacement, 64x64" in capsys.readouterr().out
    kept = make(models, jobs["replacement"], out.with_name("kept.mp4"), replace_flag=True,
                keep_reference_background=True)
    assert not same(cut, kept)


def test_additional_references_have_their_part(models, jobs, out, plain):
    """Under either of their official names."""
    job = jobs["animation"]
    images, masks = [job["image"]] * 2, [job["mask_image"]] * 2
    more = make(models, job, out, additional_ref_image=images, additional_mask_image=masks)
    assert len(more) == FRAMES
    assert not same(plain, more)


def test_a_portrait_reference_turns_the_result(models, jobs, tmp_path, out, capsys):
    tall = drawing.write_job(tmp_path / "tall", (48, 96), 1)
    job = {**jobs["animation"], "image": tall["image"], "mask_image": tall["mask_image"]}
    frames = make(models, job, out, target_w=96, target_h=64)
    assert frames.shape == (FRAMES, 96, 64, 3)
    assert "swapped (96x64 was asked for)" in capsys.readouterr().out


def test_the_name_tells_size_prompt_and_time(models, jobs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(command(models, jobs["animation"], None, prompt="A wizard, waving: hello to all of you")) == 0
    (path,) = tmp_path.glob("*.mp4")
    assert path.name.startswith("scail2_64x64_A_wizard_waving_hello_to_all_2")
    assert path.suffix == ".mp4"


def test_a_lora_is_merged(models, jobs, tmp_path, out, capsys, plain):
    generator = torch.Generator().manual_seed(0)
    pair = {f"diffusion_model.blocks.0.self_attn.q.lora_{name}.weight": torch.randn(shape, generator=generator)
            for name, shape in (("down", (4, 128)), ("up", (128, 4)))}
    save_file({**pair, "diffusion_model.elsewhere.lora_down.weight": torch.zeros(4, 8)}, tmp_path / "lora.safetensors")
    merged = make(models, jobs["animation"], out, lora_path=tmp_path / "lora.safetensors", lora_alpha=0.5)
    assert "2 tensors merged, 1 unused" in capsys.readouterr().out
    assert not same(plain, merged)


def test_the_model_of_an_official_folder_is_found(models, jobs, tmp_path, out, plain):
    folder = tmp_path / "official"
    shutil.copytree(models / "encoders", folder)
    (folder / "model" / "1").mkdir(parents=True)
    (folder / "model" / "latest").write_text("1")
    torch.save({"module": load_file(models / "transformer.safetensors")},
               folder / "model" / "1" / "fsdp2_rank_0000_checkpoint.pt")
    frames = make(models, jobs["animation"], out, ckpt_dir=folder, scail_path=None)
    assert same(frames, plain)


# What is refused

def _text_file(folder, job):
    return _written(folder / "text.mp4", b"this is text")


def _half(folder, job):
    data = job["pose"].read_bytes()
    return _written(folder / "half.mp4", data[: len(data) // 2])


def _written(path, data):
    path.write_bytes(data)
    return path


def _short_mask(folder, job):
    drawing.write_video(folder / "short.mp4", [Image.new("RGB", SIZE)] * 5)
    return folder / "short.mp4"


def _mask_of(background, colour):
    """The driving mask, which is blue on black, in other colours."""
    def write(folder, job):
        person = frames_of(job["mask_video"])[..., 2:] > 127
        frames = np.where(person, np.uint8(colour), np.uint8(background))
        drawing.write_video(folder / "mask.mp4", list(map(Image.fromarray, frames)), FPS)
        return folder / "mask.mp4"

    return write


def _grey_mask(folder, job):
    Image.new("RGB", SIZE, (120, 120, 120)).save(folder / "grey.png")
    return folder / "grey.png"


def _wide_mask(folder, job):
    Image.open(job["mask_image"]).resize((128, 64), Image.Resampling.NEAREST).save(folder / "wide.png")
    return folder / "wide.png"


def _weights(change):
    def write(folder, job):
        state = {name: tensor.clone() for name, tensor in small_models.transformer().state_dict().items()}
        change(state)
        save_file(state, folder / "changed.safetensors")
        return folder / "changed.safetensors"

    return write


def _no_tensor(state):
    del state["blocks.1.ffn.0.weight"]


def _quantised(state):
    state["blocks.0.ffn.0.weight"] = state["blocks.0.ffn.0.weight"].to(torch.float8_e4m3fn)


def _of_another_model(folder, job):
    save_file({"double_blocks.0.weight": torch.zeros(2)}, folder / "other.safetensors")
    return folder / "other.safetensors"


def _lora_of_another_model(folder, job):
    save_file({"elsewhere.lora_down.weight": torch.zeros(4, 8), "elsewhere.lora_up.weight": torch.zeros(8, 4)},
              folder / "lora.safetensors")
    return folder / "lora.safetensors"


def _lora_with_nan(folder, job):
    lora = {"diffusion_model.blocks.0.ffn.2.diff_b": torch.full((128,), float("nan"))}
    save_file(lora, folder / "spoilt.safetensors")
    return folder / "spoilt.safetensors"


def _missing(folder, job):
    return folder / "missing.png"


def _empty_folder(folder, job):
    return folder


def _deep(folder, job):
    return _written(folder / "deep.json", b"[" * 100_000)


def _binary(folder, job):
    return _written(folder / "binary.json", b"\xff\xfe[")


def _damaged_sound(folder, job):
    data = bytearray(job["pose"].read_bytes())
    with av.open(str(job["pose"])) as container:
        packet = [packet for packet in container.demux(audio=0) if packet.size][9]
    data[packet.pos : packet.pos + packet.size] = b"Z" * packet.size
    return _written(folder / "sound.mp4", data)


REFUSED = {
    "reference is a folder": ({"image": _empty_folder}, "The reference", "is not a file"),
    "two lines in a name": ({"image": "a\nb.png"}, "The reference a b.png does not exist"),
    "damaged sound": ({"pose": _damaged_sound}, "The sound of", "cannot be decoded after 0.", "export the video again"),
    "plan missing": ({"plan": "missing.json"}, "missing.json (--plan) cannot be read (No such file"),
    "plan is a binary file": ({"plan": _binary}, "binary.json (--plan) cannot be read (it is not UTF-8)"),
    "plan is too deep": ({"plan": _deep}, "The plan is not valid JSON", "write a list such as"),
    "plan with an endless number": ({"plan": f'[{{"segments": "1", "seed": {"9" * 5000}}}]'}, "not valid JSON"),
    "seed of 65 bits": ({"base_seed": 2**64}, "base_seed is 18446744073709551616", "at most 18446744073709551615"),
    "too many steps": ({"sample_steps": 10**9}, "steps is 1000000000 (--sample_steps)", "1 to 1000"),
    "shift is not a number": ({"sample_shift": "nan"}, "shift is nan (--sample_shift)"),
    "endless segments": ({"segment_len": 8197}, "segment_length is 8197 (--segment_len)", "5 to 8193"),
    "very wide": ({"target_w": 32 * 10**9}, "The size is 32000000000x64", "at most 8192 pixels"),
    "a cut after the end": ({"scene_cuts": "99"}, "scene cut at frame 99", "between 1 and 11: correct scene_cuts.\n"),
    "two errors": ({"plan": '[{"segments": 9, "seed": 1}]', "pose": _damaged_sound}, "names the segments 9",
                   "see scail2 check"),
    "no reference": ({"image": _missing}, "The reference", "does not exist"),
    "no mask": ({"mask_image": _missing}, "The mask of the reference", "does not exist"),
    "no driving video": ({"pose": _missing}, "The driving video", "does not exist"),
    "no driving mask": ({"mask_video": _missing}, "The driving mask", "does not exist"),
    "reference is text": ({"image": _text_file}, "The reference", "cannot be read as a picture"),
    "driving is text": ({"pose": _text_file}, "The driving video", "cannot be opened as a video"),
    "driving cut short": ({"pose": _half}, "The driving video", "export it again"),
    "mask cut short": ({"mask_video": _short_mask}, "has 12 frames, but its mask has 5"),
    "mask without colours": ({"mask_image": _grey_mask}, "reference mask contains other colours (100.0% of the pixels"),
    "mask of another shape": ({"mask_image": _wide_mask}, "128x64", "64x64", "different shapes"),
    "background of the other mode": ({"mask_video": _mask_of(WHITE, BLUE)}, "which means replacement"),
    "mode against the masks": ({"replace_flag": True}, "reference mask has a white background"),
    "another person": ({"mask_video": _mask_of(BLACK, RED)}, "red", "same colour in both masks"),
    "additional without mask": ({"additional_image": lambda folder, job: job["image"]}, "1 additional", "0 masks"),
    "width off the grid": ({"target_w": 72}, "width is 72", "use 64 or 96"),
    "no steps": ({"sample_steps": 0}, "steps is 0"),
    "no masks, and not a word of it": ({"mask_image": None, "mask_video": None}, "--mask_image and --mask_video are "
                                       "missing", "set --whole_picture if one person is all of the picture"),
    "one mask of two": ({"mask_video": None}, "--mask_video is missing: give the mask"),
    "no masks, and masks": ({"whole_picture": True}, "--whole_picture says that there are no masks, but --mask_image"),
    "no masks in replacement": ({"mask_image": None, "mask_video": None, "whole_picture": True, "replace_flag": True},
                                "whole_picture is set in replacement"),
    "the picture for its mask": ({"mask_image": lambda folder, job: job["image"]}, "contains other colours",
                                 "set whole_picture"),
    "a rate that is not a number": ({"rate": "nan"}, "rate is nan (--rate), but it must be 0.0 to 240.0"),
    "a range that ends before it begins": ({"driving_start": 0.5, "driving_end": 0.25}, "driving_start is 0.5 and"),
    "jobs in a file": ({"job_dir": _text_file}, "The job folder cannot be made in", "is a file: move that file away"),
    "shift": ({"sample_shift": -1}, "shift is -1"),
    "segment length": ({"segment_len": 80}, "segment_length is 80", "77 or 81"),
    "overlap": ({"segment_overlap": 4}, "overlap is 4"),
    "prompt too long": ({"prompt": "word " * 300}, "The prompt has", "SCAIL-2 reads 512"),
    "no encoders": ({"ckpt_dir": _missing}, "--ckpt_dir", "does not exist"),
    "folder without encoders": ({"ckpt_dir": _empty_folder}, "has no VAE", "Wan2.1_VAE.pth"),
    "no transformer": ({"scail_path": None}, "holds no transformer", "--scail_path"),
    "transformer missing": ({"scail_path": _missing}, "missing.png does not exist"),
    "transformer of another model": ({"scail_path": _of_another_model}, "not a SCAIL-2 transformer but a Flux"),
    "transformer incomplete": ({"scail_path": _weights(_no_tensor)}, "lacks 1 tensors", "blocks.1.ffn.0.weight"),
    "transformer quantised": ({"scail_path": _weights(_quantised)}, "is quantised"),
    "no lora": ({"lora_path": _missing}, "The LoRA", "does not exist"),
    "lora in a folder": ({"lora_path": lambda folder, job: folder}, "(--lora_path) is a folder: give the .safetensors"),
    "lora with NaN": ({"lora_path": _lora_with_nan}, "spoilt.safetensors holds NaN", "first in diffusion_model"),
    "lora of another model": ({"lora_path": _lora_of_another_model}, "none of the 2 LoRA tensors fits"),
    "wrong ending": ({"save_file": "result.avi"}, "end it with .mp4"),
    "no folder to save in": ({"save_file": "/nowhere/at/all/result.mp4"}, "does not exist: make it first"),
}


def test_the_check_refuses_a_seed_that_generate_refuses(models, jobs, out, capsys):
    assert main(["check", *command(models, jobs["animation"], out, base_seed=2**64)[1:]]) == 1
    assert "base_seed is 18446744073709551616" in capsys.readouterr().err


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_named_before_anything_is_loaded(models, jobs, tmp_path, out, capsys, monkeypatch, case):
    changes, *texts = REFUSED[case]
    job = jobs["animation"]
    changes = {name: value(tmp_path, job) if callable(value) else value for name, value in changes.items()}
    for name in ("VAE", "encode_texts", "encode_clip"):  # what loads a model
        monkeypatch.delattr(host_module, name)
    assert main(command(models, job, out, **changes)) == 1
    message = capsys.readouterr().err
    assert message.startswith("scail2: ")
    assert message.count("\n") == 1
    for text in texts:
        assert text in message
    assert not list(out.parent.iterdir())


@pytest.mark.parametrize(("changes", "text"), [
    ({"base_seed": "abc"}, "argument --base_seed: invalid int value: 'abc': see scail2 generate --help."),
    ({"codec": "h263"}, "argument --codec: invalid choice"),
])
def test_wrong_usage_is_one_line_too(models, jobs, out, capsys, changes, text):
    with pytest.raises(SystemExit) as exit_info:
        main(command(models, jobs["animation"], out, **changes))
    assert exit_info.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("scail2: ")
    assert text in message
    assert message.count("\n") == 1


def test_names_in_any_letters_and_none(models, jobs, tmp_path, monkeypatch, capsys):
    """Every letter of a Chinese prompt has three bytes, and a file's name at most 255; a name may be no text."""
    monkeypatch.chdir(tmp_path)
    assert main(command(models, jobs["animation"], None, prompt="舞" * 90, sample_steps=1)) == 0
    (path,) = tmp_path.glob("*.mp4")
    assert path.name.startswith("scail2_64x64_舞舞舞")
    raw = os.fsdecode(b"a\xff.mp4")
    (tmp_path / raw).touch()
    assert main(command(models, jobs["animation"], raw)) == 1
    assert "scail2: a\\udcff.mp4 (--save_file) exists: choose another name" in capsys.readouterr().err


def test_a_finished_video_is_not_overwritten_unless_asked_to(models, jobs, out, capsys):
    out.write_bytes(b"precious")
    assert main(command(models, jobs["animation"], out)) == 1
    assert "exists: choose another name" in capsys.readouterr().err
    assert out.read_bytes() == b"precious"
    assert main(command(models, jobs["animation"], out, overwrite=True, sample_steps=0)) == 1
    assert out.read_bytes() == b"precious"
    make(models, jobs["animation"], out, overwrite=True)
    assert len(frames_of(out)) == FRAMES


def test_nan_is_named_with_step_and_segment_and_leaves_nothing(models, jobs, tmp_path, out, capsys):
    broken = _weights(lambda state: state["head.head.bias"].fill_(float("nan")))(tmp_path, None)
    assert main(command(models, jobs["animation"], out, scail_path=broken)) == 1
    assert ("segment 1 of 2 has NaN or infinite values after step 1 of 2: use another file of the model, because "
            "head.head.bias in this one holds such values.") in capsys.readouterr().err
    assert not list(out.parent.iterdir())


def test_ctrl_c_keeps_what_is_finished(models, jobs, out, capsys, monkeypatch, plain):
    steps = []

    def interrupt(terminal, *_):
        steps.append(1)
        if len(steps) == 4:  # the first segment is written by then
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(terminal.Terminal, "step", interrupt)
        assert main(command(models, jobs["animation"], out)) == 130
    assert "the same command goes on from there" in capsys.readouterr().err
    assert [path.name for path in out.parent.iterdir()] == ["scail2_jobs"]
    (so_far,) = out.parent.rglob("so-far.mp4")
    assert len(frames_of(so_far)) == 9
    assert same(make(models, jobs["animation"], out), plain)
    assert "1 of 2 segments were already finished" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["maybe", ""])
def test_offload_model_takes_a_truth_value(models, jobs, out, text):
    with pytest.raises(SystemExit) as exit_info:
        main(command(models, jobs["animation"], out, offload_model=text))
    assert exit_info.value.code == 2
