"""A node's ui output although the node fails, for a panel that helps to mend what is wrong."""

from __future__ import annotations

from typing import Any

from comfy_execution.utils import get_executing_context
from server import PromptServer

from .shown_node import shown_node


def send(output: dict[str, Any]) -> None:
    """As ComfyUI's own message `executed`, which pages and programs take already, to whom has queued the run. Nobody
    hears it without a server, or if a program listens to none."""
    server, context = getattr(PromptServer, "instance", None), get_executing_context()
    if server is None or server.client_id is None or context is None:
        return
    shown = shown_node(context.node_id)
    server.send_sync("executed", {"node": context.node_id, "display_node": shown, "output": output,
                                  "prompt_id": context.prompt_id}, server.client_id)
