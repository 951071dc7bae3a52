"""Pictures and masks at the model's size, against the steps of the official pipeline spelled out."""

import pytest
import torch
import torch.nn.functional as F

from scail_model import geometry
from scail_model.geometry import cover_crop
from scail_model.identity import identities as ids
from scail_model.identity.binding import bind
from scail_model.identity.mask_sources import from_masks
from scail_model.inputs import conditioning
from scail_model.inputs.crops import PEOPLE, Crop
from scail_model.masks import pack_driving_mask, pack_mask


def scene(mode, frames=5):
    driving = torch.zeros(frames, 90, 160)
    driving[:, 20:70, 40:80] = 1
    reference = torch.zeros(1, 120, 100)
    reference[:, 30:110, 20:70] = 1
    return bind(mode, from_masks([driving], "driving"), [from_masks([reference], "reference")])


def resized(frames, height, width):
    """Cover and centre crop of [T, 3, h, w] with torch alone."""
    h, w = frames.shape[-2:]
    scale = max(height / h, width / w)
    size = (height, int(w * height / h)) if scale == height / h else (int(h * width / w), width)
    big = F.interpolate(frames.float(), size, mode="bicubic", antialias=True)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return big[..., top : top + height, left : left + width]


def test_reference_keeps_its_scene_in_animation():
    image = torch.rand(120, 100, 3)
    pixels = conditioning.reference_pixels(image, scene("animation"), 0, 64, 96, cut_out=False)
    torch.testing.assert_close(pixels, resized(image.movedim(-1, 0)[None], 64, 96), rtol=0, atol=1e-6)


