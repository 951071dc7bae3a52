"""Signs of life, from a real thread."""

import threading
import time

from scail_model.video.voice import SILENCE, Voice


def told(silence, block):
    """What was said in `block`, as (when, seconds given)."""
    said, began = [], time.monotonic()
    with Voice(lambda seconds: said.append((time.monotonic() - began, seconds)), silence) as voice:
        block(voice)
    return said


def test_a_long_silence_is_broken_again_and_again():
    said = told(0.1, lambda voice: time.sleep(0.65))
    assert 3 <= len(said) <= 6
    for when, seconds in said:
        assert abs(when - seconds) < 0.05
    assert [seconds for _, seconds in said] == sorted(seconds for _, seconds in said)


def test_nothing_is_added_while_something_is_heard():
    def talking(voice):
        for _ in range(30):
            time.sleep(0.02)
            voice.heard()

    assert told(0.4, talking) == []


def test_it_ends_with_its_block_even_in_a_long_silence():
    began = time.monotonic()
    assert told(600, lambda voice: None) == []
    assert time.monotonic() - began < 1
    assert not [thread for thread in threading.enumerate() if thread.name == "scail2-voice"]


def test_no_client_that_waits_20_seconds_gives_up():
    assert SILENCE * 9 / 8 < 20
