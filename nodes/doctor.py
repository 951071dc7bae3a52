"""SCAIL-2 Doctor: what this machine and these weights can do, measured, for oneself and for a report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import comfy.model_management
import folder_paths
from comfy_api.latest import io, ui

from ..scail_model.comfy import doctor, partial_output
from ..scail_model.comfy.progress import Working
from ..scail_model.comfy.schema import CATEGORY
from ..scail_model.comfy.shown_node import say
from ..scail_model.doctor.model_files import FileFact
from ..scail_model.doctor.report import Report
from ..scail_model.files.atomic import writing
from ..scail_model.files.user_files import numbered, write_numbered

_AUTOMATIC, _NONE = "automatic", "none"
_PAUSE = 1.0  # seconds between two lines of text on the node


class SCAIL2Doctor(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2Doctor",
            display_name="SCAIL-2 Doctor",
            category=CATEGORY,
            description="Looks at versions, graphics card and model files, and measures a forward of each precision "
                        "with your weights: seconds, memory, and how far it is from exact. The report can be attached "
                        "to an issue: it names no users and no folders.",
            search_aliases=["doctor", "diagnose", "benchmark", "debug", "report", "system info", "check models"],
            inputs=[
                io.Model.Input("model", optional=True,
                               tooltip="The SCAIL-2 transformer to measure, with LoRAs and patches. Other precisions "
                                       "are loaded from its file."),
                io.Combo.Input("model_name",
                               options=[_AUTOMATIC, _NONE, *folder_paths.get_filename_list("diffusion_models")],
                               default=_AUTOMATIC, optional=True,
                               tooltip="Without a model: the file to measure. automatic takes the best SCAIL-2 file "
                                       "that is there, none measures nothing and only looks."),
                io.String.Input("filename_prefix", default="scail2_doctor/doctor", optional=True,
                                tooltip="File name of report and JSON in ComfyUI's output folder."),
            ],
            outputs=[
                io.String.Output("report", tooltip="One page of text."),
                io.String.Output("json", tooltip="Everything, to attach to a report."),
                io.Boolean.Output("ok", tooltip="Whether nothing is wrong."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
            not_idempotent=True,
        )

    @classmethod
    def execute(cls, model=None, model_name: str = _AUTOMATIC,
                filename_prefix: str = "scail2_doctor/doctor") -> io.NodeOutput:
        files = _free_names(filename_prefix)

        def chosen(facts: list[FileFact]) -> Path | None:
            if model_name == _AUTOMATIC:
                return doctor.chosen(facts)
            return None if model_name == _NONE else Path(
                folder_paths.get_full_path_or_raise("diffusion_models", model_name))

        report = Report(doctor.host(model, chosen))
        try:
            with Working(cls.hidden, "examining"):
                report.examine(_Tell(cls.hidden.unique_id))
        except comfy.model_management.InterruptProcessingException:
            partial_output.send(_written(report, files))
            raise
        shown = _written(report, files)
        said = "nothing is wrong" if report.ok else f"{len(report.wrong)} wrong, see report"
        say(f"{said}; written to {shown['scail2_files'][0]['filename']}", cls.hidden.unique_id)
        return io.NodeOutput(report.as_text(), report.as_json(), report.ok, ui=shown)

    @classmethod
    def fingerprint_inputs(cls, **_) -> float:
        return float("nan")  # run every time


def _free_names(prefix: str) -> Iterator[Path]:
    """For the JSON file. Refuses a prefix outside of the output folder."""
    folder, name, counter, *_ = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory())
    return numbered(Path(folder), name, counter, ".json")


def _written(report: Report, files: Iterator[Path]) -> dict:
    """The node's ui output, after the files are written."""
    text = report.as_text()
    file = write_numbered(lambda part: part.write_text(report.as_json(), encoding="utf-8"), files)
    with writing(file.with_suffix(".txt")) as part:
        part.write_text(text, encoding="utf-8")
    output = Path(folder_paths.get_output_directory())
    saved = [{"filename": path.name, "subfolder": path.parent.relative_to(output).as_posix(), "type": "output"}
             for path in (file, file.with_suffix(".txt"))]
    return {**ui.PreviewText(text).as_dict(), "scail2_files": saved, "files": saved}


class _Tell:
    """Shows on the node what goes on, and stops when the user cancels."""

    def __init__(self, node_id: str) -> None:
        self.node_id, self.told = node_id, 0.0

    def __call__(self, text: str) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        now = time.monotonic()
        if text and now - self.told >= _PAUSE:
            self.told = now
            say(text, self.node_id)
