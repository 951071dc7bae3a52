"""Masks from every kind of source, bound on both sides, painted and packed; and every way they can be wrong."""

import weakref

import av
import numpy as np
import pytest
import torch

from scail_model import masks
from scail_model.identity import binding, mask_bits, mask_sources
from scail_model.identity import identities as ids
from scail_model.identity.mask_set import pack_frames
from scail_model.masks import PALETTE, pack_driving_mask, pack_mask


def colour_frame(*colours, background=(0, 0, 0), size=32):
    """uint8 [1, size, size, 3] with one square per colour in a row of them."""
    frame = torch.tensor(background, dtype=torch.uint8).expand(1, size, size, 3).clone()
    for index, colour in enumerate(colours):
        frame[:, 4:12, 5 * index : 5 * index + 4] = torch.tensor(colour, dtype=torch.uint8)
    return frame


def read(clip, name="driving"):
    return mask_sources.from_colours(clip, len(clip), name)


def boxes(*frames, height=32, width=48):
    """MASK of one person, float [T, H, W]: a (left, top, right, bottom) for each frame, or None."""
    masks = torch.zeros(len(frames), height, width)
    for mask, box in zip(masks, frames, strict=True):
        if box:
            left, top, right, bottom = box
            mask[top:bottom, left:right] = 1
    return masks


def track(*people, size=None):
    """SAM3's track of MASKs, in core's format."""
    masks = torch.stack(people, 1) > 0
    bits = (masks.unflatten(-1, (-1, 8)) * (1 << torch.arange(8))).sum(-1).byte()  # as core's pack_masks has it
    return {"packed_masks": bits, "orig_size": size or masks.shape[2:], "n_frames": len(bits)}


def bound(mode="animation", frames=5):
    driving = read(colour_frame(PALETTE[0]).expand(frames, -1, -1, -1))
    reference = read(colour_frame(PALETTE[0], background=(255, 255, 255)), "reference")
    return binding.bind(mode, driving, [reference])


def by_numbers(*people, reference=None, order=binding.LEFT_TO_RIGHT, **options):
    """Tracks on both sides; the reference's people stand from left to right unless given."""
    driving = mask_sources.from_tracks(track(*people), "driving")
    reference = reference or [boxes((8 * index, 4, 8 * index + 6, 28)) for index in range(len(people))]
    side = mask_sources.from_masks(reference, "reference")
    ordered = binding.ordered(driving.mask_set, order)
    return binding.bind("animation", mask_sources.Source("driving", ordered), [side], **options)


# Colours

def test_colours_become_labels_in_palette_order():
    source = read(colour_frame(*PALETTE, background=(255, 255, 255)))
    assert source.labels == (1, 2, 3, 4, 5, 6)
    for person in range(6):
        assert np.argwhere(source.mask_set.frame(0)[person]).tolist() == [
            [row, column] for row in range(4, 12) for column in range(5 * person, 5 * person + 4) if column < 32]
    again = read(colour_frame(*PALETTE).float() / 255)
    assert (again.mask_set.frame(0) == source.mask_set.frame(0)).all()
    assert (source.background, again.background) == (masks.WHITE, masks.BLACK)


def test_blurred_edges_are_snapped_and_a_foreign_patch_is_not():
    """A mask drawn at a third of the size and enlarged has soft edges everywhere, and is accepted."""
    small = colour_frame(*PALETTE).movedim(-1, 1).float()
    soft = torch.nn.functional.interpolate(small, scale_factor=3, mode="bicubic").clamp(0, 255).movedim(1, -1).byte()
    share = ((soft > 30) & (soft < 226)).any(-1).float().mean()
    assert share > 0.02
    source = read(soft)
    assert source.labels == (1, 2, 3, 4, 5, 6)
    assert source.snapped == pytest.approx(share.item(), rel=1e-6)
    soft[0, 80:92, 80:92] = torch.tensor((255, 128, 0), dtype=torch.uint8)  # orange, 1.6 % of the picture
    with pytest.raises(ValueError, match="contains other colours"):
        read(soft)


