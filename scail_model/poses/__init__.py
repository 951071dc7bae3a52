"""Joints and meshes of people -> a driving video and its masks."""

from .alignment import solve_alignment

__all__ = ["solve_alignment"]
