"""Save and Load SCAIL-2 Tracks: identities in files, so that a video is tracked once for any number of characters."""

from __future__ import annotations

import os
from dataclasses import replace

import folder_paths
from comfy_api.latest import io

from ..scail_model.comfy.progress import working
from ..scail_model.comfy.schema import CATEGORY, DRIVING_TYPES, IdentitiesType, as_clip
from ..scail_model.identity import tracks_file, video_fingerprint
from ..scail_model.identity.identities import MODES, report

_FOLDER = "scail2_tracks"
_AS_SAVED = "as saved"
_ACCEPT = "accept"
_REMEDY = "connect the video that was tracked, or set other_video to accept"
folder_paths.add_model_folder_path(_FOLDER, os.path.join(folder_paths.models_dir, _FOLDER))


class SCAIL2SaveTracks(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2SaveTracks",
            display_name="Save SCAIL-2 Tracks",
            category=CATEGORY,
            description="Writes identities (masks and who is who) to models/scail2_tracks. Load them later instead of "
                        "tracking the people again.",
            search_aliases=["cache masks", "save masks", "sam3", "track data"],
            is_output_node=True,
            inputs=[
                IdentitiesType.Input("identities", tooltip="From Bind SCAIL-2 Identities."),
                io.String.Input("name", default="tracks",
                                tooltip="File name without ending; may contain a sub-folder."),
                io.Boolean.Input("overwrite", default=False, optional=True, tooltip="Replace a file of this name."),
                io.MultiType.Input("driving", DRIVING_TYPES, optional=True,
                                   tooltip="The driving video that was tracked: 16 tiny pictures of it are saved, to "
                                           "detect another video when the tracks are loaded."),
            ],
            outputs=[IdentitiesType.Output("identities", tooltip="The same identities, unchanged.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @working("writing the tracks")
    def execute(cls, identities, name: str, overwrite: bool = False, driving=None) -> io.NodeOutput:
        video = None if driving is None else video_fingerprint.own_fingerprint(identities, as_clip(driving))
        folder = folder_paths.get_folder_paths(_FOLDER)[0]
        tracks_file.save(identities, folder, name, video=video, overwrite=overwrite)
        return io.NodeOutput(identities)


class SCAIL2LoadTracks(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2LoadTracks",
            display_name="Load SCAIL-2 Tracks",
            category=CATEGORY,
            description="Reads identities written by Save SCAIL-2 Tracks. Use them as they are, or bind another "
                        "reference to their driving masks with Bind SCAIL-2 Identities.",
            search_aliases=["cached masks", "load masks", "sam3", "track data"],
            inputs=[
                io.Combo.Input("file", options=folder_paths.get_filename_list(_FOLDER),
                               tooltip="File in models/scail2_tracks."),
                io.Combo.Input("mode", options=[_AS_SAVED, *MODES], default=_AS_SAVED, optional=True,
                               tooltip="Mode for this run; backgrounds are painted as the mode needs them."),
                io.MultiType.Input("driving", DRIVING_TYPES, optional=True,
                                   tooltip="The driving video: checked against the masks, and against the pictures in "
                                           "the file."),
                io.Combo.Input("other_video", options=["refuse", _ACCEPT], default="refuse", optional=True,
                               advanced=True,
                               tooltip="What to do if driving differs from the video that was tracked. refuse: stop "
                                       "with a message that says what differs. accept: note it in the report. A "
                                       "different number of frames is always refused."),
            ],
            outputs=[
                IdentitiesType.Output("identities", tooltip="For the other SCAIL-2 nodes, or for driving_masks of "
                                                            "Bind SCAIL-2 Identities."),
                io.String.Output("report", tooltip="People, how much of the picture each covers, and whether the "
                                                   "driving video is the one that was tracked."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @working("reading the tracks")
    def execute(cls, file: str, mode: str = _AS_SAVED, driving=None, other_video: str = "refuse") -> io.NodeOutput:
        identities, video = tracks_file.load(folder_paths.get_full_path_or_raise(_FOLDER, file))
        remarks = ()
        if driving is not None:
            remarks = video_fingerprint.compare(identities, video, as_clip(driving), _REMEDY,
                                                accept=other_video == _ACCEPT)
        if mode != _AS_SAVED:
            identities = replace(identities, mode=mode)
        return io.NodeOutput(identities, "\n".join((report(identities), *remarks)))

    @classmethod
    def fingerprint_inputs(cls, file: str, **_) -> float:
        # the file may have been overwritten
        return os.path.getmtime(folder_paths.get_full_path_or_raise(_FOLDER, file))
