"""Sound: where it starts, how long it is, and in which form, read back from the file that is written."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from scail_model.media.sound import doubts_about_sound, track_of_file, track_of_waveform, write_sound

AAC_FRAME = 1024  # samples


def nothing():
    pass


def clicks(rate, seconds, *times, channels=1):
    """A burst of 20 ms at every time, in silence: [channels, n]."""
    wave = np.zeros((channels, round(rate * seconds)), np.float32)
    for time in times:
        at = round(rate * time)
        wave[:, at : at + rate // 50] = 0.6 * np.sin(np.arange(rate // 50) * 2 * np.pi * 1000 / rate)
    return wave


def written(path, track, seconds):
    write_sound(path, track, Fraction(seconds), nothing)
    return sound_of(path)


def sound_of(path):
    """(samples [channels, n], rate) of a file as a player plays it."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return np.zeros((1, 0)), 0
        stream = container.streams.audio[0]
        frames = list(container.decode(stream))
        start = frames[0].time if frames else 0.0
        assert abs(start) < 1e-6
        return (np.concatenate([frame.to_ndarray() for frame in frames], axis=1) if frames else np.zeros((1, 0)),
                stream.rate)


def onsets(samples, rate):
    """Times at which bursts begin, in seconds."""
    loud = np.abs(samples).max(0) > 0.15
    starts = [index for index in np.flatnonzero(loud) if not loud[max(0, index - rate // 20) : index].any()]
    return [index / rate for index in starts]


def write_video(path, wave, rate, sound_at=0.0, video_at=0.0, seconds=2, codec="pcm_f32le", layout="mono"):
    """A video of black pictures, 25 per second, and a sound; both start at a time of their own."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width = video.height = 32
        sound = container.add_stream(codec, rate=rate, layout=layout)
        for index in range(25 * seconds):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = index + round(video_at * 25), Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        kind = sound.codec_context.format.name
        for start in range(0, wave.shape[1], 4096):
            part = wave[:, start : start + 4096]
            if not kind.endswith("p"):
                part = part.T.reshape(1, -1)
            block = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), kind, layout)
            block.sample_rate, block.time_base = rate, Fraction(1, rate)
            block.pts = start + round(sound_at * rate)
            container.mux(sound.encode(block))
        container.mux(sound.encode())
    return path


# Waveforms

@pytest.mark.parametrize("rate", [44100, 48000, 22050, 96000, 11025, 37800, 192000])
def test_every_rate_keeps_its_time(tmp_path, rate):
    audio = {"waveform": torch.from_numpy(clicks(rate, 3, 0.5, 1.25))[None], "sample_rate": rate}
    track = track_of_waveform(audio, Fraction(2))
    assert track.rate == (48000 if rate in (37800, 192000) else rate)  # the nearest that AAC has
    samples, found = written(tmp_path / "a.m4a", track, 2)
    assert found == track.rate
    assert onsets(samples, found) == pytest.approx([0.5, 1.25], abs=0.005)
    assert 0 <= samples.shape[1] - 2 * found < AAC_FRAME + 64


@pytest.mark.parametrize(("channels", "layout", "heard"), [
    (1, "mono", 1), (2, "stereo", 2), (3, "mono", 1), (4, "mono", 1), (6, "stereo", 2), (8, "mono", 1)])
def test_any_number_of_channels(tmp_path, channels, layout, heard):
    audio = {"waveform": torch.from_numpy(clicks(48000, 1, 0.3, channels=channels))[None], "sample_rate": 48000}
    track = track_of_waveform(audio, Fraction(1))
    assert track.layout == layout
    samples, rate = written(tmp_path / "a.m4a", track, 1)
    assert samples.shape[0] == heard
    assert onsets(samples, rate) == pytest.approx([0.3], abs=0.003)


def test_left_stays_left(tmp_path):
    wave = clicks(48000, 1, 0.3, channels=2)
    wave[1] = clicks(48000, 1, 0.7)
    samples, rate = written(tmp_path / "a.m4a", track_of_waveform({"waveform": torch.from_numpy(wave)[None],
                                                                   "sample_rate": 48000}, Fraction(1)), 1)
    assert onsets(samples[:1], rate) == pytest.approx([0.3], abs=0.003)
    assert onsets(samples[1:], rate) == pytest.approx([0.7], abs=0.003)


def test_a_short_sound_stays_short_and_none_at_all_is_a_file_too(tmp_path):
    for count in (24000, 10, 0):
        audio = {"waveform": torch.zeros(1, 2, count), "sample_rate": 48000}
        samples, _ = written(tmp_path / f"{count}.m4a", track_of_waveform(audio, Fraction(2)), 2)
        assert samples.shape[1] <= -(-count // AAC_FRAME) * AAC_FRAME


def test_blocks_are_read_one_at_a_time():
    audio = {"waveform": torch.zeros(1, 1, 48000 * 60), "sample_rate": 48000}
    track = track_of_waveform(audio, Fraction(50))
    sizes = [block.shape[1] for block in track.blocks]
    assert sum(sizes) == 50 * 48000
    assert max(sizes) <= 1 << 16


# Files

@pytest.mark.parametrize(("sound_at", "video_at"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.32), (0.2, 0.6), (1.5, 0.0)])
@pytest.mark.parametrize("codec", ["pcm_f32le", "aac"])
def test_sound_starts_with_the_first_picture(tmp_path, sound_at, video_at, codec):
    """Bursts 0.25 s and 1 s into the sound, which starts before or after the picture."""
    ending = "mkv" if codec == "pcm_f32le" else "mp4"
    path = write_video(tmp_path / f"a.{ending}", clicks(48000, 2.6, 0.25, 1.0), 48000, sound_at, video_at, codec=codec)
    with av.open(str(path)) as container:
        samples, rate = written(tmp_path / "a.m4a", track_of_file(container, video_at, Fraction(2)), 2)
    wanted = [time + sound_at - video_at for time in (0.25, 1.0)]
    assert onsets(samples, rate) == pytest.approx([time for time in wanted if 0 <= time < 2], abs=0.005)
    assert 0 <= samples.shape[1] - 2 * rate < AAC_FRAME


@pytest.mark.parametrize("first", [0.52, 1.4, 2.6])
def test_sound_of_a_part_of_a_file(tmp_path, first):
    """The first picture that is used lies far behind the beginning, so the file is not read from there."""
    times = [0.1 + 0.3 * index for index in range(12)]
    path = write_video(tmp_path / "a.mp4", clicks(44100, 4, *times, channels=2), 44100, seconds=4, codec="aac",
                       layout="stereo")
    with av.open(str(path)) as container:
        samples, rate = written(tmp_path / "a.m4a", track_of_file(container, first, Fraction(1)), 1)
    assert onsets(samples, rate) == pytest.approx([time - first for time in times if 0 <= time - first < 1], abs=0.005)


def test_surround_becomes_stereo(tmp_path):
    path = write_video(tmp_path / "a.mkv", clicks(48000, 1, 0.4, channels=6), 48000, layout="5.1")
    with av.open(str(path)) as container:
        track = track_of_file(container, 0.0, Fraction(1))
        assert track.layout == "stereo"
        samples, rate = written(tmp_path / "a.m4a", track, 1)
    assert onsets(samples, rate) == pytest.approx([0.4], abs=0.005)


def test_sound_that_has_ended_before_the_first_picture_is_an_empty_file(tmp_path):
    path = write_video(tmp_path / "a.mkv", clicks(48000, 0.5, 0.1), 48000)
    with av.open(str(path)) as container:
        samples, _ = written(tmp_path / "a.m4a", track_of_file(container, 1.6, Fraction(1)), 1)
    assert samples.shape[1] == 0


def test_a_silent_film_has_no_track(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width = video.height = 32
        container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(video.encode())
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert track_of_file(container, 0.0, Fraction(1)) is None


@pytest.mark.parametrize("tracks", [1, 2])
def test_sound_that_nothing_decodes_is_left_out_and_told(tmp_path, tracks):
    """The codec of the first track is renamed to one without a decoder; a second one is taken instead."""
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width = video.height = 32
        sounds = [container.add_stream("aac", rate=48000, layout="mono") for _ in range(tracks)]
        container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(video.encode())
        for index, sound in enumerate(sounds):
            block = av.AudioFrame.from_ndarray(clicks(48000, 1, 0.3 + 0.3 * index), "fltp", "mono")
            block.sample_rate, block.pts = 48000, 0
            container.mux(sound.encode(block))
            container.mux(sound.encode())
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(data.replace(b"mp4a", b"apac", 1).replace(b"esds", b"free", 1))
    with av.open(str(tmp_path / "a.mp4")) as container:
        (doubt,) = doubts_about_sound(container, "driving video")
        track = track_of_file(container, 0.0, Fraction(1))
        assert doubt.startswith("The sound of the driving video is in a format that cannot be decoded here")
        if tracks == 1:
            assert track is None
            assert "the result is without sound" in doubt
        else:
            assert "the result has sound track 2" in doubt
            samples, rate = written(tmp_path / "a.m4a", track, 1)
            assert onsets(samples, rate) == pytest.approx([0.6], abs=0.005)


def test_damaged_sound_is_named_with_the_time(tmp_path):
    noise = 0.2 * np.random.default_rng(0).standard_normal((1, 96000)).astype(np.float32)
    path = write_video(tmp_path / "a.mp4", noise, 48000, codec="aac")
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(audio=0) if packet.size][50]  # the first is priming
    data = bytearray(path.read_bytes())
    data[packet.pos : packet.pos + packet.size] = b"Z" * packet.size
    path.write_bytes(data)
    with av.open(str(path)) as container:
        track = track_of_file(container, 0.0, Fraction(2))
        with pytest.raises(RuntimeError, match=r"The sound of .*a.mp4 cannot be decoded after 1.02 seconds \(Invalid "
                                               r"data.*\): export the video again, or without sound"):
            write_sound(tmp_path / "a.m4a", track, Fraction(2), nothing)


def test_every_second_ticks(tmp_path):
    audio = {"waveform": torch.zeros(1, 1, 48000 * 4), "sample_rate": 48000}
    ticks = []
    write_sound(tmp_path / "a.m4a", track_of_waveform(audio, Fraction(4)), Fraction(4), lambda: ticks.append(1))
    assert len(ticks) >= 4

    def cancel():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sound(tmp_path / "a.m4a", track_of_waveform(audio, Fraction(4)), Fraction(4), cancel)


@pytest.mark.parametrize("first", [0.0, 1.6])
def test_a_gap_in_the_sound_stays_a_gap(tmp_path, first):
    """A recorder that writes no packets while nothing sounds: clicks at 0.5 and 3.5, nothing stored from 1 to 3."""
    rate, path = 48000, tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width = video.height = 32
        sound = container.add_stream("pcm_f32le", rate=rate, layout="mono")
        for _ in range(100):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(video.encode())
        wave = clicks(rate, 4, 0.5, 3.5)
        for start in (*range(0, rate, 1200), *range(3 * rate, 4 * rate, 1200)):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[:, start : start + 1200]), "flt", "mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(sound.encode(frame))
        container.mux(sound.encode())
    with av.open(str(path)) as container:
        samples, found = written(tmp_path / "a.m4a", track_of_file(container, first, Fraction(4) - Fraction(first)), 4)
    expected = [time - first for time in (0.5, 3.5) if time > first]
    assert onsets(samples, found) == pytest.approx(expected, abs=0.02)
