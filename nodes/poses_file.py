"""Save and Load SCAIL-2 Poses: poses in files, so that a video is looked at once, and by any detector."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..scail_model.comfy.progress import working
from ..scail_model.comfy.schema import CATEGORY, PosesType, as_clip
from ..scail_model.files.atomic import explained
from ..scail_model.files.user_files import writing_user_file
from ..scail_model.poses.poses_file import load_poses, write_poses
from ..scail_model.poses.report import read_report

_FOLDER = "scail2_poses"
folder_paths.add_model_folder_path(_FOLDER, os.path.join(folder_paths.models_dir, _FOLDER))


class SCAIL2SavePoses(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2SavePoses",
            display_name="Save SCAIL-2 Poses",
            category=CATEGORY,
            description="Writes poses to models/scail2_poses: joints, faces, hands, colours and names. Load them later "
                        "instead of looking for the people again.",
            search_aliases=["cache poses", "save skeleton", "nlf", "dwpose"],
            is_output_node=True,
            inputs=[
                PosesType.Input("poses", tooltip="From Read SCAIL-2 Poses. A mesh is not kept."),
                io.String.Input("name", default="poses",
                                tooltip="File name without ending; may contain a sub-folder."),
                io.Boolean.Input("overwrite", default=False, optional=True, tooltip="Replace a file of this name."),
            ],
            outputs=[PosesType.Output("poses", tooltip="The same poses, unchanged.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @working("writing the poses")
    def execute(cls, poses, name: str, overwrite: bool = False) -> io.NodeOutput:
        folder = Path(folder_paths.get_folder_paths(_FOLDER)[0])
        with (explained("The poses", "or choose another name"),
              writing_user_file(folder, name, "poses", overwrite=overwrite) as part):
            write_poses(poses, part)
        return io.NodeOutput(poses)


class SCAIL2LoadPoses(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2LoadPoses",
            display_name="Load SCAIL-2 Poses",
            category=CATEGORY,
            description="Reads poses from models/scail2_poses: files of Save SCAIL-2 Poses, and .npz or .json files "
                        "with the joints of any detector.",
            search_aliases=["cached poses", "load skeleton", "npz", "json", "smpl", "joints"],
            inputs=[
                io.Combo.Input("file", options=folder_paths.get_filename_list(_FOLDER),
                               tooltip="File in models/scail2_poses."),
                io.MultiType.Input("driving", [io.Image, io.Video], optional=True,
                                   tooltip="The driving video: gives the poses its rate and sound, and its size where "
                                           "the file has none."),
            ],
            outputs=[
                PosesType.Output("poses", tooltip="For driving and driving_masks of the other nodes, or for Read "
                                                  "SCAIL-2 Poses, which matches them to masks."),
                io.String.Output("report", tooltip="Who is seen in which frames."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @working("reading the poses")
    def execute(cls, file: str, driving=None) -> io.NodeOutput:
        clip = None if driving is None else as_clip(driving)
        poses = load_poses(folder_paths.get_full_path_or_raise(_FOLDER, file), filmed=clip)
        return io.NodeOutput(poses, read_report(poses))

    @classmethod
    def fingerprint_inputs(cls, file: str, **_) -> float:
        # the file may have been overwritten
        return os.path.getmtime(folder_paths.get_full_path_or_raise(_FOLDER, file))
