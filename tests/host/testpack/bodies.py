"""What detectors of bodies answer, without a detector: the joints come from a file, whose path may be one in ComfyUI's
input folder. And stand-ins for core's SAM3D Body nodes, for a ComfyUI without them."""

import math
from pathlib import Path

import folder_paths
import numpy as np
import torch
from comfy_api.latest import io
from safetensors.torch import load_file, save_file

import nodes

from .poses import BodyRender

_FOCAL = 1 / (2 * math.tan(math.radians(27.5)))  # of the longer side: 55 degrees
# MHR's points that are read -> SMPL's joints
_MHR = {0: 15, 69: 12, 6: 17, 8: 19, 41: 21, 5: 16, 7: 18, 62: 20, 10: 2, 12: 5, 14: 8, 9: 1, 11: 4, 13: 7}
_LIMBS = ((15, 12), (12, 17), (12, 16), (17, 19), (19, 21), (16, 18), (18, 20), (12, 0), (2, 5), (5, 8), (1, 4), (4, 7))
_THICK = 60.0  # millimetres


class TestBodies(io.ComfyNode):
    """NLFPRED of the joints in a file: float32 [T, P, 24, 3], an all-zero person is not there."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestBodies", category="test", inputs=[
            io.String.Input("path"), io.String.Input("name"), io.Int.Input("frames", default=10000, optional=True)],
            outputs=[io.Custom("NLFPRED").Output()])

    @classmethod
    def execute(cls, path, name, frames=10000):
        joints = _read(path)[name][:frames]
        return io.NodeOutput({"joints3d_nonparam": [[people[people.any(-1).any(-1)] for people in joints]]})


class TestDrawnBodies(io.ComfyNode):
    """SAM3DBody_Predict for a drawing whose joints are in a file: MHR_POSE_DATA of a few flat limbs."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestDrawnBodies", category="test", inputs=[
            io.Image.Input("image"), io.String.Input("path")], outputs=[io.Custom("MHR_POSE_DATA").Output()])

    @classmethod
    def execute(cls, image, path):
        joints, (height, width) = _read(path)["joints"].numpy(), image.shape[1:3]
        assert len(joints) == len(image)
        focal = np.float32(max(height, width) * _FOCAL)
        corners = np.arange(4 * len(_LIMBS)).reshape(-1, 4)
        return io.NodeOutput({"frames": [[_person(person, focal) for person in people] for people in joints],
                              "faces": np.concatenate([corners[:, :3], corners[:, 1:]]).astype(np.int64),
                              "image_size": (height, width)})


class TestSavePoses(io.ComfyNode):
    """What is in SCAIL2_POSES, as tensors in a file."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestSavePoses", category="test", is_output_node=True, inputs=[
            io.String.Input("path"), io.Custom("SCAIL2_POSES").Input("poses")], outputs=[])

    @classmethod
    def execute(cls, path, poses):
        tensors = {name: getattr(poses, name) for name in ("joints", "cameras", "points", "scores")}
        tensors |= {"labels": torch.tensor(poses.labels), "size": torch.tensor(poses.size)}
        if poses.filmed is not None and poses.filmed.rate:
            tensors["rate"] = torch.tensor(float(poses.filmed.rate))
        save_file({name: value.contiguous() for name, value in tensors.items() if value is not None}, path)
        return io.NodeOutput()


class TestDrawnKeyPoints(io.ComfyNode):
    """SDPoseKeypointExtractor for a drawing whose points are in a file: POSE_KEYPOINT, in pixels."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestDrawnKeyPoints", category="test", inputs=[
            io.Image.Input("image"), io.String.Input("path")], outputs=[io.Custom("POSE_KEYPOINT").Output()])

    @classmethod
    def execute(cls, image, path):
        height, width = image.shape[1:3]
        parts = {"pose": slice(18), "face": slice(24, 92), "hand_left": slice(92, 113), "hand_right": slice(113, 134)}
        return io.NodeOutput([{
            "canvas_height": height, "canvas_width": width,
            "people": [{f"{name}_keypoints_2d": [value for x, y in points[part].tolist() for value in (x, y, 1.0)]
                        for name, part in parts.items()} for points in people],
        } for people in _read(path)["points"][: len(image)]])


def _read(path):
    return load_file(Path(folder_paths.get_input_directory()) / path)


def _person(joints, focal):
    points = np.zeros((70, 3), np.float32)
    points[list(_MHR)] = joints[list(_MHR.values())] / 1000
    points[:, 2] = 0
    surface = []
    for start, end in _LIMBS:
        along = joints[end] - joints[start]
        across = np.array([-along[1], along[0], 0]) / np.hypot(*along[:2]) * _THICK
        surface += [joints[start] - across, joints[start] + across, joints[end] - across, joints[end] + across]
    surface = np.array(surface, np.float32) / 1000
    away = np.array([0, 0, joints[0, 2] / 1000], np.float32)
    return {"pred_keypoints_3d": points, "pred_vertices": surface - away, "pred_cam_t": away, "focal_length": focal,
            "bbox": np.zeros(4, np.float32), "mask": None}


class _Loader(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="SAM3DBody_Loader", display_name="Load SAM3D Body Model", category="test", inputs=[
            io.Combo.Input("model_file", options=["sam_3d_body_dinov3_bf16.safetensors"])],
            outputs=[io.Custom("SAM3D_BODY_MODEL").Output(display_name="sam3d_body_model")])

    @classmethod
    def execute(cls, model_file):
        raise RuntimeError("This is a stand-in: this ComfyUI has no SAM3D Body.")


class _Predict(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SAM3DBody_Predict", display_name="Run SAM3D Body Prediction", category="test", inputs=[
                io.Custom("SAM3D_BODY_MODEL").Input("sam3d_body_model"), io.Image.Input("image"),
                io.Custom("SAM3_TRACK_DATA").Input("track_data", optional=True),
                io.BoundingBox.Input("bboxes", optional=True, force_input=True),
                io.Boolean.Input("run_hand_refinement", default=True), io.Float.Input("fov", advanced=True),
                io.Int.Input("batch_size", default=64, min=1, max=512, step=1, advanced=True)],
            outputs=[io.Custom("MHR_POSE_DATA").Output("mhr_pose_data")])

    @classmethod
    def execute(cls, **given):
        raise RuntimeError("This is a stand-in: this ComfyUI has no SAM3D Body.")


def missing_of_core():
    """Stand-ins for the nodes that this ComfyUI does not have: workflows with them can be opened and checked here."""
    stand_ins = {"SAM3DBody_Loader": _Loader, "SAM3DBody_Predict": _Predict, "SAM3DBody_Render": BodyRender}
    return [stand_in for name, stand_in in stand_ins.items() if name not in nodes.NODE_CLASS_MAPPINGS]
