"""Poses as IMAGEs, rendered on ComfyUI's device: capsules by our own renderer, bodies by ComfyUI's node."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import comfy.model_management
import comfy.utils
import torch
from torch import Tensor

from ..masks import paint
from ..poses.mesh import render_mesh_people
from ..poses.scene import Scene
from ..poses.value import MESH, Poses

BODY_NODE = "SAM3DBody_Render"  # since ComfyUI 0.34
_AT_ONCE = 16  # frames

Render = Callable[[int, int], tuple[Tensor, Tensor]]  # frames start..stop -> pictures, who each pixel shows


def render(poses: Poses, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """Frames start..stop in their look, and their masks: IMAGEs [stop - start, H, W, 3] in 0..1. The masks have each
    person in the colour of its label, on black.

    Raises RuntimeError where this ComfyUI lacks the node that draws bodies, ValueError for poses without them.
    """
    part = _bodies(poses) if poses.look.style == MESH else _capsules(poses)
    labels = torch.tensor([0, *poses.labels])
    images = torch.empty(stop - start, *poses.size, 3)
    masks, bar = torch.empty_like(images), comfy.utils.ProgressBar(stop - start)
    for first in range(start, stop, _AT_ONCE):
        last = min(first + _AT_ONCE, stop)
        pixels, people = part(first, last)
        images[first - start : last - start] = pixels
        masks[first - start : last - start] = paint(labels[people.cpu().long()]).movedim(1, -1) / 255
        bar.update(last - first)
    return images, masks


def _capsules(poses: Poses) -> Render:
    scene = Scene.of(poses, device=comfy.model_management.get_torch_device())

    def part(start: int, stop: int) -> tuple[Tensor, Tensor]:
        pixels, people = scene.frames(start, stop, comfy.model_management.throw_exception_if_processing_interrupted)
        return pixels / 255, people

    return part


def _bodies(poses: Poses) -> Render:
    node = importlib.import_module("nodes").NODE_CLASS_MAPPINGS.get(BODY_NODE)  # ComfyUI's module of that name
    if node is None:
        raise RuntimeError(f"The node {BODY_NODE}, which draws body meshes, is missing in this ComfyUI: update "
                           "ComfyUI, or choose the style official.")
    device = comfy.model_management.get_torch_device()

    def part(start: int, stop: int) -> tuple[Tensor, Tensor]:
        people = []
        for frame in range(start, stop):
            comfy.model_management.throw_exception_if_processing_interrupted()
            people.append(render_mesh_people(poses, frame, frame + 1, device))
        # The first input has changed its name; what it takes and the other names have stayed.
        drawn = node.execute(_pose_data(poses, start, stop), width=0, height=0, render_style={"render_style": "mesh"})
        return drawn[0].float().cpu(), torch.cat(people)

    return part


def _pose_data(poses: Poses, start: int, stop: int) -> dict:
    """MHR_POSE_DATA of frames start..stop in which every person has the same place. That node looks at the centre of
    the picture with one focal length in both directions; bodies are sheared so that they show there what each person's
    own camera shows. Who is missing lies at the camera, where nothing is drawn: later people keep their tint."""
    mesh = poses.mesh
    assert mesh is not None
    faces = mesh.faces.numpy()
    missing = torch.zeros(int(mesh.faces.max()) + 1, 3)
    frames = [[_detection(missing if vertices is None else _seen_from_centre(vertices, camera, poses.size), camera)
               for vertices, camera in zip(mesh.vertices(frame), poses.cameras, strict=True)]
              for frame in range(start, stop)]
    return {"frames": frames, "faces": faces, "image_size": poses.size, "canonical_colors": None,
            "hand_vert_mask": None}


def _seen_from_centre(vertices: Tensor, camera: Tensor, size: tuple[int, int]) -> Tensor:
    """Vertices [V, 3] in millimetres -> in metres, before a camera of focal length camera[0] on both axes that looks at
    the centre."""
    across, down, depth = (vertices.double() / 1000).unbind(1)
    fx, fy, cx, cy = camera.tolist()
    moved = across + (cx - size[1] / 2) / fx * depth, (fy * down + (cy - size[0] / 2) * depth) / fx, depth
    return torch.stack(moved, 1).float()


def _detection(vertices: Tensor, camera: Tensor) -> dict:
    return {"pred_vertices": vertices.numpy(), "pred_cam_t": torch.zeros(3).numpy(),
            "focal_length": camera[:1].float().numpy()}
