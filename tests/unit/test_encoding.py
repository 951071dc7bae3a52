"""Parts and what they are joined to: every frame in its place, exact rates, sound in time, the same bytes again."""

import io
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from unittest import mock

import assets
import av
import numpy as np
import pytest
import torch
from av.bitstream import BitStreamFilterContext

from scail_model.media import encoding, whole_video
from scail_model.media.encoding import (
    _PIECE,
    CODECS,
    Encoding,
    Held,
    count_frames,
    first_picture,
    join,
    write_part,
)
from scail_model.media.sound import track_of_waveform, write_sound
from scail_model.media.video_file import FileClip
from scail_model.media.x264 import SAME_FILE
from tests.demo import drawing
from tests.demo.faster import FASTER

PACK = Path(__file__).parents[2]

LENGTHS = (13, 8, 1, 5)
TOTAL = sum(LENGTHS)
RATES = [Fraction(25), Fraction(30000, 1001), Fraction(16), Fraction(25, 2)]
LOSSLESS, H264 = Encoding("lossless", 14), Encoding("h264", 14)


def nothing():
    pass


def frames(count=TOTAL, height=32, width=64):
    """Frames that all differ and say their number, float [n, H, W, 3]: its bits from left to right, below a pattern
    that moves so smoothly that an encoder takes B-frames if it may."""
    time, y, x = torch.meshgrid(*(torch.arange(float(side)) for side in (count, height, width)), indexing="ij")
    waves = (torch.sin((x + 2 * time) / 7), torch.sin((y + time) / 5), torch.sin((x - y + time) / 9))
    found = torch.stack(waves, -1) * 0.45 + 0.5
    for index in range(count):
        for bit in range(8):
            found[index, height // 2 :, 8 * bit : 8 * bit + 8] = float(index >> bit & 1)
    return found


def numbers(pictures):
    """The numbers that frames uint8 [n, h, w, 3] say."""
    bits = pictures[:, 24, 4::8].float().mean(-1) > 128
    return [sum(int(bit) << place for place, bit in enumerate(row[:8])) for row in bits]


def parts_of(folder, encoding, rate=RATES[0], lengths=LENGTHS):
    paths = []
    for number, part in enumerate(frames(sum(lengths)).split(lengths)):
        paths.append(folder / f"{number}.mp4")
        write_part(paths[-1], part, rate, encoding, nothing)
    return paths


def read(path):
    """(frames uint8, time stamps in seconds, rate that the file says)."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        found = [(frame.to_ndarray(format="rgb24"), frame.pts * frame.time_base) for frame in container.decode(stream)]
        return torch.from_numpy(np.stack([picture for picture, _ in found])), [time for _, time in found], \
            stream.average_rate


def sound_file(path, seconds, click, rate=48000, channels=1):
    wave = torch.zeros(1, channels, round(seconds * rate))
    at = round(click * rate)
    wave[..., at : at + rate // 50] = 0.6 * torch.sin(torch.arange(rate // 50) * 2 * torch.pi * 1000 / rate)
    write_sound(path, track_of_waveform({"waveform": wave, "sample_rate": rate}, Fraction(seconds)), Fraction(seconds),
                nothing)
    return path


def heard(path):
    """(time of the first click, seconds of sound, rate)."""
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        samples = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    loud = np.abs(samples).max(0) > 0.15
    return (np.argmax(loud) / rate if loud.any() else None), samples.shape[1] / rate, rate


# Parts

@pytest.mark.parametrize("codec", CODECS)
def test_a_part_has_its_frames_and_is_a_video_of_its_own(tmp_path, codec):
    path, whole = tmp_path / "a.mp4", frames(9)
    write_part(path, whole, RATES[1], Encoding(codec, 14), nothing)
    pictures, times, rate = read(path)
    assert numbers(pictures) == list(range(9))
    assert rate == RATES[1]
    assert times == [index / RATES[1] for index in range(9)]
    assert count_frames(path) == 9
    assert torch.equal(first_picture(path), pictures[0])


def test_lossless_is_what_was_written(tmp_path):
    write_part(tmp_path / "a.mp4", frames(5), RATES[0], LOSSLESS, nothing)
    with av.open(str(tmp_path / "a.mp4")) as container:
        for frame, wanted in zip(container.decode(video=0), frames(5), strict=True):
            assert frame.format.name == "gbrp12le"
            levels = torch.from_numpy(frame.to_ndarray().astype(np.int32))
            assert torch.equal(levels, (wanted * 4095).round().int())
    pictures = FileClip(tmp_path / "a.mp4").read(0, 5)
    assert (pictures.int() - (frames(5) * 255).round().int()).abs().max() <= 1


@pytest.mark.parametrize("codec", ["h264", "h265 10-bit"])
def test_colours_are_those_of_the_standard_that_the_file_names(tmp_path, codec):
    """Flat colours, read as planes and converted by hand: BT.709, limited range."""
    colours = torch.tensor([[0.8, 0.2, 0.1], [0.1, 0.7, 0.3], [0.2, 0.3, 0.9], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    write_part(tmp_path / "a.mp4", colours[:, None, None].expand(-1, 32, 64, -1), RATES[0], Encoding(codec, 1), nothing)
    with av.open(str(tmp_path / "a.mp4")) as container:
        for frame, (red, green, blue) in zip(container.decode(video=0), colours.tolist(), strict=True):
            assert (frame.colorspace, frame.color_range) == (1, 1)
            planes, depth = frame.to_ndarray(), 4 if "10" in codec else 1
            luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
            assert planes[16, 32] / depth == pytest.approx(16 + 219 * luma, abs=1.5)
            chroma = planes[32:].reshape(2, 16, 32)[:, 8, 16] / depth  # blue, red
            assert chroma[0] == pytest.approx(128 + 224 * (blue - luma) / 1.8556, abs=1.5)
            assert chroma[1] == pytest.approx(128 + 224 * (red - luma) / 1.5748, abs=1.5)


def tags(container):
    """Matrix, range, primaries and transfer of the stream and of its first frame (ITU-T H.273)."""
    stream = container.streams.video[0]
    frame = next(container.decode(stream))
    return [(of.colorspace, of.color_range, of.color_primaries, of.color_trc) for of in (stream.codec_context, frame)]


def bitstream(path):
    """A file without the container, which may have tags of its own."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        bare = BitStreamFilterContext(f"{stream.codec.canonical_name}_mp4toannexb", stream)
        return io.BytesIO(b"".join(bytes(out) for packet in container.demux(stream) if packet.size
                                   for out in bare.filter(packet)))


@pytest.mark.parametrize("codec", CODECS)
def test_files_say_what_their_colours_are(tmp_path, codec):
    """In the container, in the bitstream and in every frame: nothing is left for a player to guess."""
    expected = (0, 2, 1, 1) if codec == "lossless" else (1, 1, 1, 1)
    parts = parts_of(tmp_path, Encoding(codec, 14))
    join(parts, tmp_path / "all.mp4", RATES[0], None, nothing)
    for path in (parts[0], tmp_path / "all.mp4"):
        assert b"colrnclx" in path.read_bytes()
        with av.open(str(path)) as container:
            assert tags(container) == [expected] * 2
        with av.open(bitstream(path)) as container:
            assert tags(container)[1] == expected


@pytest.mark.parametrize("codec", CODECS)
def test_parts_without_tags_are_joined_with_new_ones(tmp_path, codec, monkeypatch):
    """Of jobs that were begun by an earlier version."""
    new = parts_of(tmp_path, Encoding(codec, 14))
    monkeypatch.setattr(encoding, "ColorPrimaries", SimpleNamespace(BT709=2))
    monkeypatch.setattr(encoding, "ColorTrc", SimpleNamespace(BT709=2))
    (tmp_path / "old").mkdir()
    old = parts_of(tmp_path / "old", Encoding(codec, 14))
    with av.open(str(old[0])) as container:
        assert tags(container)[1][2:] == (2, 2)
    mixed = [old[0], new[1], old[2], new[3]]
    assert join(mixed, tmp_path / "all.mp4", RATES[0], None, nothing) == TOTAL
    assert torch.equal(read(tmp_path / "all.mp4")[0], torch.cat([read(part)[0] for part in new]))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("count", [_PIECE, _PIECE + 1, 2 * _PIECE + 3])
def test_pieces_that_are_encoded_side_by_side_are_one_video(tmp_path, codec, count):
    """Every frame in its place; the same bytes on one core and on many."""
    for name, cores in (("a", 1), ("b", 8)):
        with mock.patch("os.cpu_count", lambda cores=cores: cores):
            write_part(tmp_path / name, frames(count), RATES[1], Encoding(codec, 14), nothing)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    pictures, times, rate = read(tmp_path / "a")
    assert numbers(pictures) == list(range(count))
    assert rate == RATES[1]
    assert times == [index / RATES[1] for index in range(count)]
    assert count_frames(tmp_path / "a") == count


@pytest.mark.parametrize(("codec", "size"), [("h264", (768, 1344)), ("h265 10-bit", (256, 448))])
def test_cancel_while_pieces_are_encoded_ends_within_a_second(tmp_path, codec, size):
    """In the middle of what goes on for seconds: x264 does all its work after the last frame was given to it."""
    noise = torch.rand(3 * _PIECE, *size, 3, dtype=torch.float16)
    started, asked = monotonic(), []

    def cancel():
        if monotonic() - started > 0.6:
            asked.append(monotonic())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_part(tmp_path / "a.mp4", noise, RATES[0], Encoding(codec, 0), cancel)
    assert monotonic() - asked[0] < 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("scail2")]


