"""The node on the page that a running node belongs to, and a line of text on it.

A node that expands, such as a loop, runs copies of nodes under numbers that the page does not know. ComfyUI translates
its own messages; ours have to be translated here.
"""

from __future__ import annotations

from comfy_execution.progress import get_progress_state
from server import PromptServer


def shown_node(node_id: str) -> str:
    """The id of the visible node that stands for a running one."""
    return get_progress_state().dynprompt.get_display_node_id(node_id)


def say(text: str, node_id: str) -> None:
    """A line of text on the node, for the page and for programs that listen."""
    PromptServer.instance.send_progress_text(text, shown_node(node_id))
