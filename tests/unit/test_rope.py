"""Rotary multipliers against golden cases A8 and A9 and against their closed form."""

import math

import golden
import pytest
import torch

from scail_model.kernels.eager.elementwise import rotate
from scail_model.rope import AXIS_PAIRS, Positions, Stretch, segment_rotations


@pytest.mark.parametrize("case", ["A8_rope_t2_2x4", "A9_rope_512x896_81f_sampled"])
def test_equals_the_official_multipliers(case):
    tensors, entries = golden.load(case)
    assert entries
    for entry in entries:
        tag = entry["tag"]
        cos, sin = segment_rotations(
            entry["T"], 2 * entry["H_patches"], 2 * entry["W_patches"],
            replacement=entry["replace_flag"], additional_references=entry["additional_refs"],
        )
        assert cos.dtype == sin.dtype == torch.float64
        assert cos.shape == sin.shape == (entry["segments"]["pose"][1], 64)
        rows = tensors.get(f"{tag}.rows", torch.arange(len(cos))).long()
        torch.testing.assert_close(cos[rows], tensors[f"{tag}.cos"], rtol=0, atol=1e-12)
        torch.testing.assert_close(sin[rows], tensors[f"{tag}.sin"], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("replacement", "extra"), [(False, 0), (False, 3), (True, 0), (True, 3)])
def test_positions_follow_the_table(replacement, extra):
    """Every token's angle is its position times the frequency; pose tokens shrink by cos(frequency / 2)."""
    frames, height, width = 2, 8, 12
    cos, sin = segment_rotations(frames, height, width, replacement=replacement, additional_references=extra)
    rows, columns = height // 2, width // 2
    reference_h = 120 if replacement else 0
    first = extra if replacement else extra + 1
    expected = [(t, reference_h + h, w, False) for t in range(extra + 1) for h in range(rows) for w in range(columns)]
    expected += [(first + t, h, w, False) for t in range(frames) for h in range(rows) for w in range(columns)]
    expected += [(first + t, 2 * h + 0.5, 120 + 2 * w + 0.5, True)
                 for t in range(frames) for h in range(rows // 2) for w in range(columns // 2)]
    assert len(expected) == len(cos)
    for token in range(0, len(expected), 7):
        *position, is_pose = expected[token]
        pair = 0
        for axis, pairs in enumerate(AXIS_PAIRS):
            for k in range(pairs):
                frequency = 10000 ** (-k / pairs)
                length = math.cos(frequency / 2) if is_pose and axis > 0 else 1
                angle = position[axis] * frequency
                assert cos[token, pair].item() == pytest.approx(length * math.cos(angle), abs=1e-11)
                assert sin[token, pair].item() == pytest.approx(length * math.sin(angle), abs=1e-11)
                pair += 1


@pytest.mark.parametrize("replacement", [False, True])
def test_stretched_positions(replacement):
    """Of the video, and in animation of the reference before it; the driving video keeps its own."""
    options = {"replacement": replacement, "additional_references": 1}
    plain = torch.complex(*segment_rotations(3, 8, 12, **options))
    stretched = torch.complex(*segment_rotations(
        3, 8, 12, positions=Positions(Stretch(2.0, 3.0), Stretch(0.5, -1.0), Stretch(1.0, 0.25)), **options))
    references, video = slice(0, 2 * 24), slice(2 * 24, 5 * 24)
    torch.testing.assert_close(stretched[5 * 24 :], plain[5 * 24 :])
    assert torch.equal(stretched[references], plain[references]) == replacement
    frame, row, column = 2, 3, 5  # of the video
    start = 1 if replacement else 0  # of what is stretched
    time = (start + 3 + 2.0 * frame) if replacement else 3 + 2.0 * (2 + frame)
    angles = stretched[video][(frame * 4 + row) * 6 + column].angle()
    for channel, position in ((0, time), (22, 0.5 * row - 1), (43, column + 0.25)):
        turn = (angles[channel].item() - position) / (2 * math.pi)  # these turn by one radian for each position
        assert turn == pytest.approx(round(turn), abs=1e-9)


def test_rotate_is_a_complex_product():
    x = torch.randn(2, 5, 3, 128)
    cos, sin = torch.randn(2, 5, 64)
    expected = torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (64, 2))) * torch.complex(cos, sin)[:, None])
    torch.testing.assert_close(rotate(x, cos, sin), expected.flatten(-2))


@pytest.mark.parametrize(("size", "message"), [((1, 6, 8), "6x8.*multiples of 4"), ((8192, 8, 8), "too large.*8192")])
def test_refuses_what_has_no_positions(size, message):
    with pytest.raises(ValueError, match=message):
        segment_rotations(*size, replacement=False)
