"""`scail2 prepare` as a user runs it: official names, the right colours, and masks that survive their codecs."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from examples import (
    BLACK,
    BLUE,
    FRAMES,
    GREEN,
    LEFT,
    MIDDLE,
    RED,
    RIGHT,
    SIZE,
    WHITE,
    filmed,
    overlap,
    painted,
    prepare,
    read_codes,
    read_frames,
    silhouettes,
    write_folder,
    write_video,
)
from PIL import Image

from scail_model.headless import prepare as prepare_module
from scail_model.headless.cli import main
from scail_model.masks import PALETTE
from scail_model.media.video_file import FileClip
from tests.unit.golden import GOLDEN

ROOT = Path(__file__).parents[2]
CODES = {colour: int(np.dot(np.array(colour) > 0, (1, 2, 4))) for colour in (BLACK, *PALETTE, WHITE)}
MASKS = {"animation": ("rendered_mask_v2.mp4", "ref_mask.jpg"), "replacement": ("replace_mask.mp4", "ref_mask.png")}


def names(folder):
    return {path.name for path in folder.iterdir()}


def everybody(shown: np.ndarray, masks: np.ndarray, colours, background) -> float:
    """The least overlap of a person's mask with what is shown; colours uint8 [..., H, W, 3]."""
    expected = read_codes(painted(masks, colours, background), SIZE, halved=False)
    found = read_codes(shown, SIZE, halved=False)
    return min(overlap(found == CODES[colour], expected == CODES[colour]) for colour in (*colours, background))


@pytest.mark.parametrize("mode", MASKS)
def test_the_files_of_both_modes(tmp_path, capsys, mode):
    folder = write_folder(tmp_path / "one", tone=True)
    before = names(folder)
    assert prepare(mode, folder) == 0
    mask_video, mask_picture = MASKS[mode]
    assert names(folder) == before | {"rendered_v2.mp4", mask_video, mask_picture}
    assert (folder / "rendered_v2.mp4").read_bytes() == (folder / "driving.mp4").read_bytes()
    background, other = (BLACK, WHITE) if mode == "animation" else (WHITE, BLACK)
    assert everybody(read_frames(folder / mask_video), silhouettes([LEFT]), [BLUE], background) > 0.95
    reference = np.array(Image.open(folder / mask_picture))[None]
    assert everybody(reference, silhouettes([MIDDLE], 1), [BLUE], other) > 0.999
    text = capsys.readouterr().out
    assert f"wrote rendered_v2.mp4, {mask_video}, {mask_picture} (6 frames of 160x96; blue)" in text
    assert ("--replace_flag" in text) == (mode == "replacement")


def test_masks_pass_the_official_threshold_as_they_were_painted(tmp_path):
    """All six colours, at the size of the result and at others, by the official arithmetic: not a pixel differs."""
    boxes = [(4 + 26 * person, 20, 26 + 26 * person, 80) for person in range(6)]
    folder = write_folder(tmp_path / "six", boxes, PALETTE, reference=boxes, reference_colours=PALETTE)
    assert prepare("animation", folder) == 0
    path = folder / "rendered_mask_v2.mp4"
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv444p")
        assert (stream.frames, stream.average_rate) == (FRAMES, 16)
    frames, exact = read_frames(path), painted(silhouettes(boxes), PALETTE)
    for size in (SIZE, (64, 96), (192, 320)):
        assert (read_codes(frames, size, halved=True) == read_codes(exact, size, halved=True)).all()
    opencv = pytest.importorskip("cv2")  # reads them too
    capture = opencv.VideoCapture(str(path))
    read = [capture.read()[1][..., ::-1] for _ in range(FRAMES)]
    assert (read_codes(np.stack(read), SIZE, halved=True) == read_codes(exact, SIZE, halved=True)).all()


