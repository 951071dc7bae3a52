"""Two people rendered at 512x896, 81 frames: milliseconds a frame and peak memory, on the CPU and on a GPU.

    python tests/bench/poses.py [--device cuda] [--frames 81] [--height 512] [--width 896]

The people walk past each other, with faces and hands. Three runs after a warm-up, the median counts: capsules alone,
and the whole picture with the overlay, as a driving video is read; and the same as driving masks. Memory is what the
process, or the GPU, needs more than before, at most.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from scail_model.poses.pose_masks import driving_source  # noqa: E402
from scail_model.poses.scene import Scene  # noqa: E402
from scail_model.poses.value import FACE, LEFT_HAND, POINTS, RIGHT_HAND, Poses, official_camera  # noqa: E402

STANDING = ((0, -620), (0, -430), (-170, -430), (-330, -200), (-360, 30), (170, -430), (330, -200), (360, 30),
            (-100, 60), (-110, 480), (-120, 880), (100, 60), (110, 480), (120, 880))  # mm, of the first 14 joints


def walking(frames: int, height: int, width: int) -> Poses:
    joints = torch.zeros(frames, 2, 18, 3)
    time_ = torch.arange(frames)[:, None] / 12
    joints[:, :, :14, :2] = torch.tensor(STANDING, dtype=torch.float32)
    joints[:, :, :14, 0] += torch.stack((300 * torch.sin(time_), -300 * torch.sin(time_)), 1)
    joints[:, :, :14, 2] = torch.tensor((2200.0, 2500.0))[:, None]
    for joint, side in ((3, 1), (4, 1), (9, 1), (6, -1), (7, -1), (12, -1)):
        joints[:, :, joint, 2] += side * 150 * torch.sin(4 * time_)
    fx, fy, cx, cy = official_camera(height, width)
    places = joints[..., :2] / joints[..., 2:].clamp(min=1) * torch.tensor((fx, fy)) + torch.tensor((cx, cy))
    drawn = torch.Generator().manual_seed(0)
    points = torch.zeros(frames, 2, POINTS, 2)
    points[:, :, :18] = places
    for part, joint, size in ((FACE, 0, 25), (LEFT_HAND, 7, 18), (RIGHT_HAND, 4, 18)):
        shape = torch.randn(part.stop - part.start, 2, generator=drawn) * size
        points[:, :, part] = places[:, :, joint, None] + shape
    points[:, :, 14:18] = places[:, :, :1] + torch.tensor(((-9.0, -9), (9, -9), (-22, -4), (22, -4)))
    poses = Poses.of(joints, (height, width))
    return replace(poses, points=points, scores=torch.ones(frames, 2, POINTS))


def milliseconds(run: Callable[[], object], frames: int) -> float:
    run()
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds) / frames * 1000


def peak() -> float:
    """MiB of this process, at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    for name, value in (("frames", 81), ("height", 512), ("width", 896)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    poses = walking(given.frames, given.height, given.width)
    bare = replace(poses, points=None, scores=None)
    count = given.frames
    Scene.of(poses, given.device).frames(0, 1)
    before, result = peak(), count * given.height * given.width * 4 / 2**20
    rows = {
        "capsules": lambda: Scene.of(bare, given.device).frames(0, count),
        "capsules, faces and hands": lambda: Scene.of(poses, given.device).frames(0, count),
        "driving masks (CPU)": lambda: driving_source(poses),
    }
    print(f"{given.device}, {torch.get_num_threads()} threads, {given.width}x{given.height}, {count} frames, 2 people")
    for name, run in rows.items():
        print(f"{name:28} {milliseconds(run, count):8.2f} ms a frame")
    pixels, people = Scene.of(poses, given.device).frames(0, 1)
    print(f"covered: {(people > 0).float().mean():.1%} of the picture")
    print(f"memory: {peak() - before:.0f} MiB more at most, of which {result:.0f} MiB are the result of one run")
    if given.device.startswith("cuda"):
        print(f"GPU memory: {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB at most")
        there, here = (Scene.of(poses, device).frames(0, count) for device in (given.device, "cpu"))
        print(f"pixels that differ from the CPU's: {(there[0] != here[0]).any(-1).sum()}, people: "
              f"{(there[1] != here[1]).sum()}")


if __name__ == "__main__":
    main()