def test_cut_out_blackens_everything_but_the_person():
    image = torch.rand(120, 100, 3) * 0.5 + 0.5
    identities = scene("replacement")
    pixels = conditioning.reference_pixels(image, identities, 0, 64, 96, cut_out=True)
    person = resized((identities.reference_labels(0) == 1).float().expand(1, 3, -1, -1), 64, 96) > 0.5
    assert 0 < person.float().mean() < 1
    assert pixels[~person].abs().max() == 0
    torch.testing.assert_close(pixels[person], resized(image.movedim(-1, 0)[None], 64, 96)[person], rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", ids.MODES)
def test_masks_are_packed_with_the_background_of_the_mode(mode):
    identities = scene(mode)
    reference = conditioning.reference_mask(identities, 0, 64, 96)
    driving = conditioning.driving_mask(identities, 0, 5, 64, 96)
    assert reference.shape == (28, 1, 8, 12)
    assert driving.shape == (28, 2, 4, 6)
    blue = 3
    colours = identities.reference_colours(0).float() / 255
    torch.testing.assert_close(reference, pack_mask(resized(colours, 64, 96)), rtol=0, atol=1e-6)
    # first plane is white: the surroundings are kept from the reference in animation, from the video in replacement
    assert (reference[0].max() > 0.9) == (mode == "animation")
    assert (driving[0].max() > 0.9) == (mode == "replacement")
    assert reference[blue].max() > 0.9
    assert driving[blue].max() > 0.9


@pytest.mark.parametrize("size", [(64, 96), (96, 160)])  # the second is the masks' own
@pytest.mark.parametrize("end", [5, 3])
def test_beyond_the_end_the_last_mask_is_repeated(size, end):
    """Where the padding of a scene's last segment is: the frames behind `end` are of another scene."""
    driving = torch.zeros(7, 96, 160)
    for index in range(7):
        driving[index, 16:80, 16 * index : 16 * index + 32] = 1
    reference = torch.ones(1, 96, 160)
    reference[:, :20] = 0
    identities = bind("replacement", from_masks([driving], "driving"), [from_masks([reference], "reference")])
    still = torch.cat((driving[1:end], driving[end - 1 :][:1].expand(6 - end, -1, -1)))
    expected = bind("replacement", from_masks([still], "driving"), [from_masks([reference], "reference")])
    assert torch.equal(conditioning.driving_mask(identities, 1, 6, *size, end=end),
                       conditioning.driving_mask(expected, 0, 5, *size))
    assert torch.equal(identities.driving_labels(1, 6, end=end), expected.driving_labels(0, 5))
    assert torch.equal(identities.driving_colours(1, 6, end), expected.driving_colours(0, 5))


@pytest.mark.parametrize("size", [(64, 96), (96, 160)])
def test_beyond_the_masks_the_last_one_is_repeated(size):
    identities = scene("animation", 5)
    assert torch.equal(conditioning.driving_mask(identities, 2, 7, *size),
                       conditioning.driving_mask(identities, 2, 7, *size, end=5))
    assert torch.equal(identities.driving_labels(4, 9), identities.driving_labels(4, 5).expand(5, -1, -1))


@pytest.mark.parametrize("mode", ids.MODES)
@pytest.mark.parametrize("people", [1, 2, 6])
@pytest.mark.parametrize("size", [(90, 163), (33, 40), (128, 160)])
def test_masks_of_another_size_are_resized_as_colours(mode, people, size):
    """Plane by plane from the bits, what the painted colours give in all channels."""
    driving = torch.nn.functional.interpolate(torch.rand(people, 5, 7, 9), size, mode="bilinear") > 0.6
    driving[:, 1] = False  # nobody
    driving[0, 2] = True  # nothing else
    reference = torch.zeros(people, 1, 64, 96)
    for person in range(people):
        reference[person, :, 8:56, 16 * person : 16 * person + 12] = 1
    identities = bind(mode, from_masks(list(driving.float()), "driving"), [from_masks(list(reference), "reference")])
    expected = pack_driving_mask(cover_crop(identities.driving_colours(0, 5), 64, 96))
    assert torch.equal(conditioning.driving_mask(identities, 0, 5, 64, 96), expected)


def test_shares_of_people_are_their_mask_at_the_size_of_the_result():
    driving = torch.zeros(5, 90, 160)
    for index in range(5):
        driving[index, 20:70, 40 + 10 * index : 80 + 10 * index] = 1
    identities = bind("replacement", from_masks([driving], "driving"),
                      [from_masks([torch.ones(1, 120, 100)], "reference")])
    shares = conditioning.person_shares(identities, 1, 4, 64, 96)
    expected = resized(driving[1:4, None].expand(-1, 3, -1, -1), 64, 96)[:, 0].clamp(0, 1)
    torch.testing.assert_close(shares, expected, rtol=0, atol=1e-6)
    assert (shares.min(), shares.max()) == (0, 1)


def test_driving_video_is_rounded_at_full_size_and_halved():
    frames = torch.randint(0, 256, (5, 90, 160, 3), dtype=torch.uint8)
    full = resized(frames.movedim(-1, 1), 64, 96).round().clamp(0, 255)
    expected = F.avg_pool2d(full, 2) / 255
    torch.testing.assert_close(conditioning.driving_pixels(frames, 64, 96), expected, rtol=0, atol=2e-6)


def test_black_surroundings_keep_only_people():
    frames = torch.full((5, 90, 160, 3), 200, dtype=torch.uint8)
    black = Crop(PEOPLE).applied(frames, scene("animation"), 0)
    assert black[:, 30, 50].unique().tolist() == [200]
    assert black[:, 5, 5].unique().tolist() == [0]


@pytest.mark.parametrize(("size", "message"), [
    ((900, 512), "width is 900 pixels.*multiple of 32: use 896 or 928"),
    ((896, 500), "height is 500 pixels.*use 480 or 512"),
    ((0, 512), "width is 0 pixels.*use 32 or 64"),
])
def test_refuses_sizes_off_the_grid(size, message):
    with pytest.raises(ValueError, match=message):
        geometry.check_size(*size)


def test_refuses_a_mask_of_another_shape():
    geometry.check_shape("driving mask", (472, 896), "driving video", (1080, 2048))
    with pytest.raises(ValueError, match=r"driving mask \(64x64 pixels\) and the driving video \(96x64\) have"):
        geometry.check_shape("driving mask", (64, 64), "driving video", (64, 96))
