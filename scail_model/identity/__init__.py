"""Who is who: masks in, one bound set out."""

from .overlap import nearest

__all__ = ["nearest"]