@pytest.mark.parametrize("codec", CODECS)
def test_two_writes_are_the_same_bytes(tmp_path, codec):
    for name in "ab":
        write_part(tmp_path / name, frames(6), RATES[1], Encoding(codec, 20), nothing)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


# a process of its own, whose memory comes back as it was left
REUSED_MEMORY = """
    import sys
    from fractions import Fraction
    from pathlib import Path

    import numpy as np
    import torch
    from scail_model.media.encoding import Encoding, write_part

    path, codec = Path(sys.argv[1]), sys.argv[2]
    noise = torch.rand(13, 128, 32, 3, generator=torch.Generator().manual_seed(0))
    left, found = [], set()
    for number in range(10):
        write_part(path, noise, Fraction(25), Encoding(codec, 4), lambda: None)
        found.add(path.read_bytes())
        left.append(np.random.default_rng(number).integers(0, 65535, 3_000_000, dtype=np.uint16))
        if number % 2:
            left.clear()
    print(len(found))
"""


@pytest.mark.parametrize("codec", ["h265 10-bit", "lossless"])
def test_what_memory_held_before_does_not_matter(tmp_path, codec):
    """In pictures so narrow that x265's blocks may have no neighbour."""
    environment = {**os.environ, **FASTER, "MALLOC_ARENA_MAX": "1"}
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(REUSED_MEMORY), str(tmp_path / "part.mp4"), codec],
                            capture_output=True, text=True, cwd=PACK, env=environment, timeout=60)
    assert result.stdout.strip() == "1", result.stderr


