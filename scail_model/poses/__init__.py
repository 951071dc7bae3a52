"""Joints and meshes of people -> a driving video and its masks."""

from .alignment import solve_alignment
from .official import draw_overlay, render_people, render_skeleton

__all__ = ["draw_overlay", "render_people", "render_skeleton", "solve_alignment"]
