"""The door of one ComfyUI: graphs in, events out."""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Mapping
from typing import Any

from . import addresses
from .failures import Kind, RowError

_SOON = 10.0  # seconds that an answer may take; a graph with large files is checked in that time too
_TEXT = 3  # first number of a binary message that holds a node's text


class ComfyClient:
    """Of the ComfyUI on this machine's `port`. Raises OSError where nobody answers."""

    def __init__(self, port: int) -> None:
        self.port, self.id = port, str(uuid.uuid4())

    def get(self, path: str, seconds: float = _SOON) -> Any:
        return self._ask("GET", path, None, seconds)[1]

    def post(self, path: str, body: Mapping[str, Any], seconds: float = _SOON) -> tuple[int, Any]:
        """Status and answer."""
        return self._ask("POST", path, json.dumps(body).encode(), seconds)

    def queue(self, prompt: Mapping[str, Any]) -> str:
        """Queue a graph in API format; returns its prompt's id. RowError, which names the node and its input, if
        ComfyUI refuses it or a part of it."""
        status, answer = self.post("/prompt", {"prompt": prompt, "client_id": self.id}, 6 * _SOON)
        answer = answer if isinstance(answer, dict) else {}
        if status == 200 and not answer.get("node_errors"):
            return answer["prompt_id"]
        if status == 200:  # it would make the other outputs
            self.post("/queue", {"delete": [answer["prompt_id"]]})
            self.post("/interrupt", {})
        raise RowError(Kind.INPUTS, refusal(prompt, answer))

    def history(self, prompt_id: str) -> dict[str, Any] | None:
        """What became of a prompt; None while it waits or runs."""
        return self.get(f"/history/{prompt_id}").get(prompt_id)

    def listen(self) -> Listener:
        return Listener(self)

    def _ask(self, method: str, path: str, body: bytes | None, seconds: float) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()
        try:
            return response.status, json.loads(text) if text else None
        except ValueError:
            return response.status, None


class Listener:
    """A websocket as the page has one. Raises OSError if it is closed."""

    def __init__(self, client: ComfyClient) -> None:
        import websocket

        self._timeout, self._closed = websocket.WebSocketTimeoutException, websocket.WebSocketException
        try:
            self._socket = websocket.create_connection(
                f"ws://127.0.0.1:{client.port}/ws?clientId={client.id}", timeout=_SOON, http_no_proxy=["127.0.0.1"])
            self._socket.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
        except websocket.WebSocketException as error:
            raise ConnectionError(str(error)) from error

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_) -> None:
        self._socket.close(timeout=0)

    def next(self, seconds: float) -> dict[str, Any] | None:
        """The next message, {"type", "data"}, a node's text as {"type": "text", "data": {"node", "text"}}; None if
        none comes in time. Pictures are {"type": "picture"}."""
        self._socket.settimeout(seconds)
        try:
            received = self._socket.recv()
        except self._timeout:
            return None
        except self._closed as error:
            raise ConnectionError(str(error)) from error
        if isinstance(received, str):
            return json.loads(received) if received else None
        if int.from_bytes(received[:4], "big") != _TEXT:
            return {"type": "picture", "data": {}}
        length = int.from_bytes(received[4:8], "big")
        return {"type": "text", "data": {"node": received[8 : 8 + length].decode(errors="replace"),
                                         "text": received[8 + length :].decode(errors="replace")}}


def refusal(prompt: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    """What ComfyUI has against a graph, in one sentence, by the title of the node and the name of its input."""
    for node_id, found in answer.get("node_errors", {}).items():
        for error in found["errors"]:
            name = (error.get("extra_info") or {}).get("input_name")
            where = f"{name} of {title(prompt, node_id)}" if name else title(prompt, node_id)
            said = ": ".join(filter(None, (error["message"], " ".join(str(error["details"]).split()))))
            return f"ComfyUI refuses {where} ({said}): correct it."
    error = answer.get("error") or {}
    told = error.get("message", "no reason given") if isinstance(error, dict) else str(error)
    about = error.get("extra_info") or {} if isinstance(error, dict) else {}
    if missing := about.get("class_type"):
        return (f"ComfyUI has no node {missing} ({title(prompt, about.get('node_id', ''))}): install the pack that "
                "brings it into its custom_nodes, and read in comfyui.log whether it could be loaded.")
    return f"ComfyUI refuses the workflow ({' '.join(told.split())}): correct it."


def title(prompt: Mapping[str, Any], node_id: str) -> str:
    """A node as people know it: its title, or its class."""
    return addresses.title(prompt.get(str(node_id), {})) or f"node {node_id}"