def test_x264_writes_one_file_as_often_as_it_is_asked(tmp_path):
    """Pictures of two blocks a row, in threads whose heaps differ; with colour at full resolution it shows soonest."""
    masks = drawing.images(drawing.draw((32, 32), 31).driving_mask)

    def written(number):
        drawing.write_video(tmp_path / f"{number}.mp4", masks)
        return (tmp_path / f"{number}.mp4").read_bytes()

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(written, range(150)))) == 1


def test_whatever_is_encoded_by_x264_has_the_options_for_that():
    assert CODECS["h264"].options.items() >= SAME_FILE.items()
    with av.open(io.BytesIO(), "w", format="mp4") as output:
        stream = whole_video._stream(output, torch.zeros(32, 32, 3), RATES[0], 1 / RATES[0], masks=False)
        assert stream.codec_context.options.items() >= SAME_FILE.items()


def test_quality_decides_the_size_and_beyond_the_range_is_clamped(tmp_path):
    sizes = []
    for quality in (5, 40):
        write_part(tmp_path / "a.mp4", torch.rand(3, 32, 64, 3), RATES[0], Encoding("h264", quality), nothing)
        sizes.append((tmp_path / "a.mp4").stat().st_size)
    assert sizes[0] > 2 * sizes[1]
    beyond = torch.tensor([-0.5, 1.5, 1.0]).expand(2, 32, 64, 3)
    write_part(tmp_path / "a.mp4", beyond.half(), RATES[0], LOSSLESS, nothing)
    assert read(tmp_path / "a.mp4")[0][1, 5, 5].tolist() == [0, 255, 255]


