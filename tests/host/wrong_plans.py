"""What can be wrong with a video's plan, remakes and scene cuts, and what is said of it. A video of 9 frames."""

from __future__ import annotations

import json


def _entry(**values) -> dict:
    return {"plan": json.dumps([values])}


# options, and the message
PLANS = {
    "no JSON": ({"plan": "segment 2"}, r"The plan is not valid JSON \(Expecting value: line 1 column 1 \(char "
                                       r'0\)\): write a list such as \[\{"segments": "2-3", "prompt": "..."\}\]\.'),
    "no list": ({"plan": "7"}, r'The plan is not a list of entries: write a list such as \[\{"segments": "2-3"'),
    "unknown change": (_entry(promt="x"), '"promt" in entry 1 of the plan is not a known key: '
                                          "use segments, time, frames, prompt,"),
    "text for a number": (_entry(seed="7"), '"seed" in entry 1 of the plan is "7", but it must be a whole number, at '
                                            "least 0 and at most 64 bits long: correct it"),
    "out of range": (_entry(guidance=31), '"guidance" in entry 1 of the plan is 31, but it must be a number from 1.0 '
                                          "to 30.0: correct it"),
    "number for yes or no": (_entry(seed=1, only=1), '"only" in entry 1 .* is 1, but it must be true or false'),
    "number for a text": (_entry(prompt=5), '"prompt" in entry 1 of the plan is 5, but it must be a text: correct it'),
    "no change": (_entry(segments=1), "Nothing changes in entry 1 of the plan: add one of prompt, saved_prompt,"),
    "two places": (_entry(segments=1, time="0-1s", seed=1), "segments and time are in entry 1 of the plan: keep"),
    "a list of places": (_entry(segments=[1], seed=1), r'"segments" in entry 1 .* is \[1\], but it must be a number, '
                                                       "or a text such as"),
    "no segment in a stretch": (_entry(frames="2-4", seed=1), "No segment has more than half of its new frames in 2-4 "
                                                              "of entry 1 .* longer range of the video's 9 frames"),
    "beyond the end": (_entry(segments="1-3", seed=1), "Entry 1 of the plan names the segments 1-3, but there are 1 to "
                                                       "1: correct the numbers"),
    "three ends": (_entry(segments="1-2-3", seed=1), '"1-2-3" in entry 1 of the plan is not a range: write one such'),
    "backwards": (_entry(frames="5-2", seed=1), '"5-2" in entry 1 of the plan runs backwards: write the smaller end'),
    "a name for a segment": (_entry(segments="one", seed=1), '"one" in entry 1 of the plan is not a segment number'),
    "no time": (_entry(time="soon", seed=1), '"soon" in entry 1 of the plan is neither a frame nor a time: write 120'),
    "no such reference": (_entry(reference=2), "The plan chooses reference 2, but there are 1: give it more"),
    "prompt without encoder": (_entry(prompt="x"), "The plan has prompts, but no text encoder is connected: connect "
                                                   "one to clip, or use saved_prompt"),
    "negative prompt": (_entry(negative_prompt="x", only=True), "The plan has prompts, but no text encoder is"),
    "no such prompt file": (_entry(saved_prompt="gone"), "The plan's saved_prompt gone is not in models/scail2_prompts"
                                                         ": save it with Save Prompt Embedding, or correct the name"),
    "remake beyond the end": ({"remake": "1, 3"}, "Remake names the segments 3, but there are 1 to 1: correct"),
    "remake of words": ({"remake": "last"}, '"last" in remake is not a segment number: write numbers such as 3, 5-6'),
}
CUTS = {
    "no frame": ({"scene_cuts": "4, half"}, '"half" in scene_cuts is neither a frame nor a time: write 120, 1:05.2'),
    "behind the end": ({"scene_cuts": "9"}, "There is a scene cut at frame 9, but cuts must be in ascending order "
                                            "and between 1 and 8: correct scene_cuts"),
    "not rising": ({"scene_cuts": "5 4"}, "There is a scene cut at frame 4, but cuts must be in ascending order"),
    "not installed": ({"scene_cuts": "find"}, "scene_cuts is set to find, which needs PySceneDetect: install the "
                                              "Python package scenedetect 0.7 or later into ComfyUI's environment"),
}


def add_reference(graph, name: str, **inputs) -> list:
    """Another encoded reference, as the first one but for the inputs."""
    return graph.add(name, "SCAIL2EncodeReference", **graph["reference"]["inputs"] | inputs)


# what more_references gets, and the message
REFERENCES = {
    "a gap": (lambda graph: {"more_references.reference_3": add_reference(graph, "third")},
              "In more_references reference_3 is connected, but reference_2 is not: leave no gap"),
    "another size": (lambda graph: {"more_references.reference_2": add_reference(graph, "second", width=96)},
                     "reference_2 is encoded at 96x64, but reference at 64x64: encode all at one size"),
}