@pytest.mark.parametrize("mode", MASKS)
def test_generate_goes_on_from_the_line_that_is_told(tmp_path, capsys, models, mode):
    folder = write_folder(tmp_path / "a folder", [LEFT, RIGHT], [RED, GREEN], reference=[MIDDLE],
                          reference_colours=[BLUE], tone=True)
    if mode == "replacement":
        assert prepare(mode, folder, "--binding", "1:2") == 0
    else:
        assert prepare(mode, folder, "--crop_e2e_bbox") == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "next: " in line)
    words = shlex.split(line.split("next: ")[1])[1:]
    words[words.index("--ckpt_dir") + 1] = str(models / "encoders")
    words += ["--scail_path", str(models / "transformer.safetensors"), "--target_w", "96", "--target_h", "64",
              "--segment_len", "5", "--segment_overlap", "1", "--sample_steps", "1", "--save_file",
              str(tmp_path / "out.mp4")]
    assert main(words) == 0
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].frames == FRAMES
        assert container.streams.audio


@pytest.mark.parametrize(("flag", "expected"), [
    ("--crop_e2e_mask", [(8, 16, 40, 88), (68, 16, 100, 88)]),
    ("--crop_e2e_bbox", [(6, 12, 42, 92), (66, 12, 102, 92)]),
    ("--crop_e2e_steady_bbox", [(2, 12, 116, 92)]),
])
def test_crops_of_the_driving_video(tmp_path, flag, expected):
    """Black outside, the video itself inside, and its sound; frame 0 here. Everybody walks 10 pixels in all."""
    second = (68, 16, 100, 88)
    folder = write_folder(tmp_path / "two", [LEFT, second], [BLUE, RED], reference=[LEFT, second],
                          reference_colours=[BLUE, RED], tone=True)
    assert prepare("animation", folder, flag, "--crop_margin", "0.05") == 0
    shown, whole = read_frames(folder / "rendered_v2.mp4"), read_frames(folder / "driving.mp4")
    kept = np.zeros(SIZE, bool)
    for left, top, right, bottom in expected:
        kept[top:bottom, left:right] = True
    black = shown[0].max(-1) < 12
    assert overlap(~black, kept) > 0.97
    assert np.abs(shown[0][kept].astype(int) - whole[0][kept]).mean() < 4
    with av.open(str(folder / "rendered_v2.mp4")) as container:
        sound = container.streams.audio[0]
        assert abs(float(sound.duration * sound.time_base) - FRAMES / 16) < 0.05


def test_golden_choices_with_the_right_colours(tmp_path):
    """Golden case P5 through the command: official choices, the reference's colours."""
    for path in sorted((GOLDEN / "poses").glob("P5_*.npz")):
        data = dict(np.load(path))
        info, folder = json.loads(str(data["info"])), tmp_path / path.stem
        folder.mkdir()
        tracks, reference = data["tracks"][data["order"]] > 0, data["ref"].reshape(-1, *data["ref"].shape[-2:]) > 0
        nearest = info["kind"] == "matchnearest"
        write_video(folder / "driving.mp4", painted(tracks, PALETTE[: len(tracks)], (90, 90, 90)))
        write_video(folder / "driving_mask.mp4", painted(tracks, PALETTE[: len(tracks)]))
        Image.fromarray(data["ref_mask_image"]).save(folder / "ref.png")
        Image.fromarray(painted(reference, PALETTE[: len(reference)])).save(folder / "reference_mask.png")
        mode = "replacement" if nearest else "animation"
        code = prepare(mode, folder, *(["--onetomany"] if nearest else []))
        if nearest and not any(info["iou"]):
            assert code == 1, path.stem
            continue
        assert code == 0, path.stem
        found = read_frames(folder / MASKS[mode][0])
        expected = data["right_replace_mask" if nearest else "right_driving_mask"]
        assert (read_codes(found, tracks.shape[-2:], halved=True) == read_codes(
            expected, tracks.shape[-2:], halved=True)).all(), path.stem


