"""Poses and key points out of files; a stand-in for core's SAM3DBody_Render, with its schema and its conventions; and
this ComfyUI without it."""

import json

import numpy as np
import torch
from comfy_api.latest import io
from safetensors.torch import load_file

import nodes

from .doors import pack

NAME = "SAM3DBody_Render"
_NEAREST = 0.05  # metres: a triangle with a corner nearer than this is not drawn
_GREY, _FALLOFF = 0.6, 0.6  # of the first person, and how the tint of those after it fades


class TestPoses(io.ComfyNode):
    """Poses of the joints [T, P, 24, 3] in a file, with points, scores, and surfaces (vertices [T, P, V, 3] in metres
    before the camera, faces) if it has them; an all-zero surface is not there. labels: palette indices."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestPoses", category="test", inputs=[
            io.String.Input("path"), io.Int.Input("width"), io.Int.Input("height"),
            io.String.Input("labels", default="1", optional=True)], outputs=[io.Custom("SCAIL2_POSES").Output()])

    @classmethod
    def execute(cls, path, width, height, labels="1"):
        value, meshes, found = pack("poses.value"), pack("poses.mesh"), load_file(path)
        poses = value.Poses.of(value.from_smpl(found["joints"]), (height, width), labels=[*map(int, labels.split())])
        mesh = None
        if "vertices" in found:
            there = found["vertices"].any(-1).any(-1)  # [T, P]
            chosen = torch.where(there, torch.arange(there.shape[1]), -1)
            focal = float(poses.cameras[0, 0])
            detections = [[{"pred_vertices": person.numpy(), "pred_cam_t": np.zeros(3, np.float32),
                            "focal_length": focal} for person in frame] for frame in found["vertices"]]
            shown = torch.arange(len(there))[:, None].expand_as(chosen)
            mesh = meshes.mhr_mesh({"frames": detections, "faces": found["faces"].numpy()}, chosen, focal, shown)
        return io.NodeOutput(value.replace(poses, mesh=mesh, points=found.get("points"), scores=found.get("scores")))


class TestKeyPoints(io.ComfyNode):
    """POSE_KEYPOINT as written in JSON."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestKeyPoints", category="test", inputs=[io.String.Input("text")],
                         outputs=[io.Custom("POSE_KEYPOINT").Output()])

    @classmethod
    def execute(cls, text):
        return io.NodeOutput(json.loads(text))


class BodyRender(io.ComfyNode):
    """Flat grey bodies, each person by their place in the frame's list. Pixels are sampled at their centres, triangles
    count with their edges and from both sides, the smallest depth wins; as core's own renderer does it."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id=NAME, display_name="Render 3D Body Pose", category="test", inputs=[
                io.MultiType.Input("pose_data", types=[io.Custom("MHR_POSE_DATA"), io.Custom("KIMODO_POSE_DATA")]),
                io.Image.Input("background", optional=True),
                io.Int.Input("width", default=0, min=0, max=16384, step=8),
                io.Int.Input("height", default=0, min=0, max=16384, step=8),
                io.Load3DCamera.Input("camera_info", optional=True),
                io.DynamicCombo.Input("render_style", options=[
                    io.DynamicCombo.Option("mesh", [io.Float.Input("opacity", default=1.0, min=0.0, max=1.0)]),
                    io.DynamicCombo.Option("silhouette", [])])],
            outputs=[io.Image.Output("image")])

    @classmethod
    def execute(cls, pose_data, background=None, width=0, height=0, camera_info=None, render_style=None):
        assert render_style["render_style"] == "mesh"
        assert background is None
        assert not width
        assert not height
        size = pose_data["image_size"]
        return io.NodeOutput(torch.stack([_drawn(people, np.asarray(pose_data["faces"]), *size)
                                          for people in pose_data["frames"]]))


def _drawn(people, faces, height, width):
    picture, nearest = torch.zeros(height, width, 3), np.full((height, width), np.inf)
    rows, columns = np.indices((height, width)) + 0.5
    for place, person in enumerate(people):
        vertices = person["pred_vertices"].reshape(-1, 3) + np.asarray(person["pred_cam_t"]).reshape(3)
        focal = float(np.asarray(person["focal_length"]).reshape(-1)[0])
        fade = 1 - _FALLOFF**place
        for corners in vertices.astype(float)[faces]:
            x, y, z = corners.T
            if z.min() <= _NEAREST:
                continue
            x, y = width / 2 + focal * x / z, height / 2 + focal * y / z
            shares = [(x[j] - columns) * (y[k] - rows) - (y[j] - rows) * (x[k] - columns)
                      for j, k in ((1, 2), (2, 0), (0, 1))]
            whole = sum(shares)
            inside = np.logical_or(np.min(shares, 0) >= 0, np.max(shares, 0) <= 0) & (np.abs(whole) > 1e-6)
            depth = sum(share * each for share, each in zip(shares, z, strict=True)) / np.where(whole == 0, 1, whole)
            seen = inside & (depth < nearest)
            nearest[seen] = depth[seen]
            picture[torch.from_numpy(seen)] = _GREY * (1 - fade) + fade
    return picture


class TestWithoutBodyRender(io.ComfyNode):
    """Render SCAIL-2 Poses, style mesh, as in a ComfyUI that has no SAM3DBody_Render."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestWithoutBodyRender", category="test", is_output_node=True,
                         inputs=[io.Custom("SCAIL2_POSES").Input("poses")], outputs=[io.String.Output()])

    @classmethod
    def execute(cls, poses):
        kept = nodes.NODE_CLASS_MAPPINGS.pop(NAME)
        try:
            render = nodes.NODE_CLASS_MAPPINGS["SCAIL2RenderPoses"]
            return render.PREPARE_CLASS_CLONE(None).execute(poses=poses, style="mesh", face=True, hands=True)
        finally:
            nodes.NODE_CLASS_MAPPINGS[NAME] = kept
