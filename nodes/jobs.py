"""Manage SCAIL-2 Jobs: list and clear what Sample SCAIL-2 Video keeps on disk."""

from comfy.model_management import throw_exception_if_processing_interrupted
from comfy_api.latest import io, ui

from ..scail_model.comfy.emitted_videos import emitted
from ..scail_model.comfy.schema import CATEGORY, jobs_folder
from ..scail_model.files import jobs

_LIST, _FINISHED, _ALL = "list", "clear finished", "clear all"


class SCAIL2Jobs(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2Jobs",
            display_name="Manage SCAIL-2 Jobs",
            category=CATEGORY,
            description="Lists the job folders in output/scail2_jobs, where Sample SCAIL-2 Video keeps finished "
                        "segments, and clears them.",
            search_aliases=["cache", "resume", "disk space", "clean up"],
            inputs=[
                io.Combo.Input("action", options=[_LIST, _FINISHED, _ALL], default=_LIST,
                               tooltip="clear finished removes the folders of finished videos, clear all also those of "
                                       "interrupted ones. Files written by Save Video are kept."),
                io.String.Input("job", default="", optional=True,
                                tooltip="Clear only the jobs whose folder name contains this."),
            ],
            outputs=[io.String.Output("report", tooltip="One line per job; removed jobs come first.")],
            is_output_node=True,
            not_idempotent=True,
        )

    @classmethod
    def execute(cls, action: str, job: str = "") -> io.NodeOutput:
        removed, kept = [], []
        for listed in jobs.found_jobs(jobs_folder()):
            chosen = job in listed.folder.name and (listed.finished or action == _ALL)
            # the following nodes of this run still read the video
            if action != _LIST and chosen and listed.folder not in emitted.folders_of_this_run():
                try:
                    jobs.remove(listed, throw_exception_if_processing_interrupted)
                    removed.append(listed)
                except RuntimeError as error:
                    kept.append(str(error))
        left = jobs.found_jobs(jobs_folder())
        lines = [*(f"removed {listed.line()}" for listed in removed), *kept, *(listed.line() for listed in left),
                 f"{len(left)} job(s), {sum(listed.bytes for listed in left) / jobs.GIB:.2f} GiB, in {jobs_folder()}"]
        return io.NodeOutput("\n".join(lines), ui=ui.PreviewText("\n".join(lines)))

    @classmethod
    def fingerprint_inputs(cls, **_) -> float:
        return float("nan")  # run every time
