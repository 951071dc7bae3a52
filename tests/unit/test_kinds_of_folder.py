"""Every kind of folder that `scail2 prepare` is given: right, or one sentence and nothing written.

A row is a kind: what is done to a usual folder, the flags, and what comes of it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

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
    as_gif,
    filmed,
    overlap,
    painted,
    prepare,
    read_codes,
    read_frames,
    silhouettes,
    write_folder,
    write_reference,
    write_video,
)
from PIL import Image
from video_kinds import turned

from scail_model.files.locks import locked
from scail_model.headless import prepare as prepare_module
from scail_model.identity import tracks_file
from scail_model.identity.binding import bind
from scail_model.identity.mask_set import pack_frames
from scail_model.identity.mask_sources import Source
from scail_model.identity.video_fingerprint import fingerprint
from scail_model.media.video_file import FileClip

OUTPUTS = {"rendered_v2.mp4", "rendered_mask_v2.mp4", "replace_mask.mp4", "ref_mask.jpg", "ref_mask.png"}
DAVIS = [(128, 0, 0), (0, 128, 0)]
MASK = {"animation": "rendered_mask_v2.mp4", "replacement": "replace_mask.mp4"}


@dataclass
class Kind:
    """what: in plain words. change: makes a usual folder (one person) of this kind. shows: people of the mask video, a
    box for each colour. said: part of what is printed. refused: the sentence, if it is one."""

    what: str
    change: Callable[[Path], object] = lambda folder: None
    flags: tuple = ()
    mode: str = "animation"
    shows: dict = field(default_factory=dict)
    said: str = ""
    refused: str = ""


def people(boxes, colours, reference=(MIDDLE,), reference_colours=(BLUE,)):
    def change(folder):
        masks = silhouettes(boxes)
        write_video(folder / "driving.mp4", filmed(masks))
        write_video(folder / "driving_mask.mp4", painted(masks, colours))
        write_reference(folder, reference, reference_colours)
    return change


def video(frames=FRAMES, size=SIZE, mask_frames=None, name="driving.mp4", **how):
    """Another driving video of the person on the left, and its mask."""
    def change(folder):
        masks = silhouettes([LEFT], frames, size)
        write_video(folder / name, filmed(masks), **how)
        write_video(folder / "driving_mask.mp4", painted(silhouettes([LEFT], mask_frames or frames, size), [BLUE]))
    return change


def pictures(name, colours):
    """The masks of the person on the left as a folder of pictures."""
    def change(folder):
        (folder / "driving_mask.mp4").unlink()
        (folder / name).mkdir()
        for number, frame in enumerate(painted(silhouettes([LEFT]), colours)):
            Image.fromarray(frame).save(folder / name / f"{number:05}.png")
    return change


def gif(name, pixels):
    def change(folder):
        (folder / name).write_bytes(as_gif(pixels))
        (folder / f"{Path(name).stem}.mp4").unlink()
    return change


def tracked(other=False, reference=(MIDDLE,)):
    """A tracks file of one person, of another video if asked for."""
    def change(folder):
        (folder / "driving_mask.mp4").unlink()
        (folder / "reference_mask.png").unlink()
        bound = bind("animation", source("driving", [LEFT], FRAMES), [source("reference", reference, 1)])
        if other:
            write_video(folder / "other.mp4", 255 - filmed(silhouettes([RIGHT])))
        tracks_file.save(bound, folder, "tracks", video=fingerprint(FileClip(
            folder / ("other.mp4" if other else "driving.mp4"))))
    return change


def source(name, boxes, frames):
    masks = silhouettes(boxes, frames)
    return Source(name, pack_frames(masks.swapaxes(0, 1), frames, len(boxes), *SIZE))


def remove(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def renamed(old, new):
    return lambda folder: (folder / old).rename(folder / new)


def cut_short(folder):
    """In the middle of its pictures."""
    whole = (folder / "driving.mp4").read_bytes()
    (folder / "driving.mp4").write_bytes(whole[: len(whole) // 2])


def portrait(folder):
    write_reference(folder, [(20, 30, 60, 150)], [BLUE], size=(160, 96))


def other_shape(folder):
    picture = Image.open(folder / "reference_mask.png")
    picture.resize((90, 96)).save(folder / "reference_mask.png")


def picture_as_mask(folder):
    (folder / "driving_mask.mp4").write_bytes((folder / "driving.mp4").read_bytes())


def empty_reference_mask(folder):
    Image.new("RGB", SIZE[::-1]).save(folder / "reference_mask.png")


def lying(folder):
    """A reference that says that it lies on its side."""
    picture = Image.open(folder / "ref_image.png").convert("RGB").rotate(90, expand=True)
    exif = picture.getexif()
    exif[274] = 6
    picture.save(folder / "ref_image.jpg", exif=exif)
    (folder / "ref_image.png").unlink()


TWO = people([LEFT, RIGHT], [BLUE, RED])
KINDS = [
    Kind("one person", shows={BLUE: LEFT}),
    Kind("one person, replaced", mode="replacement", shows={BLUE: LEFT}),
    # who is who
    Kind("the person red in the video, blue in the reference", people([LEFT], [RED]), shows={BLUE: LEFT}),
    Kind("the person green in the reference", people([LEFT], [BLUE], reference_colours=[GREEN]), shows={GREEN: LEFT}),
    Kind("both masks in white on black", people([LEFT], [WHITE], reference_colours=[WHITE]), shows={BLUE: LEFT}),
    Kind("white on black for the video only", people([LEFT], [WHITE]), mode="replacement", shows={BLUE: LEFT}),
    Kind("two people in equal colours, crossed", people([LEFT, RIGHT], [RED, BLUE], [LEFT, RIGHT], [BLUE, RED]),
         shows={RED: LEFT, BLUE: RIGHT}),
    Kind("two people in other colours, from left to right",
         people([LEFT, RIGHT], [RED, GREEN], [LEFT, RIGHT], [(255, 255, 0), BLUE]),
         shows={(255, 255, 0): LEFT, BLUE: RIGHT}, said="bound 1:3, 6:2 (reference:driving), from left to right"),
    Kind("two people of whom one colour is the same", people([LEFT, RIGHT], [RED, GREEN], [LEFT, RIGHT], [BLUE, RED]),
         refused="The driving mask contains green, but the reference mask does not"),
    Kind("two people and one reference, by the nearest centre",
         people([LEFT, RIGHT], [BLUE, RED], [(100, 16, 130, 88)]),
         shows={BLUE: RIGHT}, said="bound 1:2 (reference:driving), by the nearest centre"),
    Kind("two people and one reference, by hand", TWO, ("--binding", "1:1"), shows={BLUE: LEFT}),
    Kind("two people and one reference, the larger one", people([(8, 30, 40, 60), RIGHT], [BLUE, RED]),
         ("--max_persons", 1), mode="replacement", shows={BLUE: RIGHT},
         said="person 1 left out, as --max_persons 1 asks for"),
    Kind("two people and one reference in replacement", TWO, mode="replacement",
         refused="The driving mask has 2 people, but the reference mask has 1: say who is who with --matchnearest, "
                 '--max_persons 1 or --binding, for example --binding "1:'),
    Kind("two people and one reference in replacement, by overlap",
         people([LEFT, RIGHT], [BLUE, RED], [(100, 16, 130, 88)]), ("--matchnearest",), mode="replacement",
         shows={BLUE: RIGHT}),
    Kind("two people and one reference that overlaps neither", TWO, ("--onetomany",), mode="replacement",
         refused="person 1 of the reference mask overlaps nobody in the first frame of the driving mask (intersection "
                 'over union 0.000 with person 1, and 0.02 is the least): say who is who with --binding, for example'),
    Kind("a binding of somebody who is not there", TWO, ("--binding", "9:1"),
         refused="but the people there are 1: use one of these numbers.\n"),
    Kind("more people in the reference", people([LEFT], [BLUE], [LEFT, RIGHT], [BLUE, RED]),
         refused='driving mask has 1 person, but the reference mask has 2: say who is who with --binding, for '
                 'example --binding "1:1"'),
    Kind("nobody in the first frame", people([None], [BLUE]), shows={BLUE: None}),
    Kind("nobody in the first frame, cut out", lambda folder: (people([None], [BLUE])(folder), remove(
        "ref_image.png", "reference_mask.png")(folder)), ("--test_mode",), mode="replacement",
         refused="Nobody is in the first frame of the driving mask, which --test_mode makes the reference of"),
    Kind("nobody in the first frame, by overlap", people([None], [BLUE]), ("--matchnearest",), mode="replacement",
         refused="overlaps nobody in the first frame"),
    Kind("somebody who comes late, and one reference", people([LEFT, None], [BLUE, RED]), shows={BLUE: LEFT},
         said="by the nearest centre"),
    Kind("a tracks file", tracked(), shows={BLUE: LEFT}),
    Kind("a tracks file of an animation, in replacement", tracked(), mode="replacement", shows={BLUE: LEFT}),
    Kind("a tracks file of another video", tracked(other=True),
         refused="The driving video is not the one of these tracks"),
    Kind("a tracks file named elsewhere", lambda folder: (tracked()(folder), renamed(
        "tracks.safetensors", "mine.safetensors")(folder)), ("--tracks", "mine.safetensors"), shows={BLUE: LEFT}),
    # other masks
    Kind("DAVIS's colours", people([LEFT, RIGHT], DAVIS, [LEFT, RIGHT], DAVIS), shows={BLUE: LEFT, RED: RIGHT},
         said="driving mask: 2 people in other colours than the six, numbered from left to right"),
    Kind("DAVIS's colours as a folder of pictures", pictures("driving_mask", [(128, 0, 0)]), shows={BLUE: LEFT}),
    Kind("a folder of pictures, named", pictures("masks", [BLUE]), ("--tracks", "masks"), shows={BLUE: LEFT}),
    Kind("a grey person, replaced", people([LEFT], [(170, 170, 170)]), mode="replacement", shows={BLUE: LEFT}),
    Kind("seven flat colours", people([(8 + 20 * n, 16, 24 + 20 * n, 88) for n in range(7)], [
        (30 * n + 40, 255 - 30 * n, 100 * (n % 2)) for n in range(7)]),
        refused="Frame 0 of the driving mask contains other colours"),
    Kind("too few pictures", lambda folder: (pictures("driving_mask", [BLUE])(folder), (
        folder / "driving_mask" / "00003.png").unlink()), refused="has 6 frames, but its mask has 5"),
    Kind("pictures of other sizes", lambda folder: (pictures("driving_mask", [BLUE])(folder), Image.new("RGB", (
        32, 32)).save(folder / "driving_mask" / "00003.png")), refused="32x32 pixels, but the first one has 160x96"),
    Kind("a folder without pictures", lambda folder: (remove("driving_mask.mp4")(folder), (
        folder / "driving_mask").mkdir()), refused="has no pictures: give one with a mask for each frame."),
    # videos
    Kind("one frame", video(frames=1), shows={BLUE: LEFT}),
    Kind("an odd size", video(size=(95, 161)), ("--crop_e2e_bbox",), shows={BLUE: LEFT}),
    Kind("a variable rate", video(stamps=(0, 60, 120, 300, 360, 420)), ("--crop_e2e_mask",), shows={BLUE: LEFT}),
    Kind("NTSC's rate", video(rate=Fraction(30000, 1001)), shows={BLUE: LEFT}),
    Kind("pixels that are not square", video(shape=Fraction(2)), shows={BLUE: tuple(LEFT)}),
    Kind("a GIF", gif("driving.gif", filmed(silhouettes([LEFT]))), ("--video_name", "driving.gif"), shows={BLUE: LEFT}),
    Kind("a GIF as the mask", gif("driving_mask.gif", painted(silhouettes([LEFT]), [BLUE])), shows={BLUE: LEFT}),
    Kind("GT.mp4 in place of driving.mp4", renamed("driving.mp4", "GT.mp4"),
         refused="There is no driving video driving.mp4 in FOLDER: add --video_name GT.mp4."),
    Kind("GT.mp4, named", renamed("driving.mp4", "GT.mp4"), ("--video_name", "GT.mp4", "--tracks", "driving_mask.mp4"),
         shows={BLUE: LEFT}),
    Kind("no video", remove("driving.mp4"),
         refused="There is no driving video driving.mp4 in FOLDER: put it there, or name it with --video_name."),
    Kind("a text as the video", lambda folder: (folder / "driving.mp4").write_text("no"),
         refused="cannot be opened as a video"),
    Kind("a video that was cut short", cut_short, refused="driving.mp4"),
    Kind("masks of another length", video(mask_frames=5), refused="The driving video has 6 frames, but its mask has 5"),
    Kind("a mask that is the video itself", picture_as_mask,
         refused="and save it without heavy compression.\n"),
    Kind("no masks", remove("driving_mask.mp4"), refused="There are no masks of the driving video in FOLDER "
                                                         "(tracks.safetensors or driving_mask.mp4), and SAM3"),
    Kind("masks that are not there", flags=("--tracks", "gone.mp4"),
         refused="gone.mp4 (--tracks) is neither in FOLDER nor here"),
    # references
    Kind("no reference", remove("ref_image.png"), refused="There is no reference picture in FOLDER: name it "
                                                          "ref_image.jpg, ref_image.png, ref.jpg or ref.png."),
    Kind("two references", lambda folder: Image.new("RGB", SIZE[::-1]).save(folder / "ref.jpg"), shows={BLUE: LEFT},
         said="ref_image.png is the reference, and ref.jpg is not read."),
    Kind("ref.jpg", lambda folder: (Image.open(folder / "ref_image.png").save(folder / "ref.jpg"),
                                    remove("ref_image.png")(folder)), shows={BLUE: LEFT}),
    Kind("a portrait for a landscape", portrait, shows={BLUE: LEFT}),
    Kind("a portrait by overlap", portrait, ("--matchnearest",), mode="replacement", shows={BLUE: LEFT}),
    Kind("a reference that lies on its side", lying, shows={BLUE: LEFT}, said="ref_image.jpg says that it lies on"),
    Kind("a mask named like the reference", renamed("reference_mask.png", "ref_image_mask.png"), shows={BLUE: LEFT}),
    Kind("no mask of the reference", remove("reference_mask.png"),
         refused="There is no mask of the reference in FOLDER"),
    Kind("a mask of another shape", other_shape, refused="have different shapes: make the mask from the picture"),
    Kind("an empty mask of the reference", empty_reference_mask,
         refused="The reference mask is empty: paint the person in blue, or give another mask."),
    # what is written
    Kind("a mask that would be written over", renamed("reference_mask.png", "ref_mask.png"),
         ("--mask_image", "ref_mask.png"), mode="replacement",
         refused="ref_mask.png is read, and would be written too"),
    Kind("a folder in place of a file that will be written", lambda folder: (folder / "rendered_v2.mp4").mkdir(),
         ("--overwrite",), refused="rendered_v2.mp4 is not a file, but will be written: rename it."),
    Kind("a reference that would be made anew", flags=("--test_mode",), mode="replacement",
         refused="ref_image.png exists, and --test_mode makes the reference anew: rename it, or add --overwrite"),
    Kind("a reference made of the video, and a mask of it", flags=("--test_mode", "--mask_image", "a.png"),
         mode="replacement", refused="--test_mode makes the reference and its mask of the driving video, but"),
    Kind("a margin that is none", flags=("--crop_e2e_bbox", "--crop_margin", 7),
         refused="crop_margin is 7 (--crop_margin), but it must be 0 to 1"),
    Kind("nobody at all", flags=("--max_persons", 0), refused="max_persons is 0 (--max_persons)"),
]


@pytest.mark.parametrize("kind", KINDS, ids=[kind.what for kind in KINDS])
def test_right_or_one_sentence(tmp_path, capsys, kind):
    folder = write_folder(tmp_path / "folder")
    kind.change(folder)
    before = {path.name for path in folder.iterdir()}
    code = prepare(kind.mode, folder, *kind.flags)
    out, err = capsys.readouterr()
    made = {path.name for path in folder.iterdir()} - before
    if kind.refused:
        assert code == 1
        assert kind.refused in err.replace(str(folder), "FOLDER")
        assert err.startswith("scail2: ")
        assert err.count("\n") == 1
        assert made == set()
        return
    assert (code, err) == (0, "")
    assert kind.said in out
    assert len(made) == 3
    assert made <= OUTPUTS
    video_name = kind.flags[kind.flags.index("--video_name") + 1] if "--video_name" in kind.flags else "driving.mp4"
    check_video(folder, kind, FileClip(folder / video_name))


def check_video(folder, kind, driving):
    """As many frames at the same times, and each person in its colour; others are not shown."""
    mask, rendered = FileClip(folder / MASK[kind.mode]), FileClip(folder / "rendered_v2.mp4")
    for clip in (mask, rendered):
        assert len(clip) == len(driving)
        assert clip.size == driving.size
        assert np.abs(clip.times() - driving.times())[:-1].max() < 0.001
    frames = mask.read(0, len(mask)).numpy()
    masks = silhouettes(list(kind.shows.values()), len(mask), SIZE)
    found = read_codes(frames, driving.size, halved=False)
    background = BLACK if kind.mode == "animation" else WHITE
    codes = {colour: int(np.dot(np.array(colour) > 0, (1, 2, 4))) for colour in (*kind.shows, background)}
    if frames.shape[1:3] == SIZE:
        for shown, colour in zip(masks, kind.shows, strict=True):
            assert overlap(found == codes[colour], shown) > 0.94
    counts = np.bincount(found.ravel(), minlength=8) / found.size
    assert counts[list(codes.values())].sum() > 0.97  # edges apart, no other colour
    assert all(counts[code] > 0.02 for code in codes.values())


def test_a_disk_that_is_full(tmp_path, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = write_folder(tmp_path / "folder")
    before = {path.name for path in folder.iterdir()}
    monkeypatch.setattr(prepare_module, "write_frames", full)
    assert prepare("animation", folder) == 1
    assert capsys.readouterr().err == (f"scail2: The folder {folder} cannot be written (the disk is full): free space "
                                       "there, and run again.\n")
    assert {path.name for path in folder.iterdir()} == before


def test_another_run_in_the_same_folder(tmp_path, capsys):
    folder = write_folder(tmp_path / "folder")
    with locked(folder / ".scail2_prepare.lease", "preparing it", "wait"):
        assert prepare("animation", folder) == 1
    assert "Another run is preparing" in capsys.readouterr().err


@pytest.mark.parametrize(("flag", "name", "said"), [
    ("--subdir", "gone", "gone (--subdir) is not there: check the path."),
    ("--subdir", "file", "file (--subdir) is not a folder: check the path."),
    ("--input_root", "empty", "empty (--input_root) has no folders in it"),
])
def test_folders_that_are_none(tmp_path, capsys, flag, name, said):
    from scail_model.headless.cli import main

    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    assert main(["prepare", "animation", "--e2e_mode", flag, str(tmp_path / name)]) == 1
    assert said in capsys.readouterr().err
    assert main(["prepare", "animation", "--e2e_mode", flag, ""]) == 1
    assert f"The path of the folder ({flag}) is empty: give one" in capsys.readouterr().err


def test_frames_are_as_in_the_video(tmp_path):
    """What is copied is the file; what is written anew is what a player shows, at the same times."""
    folder = write_folder(tmp_path / "folder")
    write_video(folder / "driving.mp4", filmed(silhouettes([LEFT])), shape=Fraction(2))
    assert prepare("animation", folder) == 0
    shown = read_frames(folder / "rendered_v2.mp4")
    assert shown.shape[1:3] == FileClip(folder / "driving.mp4").size == (SIZE[0], 2 * SIZE[1])


@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), -1), ((0, -1, 1, 0), 1), ((-1, 0, 0, -1), 2)])
def test_what_only_players_turn_is_written_upright(tmp_path, matrix, turns):
    folder = write_folder(tmp_path / "folder")
    turned(folder / "driving.mp4", matrix)
    masks = np.rot90(painted(silhouettes([LEFT]), [BLUE]), turns, (1, 2))
    write_video(folder / "driving_mask.mp4", np.ascontiguousarray(masks))
    assert prepare("replacement", folder) == 0
    shown = FileClip(folder / "driving.mp4").read(0, FRAMES).numpy().astype(int)
    written = read_frames(folder / "rendered_v2.mp4")
    assert written.shape == shown.shape
    assert np.abs(written - shown).mean() < 3
