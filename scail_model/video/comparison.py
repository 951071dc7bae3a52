"""A finished video beside its draft: which draft that is, what differs, and both in one file.

What a video was made from is kept in its job folder. The draft is the one of the same driving video whose file is there
and which differs least from what this video's draft would be; of several, the latest.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..drawing.side_by_side import side_by_side
from ..files import jobs
from ..files.atomic import remove_leftovers, writing
from ..files.content_keys import digest
from ..files.jobs import Job
from ..files.readers import reading
from ..inputs.reference import Pictures, Reference
from ..media.clips import Tick
from ..media.video_file import FileClip
from ..media.whole_video import write_clip
from .draft import draft_size, draft_steps
from .host import Watch
from .options import VideoOptions
from .segment_inputs import Given
from .task import Made, VideoTask

# what does not change what is seen, and what the task knows better
_NOT_SEEN = ("codec", "quality", "jobs_limit", "draft", "steps")
# settings on which the noise of a segment depends
_OF_NOISE = ("noise", "plan", "remake", "remake_seed", "segment_length", "overlap", "lengths", "scene_cuts", "rate")
_NAMES = {"model": "the model, its precision or attention, a LoRA or the VAE", "prompts": "the prompt",
          "references": "the reference picture", "reference_masks": "the reference's masks",
          "driving_masks": "the driving masks", "who": "who is who"}
COMPARING = "comparing with the draft"  # a stage
_LONG = 40  # letters of a text that is shown
_ABOUT = "made_from"  # in what is told of a job

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Comparison:
    """draft: folder of its job. differences: what is not as in the draft, in words, size and steps first. video: both
    side by side, None if that could not be written. same_noise: whether both started from one noise."""

    draft: Path
    differences: Sequence[str]
    video: Path | None
    same_noise: bool

    @property
    def values(self) -> dict[str, Any]:
        """As JSON has them."""
        return {"draft": str(self.draft.absolute()), "differences": list(self.differences),
                "video": self.video and str(self.video.absolute())}

    @property
    def lines(self) -> list[str]:
        """For a report."""
        noise = ("Its noise was this video's, averaged, so what is small differs" if self.same_noise else
                 "It started from other noise, so everything may differ")
        text = f"compared with the draft in {self.draft}: {'; '.join(self.differences)}. {noise}"
        return [text, *([f"draft and video side by side: {self.video}"] if self.video else [])]


def made_from(options: VideoOptions, task: VideoTask, given: Given, *, driving: str, model: str, prompts: str
              ) -> dict[str, Any]:
    """What decides how a video looks, as JSON has it: numbers and texts as they are, the rest by keys. given: its
    references at the full size. driving, model, prompts: their keys."""
    identities, settings = task.identities, asdict(options)
    height, width = task.size
    return {
        "size": f"{width}x{height}", "steps": task.settings.steps, "seed": task.settings.seed,
        "sigmas": list(task.settings.sigmas), "driving": driving, "model": model, "prompts": prompts,
        "references": digest([_pictures_key(reference) for reference in given.references]),
        "reference_masks": digest([masks.digest() for masks in identities.references]),
        "driving_masks": identities.driving.digest(),
        "who": digest(identities.mode, identities.labels, identities.front),
        "settings": {name: value for name, value in settings.items() if name not in _NOT_SEEN}}


def compare(task: VideoTask, made: Made, job: Job, watch: Watch, target: Path | None = None) -> Comparison | None:
    """Show a finished video beside its draft, in a file in the job folder or in `target`; None for a draft, and where
    there is none. A file that cannot be written costs no video: the log says why."""
    about = None if task.draft_of else _draft(job.folder.parent, task.made_from)
    if about is None:
        return None
    folder, draft = about
    target = target or job.path(f"compare-{made.path.stem}.mp4")
    found, same_noise = differences(draft[_ABOUT], task.made_from), _same_noise(draft[_ABOUT], task.made_from)
    watch.stage(len(task.plan) - 1, COMPARING)
    remove_leftovers(target.parent, target.name)
    try:
        with reading(folder, watch.tick), writing(target) as part:
            _write(part, (_video(folder, draft), draft[_ABOUT]), (made.path, task.made_from), task.rate, watch.tick)
    except (OSError, RuntimeError, ValueError) as error:
        log.warning("SCAIL-2: draft and video are not shown side by side: %s", error)
        return Comparison(folder, found, None, same_noise)
    return Comparison(folder, found, target, same_noise)


def draft_seed(root: Path, full: Mapping[str, Any]) -> int | None:
    """The seed of the draft of a video whose own is still open, if nothing else has changed since; full: what that
    video is made from."""
    about = _draft(root, full)
    if about is None:
        return None
    draft = about[1][_ABOUT]
    same = {name: draft[name] for name in ("size", "steps", "sigmas", "seed")}
    return None if differences(draft, {**full, **same}) else draft["seed"]


def differences(draft: Mapping[str, Any], full: Mapping[str, Any]) -> list[str]:
    """What is not as in the draft, in words; size and steps first."""
    found = [f"{name} {draft[name]} -> {full[name]}" for name in ("size", "steps", "seed") if draft[name] != full[name]]
    if bool(draft["sigmas"]) != bool(full["sigmas"]):
        found.append("sigmas")
    found += [text for name, text in _NAMES.items() if draft[name] != full[name]]
    before, now = draft["settings"], full["settings"]
    return found + [_change(name, before[name], now[name]) for name in now
                    if name in before and before[name] != now[name]]


def _same_noise(draft: Mapping[str, Any], full: Mapping[str, Any]) -> bool:
    return draft["seed"] == full["seed"] and all(
        draft["settings"].get(name) == full["settings"][name] for name in _OF_NOISE)


def _change(name: str, before: Any, now: Any) -> str:
    if isinstance(now, str) and max(len(before), len(now)) > _LONG:
        return name
    return f"{name} {before if before != '' else 'none'} -> {now if now != '' else 'none'}"


def _draft(root: Path, full: Mapping[str, Any]) -> tuple[Path, dict[str, Any]] | None:
    """Folder and description of the draft of a video."""
    drafts = [(job.folder, job.about) for job in jobs.found_jobs(root) if job.finished and job.about.get("draft")
              and _ABOUT in job.about and _related(job.about[_ABOUT], full)]
    # the oldest come first
    return min(reversed(drafts), key=lambda draft: (not _is_there(*draft), _changes(draft[1][_ABOUT], full)),
               default=None)


def _is_there(folder: Path, about: Mapping[str, Any]) -> bool:
    try:
        return _video(folder, about).is_file()
    except FileNotFoundError:
        return False


def _changes(draft: Mapping[str, Any], full: Mapping[str, Any]) -> int:
    """In how much a draft differs from what the draft of this video would be."""
    width, height = map(int, full["size"].split("x"))
    own = {"size": "{}x{}".format(*draft_size(width, height)), "steps": draft_steps(full["steps"])}
    return len(differences(draft, {**full, **own}))


def _related(draft: Mapping[str, Any], full: Mapping[str, Any]) -> bool:
    """Whether it can be a draft of this video, and not of another one with the same driving video."""
    return draft["driving"] == full["driving"] and any(draft[name] == full[name] for name in ("prompts", "references"))


def _video(folder: Path, about: Mapping[str, Any]) -> Path:
    """The file of a finished job: the one that the command line wrote, or the newest in its folder. OSError without
    one."""
    if "output" in about:
        return Path(about["output"])
    found = list(folder.glob("video-*.mp4"))
    if not found:
        raise FileNotFoundError(f"there is no video in {folder}")
    return max(found, key=lambda path: path.stat().st_mtime_ns)


def _write(path: Path, draft: tuple[Path, Mapping[str, Any]], full: tuple[Path, Mapping[str, Any]], rate: Fraction,
           tick: Tick) -> None:
    (first, second), texts = zip(*((FileClip(file, name=name, tick=tick), f"{name}, {about['size']}, {about['steps']} "
                                    "steps") for name, (file, about) in (("draft", draft), ("video", full))),
                                 strict=True)
    second.rate = second.rate or rate  # of a single picture
    write_clip(path, second, tick, side_by_side(first, second, texts))


def _pictures_key(reference: Reference | Pictures) -> str:
    """Of what is seen of a reference, at any size."""
    pictures = reference.pictures if isinstance(reference, Reference) else reference
    return digest(list(pictures.images), pictures.cut_out, pictures.as_video)
