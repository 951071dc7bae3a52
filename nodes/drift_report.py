"""Measure Video Drift: colour drift over a long video, and whether the seams between its segments are visible."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import comfy.utils
import folder_paths
import torch
from comfy_api.latest import io, ui

from ..scail_model.comfy.schema import CATEGORY, IdentitiesType, as_clip
from ..scail_model.comfy.shown_node import say
from ..scail_model.drift import measure
from ..scail_model.drift import plan as drift_plan
from ..scail_model.drift import plot as drift_plot
from ..scail_model.drift import report as drift_report
from ..scail_model.drift.verdict import Result
from ..scail_model.files.atomic import writing
from ..scail_model.geometry import check_shape, cover_crop
from ..scail_model.identity.identities import Identities
from ..scail_model.levels import to_levels
from ..scail_model.masks import people

_REPORT_EVERY = 8  # frames


class SCAIL2DriftReport(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2DriftReport",
            display_name="Measure Video Drift",
            category=CATEGORY,
            description="Measures colour, contrast, sharpness and motion of a video frame by frame, judges every seam "
                        "between segments, and draws a plot. Works with any video.",
            search_aliases=["drift", "color shift", "seam", "flicker", "quality", "lab", "long video", "metrics"],
            inputs=[
                io.MultiType.Input("video", [io.Image, io.Video], tooltip="The finished video, any length."),
                io.String.Input("segments", default="", optional=True,
                                tooltip="From Sample SCAIL-2 Video: which frames belong to which segment. Empty: seams "
                                        "are not judged, and the first 81 frames count as the first segment."),
                io.Image.Input("reference", optional=True,
                               tooltip="The reference picture (the first of a batch), to measure the distance to it."),
                IdentitiesType.Input("identities", optional=True,
                                     tooltip="From Bind SCAIL-2 Identities: people and background are measured "
                                             "separately. In replacement only the people are judged."),
                io.String.Input("filename_prefix", default="scail2_drift/drift", optional=True,
                                tooltip="File name of plot, CSV and JSON in ComfyUI's output folder."),
            ],
            outputs=[
                io.Image.Output("plot", tooltip="Curves over the frames, with segments and judged seams."),
                io.String.Output("report", tooltip="A verdict for each seam, the drift, the limits, and the paths of "
                                                   "the files."),
                io.String.Output("csv", tooltip="All measures, one line per frame."),
                io.String.Output("json", tooltip="All measures, seams and drift, for programs."),
                io.Boolean.Output("ok", tooltip="Whether no seam is visible."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, video, segments: str = "", reference: torch.Tensor | None = None,
                identities: Identities | None = None, filename_prefix: str = "scail2_drift/drift") -> io.NodeOutput:
        output = folder_paths.get_output_directory()
        folder_paths.get_save_image_path(filename_prefix, output)  # refuses a bad prefix before the work is done
        clip = as_clip(video, "video")
        plan = drift_plan.parse(segments, len(clip)) if segments.strip() else drift_plan.whole(len(clip))
        judged = measure.PEOPLE if identities is not None and identities.replacement else measure.PICTURE
        somebody = None if identities is None else _driving_people(identities, len(clip), clip.size)
        look = None if reference is None else _reference_look(reference[:1], identities, clip.size).get(judged)
        areas = measure.measure(clip, somebody, _Progress(len(clip), cls.hidden.unique_id).update)
        result = Result(clip.size, clip.rate or plan.rate, plan, areas, judged, look)
        plot = drift_plot.draw(result)[None]
        saved, = ui.ImageSaveHelper.save_images(plot, filename_prefix, io.FolderType.output, cls, compress_level=4)
        file = Path(output, saved.subfolder, saved.filename)
        csv, json = drift_report.as_csv(result), drift_report.as_json(result)
        beside = []
        for ending, text in ((".csv", csv), (".json", json)):
            with writing(file.with_suffix(ending)) as part:
                part.write_text(text, encoding="utf-8")
            beside.append(ui.SavedResult(file.with_suffix(ending).name, saved.subfolder, io.FolderType.output))
        report = f"{drift_report.report(result)}\nSaved: {file}, with .csv and .json next to it"
        return io.NodeOutput(plot, report, csv, json, result.ok,
                             ui=ui.SavedImages([saved]).as_dict() | ui.PreviewText(report).as_dict()
                             | {"files": beside})


def _driving_people(identities: Identities, frames: int, size: tuple[int, int]) -> Callable[[int], torch.Tensor]:
    """Frame number -> mask of the people in the result, bool [H, W]. Raises ValueError if the lengths differ."""
    if len(identities.driving) != frames:
        raise ValueError(f"The identities have masks for {len(identities.driving)} driving frames, but the video has "
                         f"{frames}: use the identities that the video was made with, or disconnect them.")

    def somebody(index: int) -> torch.Tensor:
        return measure.cover_mask(people(identities.driving_labels(index, index + 1)[0]), *size)

    return somebody


def _reference_look(picture: torch.Tensor, identities: Identities | None, size: tuple[int, int]) -> dict:
    """IMAGE [1, h, w, 3] -> what `measure.measure_picture` says of it, cropped as for the result."""
    mask = None
    if identities is not None:
        check_shape("mask of reference 1", identities.references[0].size, "reference picture",
                    (picture.shape[1], picture.shape[2]))
        mask = measure.cover_mask(people(identities.reference_labels(0)), *size)
    levels = to_levels(picture[..., :3].movedim(-1, 1))
    return measure.measure_picture(cover_crop(levels, *size)[0].movedim(0, -1), mask)


class _Progress:
    """The progress bar of the node, and a line of text."""

    def __init__(self, frames: int, node_id: str) -> None:
        self.frames, self.node_id, self.bar = frames, node_id, comfy.utils.ProgressBar(frames)

    def update(self, done: int) -> None:
        self.bar.update_absolute(done)
        if done % _REPORT_EVERY == 0 or done == self.frames:
            say(f"frame {done} of {self.frames}", self.node_id)