def test_keys_tell_what_cannot_be_joined():
    keys = {Encoding(codec, quality).key for codec in CODECS for quality in (14, 20)}
    assert len(keys) == 5  # lossless has no quality
    assert Encoding("h264", 14).key == H264.key


def test_frames_of_a_broken_file(tmp_path):
    path = tmp_path / "a.mp4"
    write_part(path, frames(9), RATES[0], H264, nothing)
    data = path.read_bytes()
    for share in (0.0, 0.3, 0.9):
        (tmp_path / "cut.mp4").write_bytes(data[: int(len(data) * share)])
        assert count_frames(tmp_path / "cut.mp4") < 9
    (tmp_path / "cut.mp4").write_text("no video")
    assert count_frames(tmp_path / "cut.mp4") == 0
    assert count_frames(tmp_path / "none.mp4") == 0
    assert count_frames(sound_file(tmp_path / "a.m4a", 1, 0.5)) == 0


# Joining

@pytest.mark.parametrize("codec", CODECS)
def test_all_frames_follow_each_other_as_the_parts_have_them(tmp_path, codec):
    parts = parts_of(tmp_path, Encoding(codec, 14))
    assert join(parts, tmp_path / "all.mp4", RATES[0], None, nothing) == TOTAL
    pictures, _, _ = read(tmp_path / "all.mp4")
    assert numbers(pictures) == list(range(TOTAL))
    assert torch.equal(pictures, torch.cat([read(part)[0] for part in parts]))  # nothing is encoded again
    assert count_frames(tmp_path / "all.mp4") == TOTAL


