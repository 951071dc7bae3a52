"""A cluster whose machines come and go: Ray nodes on this one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scail_model.batch.comfy_process import free_port

pytest.importorskip("ray")
HERE = Path(__file__).parent


@pytest.mark.slow
def test_nodes_that_come_later_are_used_and_those_that_go_are_survived(tmp_path):
    path = os.pathsep.join(map(str, (HERE.parents[1], HERE.parent / "bench")))
    done = subprocess.run([sys.executable, HERE / "ray_nodes.py", tmp_path / "batch", str(free_port())], timeout=240,
                          env={**os.environ, "PYTHONPATH": path, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64,
                               "RAY_USAGE_STATS_ENABLED": "0"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["done"], found["segments"], found["different"]) == (24, 72, 72)
    assert found["processes"] == 3, "on the node that was there, the one that came, and the one that came for it"
