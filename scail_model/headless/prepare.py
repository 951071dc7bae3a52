"""`scail2 prepare`: the files that the official `generate.py` and `scail2 generate` read, folder by folder.

Everything of a folder is checked before anything is rendered, and its files appear together when all are complete.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from torch import Tensor

from ..files.atomic import explained, remove_leftovers, writing
from ..files.locks import locked
from ..identity.identities import ANIMATION, REPLACEMENT
from ..inputs.crops import Crop
from ..masks import NAMES
from ..media.frames import UPRIGHT
from ..media.video_file import FileClip
from ..media.whole_video import write_clip, write_frames
from ..poses.pose_clip import PoseClip
from .example import Example, read_example
from .posed import nlf
from .prepare_files import Files, Say, find_files, folders_of, is_done
from .terminal import Terminal

_JPEG = {"quality": 100, "subsampling": 0}  # halved colour would blur the edges of a mask
_NOT_RUN = {"text": "--text is for SAM3", "sam3_model": "--sam3_model names a model of SAM3"}
_REMEDIES = {  # of nodes, and of this command
    "choose who belongs together in the table on the node, or with binding,": "say who is who with --binding,",
    ", or choose in the table on the node": "",
    ", or connect another mask": ", or give another mask",
    "; or, if there is no mask and this is the picture itself, set whole_picture": "",
}
_FAILED = OSError, RuntimeError, ValueError, EOFError, MemoryError


@dataclass
class Report:
    """What became of one folder. error: a sentence, empty if all went well. next: the command to go on with."""

    folder: str
    written: list[str] = field(default_factory=list)
    frames: int = 0
    size: str = ""
    people: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    next: str = ""
    skipped: bool = False
    error: str = ""


def run(arguments: argparse.Namespace, sentence: Callable[[Exception], str]) -> bool:
    """Prepare one folder or several. Returns whether all went well; the error of a single folder is raised.

    sentence: an error as people read it.
    """
    _check(arguments)
    folders, reports = folders_of(arguments), []
    with Terminal() as terminal:
        for flag, text in _NOT_RUN.items():
            if getattr(arguments, flag):
                terminal.tell(f"{text}, which is not run here: masks come from --tracks.")
        if arguments.e2e_mode and arguments.nlf:
            terminal.tell("--nlf (--model_path) names the model of NLF, which --e2e_mode does not need.")
        elif arguments.nlf:
            terminal.say("loading NLF")
            nlf(arguments.nlf)  # raises before anything is read, if it cannot be loaded
        for number, folder in enumerate(folders, 1):
            place = f"{folder} ({number} of {len(folders)})" if len(folders) > 1 else str(folder)
            report = Report(str(folder))
            reports.append(report)
            try:
                _prepare(folder, arguments, report, lambda text, place=place: terminal.say(f"{place}: {text}"))
            except _FAILED as error:
                report.error = sentence(error)
                if arguments.subdir:
                    _write_json(reports, arguments)
                    raise
            _tell(report, arguments, terminal)
    failed = [report for report in reports if report.error]
    _write_json(reports, arguments)
    if failed:
        sys.stderr.write(f"{len(failed)} of {len(reports)} folders could not be prepared:\n")
        sys.stderr.write("".join(f"  {report.folder}: {report.error}\n" for report in failed))
    return not failed


def _check(arguments: argparse.Namespace) -> None:
    """ValueError for options that do not go together, or a number out of range."""
    if arguments.max_persons is not None and arguments.max_persons < 1:
        raise ValueError(f"max_persons is {arguments.max_persons} (--max_persons), but it must be at least 1: correct "
                         "it.")
    if arguments.matchnearest and arguments.binding:
        raise ValueError("--matchnearest and --binding both say who is who: leave one of them out.")
    if arguments.test_mode and arguments.mask_image:
        raise ValueError("--test_mode makes the reference and its mask of the driving video, but --mask_image is "
                         "given: leave one of them out.")
    if arguments.mode == ANIMATION:
        _check_driving(arguments)


def _check_driving(arguments: argparse.Namespace) -> None:
    """The same for what the model sees in animation."""
    given = [name for name in ("poses", "nlf") if getattr(arguments, name)]
    others = [name for name in ("poses", "detail", "retarget", "error_limit", "hold", "smooth")
              if getattr(arguments, name) is not None]
    if arguments.e2e_mode and others:
        raise ValueError(f"--e2e_mode shows the model the driving video itself, but --{others[0]} is for poses: leave "
                         "one of them out.")
    if not arguments.e2e_mode and len(given) != 1:
        wrong = "--poses and --nlf are both given" if given else "Animation without --e2e_mode needs poses"
        raise ValueError(f"{wrong}: give poses in a file with --poses, or NLF's own file with --nlf; or add "
                         "--e2e_mode, which shows the model the driving video itself.")
    if arguments.error_limit is not None and not arguments.retarget:
        raise ValueError("--error_limit is for --retarget, which is missing: add it, or leave --error_limit out.")
    if arguments.crop and not arguments.e2e_mode:
        raise ValueError("A crop is of the driving video itself, but --e2e_mode is missing: add it, or leave the crop "
                         "out.")
    for name, low, high in (("crop_margin", 0, 1), ("error_limit", 0.01, 10), ("hold", 0, 1000), ("smooth", 0, 20)):
        value = getattr(arguments, name)
        if value is not None and not low <= value <= high:
            raise ValueError(f"{name} is {value:g} (--{name}), but it must be {low} to {high}: correct it.")


def _prepare(folder: Path, arguments: argparse.Namespace, report: Report, say: Say) -> None:
    """Fill the report of one folder."""
    if arguments.skip_existing and is_done(folder, arguments.mode):
        report.skipped = True
        return
    with ExitStack() as stack:
        with explained(f"The folder {folder}", "and run again"):
            stack.enter_context(locked(folder / ".scail2_prepare.lease", f"preparing {folder}", "wait for it"))
        files = find_files(folder, arguments)
        try:
            example = read_example(files, arguments, say)
        except ValueError as error:
            text = str(error)
            for remedy, own in _REMEDIES.items():
                text = text.replace(remedy, own)
            raise ValueError(text) from error
        for path in files.written:
            remove_leftovers(folder, path.name)
        with explained(f"The folder {folder}", "and run again"):
            _write(example, arguments, say)
    driving, labels = example.driving, example.identities.labels
    report.written, report.notes = [str(path) for path in files.written], example.notes
    report.frames, report.size = len(driving), f"{driving.width}x{driving.height}"
    report.people = [NAMES[label - 1] for label in labels]
    report.next = _following(files)


def _write(example: Example, arguments: argparse.Namespace, say: Say) -> None:
    """All files, which get their names when the last one is complete."""
    clip, identities = example.driving, example.identities
    rendered, mask_video, mask_picture, *cut_out = example.files.written

    def counted(path: Path) -> Callable[[], None]:
        count = iter(range(1, len(clip) + 1))
        return lambda: say(f"writing {path.name}, frame {next(count)} of {len(clip)}")

    with ExitStack() as stack:
        part = {path: stack.enter_context(writing(path)) for path in example.files.written}
        if example.poses is not None:
            write_clip(part[rendered], PoseClip(example.poses), counted(rendered))
        elif arguments.crop:
            write_clip(part[rendered], clip, counted(rendered),
                       _cropped(example, Crop(arguments.crop, arguments.crop_margin)))
        elif _can_be_copied(clip):
            say(f"copying {example.files.driving.name}")
            shutil.copyfile(example.files.driving, part[rendered])
        else:
            write_clip(part[rendered], clip, counted(rendered))
        write_frames(part[mask_video], _painted(example), clip, counted(mask_video), masks=True)
        picture = Image.fromarray(identities.reference_colours(0)[0].movedim(0, -1).numpy())
        picture.save(part[mask_picture], "png" if mask_picture.suffix == ".png" else "jpeg", **_JPEG)
        for path in cut_out:
            assert example.made is not None  # it is written, because it was made
            Image.fromarray(example.made.numpy()).save(part[path], "png")


def _cropped(example: Example, crop: Crop) -> Iterator[Tensor]:
    start = 0
    for frames in example.driving.stretches(0, len(example.driving)):
        yield from crop.applied(frames, example.identities, start)
        start += len(frames)


def _painted(example: Example) -> Iterator[Tensor]:
    """The mask of each driving frame, uint8 [H, W, 3]."""
    for frame in range(len(example.driving)):
        yield example.identities.driving_colours(frame, frame + 1)[0].movedim(0, -1)


def _can_be_copied(clip: FileClip) -> bool:
    """Whether every reader shows the file as it is shown here: one in MP4, whose frames are stored as they are shown.
    Not all make pixels square, turn a phone's video, or know HDR."""
    stored_as_shown = clip.look.plain and clip.look.way == UPRIGHT and clip.known.pixel_shape == 1
    with clip.file.open() as container:
        return "mp4" in container.format.name.split(",") and stored_as_shown


