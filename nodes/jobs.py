"""Manage SCAIL-2 Jobs: what Sample SCAIL-2 Video keeps on disk, and clearing it."""

from comfy_api.latest import io, ui

from ..scail_model.comfy.emitted_videos import emitted
from ..scail_model.comfy.schema import CATEGORY
from ..scail_model.comfy.video_options import jobs_folder
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
                               tooltip="clear finished removes the folders of finished videos, clear all those of "
                                       "broken-off ones too. Files that Save Video has written stay."),
                io.String.Input("job", default="", optional=True,
                                tooltip="Clear only the jobs whose folder name contains this."),
            ],
            outputs=[io.String.Output("report", tooltip="A line for each job; what was removed comes first.")],
            is_output_node=True,
            not_idempotent=True,
        )

    @classmethod
    def execute(cls, action: str, job: str = "") -> io.NodeOutput:
        removed = []
        for found in jobs.found_jobs(jobs_folder()):
            chosen = job in found.folder.name and (found.finished or action == _ALL)
            # the nodes behind a sampler of this run still read its video
            if action != _LIST and chosen and found.folder not in emitted.folders_of_this_run():
                jobs.remove(found)
                removed.append(found)
        left = jobs.found_jobs(jobs_folder())
        lines = [*(f"removed {found.line()}" for found in removed), *(found.line() for found in left),
                 f"{len(left)} job(s), {sum(found.bytes for found in left) / jobs.GIB:.2f} GiB, in {jobs_folder()}"]
        return io.NodeOutput("\n".join(lines), ui=ui.PreviewText("\n".join(lines)))

    @classmethod
    def fingerprint_inputs(cls, **_) -> float:
        return float("nan")  # another listing each time
