"""Stand-ins for core's SAM3 nodes: they see drawn people, because they are shown the drawing's own colour masks."""

import json

import torch
import torch.nn.functional as F
from comfy.ldm.sam3.tracker import pack_masks
from comfy_api.latest import io

_COLOURS = ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0))  # of the drawn people
_SIZE = 1008  # of SAM3's masks, whatever the video's size and shape


class TestDrawnTrack(io.ComfyNode):
    """SAM3_VideoTrack: the people of `drawn`, or those under `initial_mask`, in core's own form. The last colour comes
    first, because the order of SAM3's objects means nothing."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestDrawnTrack", category="test", inputs=[
            io.Image.Input("images"), io.Image.Input("drawn"), io.Int.Input("max_objects"),
            io.Mask.Input("initial_mask", optional=True)], outputs=[io.Custom("SAM3_TRACK_DATA").Output()])

    @classmethod
    def execute(cls, images, drawn, max_objects, initial_mask=None):
        assert len(images) == len(drawn)
        people = [mask for mask in map(_where, [drawn] * 2, reversed(_COLOURS)) if mask.any()]
        if initial_mask is not None:
            people = [mask for mask in people if mask[0][initial_mask[0] > 0.5].any()]
        masks = torch.stack(people[:max_objects], 1).float()  # [T, people, H, W]
        packed = pack_masks(F.interpolate(masks, (_SIZE, _SIZE), mode="bilinear") - 0.5)
        return io.NodeOutput({"packed_masks": packed, "n_frames": len(images), "scores": [1.0] * masks.shape[1],
                              "orig_size": tuple(images.shape[1:3])})


class TestDrawnDetect(io.ComfyNode):
    """SAM3_Detect with points: the MASK of the people of `drawn` at the points. A point beside them is an error."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestDrawnDetect", category="test", inputs=[
            io.Image.Input("image"), io.Image.Input("drawn"), io.String.Input("positive_coords")],
            outputs=[io.Mask.Output()])

    @classmethod
    def execute(cls, image, drawn, positive_coords):
        people = [_where(drawn[: len(image)], colour) for colour in _COLOURS]
        picked = [[mask for mask in people if mask[0, point["y"], point["x"]]] for point in json.loads(positive_coords)]
        assert all(picked), f"nobody is at some of {positive_coords}"
        return io.NodeOutput(torch.stack(sum(picked, [])).any(0).float())


def _where(drawn, colour):
    """IMAGE [T, H, W, 3] -> bool [T, H, W]."""
    return (drawn - torch.tensor(colour)).abs().amax(-1) < 0.2
