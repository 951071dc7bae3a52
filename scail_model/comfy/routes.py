"""What the page asks this pack's server for, over HTTP.

    GET  /scail2/progress           all of the last few runs, for a page that has missed their events
"""

from __future__ import annotations

from aiohttp import web
from server import PromptServer

from . import progress


def add_routes() -> None:
    """Register the routes. A second copy of the pack leaves them to the first one."""
    routes = PromptServer.instance.routes
    known = {route.path for route in routes if isinstance(route, web.RouteDef)}
    if "/scail2/progress" not in known:
        routes.get("/scail2/progress")(_progress)


async def _progress(_: web.Request) -> web.Response:
    return web.json_response({"runs": progress.runs.whole()})
