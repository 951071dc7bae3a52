"""Label maps: colours in, colours out, and every way in which masks can be wrong."""

import pytest
import torch

from scail_model import identities as ids
from scail_model.masks import PALETTE


def colour_frame(*colours, background=(0, 0, 0), size=32):
    """uint8 [1, size, size, 3] with one square per colour in a row of them."""
    frame = torch.tensor(background, dtype=torch.uint8).expand(1, size, size, 3).clone()
    for index, colour in enumerate(colours):
        frame[:, 4:12, 5 * index : 5 * index + 4] = torch.tensor(colour, dtype=torch.uint8)
    return frame


def bound(mode="animation", frames=5):
    driving = ids.labels_from_colours(colour_frame(PALETTE[0]).expand(frames, -1, -1, -1), "driving")
    reference = ids.labels_from_colours(colour_frame(PALETTE[0], background=(255, 255, 255)), "reference")
    return ids.bind(mode, driving, list(reference))


def test_colours_become_labels_in_palette_order():
    labels = ids.labels_from_colours(colour_frame(*PALETTE, background=(255, 255, 255)), "driving")
    assert [labels[0, 8, 5 * index + 1].item() for index in range(6)] == [1, 2, 3, 4, 5, 6]
    assert labels[0, 30, 30] == ids.WHITE
    assert torch.equal(ids.labels_from_colours(colour_frame(*PALETTE).float() / 255, "driving"),
                       ids.labels_from_colours(colour_frame(*PALETTE), "driving"))


def test_blurred_edges_are_snapped_and_a_foreign_patch_is_not():
    """A mask drawn at a third of the size and enlarged has soft edges everywhere, which is no mistake."""
    small = colour_frame(*PALETTE).movedim(-1, 1).float()
    soft = torch.nn.functional.interpolate(small, scale_factor=3, mode="bicubic").clamp(0, 255).movedim(1, -1).byte()
    unclear = ((soft > 64) & (soft < 191)).any(-1).float().mean()
    assert unclear > 0.02
    labels = ids.labels_from_colours(soft, "driving")
    assert [labels[0, 24, 15 * index + 5].item() for index in range(6)] == [1, 2, 3, 4, 5, 6]
    soft[0, 80:92, 80:92] = torch.tensor((255, 128, 0), dtype=torch.uint8)  # orange, 1.6 % of the picture
    with pytest.raises(ValueError, match="no mask colour"):
        ids.labels_from_colours(soft, "driving")


def test_painting_inverts_reading():
    frame = colour_frame(*PALETTE, background=(255, 255, 255))
    assert torch.equal(ids.paint(ids.labels_from_colours(frame, "driving")).movedim(1, -1), frame)


def test_compression_noise_is_snapped():
    frame = colour_frame(PALETTE[0], PALETTE[4])
    noisy = (frame.int() + torch.randint(-40, 41, frame.shape)).clamp(0, 255).to(torch.uint8)
    assert torch.equal(ids.labels_from_colours(noisy, "driving"), ids.labels_from_colours(frame, "driving"))


@pytest.mark.parametrize(("mode", "driving", "reference"), [
    ("animation", (0, 0, 0), (255, 255, 255)), ("replacement", (255, 255, 255), (0, 0, 0)),
])
def test_backgrounds_follow_the_mode(mode, driving, reference):
    """Whatever background came in, the model gets the one of the table in `identities.py`."""
    identities = bound(mode)
    painted = ((identities.driving_colours(0, 5), driving), (identities.reference_colours(0), reference))
    for colours, background in painted:
        assert colours[0, :, 31, 31].tolist() == list(background)
        assert colours[0, :, 8, 1].tolist() == list(PALETTE[0])


def test_additional_references_keep_their_background():
    identities = bound()
    white = torch.full((32, 32), ids.WHITE, dtype=torch.uint8)
    view = ids.labels_from_colours(colour_frame(PALETTE[0]), "reference")[0]
    identities = ids.bind("animation", identities.driving, [*identities.references, view, white])
    assert identities.reference_colours(1)[0, :, 31, 31].tolist() == [0, 0, 0]
    assert identities.reference_colours(2).unique().tolist() == [255]


def test_frames_past_the_end_repeat_the_last():
    driving = torch.zeros(3, 4, 4, dtype=torch.uint8)
    driving[0], driving[2] = 1, 1
    identities = ids.bind("animation", driving, [torch.ones(4, 4, dtype=torch.uint8)])
    shown = identities.driving_colours(1, 6)
    assert [bool(frame.any()) for frame in shown] == [False, True, True, True, True]


@pytest.mark.parametrize(("arguments", "message"), [
    (("swap", [1], [1]), 'mode is "swap".*animation or replacement'),
    (("animation", [], [1]), "driving mask shows nobody"),
    (("animation", [1], []), "reference mask shows nobody"),
    (("animation", [1, 2], [1]), "driving mask shows red, but the reference mask does not"),
    (("animation", [1], [1, 3]), "reference mask shows green, but the driving mask does not"),
])
def test_refuses_people_on_one_side_only(arguments, message):
    mode, driving, reference = arguments

    def label_map(labels):
        result = torch.zeros(8, 8, dtype=torch.uint8)
        for row, label in enumerate(labels):
            result[row] = label
        return result

    with pytest.raises(ValueError, match=message):
        ids.bind(mode, label_map(driving)[None], [label_map(reference)])


def test_refuses_colours_outside_the_palette_with_share_and_frame():
    clip = colour_frame(PALETTE[0]).repeat(3, 1, 1, 1)
    clip[2, 16:] = 128
    with pytest.raises(ValueError, match=r"frame 2 of the driving mask 50\.0% of the pixels are no mask colour"):
        ids.labels_from_colours(clip, "driving")


@pytest.mark.parametrize(("mode", "other", "driving", "reference"), [
    ("animation", "replacement", (0, 0, 0), (255, 255, 255)), ("replacement", "animation", (255, 255, 255), (0, 0, 0)),
])
def test_refuses_a_background_that_says_the_other_mode(mode, other, driving, reference):
    labels = {colour: ids.labels_from_colours(colour_frame(PALETTE[0], background=colour), "driving")
              for colour in (driving, reference)}
    ids.refuse_other_mode(mode, labels[driving], labels[reference][0])
    with pytest.raises(ValueError, match=f"driving mask .* means {other}, but the mode is {mode}"):
        ids.refuse_other_mode(mode, labels[reference], None)
    with pytest.raises(ValueError, match=f"reference mask .* means {other}, but the mode is {mode}"):
        ids.refuse_other_mode(mode, None, labels[driving][0])


def test_a_frame_full_of_people_has_no_background_to_contradict():
    full = torch.ones(1, 8, 8, dtype=torch.uint8)
    for mode in ids.MODES:
        assert ids.refuse_other_mode(mode, full, full[0]) is None


def test_report_names_people_and_coverage():
    report = ids.report(bound())
    assert "mode: animation; 5 driving frames, 1 reference(s)" in report
    assert "blue: 3.1% of the reference; in 5 driving frames, 3.1%" in report