def test_test_mode_cuts_the_reference_out_of_the_first_frame(tmp_path):
    folder = write_folder(tmp_path / "one", [LEFT], [RED])
    for name in ("ref_image.png", "reference_mask.png"):
        (folder / name).unlink()
    assert prepare("replacement", folder, "--test_mode") == 0
    first, mask = read_frames(folder / "driving.mp4")[0], silhouettes([LEFT])[0, 0]
    made = np.array(Image.open(folder / "ref_image.png"))
    assert overlap(made.any(-1), mask) > 0.97
    assert np.abs(made[made.any(-1)].astype(int) - first[made.any(-1)]).max() <= 2
    reference = np.array(Image.open(folder / "ref_mask.png"))
    assert ((reference == RED).all(-1) == made.any(-1)).all()
    assert everybody(read_frames(folder / "replace_mask.mp4"), silhouettes([LEFT]), [RED], WHITE) > 0.95


# Many folders

def test_a_batch_goes_on_after_a_bad_folder_and_says_so_last(tmp_path, capsys):
    for name in "abc":
        write_folder(tmp_path / name)
    (tmp_path / "b" / "reference_mask.png").unlink()
    (tmp_path / ".hidden").mkdir()
    argv = ["prepare", "animation", "--input_root", str(tmp_path), "--e2e_mode"]
    assert main(argv) == 1
    out, err = capsys.readouterr()
    assert out.count("wrote rendered_v2.mp4") == 2
    assert "rendered_v2.mp4" not in names(tmp_path / "b")
    assert err.splitlines()[-2:] == ["1 of 3 folders could not be prepared:", err.splitlines()[-1]]
    assert "b: There is no mask of the reference in" in err.splitlines()[-1]
    write_folder(tmp_path / "d")
    assert main([*argv, "--skip_existing", "--json"]) == 1
    reports = json.loads(capsys.readouterr().out)
    assert [report["skipped"] for report in reports] == [True, False, True, False]
    assert [bool(report["error"]) for report in reports] == [False, True, False, False]
    assert [len(report["written"]) for report in reports] == [0, 0, 0, 3]
    assert reports[3]["people"] == ["blue"]
    assert reports[3]["next"].startswith("scail2 generate --ckpt_dir SCAIL-2 --image ")


def test_the_json_of_one_bad_folder(tmp_path, capsys):
    folder = write_folder(tmp_path / "folder")
    (folder / "reference_mask.png").unlink()
    assert prepare("animation", folder, "--json") == 1
    out, err = capsys.readouterr()
    assert err == f"scail2: {json.loads(out)[0]['error']}\n"


def test_what_exists_is_kept_unless_told_otherwise(tmp_path, capsys):
    folder = write_folder(tmp_path / "one")
    (folder / "rendered_v2.mp4").write_bytes(b"mine")
    assert prepare("animation", folder) == 1
    assert "rendered_v2.mp4 exists: add --overwrite, or --skip_existing" in capsys.readouterr().err
    assert names(folder) & {"rendered_mask_v2.mp4", "ref_mask.jpg"} == set()
    assert (folder / "rendered_v2.mp4").read_bytes() == b"mine"
    assert prepare("animation", folder, "--overwrite") == 0
    assert (folder / "rendered_v2.mp4").read_bytes() == (folder / "driving.mp4").read_bytes()
    assert prepare("animation", folder, "--skip_existing") == 0
    assert "skipped, because its mask video is there" in capsys.readouterr().out


def test_a_broken_run_leaves_nothing(tmp_path, monkeypatch, capsys):
    folder = write_folder(tmp_path / "one")
    before, whole = names(folder), prepare_module.write_frames

    def broken(path, frames, clip, tick, **how):
        whole(path, frames, clip, tick, **how)
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare_module, "write_frames", broken)
    assert prepare("animation", folder) == 130
    assert names(folder) == before
    monkeypatch.undo()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = folder / f".{dead.pid}.rendered_v2.mp4.part"
    left.write_bytes(b"half")
    assert prepare("animation", folder) == 0
    assert not left.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c(tmp_path):
    """While the mask video is written: it is not finished, one line, nothing left."""
    folder = drawn(tmp_path / "long", 100)
    before = names(folder)
    program = "import sys; from scail_model.headless.cli import main; sys.exit(main())"
    argv = ["prepare", "animation", "--subdir", folder, "--e2e_mode"]
    process = subprocess.Popen([sys.executable, "-c", program, *argv], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    part = f".*.{process.pid}.*.rendered_mask_v2.mp4.part"
    while process.poll() is None and not list(folder.glob(part)):
        time.sleep(0.005)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "scail2: interrupted\n")
    assert names(folder) == before


