"""Load NLF Model: the user's own torchscript file of NLF, which finds bodies in a driving video."""

from __future__ import annotations

import os

import folder_paths
from comfy_api.latest import io

from ..scail_model.comfy.progress import working
from ..scail_model.comfy.schema import CATEGORY, NLFModelType
from ..scail_model.poses.nlf_model import load_nlf

_FOLDER = "nlf"  # other packs have it too
folder_paths.add_model_folder_path(_FOLDER, os.path.join(folder_paths.models_dir, _FOLDER))


class SCAIL2LoadNLF(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2LoadNLF",
            display_name="Load NLF Model",
            category=CATEGORY,
            description="Loads NLF, the official detector of bodies, from a torchscript file in models/nlf. Its "
                        "weights are for non-commercial research only: the pack neither contains nor downloads them.",
            search_aliases=["nlf", "pose model", "smpl", "skeleton"],
            inputs=[io.Combo.Input("file", options=_files(),
                                   tooltip="File in models/nlf, as NLF's authors publish it, such as "
                                           "nlf_l_multi_0.3.2.torchscript. It contains code: use one that you "
                                           "trust.")],
            outputs=[NLFModelType.Output("model", tooltip="For poses of Read SCAIL-2 Poses, and for other packs' NLF "
                                                          "nodes.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @working("loading NLF")
    def execute(cls, file: str) -> io.NodeOutput:
        return io.NodeOutput(load_nlf(folder_paths.get_full_path_or_raise(_FOLDER, file)))


def _files() -> list[str]:
    """Torchscript files; other packs keep their own form, .safetensors, in the same folder."""
    return [name for name in folder_paths.get_filename_list(_FOLDER) if not name.endswith(".safetensors")]