@pytest.mark.parametrize("rate", [*RATES, Fraction(24000, 1001), Fraction(60), Fraction(1613, 101)])
def test_rate_and_time_stamps_are_exact(tmp_path, rate):
    parts = parts_of(tmp_path, H264, rate)
    join(parts, tmp_path / "all.mp4", rate, None, nothing)
    _, times, found = read(tmp_path / "all.mp4")
    assert found == rate
    assert times == [index / rate for index in range(TOTAL)]
    with av.open(str(tmp_path / "all.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.duration * stream.time_base == TOTAL / rate
        assert stream.frames == TOTAL


@pytest.mark.parametrize("codec", CODECS)
def test_the_joined_file_has_the_tag_of_its_parts(tmp_path, codec):
    """Apple's players take H.265 for video only if it is called hvc1."""
    join(parts_of(tmp_path, Encoding(codec, 14)), tmp_path / "all.mp4", RATES[0], None, nothing)
    with av.open(str(tmp_path / "all.mp4")) as container:
        assert container.streams.video[0].codec_context.codec_tag == (CODECS[codec].tag or "avc1")


@pytest.mark.parametrize("codec", CODECS)
def test_every_part_can_be_jumped_to(tmp_path, codec):
    parts = parts_of(tmp_path, Encoding(codec, 14))
    join(parts, tmp_path / "all.mp4", RATES[0], None, nothing)
    with av.open(str(tmp_path / "all.mp4")) as container:
        stream = container.streams.video[0]
        for first in (22, 13, 21, 0):
            container.seek(int(first / RATES[0] / stream.time_base), stream=stream)
            frame = next(container.decode(stream))
            assert numbers(torch.from_numpy(frame.to_ndarray(format="rgb24"))[None]) == [first]


@pytest.mark.parametrize(("rate", "sample_rate", "channels"), [
    (RATES[0], 48000, 1), (RATES[1], 22050, 2), (RATES[2], 96000, 1), (RATES[3], 11025, 6), (RATES[1], 37800, 2)])
def test_sound_is_in_time_and_ends_with_the_picture(tmp_path, rate, sample_rate, channels):
    parts = parts_of(tmp_path, H264, rate)
    sound = sound_file(tmp_path / "sound.m4a", 3, 0.6, sample_rate, channels)
    for count in (len(parts), 2):
        join(parts[:count], tmp_path / "all.mp4", rate, sound, nothing)
        click, seconds, found = heard(tmp_path / "all.mp4")
        length = sum(LENGTHS[:count]) / rate
        assert click == pytest.approx(0.6, abs=0.005)
        assert 0 <= seconds - length <= 1024 / found
        assert numbers(read(tmp_path / "all.mp4")[0]) == list(range(sum(LENGTHS[:count])))


def test_a_sound_that_is_shorter_or_empty_or_silent(tmp_path):
    parts = parts_of(tmp_path, H264)
    join(parts, tmp_path / "all.mp4", RATES[0], sound_file(tmp_path / "sound.m4a", 0.5, 0.1), nothing)
    assert heard(tmp_path / "all.mp4")[:2] == (pytest.approx(0.1, abs=0.005), pytest.approx(0.5, abs=0.03))
    none = track_of_waveform({"waveform": torch.zeros(1, 1, 0), "sample_rate": 48000}, Fraction(1))
    write_sound(tmp_path / "none.m4a", none, Fraction(1), nothing)
    for sound in (tmp_path / "none.m4a", None):
        assert join(parts, tmp_path / "all.mp4", RATES[0], sound, nothing) == TOTAL
        with av.open(str(tmp_path / "all.mp4")) as container:
            assert not container.streams.audio


def test_sound_and_pictures_lie_side_by_side_in_the_file(tmp_path):
    """A player that reads it from a network need not jump: what is shown and heard together is near."""
    parts = parts_of(tmp_path, H264, Fraction(1))  # as slow as this FFmpeg does not see to it by itself
    join(parts, tmp_path / "all.mp4", Fraction(1), sound_file(tmp_path / "sound.m4a", TOTAL, 0.6, 11025), nothing)
    with av.open(str(tmp_path / "all.mp4")) as container:
        found = sorted((packet.pos, packet.stream.type, float(packet.pts * packet.time_base))
                       for packet in container.demux() if packet.size)
    latest = {"video": 0.0, "audio": 0.0}
    for _, kind, time in found:
        latest[kind] = time
        assert abs(latest["video"] - latest["audio"]) < 1.1


def test_the_same_parts_are_joined_to_the_same_bytes(tmp_path):
    parts = parts_of(tmp_path, H264)
    sound = sound_file(tmp_path / "sound.m4a", 2, 0.6)
    for name in "ab":
        join(parts, tmp_path / name, RATES[0], sound, nothing)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_every_frame_ticks_and_can_cancel(tmp_path):
    ticks = []
    write_part(tmp_path / "a.mp4", frames(5), RATES[0], H264, nothing)
    join([tmp_path / "a.mp4"], tmp_path / "all.mp4", RATES[0], None, lambda: ticks.append(1))
    assert len(ticks) == 5

    def cancel():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_part(tmp_path / "b.mp4", frames(5), RATES[0], H264, cancel)
    with pytest.raises(KeyboardInterrupt):
        join([tmp_path / "a.mp4"], tmp_path / "all.mp4", RATES[0], None, cancel)


def test_filmed_levels_are_read_back_by_whoever_rounds_in_which_way(tmp_path):
    """By FFmpeg's scaler to 8 bits and by our own reader, in any colour beside any other; by ComfyUI to less than a
    level."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(256, (2, 64, 96, 3), generator=generator, dtype=torch.uint8)
    path = tmp_path / "a.mp4"
    write_part(path, Held(levels.float() / 255, filmed=True), RATES[0], LOSSLESS, nothing)
    assert torch.equal(FileClip(path).read(0, 2), levels)
    assert np.array_equal(assets.pictures_of(path), levels.numpy())
    assert np.abs(assets.pictures_of(path, "gbrpf32le") * 255 - levels.numpy()).max() < 0.85
