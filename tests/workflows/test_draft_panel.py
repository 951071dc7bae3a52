"""The panel that shows a video beside its draft, in the real frontend."""

from __future__ import annotations

from fractions import Fraction

import torch

from scail_model.media.clips import TensorClip
from scail_model.media.whole_video import write_clip


def test_a_video_and_its_draft(page, server):
    folder = server.base / "output/draft_panel"
    folder.mkdir(parents=True, exist_ok=True)
    noise = torch.randint(0, 256, (8, 96, 160, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    write_clip(folder / "both.mp4", TensorClip(noise, Fraction(16)), lambda: None)
    compared, gone = ({"filename": name, "subfolder": folder.name, "type": "output"} for name in ("both.mp4", "no.mp4"))
    found = page("draft_panel", ("404 (Not Found)",), compared=compared, gone=gone)
    assert found["draft"] == 0
    assert found["full"].strip() == "Draft -> video: size 64x32 -> 128x64; the prompt"
    assert found["video"] == [160, 96, False]
    assert found["kept"] == 1, "told again, a video that plays is not drawn anew"
    assert "The file with both is gone from the job folder." in found["gone"]
    assert found["none"].strip() == ""
    assert found["saved"] == [True, 0, 0.05, "off", 8, 8, "measured", 0], "the settings and no panel"
