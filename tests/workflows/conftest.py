"""One ComfyUI process for the workflows' tests, with the tiny models that `workflow_files.tiny` asks for."""

from __future__ import annotations

import pytest
from comfyui import ComfyUI
from workflow_files import tiny


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    base = tmp_path_factory.mktemp("comfyui")
    tiny.write_models(base / "models")
    with ComfyUI(base) as process:
        tiny.make_vae(process)
        yield process


@pytest.fixture(scope="session")
def object_info(server):
    return server.get("/object_info")
