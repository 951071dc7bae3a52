"""The page's arithmetic of plan, memory and time is that of the Python functions, by vectors that these write."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import vectors

TEST = Path(vectors.__file__).with_name("plan_vectors.test.mjs")


def test_page_counts_as_python(tmp_path):
    if shutil.which("node") is None:
        pytest.skip("no Node.js: install node")
    file = tmp_path / "vectors.json"
    file.write_text(json.dumps(list(vectors.vectors())), encoding="utf-8")
    done = subprocess.run(["node", "--test", str(TEST)], env={**os.environ, "VECTORS": str(file)}, capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