def test_long_work_is_heard_of(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("scail_model.headless.terminal.SILENCE", 0.02)
    folder = write_folder(tmp_path / "one")
    assert prepare("animation", folder) == 0
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith(f"{folder}: ") for line in lines)


@pytest.mark.parametrize("mode", MASKS)
def test_official_flags_of_models_are_explained(tmp_path, capsys, mode):
    folder = write_folder(tmp_path / "one")
    assert prepare(mode, folder, "--text", "human", "bear", "--sam3_model", "sam3.pt") == 0
    err = capsys.readouterr().err.splitlines()
    assert err == ["--text is for SAM3, which is not run here: masks come from --tracks.",
                   "--sam3_model names a model of SAM3, which is not run here: masks come from --tracks."]


@pytest.mark.parametrize("inverted", [False, True])
def test_white_that_surrounds_a_person_is_doubted(tmp_path, capsys, inverted):
    folder = write_folder(tmp_path / "one")
    mask = painted(silhouettes([LEFT]), [WHITE])
    write_video(folder / "driving_mask.mp4", 255 - mask if inverted else mask)
    assert prepare("animation", folder) == 0
    assert ("driving mask: white fills most of the border of its first frame" in capsys.readouterr().out) == inverted


@pytest.mark.parametrize(("argv", "said"), [
    (["prepare"], "the following arguments are required: KIND"),
    (["prepare", "animation", "--e2e_mode"], "one of the arguments --subdir --input_root is required"),
    (["prepare", "animation", "--subdir", "a", "--input_root", "b"], "not allowed with argument --subdir"),
    (["prepare", "replacement", "--subdir", "a", "--e2e_mode"], "unrecognized arguments: --e2e_mode: see "
                                                                       "scail2 prepare replacement --help"),
    (["prepare", "animation", "--subdir", "a", "--crop_e2e_mask", "--crop_e2e_bbox"], "not allowed with argument"),
    (["prepare", "animation", "--subdir", "a", "--overwrite", "--skip_existing"], "not allowed with argument"),
])
def test_wrong_usage(capsys, argv, said):
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


_MEASURE = """
import sys
import scail_model.headless.prepare
from scail_model.headless.cli import main

def resident(kind):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(kind))

before = resident("VmHWM")
code = main()
print(resident("VmHWM") - before)
sys.exit(code)
"""


def drawn(folder, frames):
    """480x800 pixels, which are 1.2 MB a frame."""
    write_folder(folder)
    masks = np.zeros((1, 1, 480, 800), bool)
    masks[..., 100:400, 300:500] = True
    for name in ("driving.mp4", "driving_mask.mp4"):
        write_video(folder / name, painted(masks, [BLUE]).repeat(frames, 0))
    return folder


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_video(tmp_path):
    """400 frames more are 461 MB of pixels."""
    grown = []
    for frames in (80, 480):
        argv = ["prepare", "animation", "--subdir", drawn(tmp_path / str(frames), frames), "--e2e_mode",
                "--crop_e2e_mask"]
        result = subprocess.run([sys.executable, "-c", _MEASURE, *argv], cwd=ROOT, capture_output=True, text=True,
                                check=True)
        grown.append(int(result.stdout.splitlines()[-1]))
    assert grown[1] - grown[0] < 120_000, grown  # KB


def test_a_stretch_at_a_time_is_read(tmp_path, monkeypatch):
    """The quick twin of the one on memory."""
    folder, read = write_folder(tmp_path / "one"), []
    masks = silhouettes([LEFT], 40)
    write_video(folder / "driving.mp4", filmed(masks))
    write_video(folder / "driving_mask.mp4", painted(masks, [BLUE]))
    whole = FileClip.read
    monkeypatch.setattr(FileClip, "read", lambda self, start, stop: read.append(stop - start) or whole(
        self, start, stop))
    assert prepare("animation", folder, "--crop_e2e_bbox") == 0
    assert max(read) <= 16
    assert sum(read) >= 80