def _following(files: Files) -> str:
    """The command that makes the video."""
    rendered, mask_video, mask_picture, *_ = files.written
    options = {"--ckpt_dir": "SCAIL-2", "--image": files.picture, "--mask_image": mask_picture, "--pose": rendered,
               "--mask_video": mask_video}
    words = ["scail2", "generate", *(str(word) for option in options.items() for word in option),
             *(["--replace_flag"] if files.mode == REPLACEMENT else []), "--prompt", "..."]
    return shlex.join(words)


def _write_json(reports: list[Report], arguments: argparse.Namespace) -> None:
    if arguments.json:
        sys.stdout.write(f"{json.dumps([vars(report) for report in reports], indent=1)}\n")


def _tell(report: Report, arguments: argparse.Namespace, terminal: Terminal) -> None:
    """One folder's report in lines."""
    if report.error:
        terminal.tell(f"{report.folder}: {report.error}")
    if report.error or arguments.json:
        return
    if report.skipped:
        sys.stdout.write(f"{report.folder}: skipped, because its mask video is there\n")
    else:
        names = ", ".join(Path(path).name for path in report.written)
        sys.stdout.write(f"{report.folder}: wrote {names} ({report.frames} frames of {report.size}; "
                         f"{', '.join(report.people)})\n")
        sys.stdout.write("".join(f"  {note}\n" for note in report.notes))
        sys.stdout.write(f"  next: {report.next}\n")
    sys.stdout.flush()
