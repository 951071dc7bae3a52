"""MediaPipe's pose and face models on single frames, run by LiteRT.

After the public description of the models (BlazePose, arXiv 2006.10204; Face Mesh, arXiv 1907.06724) and the settings
of MediaPipe's own graphs. Every frame is looked at by itself, without tracking. Hands are left out: in no clip at hand
is one large enough for their model to see it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .downloads import model

Array = NDArray[np.float64]
DETECTED, PRESENT = 0.5, 0.5
STRIDES = (8, 16, 32, 32, 32)


@dataclass(frozen=True)
class Square:
    """A turned square of a picture: middle (x, y), side, angle in radians."""

    middle: Array
    side: float
    angle: float

    @cached_property
    def axes(self) -> Array:
        """[2, 2]: pixels of the picture for a whole side along x and along y."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        return self.side * np.array([[c, -s], [s, c]])

    def to_picture(self, points: Array) -> Array:
        """[n, 2] in 0..1 of the square -> pixels."""
        return (points - 0.5) @ self.axes.T + self.middle

    def crop(self, frame: Image.Image, size: int) -> Array:
        """The square as [1, size, size, 3] in 0..1; black outside the picture."""
        corner, step = self.to_picture(np.zeros((1, 2)))[0], self.axes / size
        data = (*step[0], corner[0], *step[1], corner[1])
        cut = frame.transform((size, size), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
        return np.asarray(cut, np.float32)[None] / 255

    def outside(self, inner: Array, width: int, height: int) -> Array:
        """Values [n, n] of the square, where they lie in the picture [height, width]; 0 elsewhere."""
        step = np.linalg.inv(self.axes / len(inner))
        corner = -step @ self.to_picture(np.zeros((1, 2)))[0]
        data = (*step[0], corner[0], *step[1], corner[1])
        laid = Image.fromarray(inner.astype(np.float32)).transform(
            (width, height), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
        return np.asarray(laid, float)


@dataclass(frozen=True)
class Body:
    """One person of one frame: 33 landmarks of BlazePose, and the face where one was found.

    pixels [33, 2]; visible [33] in 0..1; world [33, 3] in metres from the middle of the hips, x right, y down, z away;
    present in 0..1; outline: who this is, bool [H, W]; face [468, 2] in pixels.
    """

    pixels: Array
    visible: Array
    world: Array
    present: float
    outline: NDArray[np.bool_]
    face: Array | None


def people(frame: NDArray[np.uint8], most: int = 1) -> list[Body]:
    """The people of one frame [H, W, 3], the surest first; nobody where no landmarks are trusted."""
    image = Image.fromarray(frame)
    bodies = (_body(image, square) for square in _detections(image)[:most])
    return [body for body in bodies if body.present >= PRESENT]


@cache
def _network(path: Path):
    from ai_edge_litert.interpreter import Interpreter

    network = Interpreter(str(path), num_threads=1)
    network.allocate_tensors()
    return network


def _run(name: str, picture: Array) -> list[Array]:
    network = _network(model(name))
    network.set_tensor(network.get_input_details()[0]["index"], picture.astype(np.float32))
    network.invoke()
    return [network.get_tensor(output["index"]).astype(float) for output in network.get_output_details()]


def _sigmoid(values: Array) -> Array:
    return 1 / (1 + np.exp(-np.clip(values, -100, 100)))


@cache
def _anchors() -> Array:
    """[2254, 2] the middles of the detector's cells, in 0..1: two for each cell and stride."""
    rows = []
    for stride in sorted(set(STRIDES)):
        cells = 224 // stride
        y, x = np.mgrid[:cells, :cells]
        middles = np.stack([x, y], -1).reshape(-1, 2)
        rows.append(np.repeat((middles + 0.5) / cells, 2 * STRIDES.count(stride), axis=0))
    return np.concatenate(rows)


def _detections(image: Image.Image) -> list[Square]:
    """Squares around people, upright in them: the middle of the hips, and the reach of the body."""
    whole = Square(np.array(image.size) / 2, float(max(image.size)), 0.0)
    boxes, scores = _run("pose_detection/pose_detection", whole.crop(image, 224) * 2 - 1)
    scores = _sigmoid(scores[0, :, 0])
    found, middles = [], []
    for index in np.argsort(-scores):
        if scores[index] < DETECTED:
            break
        middle = boxes[0, index, :2] / 224 + _anchors()[index]
        if any(np.abs(middle - other).max() < 0.1 for other in middles):
            continue  # the same person once more
        middles.append(middle)
        hips, reach = whole.to_picture(boxes[0, index, 4:8].reshape(2, 2) / 224 + _anchors()[index])
        found.append(_square(hips, reach))
    return found


def _square(middle: Array, top: Array) -> Square:
    """A square whose upper side lies in the direction of `top`."""
    along = top - middle
    return Square(middle, 2 * 1.25 * float(np.hypot(*along)), float(np.pi / 2 + np.arctan2(along[1], along[0])))


def _body(image: Image.Image, square: Square) -> Body:
    screen, present, outline, _, world = _run("pose_landmark/pose_landmark_full", square.crop(image, 256))
    screen = screen.reshape(39, 5)[:33]
    world = world.reshape(39, 3)[:33].copy()
    world[:, :2] = world[:, :2] @ (square.axes / square.side).T
    pixels = square.to_picture(screen[:, :2] / 256)
    visible = np.minimum(_sigmoid(screen[:, 3]), _sigmoid(screen[:, 4]))
    outline = square.outside(_sigmoid(outline[0, :, :, 0]), *image.size) > 0.5
    return Body(pixels, visible, world, float(present.item()), outline, _face(image, pixels, visible))


def _face(image: Image.Image, pixels: Array, visible: Array) -> Array | None:
    """[468, 2] pixels, looked for where the body's landmarks say; None where the model does not see one."""
    if visible[:11].min() < 0.5:
        return None
    eyes, mouth = pixels[[2, 5]], pixels[[9, 10]]
    up = eyes.mean(0) - mouth.mean(0)
    side = 4 * max(float(np.hypot(*up)), float(np.hypot(*(eyes[0] - eyes[1]))))
    square = Square(pixels[:11].mean(0), side, float(np.pi / 2 + np.arctan2(up[1], up[0])))
    points, present = _run("face_landmark/face_landmark", square.crop(image, 192))
    if _sigmoid(present.item()) < PRESENT:
        return None
    return square.to_picture(points.reshape(468, 3)[:, :2] / 192)
