"""`scail2 generate` of a long clip: main memory does not grow with it."""

import generate_memory
import pytest

LENGTH = 33  # frames of a segment, 28 of them new


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generate_memory")
    generate_memory.write_models(folder)
    return folder


# larger pictures let the quick pair see what the slow one sees in many
# test_clips.py has the quick test: frames that were read leave memory at once
@pytest.mark.slow
@pytest.mark.parametrize(("short", "long", "scale"), [(61, 285, 3), (200, 2000, 1)])
def test_peak_memory_of_a_long_clip_is_that_of_a_short_one(folder, short, long, scale):
    few, many = (run(folder, frames, scale) for frames in (short, long))
    assert many.peak_mib < 1.15 * few.peak_mib


def run(folder, frames, scale):
    clips = folder / f"{frames} {scale}"
    generate_memory.write_clips(clips, frames, scale)
    return generate_memory.generate(folder, clips, clips / "result.mp4", frames, LENGTH)


@pytest.mark.slow
def test_a_plate_takes_little_more_memory_than_its_driving_video(folder):
    """Of 1920x1152 pixels, while the made picture has 64x64."""
    clips = folder / "plate"
    generate_memory.write_clips(clips, 21, 6, replacement=True)
    without, with_plate = (generate_memory.generate(
        folder, clips, clips / f"{plate}.mp4", 21, 21, "--replace_flag", "--plate", plate)
        for plate in ("off", "composite"))
    assert with_plate.peak_mib < 1.25 * without.peak_mib