@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (1, 2), (3, 4)])
@pytest.mark.parametrize("crf", ["0", "23"])
def test_a_seam_between_two_people_is_nobody(tmp_path, pair, crf):
    """Where two colours touch, H.264 with halved chroma makes a third one."""
    clip = torch.zeros(3, 192, 320, 3, dtype=torch.uint8)
    clip[:, 20:180, 60:161] = torch.tensor(PALETTE[pair[0]], dtype=torch.uint8)
    clip[:, 20:180, 161:260] = torch.tensor(PALETTE[pair[1]], dtype=torch.uint8)
    with av.open(str(tmp_path / "mask.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=16, options={"crf": crf})
        stream.width, stream.height, stream.pix_fmt = 320, 192, "yuv420p"
        for frame in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.numpy(), format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(tmp_path / "mask.mp4")) as container:
        decoded = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    source = read(torch.stack(decoded))
    assert source.labels == tuple(index + 1 for index in pair)
    for person, index in enumerate(pair):
        right = (clip[1] == torch.tensor(PALETTE[index])).all(-1).numpy()
        assert (source.mask_set.frame(1)[person] != right).mean() < 0.01


def test_somebody_small_is_no_seam():
    clip = torch.zeros(1, 192, 320, 3, dtype=torch.uint8)
    clip[:, 20:180, 60:260] = torch.tensor(PALETTE[0], dtype=torch.uint8)
    clip[:, 100:120, 20:30] = torch.tensor(PALETTE[1], dtype=torch.uint8)  # 0.6 % of the other, but a body
    assert read(clip).labels == (1, 2)


def test_compression_noise_is_snapped_and_told():
    frame = colour_frame(PALETTE[0], PALETTE[4])
    noisy = (frame.int() + torch.randint(-40, 41, frame.shape)).clamp(0, 255).to(torch.uint8)
    source = read(noisy)
    assert (source.mask_set.frame(0) == read(frame).mask_set.frame(0)).all()
    assert source.snapped == pytest.approx(((noisy > 30) & (noisy < 226)).any(-1).float().mean().item(), rel=1e-6)
    reference = read(colour_frame(PALETTE[0], PALETTE[4], background=(255, 255, 255)), "reference")
    assert "driving mask: " + f"{source.snapped:.2%}" + " of the pixels were not a pure colour" in ids.report(
        binding.bind("animation", source, [reference]))


def test_refuses_colours_outside_the_palette_with_share_and_frame():
    clip = colour_frame(PALETTE[0]).repeat(3, 1, 1, 1)
    clip[2, 16:] = 128
    with pytest.raises(ValueError, match=r"Frame 2 of the driving mask contains other colours \(50\.0%"):
        read(clip)


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


@pytest.mark.parametrize(("mode", "other", "driving", "reference"), [
    ("animation", "replacement", (0, 0, 0), (255, 255, 255)), ("replacement", "animation", (255, 255, 255), (0, 0, 0)),
])
def test_refuses_a_background_that_says_the_other_mode(mode, other, driving, reference):
    def sides(behind, before):
        return read(colour_frame(PALETTE[0], background=behind)), [
            read(colour_frame(PALETTE[0], background=before), "reference")]

    assert binding.bind(mode, *sides(driving, reference), repaint=False).mode == mode
    with pytest.raises(ValueError, match=f"driving mask .* means {other}, but the mode is {mode}"):
        binding.bind(mode, *sides(reference, reference), repaint=False)
    with pytest.raises(ValueError, match=f"reference mask .* means {other}, but the mode is {mode}"):
        binding.bind(mode, *sides(driving, driving), repaint=False)
    binding.bind(mode, *sides(reference, driving))


def test_a_frame_full_of_people_has_no_background_to_contradict():
    full = torch.tensor(PALETTE[0], dtype=torch.uint8).expand(1, 8, 8, 3)
    for mode in ids.MODES:
        identities = binding.bind(mode, read(full), [read(full, "reference")], repaint=False)
        assert identities.driving_labels(0, 1).unique().tolist() == [1]


@pytest.mark.parametrize(("driving", "reference", "message"), [
    ([], [0], "driving mask is empty"), ([0], [], "reference mask is empty"),
    ([0, 1], [0], "driving mask contains red, but the reference mask does not"),
    ([0], [0, 2], "reference mask contains green, but the driving mask does not"),
])
def test_refuses_people_on_one_side_only(driving, reference, message):
    sides = [read(colour_frame(*(PALETTE[index] for index in side)), name)
             for side, name in ((driving, "driving"), (reference, "reference"))]
    with pytest.raises(ValueError, match=message):
        binding.bind("animation", sides[0], sides[1:])


def test_a_mask_without_frames():
    with pytest.raises(ValueError, match="The driving mask has no frames: check where it was loaded"):
        read(torch.zeros(0, 8, 8, 3))


def test_colour_frames_are_let_go_one_by_one():
    """A mask video may be longer than memory."""
    alive = []

    def frames():
        for _ in range(20):
            frame = colour_frame(*PALETTE[:3])[0]
            alive.append(weakref.ref(frame))
            assert sum(reference() is not None for reference in alive) <= 2
            yield frame

    assert len(mask_sources.from_colours(frames(), 20, "driving").mask_set) == 20


def test_refuses_an_unknown_mode():
    with pytest.raises(ValueError, match='mode is "swap".*animation or replacement'):
        bound("swap")


def test_frames_past_the_end_repeat_the_last():
    driving = mask_sources.from_masks([boxes((0, 0, 9, 9), None, (0, 0, 9, 9))], "driving")
    identities = binding.bind("animation", driving, [mask_sources.from_masks([boxes((0, 0, 9, 9))], "reference")])
    assert [bool(frame.any()) for frame in identities.driving_colours(1, 6)] == [False, True, True, True, True]


# Additional references

def test_additional_references_show_people_on_black_or_the_place_in_white():
    reference = torch.cat((colour_frame(PALETTE[1], background=(255, 255, 255)), colour_frame(PALETTE[1]),
                           torch.full((1, 32, 32, 3), 255, dtype=torch.uint8)))
    pictures = mask_sources.pictures(read(reference, "reference"))
    identities = binding.bind("animation", read(colour_frame(PALETTE[1])), pictures)
    assert identities.reference_colours(1)[0, :, 31, 31].tolist() == [0, 0, 0]
    assert identities.reference_colours(1)[0, :, 8, 1].tolist() == list(PALETTE[1])
    assert identities.reference_colours(2).unique().tolist() == [255]


def test_an_additional_reference_of_somebody_else_is_refused():
    pictures = torch.cat((colour_frame(PALETTE[0], background=(255, 255, 255)), colour_frame(PALETTE[1])))
    with pytest.raises(ValueError, match="Additional reference 1 shows none of the bound people, only person 2"):
        binding.bind("animation", read(colour_frame(PALETTE[0])), mask_sources.pictures(read(pictures, "reference")))


def test_additional_references_of_other_sizes_and_colours_of_their_own():
    primary = read(colour_frame(PALETTE[0], PALETTE[2], background=(255, 255, 255)), "reference")
    view = read(colour_frame(PALETTE[2], size=64), "reference")
    identities = binding.bind("animation", read(colour_frame(PALETTE[0], PALETTE[2])), [primary, view])
    assert identities.reference_labels(1).shape == (64, 64)
    assert identities.reference_labels(1).unique().tolist() == [0, 3]
    with pytest.raises(ValueError, match="mask of additional reference 1 contains red, but the primary's does not"):
        binding.bind("animation", read(colour_frame(PALETTE[0], PALETTE[2])),
                     [primary, read(colour_frame(PALETTE[1]), "reference")])


# Plain masks and tracks

@pytest.mark.parametrize("people", range(1, 7))
def test_every_source_gives_the_same_masks(people):
    """One to six people, as colours, as MASKs and as a SAM3 track: the same channels as the official packing."""
    random = np.random.default_rng(people)
    clips = []
    for index in range(people):
        left = 16 * index + random.integers(0, 6, 5)
        clips.append(boxes(*((x, 3 + index, x + 9, 41) for x in left), height=64, width=96))
    colours = torch.zeros(5, 64, 96, 3, dtype=torch.uint8)
    for mask, colour in zip(clips, PALETTE, strict=False):
        colours[mask > 0] = torch.tensor(colour, dtype=torch.uint8)
    tracked = mask_sources.from_tracks(track(*clips), "driving")
    for source in (read(colours), mask_sources.from_masks(clips, "driving"), tracked):
        side = mask_sources.Source("reference", source.mask_set)
        for mode in ids.MODES:
            identities = binding.bind(mode, source, mask_sources.pictures(side)[:1])
            painted = torch.where((colours == 0).all(-1, keepdim=True), 255 if mode == "replacement" else 0, colours)
            painted = painted.to(torch.uint8).movedim(-1, 1)
            assert torch.equal(identities.driving_colours(0, 5), painted)
            assert torch.equal(identities.driving_channels(0, 5), pack_driving_mask(painted))


@pytest.mark.parametrize("half", [False, True])
def test_channels_from_bits_equal_the_official_packing_at_ragged_edges(half):
    random = np.random.default_rng(3)
    frames = random.random((9, 3, 64, 96)) < 0.4  # noise: every 2x2 block is another case
    mask_set = pack_frames(frames, 9, 3, 64, 96)
    bits = [mask_set.rows(index) for index in range(9)]
    for labels, front, white in (((1, 2, 3), (0, 1, 2), False), ((6, 4, 5), (2, 0, 1), True)):
        levels = np.full((9, 64, 96, 3), 255 if white else 0, np.uint8)
        for person in reversed(front):
            levels[frames[:, person]] = PALETTE[labels[person] - 1]
        rgb = torch.from_numpy(levels).movedim(-1, 1)
        found = mask_bits.pack_bits(bits, labels, front, white=white, half=half)
        assert torch.equal(found, (pack_driving_mask if half else pack_mask)(rgb))


def test_a_small_track_is_enlarged_as_core_does():
    mask = (torch.rand(2, 10, 16) > 0.5).float()
    mask_set = mask_sources.from_tracks(track(mask, size=(33, 50)), "driving").mask_set
    expected = torch.nn.functional.interpolate(mask[:, None], (33, 50), mode="nearest")[:, 0] > 0
    assert mask_set.size == (33, 50)
    assert all((mask_set.frame(index)[0] == expected[index].numpy()).all() for index in range(2))


def test_tracks_without_anybody_and_objects_that_are_never_seen():
    for bits in (None, torch.zeros(3, 2, 8, 1, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="SAM3 track of the driving mask contains no person: lower its threshold"):
            mask_sources.from_tracks({"packed_masks": bits, "orig_size": (8, 8)}, "driving")
    empty = boxes(None)
    assert mask_sources.from_tracks(track(empty, boxes((0, 0, 9, 9)), empty), "driving").mask_set.people == 1


def test_masks_of_different_clips_are_refused():
    with pytest.raises(ValueError, match="Person 2 of the driving mask has 2 frames of 48x32, but person 1 has 1"):
        mask_sources.from_masks([boxes(None), boxes(None, None)], "driving")


# Who is who

LEFT, RIGHT, LATE = ((4, 10, 12, 30), (30, 2, 44, 30), (18, 8, 22, 30))


@pytest.mark.parametrize(("order", "expected"), [
    ("left to right", [LEFT, RIGHT, LATE]), ("by size", [RIGHT, LEFT, LATE]),
    ("by first appearance", [RIGHT, LEFT, LATE]), ("as given", [LATE, RIGHT, LEFT]),
])
def test_orders_of_tracks(order, expected):
    """The one between the two enters late, and comes last in every order but the track's own."""
    identities = by_numbers(boxes(None, LATE), boxes(RIGHT, RIGHT), boxes(LEFT, LEFT), order=order)
    assert [tuple(extent.box[1]) for extent in identities.driving.extents] == expected
    assert identities.labels == (1, 2, 3)


def test_late_entry_leaving_and_crossing():
    """Colours follow the person, not the place; a person that is away is nowhere."""
    crossing = [(4 + 8 * step, 10, 12 + 8 * step, 30) for step in range(4)]
    other = [(32 - 8 * step, 2, 44 - 8 * step, 30) for step in range(3)] + [None]
    identities = by_numbers(boxes(*crossing), boxes(*other))
    labels = identities.driving_labels(0, 4)
    assert [(frame == 2).any().item() for frame in labels] == [True, True, True, False]
    assert [labels[step, 29, 4 + 8 * step].item() for step in (0, 3)] == [1, 1]
    assert "red: " in ids.report(identities)
    assert "3 driving frames (0-2)" in ids.report(identities)


def test_front_and_back_where_people_overlap():
    people = boxes((4, 4, 24, 30)), boxes((16, 4, 40, 30))
    shown = {front: by_numbers(*people, front=front).driving_labels(0, 1)[0, 10, 20].item()
             for front in ("", "1", "2", "2, 1")}
    assert shown == {"": 1, "1": 1, "2": 2, "2, 1": 2}
    assert "person 1 and person 2 overlap, most in frame 0" in ids.report(by_numbers(*people))
    with pytest.raises(ValueError, match='front is "3", but "3" is repeated or not one of the people 1, 2'):
        by_numbers(*people, front="3")


def test_binding_exchanges_and_leaves_out():
    left, right = boxes(LEFT), boxes(RIGHT)
    swapped = by_numbers(left, right, binding="1:2, 2:1")
    assert [tuple(extent.box[0]) for extent in swapped.driving.extents] == [RIGHT, LEFT]
    assert swapped.labels == (1, 2)
    assert "bound 1:2, 2:1 (reference:driving); by position it would be 1:1, 2:2" in ids.report(swapped)
    alone = by_numbers(left, right, binding="2:1")
    assert (alone.labels, [tuple(extent.box[0]) for extent in alone.driving.extents]) == ((2,), [LEFT])
    assert "driving mask: person 2 left out" in ids.report(alone)


def test_binding_by_position():
    people = boxes(LEFT), boxes(RIGHT)
    reference = [boxes((36, 4, 44, 30)), boxes((2, 4, 10, 30))]  # person 1 stands on the right
    identities = by_numbers(*people, reference=reference, binding="by position")
    assert [tuple(extent.box[0]) for extent in identities.driving.extents] == [RIGHT, LEFT]
    with pytest.raises(ValueError, match='driving mask has 2 people, but the reference mask has 1 .*"1:2", which is'):
        by_numbers(*people, reference=reference[:1])


def test_swapping_two_colours_swaps_two_people_on_both_sides():
    """In one mask alone the people change places; in both nothing changes but the colours."""
    first, second = PALETTE[:2]

    def identities(driving, reference):
        return binding.bind("animation", read(colour_frame(*driving)), [read(colour_frame(
            *reference, background=(255, 255, 255)), "reference")])

    plain = identities((first, second), (first, second))
    swapped = identities((second, first), (first, second))
    both = identities((second, first), (second, first))
    for person in (0, 1):
        assert (swapped.driving.frame(0)[person] == plain.driving.frame(0)[1 - person]).all()
        assert (swapped.references[0].frame(0)[person] == plain.references[0].frame(0)[person]).all()
        assert (both.driving.frame(0)[person] == plain.driving.frame(0)[1 - person]).all()
        assert (both.references[0].frame(0)[person] == plain.references[0].frame(0)[1 - person]).all()


def test_colours_on_one_side_colour_the_other():
    reference = read(colour_frame(PALETTE[4], background=(255, 255, 255)), "reference")
    driving = mask_sources.from_tracks(track(boxes(LEFT)), "driving")
    identities = binding.bind("animation", driving, [reference])
    assert identities.driving_labels(0, 1).unique().tolist() == [0, 5]


def test_a_colour_is_a_number():
    """Red is person 2 and green person 3, with or without others."""
    driving = read(colour_frame(PALETTE[2], PALETTE[1]))
    reference = read(colour_frame(PALETTE[1], PALETTE[2], background=(255, 255, 255)), "reference")
    identities = binding.bind("animation", driving, [reference], binding="2:3, 3:2")
    assert identities.labels == (2, 3)
    assert [extent.box[0][0] for extent in identities.driving.extents] == [0, 5]  # green's place, then red's
    with pytest.raises(ValueError, match="names person 1 of the reference mask, but the people there are 2, 3"):
        binding.bind("animation", driving, [reference], binding="1:2")


def test_who_is_never_seen_has_no_position():
    driving = mask_sources.from_masks([boxes(RIGHT), boxes(None), boxes(LEFT)], "driving")
    reference = mask_sources.from_masks([boxes(LEFT), boxes(RIGHT)], "reference")
    assert binding.by_position(driving.mask_set, reference.mask_set) == [(0, 2), (1, 0)]


@pytest.mark.parametrize(("text", "message"), [
    ("1-2", 'binding "1-2" cannot be read at "1-2": write pairs'),
    ("1:2, 2", 'cannot be read at "2"'),
    ("1:3", "names person 3 of the driving mask, but the people there are 1, 2"),
    ("1:1, 1:2", "names person 1 of the reference mask twice"),
    ("1:1, 2:1", "names person 1 of the driving mask twice"),
])
def test_bindings_that_cannot_be(text, message):
    with pytest.raises(ValueError, match=message):
        by_numbers(boxes(LEFT), boxes(RIGHT), binding=text)


def test_more_than_six_people():
    people = [boxes((6 * index, 4, 6 * index + 5, 28)) for index in range(7)]
    with pytest.raises(ValueError, match="7 people, but SCAIL-2 distinguishes at most 6: choose some with binding"):
        by_numbers(*people, reference=people)
    identities = by_numbers(*people, reference=people, binding="7:7, 1:2")
    assert identities.labels == (1, 2)


def test_names():
    identities = by_numbers(boxes(LEFT), boxes(RIGHT), names="Anna")
    assert identities.names == ("Anna", "red")
    assert "Anna (blue): " in ids.report(identities)
    with pytest.raises(ValueError, match="There are 3 names, but 2 people"):
        by_numbers(boxes(LEFT), boxes(RIGHT), names="Anna, Ben, Cleo")
    with pytest.raises(ValueError, match='The name "Anna" is for a person of the reference who is not bound'):
        by_numbers(boxes(LEFT), boxes(RIGHT), binding="2:1", names="Anna")
    assert by_numbers(boxes(LEFT), boxes(RIGHT), binding="2:1", names=", Ben").names == ("Ben",)


def test_what_is_known_of_the_people_stays_with_them():
    """Saved identities bound to a new reference, the other way round: names and front go with the driving people."""
    saved = by_numbers(boxes((4, 4, 24, 30)), boxes((16, 4, 40, 30)), names="Anna", front="2")
    driving = mask_sources.Source("driving", saved.driving, saved.labels, names=saved.given_names, front=saved.front)
    reference = mask_sources.from_masks([boxes((2, 4, 10, 30)), boxes((30, 4, 40, 30))], "reference")
    again = binding.bind("animation", driving, [reference], binding="1:2, 2:1")
    assert again.names == ("red", "Anna")
    assert again.front == (0, 1)  # she who was in front is person 1 now
    assert binding.bind("animation", driving, [reference], binding="1:2, 2:1", names="Cleo, Dora",
                        front="2").names == ("Cleo", "Dora")


def test_report_names_people_and_coverage():
    report = ids.report(bound())
    assert "mode: animation; 5 driving frames, 1 reference(s)" in report
    assert "blue: 3.1% of the reference; in 5 driving frames, 3.1%" in report
