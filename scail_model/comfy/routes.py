"""What the page asks this pack's server for, over HTTP. Questions and answers are JSON.

    GET  /scail2/progress           all of the last few runs, for a page that has missed their events
    POST /scail2/files              the model files of a graph, and which are missing: `model_files.model_files`
    POST /scail2/plan               a node's plan as its widgets are now: `plan_view`
    POST /scail2/identities         the table of identities as its texts are now: `identity.table.view`
    POST /scail2/identities/edit    the texts after a choice in that table: `identity.table.edit`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web
from server import PromptServer

from ..identity import table
from . import progress
from .model_files import model_files
from .plan_view import plan_view

_ANSWERS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "/scail2/files": model_files, "/scail2/plan": plan_view, "/scail2/identities": table.view,
    "/scail2/identities/edit": table.edit}


def add_routes() -> None:
    """Register the routes. A second copy of the pack leaves them to the first one."""
    routes = PromptServer.instance.routes
    known = {route.path for route in routes if isinstance(route, web.RouteDef)}
    if "/scail2/progress" not in known:
        routes.get("/scail2/progress")(_progress)
        for path, answer in _ANSWERS.items():
            routes.post(path)(_handler(answer))


async def _progress(_: web.Request) -> web.Response:
    return web.json_response({"runs": progress.runs.whole()})


def _handler(answer: Callable[[Mapping[str, Any]], dict[str, Any]]):
    async def handle(request: web.Request) -> web.Response:
        return web.json_response(answer(await request.json()))

    return handle
