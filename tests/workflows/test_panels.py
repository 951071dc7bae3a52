"""The panels of the pack's extension on its nodes, in the real frontend; short tests in both of its renderers."""

from __future__ import annotations

import assets
import pytest
from comfyui import PACK
from graphs import Graph, add_inputs
from PIL import Image
from renderers import vue_alone

FINDINGS = [
    {"level": "error", "code": "driving_mask_frames", "text": "The mask has 3 frames.", "input": "identities"},
    {"level": "warning", "code": "fps", "text": "The driving video has 60 fps.", "input": "driving"},
    {"level": "fact", "code": "size", "text": "512x896 pixels.", "input": None},
]


THE_PAGE_ITSELF = ("input.link is deprecated",)  # asks so in some versions, once, when a graph is opened


@vue_alone
def test_panels_come_with_their_nodes(page):
    found = page("lazy_panels", expected=THE_PAGE_ITSELF, findings=FINDINGS)
    assert found["start"] == ["scail2.js"]
    modules = [f"lib/{name}.mjs" for name in ("ask", "dom", "graph", "identity_table")]
    assert sorted(found["identities"]) == [*modules, "scail2.css", "scail2.js"]
    assert {"lib/check_report.mjs", "lib/plan_bar.mjs", "lib/timeline.mjs"} < set(found["all"])
    assert len(found["all"]) == len(set(found["all"]))
    assert found["steps"][0] > 0
    assert found["steps"][0] == found["steps"][1], "no step of undo because a panel came"
    assert found["panels"] == [1, 1, 0]
    assert not found["gone"], "a node that went before has nothing"
    assert found["sizes"][0] == found["sizes"][1]
    assert found["again"]["after"] == found["again"]["before"]
    assert found["again"]["steps"] == 0


def test_check_report(page):
    found = page("check_report", expected=THE_PAGE_ITSELF, findings=FINDINGS)
    assert found["headings"] == ["Errors (1)", "Warnings (1)", "Facts (1)"]
    assert found["texts"] == [finding["text"] for finding in FINDINGS]
    saved = next(node for node in found["saved"]["nodes"] if str(node["id"]) == str(found["check"]))
    assert not any("scail2" in str(value) for value in saved["widgets_values"])
    assert not any(name.startswith("scail2") for name in found["output"][str(found["check"])]["inputs"])
    for place, graph, node in (("beside", "root", "SCAIL2Identities"), ("in_a_subgraph", ["LoadVideo"], "LoadVideo"),
                               ("outside", "root", "SCAIL2Identities")):
        expected = {"graph": graph, "node": node, "more": 0, "off": pytest.approx(0, abs=2)}
        assert found["shown"][place] == expected, place


def card(side: str, number: int, thumbnail: str, **known) -> dict:
    """As `identity_cards.Card.said`, with a file."""
    colour, name = (("#0000ff", "blue"), ("#ff0000", "red"), ("#00ff00", "green"))[number - 1]
    return {"side": side, "number": number, "place": number - 1, "colour": colour, "colour_name": name,
            "painted": False, "name": "", "coverage": number / 10, "seen": 4 + number, "front": None,
            "nearest": None,
            "thumbnail": {"filename": thumbnail, "subfolder": "", "type": "input"}, **known}


@pytest.fixture
def thumbnail(server):
    Image.new("RGB", (96, 128), (90, 120, 60)).save(server.base / "input/thumbnail.png")
    return "thumbnail.png"


def test_identity_table(page, thumbnail):
    cards = [*(card("reference", number, thumbnail, nearest=number) for number in (1, 2)),
             *(card("driving", number, thumbnail) for number in (1, 2))]
    # a copy has the same number until it is added
    found = page("identity_table", expected=("[nodeShell] Node id",), cards=cards)
    assert found["heads"] == ["Reference", "Name, driven by", "Video", "Front"]
    options = ["person 1", "person 2", "nobody (leave out)"]
    assert found["rows"] == [
        {"person": "1", "colour": "rgb(0, 0, 255)", "driven": "person 1", "options": options,
         "seen": ["10.0 %", "in 5 frames", "10.0 %"]},
        {"person": "2", "colour": "rgb(255, 0, 0)", "driven": "person 2", "options": options,
         "seen": ["20.0 %", "in 6 frames", "20.0 %"]}]
    assert found["free"] == 0
    assert found["swapped"] == {"binding": "1:2, 2:1", "front": "", "names": ""}
    assert found["back"] == {"binding": "", "front": "", "names": ""}, "what is usual is not written"
    assert found["renamed"] == {"binding": "", "front": "", "names": ", Ben"}
    assert found["front"] == {"binding": "", "front": "2, 1", "names": ", Ben"}
    assert found["order"] == ["2", "1"]
    assert found["hidden"] == {"binding": "1:1", "front": "", "names": ""}, "the node refuses names of nobody"
    assert found["last"], "a binding of nobody cannot be written"
    assert found["again"] == {"binding": "", "front": "", "names": ", Ben"}
    chosen = {"binding": "1:2, 2:1", "front": "", "names": ", Ben"}
    assert found["dragged"] == found["loaded"] == chosen
    assert found["copied"] == list(chosen.values())
    assert {name: found["prompt"][name] for name in chosen} == chosen
    assert not any("scail2" in str(value) for node in found["saved"]["nodes"] for value in node["widgets_values"])
    assert not any(name.startswith("scail2") for name in found["prompt"])
    assert found["typed"] == ["1", ""]
    assert found["problem"] == ['The binding "1:9" names person 9 of the driving mask, but the people there are 1, 2: '
                                "use one of these numbers, or choose in the table on the node."]
    assert found["shown"] == ["2", "1"]
    assert found["left"] == 0


@pytest.fixture
def two_people(server):
    """A graph that binds two drawn people, as the page reads it, and the number of the node."""
    graph = Graph(assets.write_pictures(server.base / "input"))
    add_inputs(graph, people=2)
    graph.set("identities", driving=["driving", 0], reference_image=["reference_image", 0])
    graph.add("preview", "PreviewImage", images=["identities", 1])
    for unused in ("vae", "clip", "positive", "negative", "reference"):
        del graph[unused]
    prompt, numbers = graph.numbered()
    # three people whom no colour ties to the two
    track = {"class_type": "TestTrack", "inputs": {"path": graph.images, "name": "reference_mask1", "copies": 3}}
    masks, picture = numbers["reference_mask"], prompt[numbers["reference_image"]]
    unpaired = prompt | {masks: track, numbers["reference_image"]: picture | {
        "inputs": picture["inputs"] | {"name": "reference1"}}}
    return {"prompt": prompt, "unpaired": unpaired, "id": int(numbers["identities"])}


@vue_alone
def test_identity_table_of_a_run(page, two_people):
    found = page("identity_run", **two_people)
    asked = ["The driving mask has 2 people, but the reference mask has 3 people: choose who belongs together in the "
             'table on the node, or with binding, for example "1:1, 2:2", which is nearest by position.',
             'The binding "1:5" names person 5 of the driving mask, but the people there are 1, 2: use one of these '
             "numbers, or choose in the table on the node."]
    assert found["unpaired"] == [[text, "2:1, 3:2", 0] for text in asked]
    assert found["pictures"] == [[96, "Person 1 of the reference"], [96, "1 blue of the driving video"],
                                 [96, "Person 2 of the reference"], [96, "2 red of the driving video"]]
    assert found["swapped"] == "1:2, 2:1"
    assert found["shown"] == ["2", "1"]
    assert found["cut"] == [0, 0], "nothing to scroll at the width that a new node has"
    changed = "Changed since this run: run again to see it."
    plain, swapped, left_out = ["", "", "", changed], ["1:2, 2:1", "", "", changed], ["2:1", "", "", changed]
    named = ["1:2, 2:1", "", "Anna", ""]  # as in the last run
    assert found["focus"] == "driven 1", "the next field has the focus"
    assert found["notes"] == [changed, ""]
    assert found["left_out"] == left_out
    assert found["keys"] == [named, swapped, plain, swapped, named, left_out, named]
    assert found["after"] == ["2", "1"], "the table is still there"
    assert found["before_its_run"] == 1
    assert found["copy"] == [named, "1:2", 2, named, 1]
    assert found["tab"] == [0, named, ["2", "1"]]
    assert found["inside"] == [[True, ""]]


def test_inputs_of_identities_say_their_side(page):
    found = page("identity_slots")
    grown = ["driving person 2", "driving person 3", "driving person 4", "reference person 2", "reference person 3"]
    assert found["made"] == ["driving person 2", "reference person 2"]
    assert found["grown"] == grown
    assert found["names"] == [f"more_{place.replace(' person ', '_masks.person_')}" for place in grown]
    assert found["pasted"] == sorted(2 * grown), "a copy keeps its connections"
    assert found["loaded"] == [*grown[:3], "reference person 3", "the dancer"], "what the user calls one stays"
    assert found["steps"] == 0


GIB = 2**30
PLAN = {"frames": 305, "fps": "16", "found_cuts": None, "filmed": [1920, 1080], "width": 896, "height": 512,
        "additional": 0,
        "gpu_bytes": 140 * GIB, "weight_bytes": 30 * GIB, "pace": 1.0,
        "model": {"dim": 5120, "ffn_dim": 13824, "num_heads": 40, "num_layers": 40}}


@pytest.fixture(scope="module")
def plan(page):
    return page("plan_bar", facts=PLAN, height=1500)


def test_plan_bar(plan):
    assert plan["before"]["lines"] == [
        "896×512, segments of 81, overlap 5. Frames: known after the first run or check.",
        "About 3.3 GiB of GPU memory beside the weights; time: known after the first run or check."]
    assert plan["after"]["lines"] == [
        "896×512, 305 frames at 16 fps (19.1 s): 4 segments of 81, overlap 5, last 77.",
        "About 33 GiB of GPU memory (this GPU has 140 GiB), 7 min a segment, 27 min in all."]
    assert plan["after"]["labels"][1] == "Segment 2: frames 76 to 156 (4.8 to 9.8 s), the first 5 taken over"
    widths = plan["after"]["widths"]
    assert widths[0] / widths[3] == pytest.approx(76 / 77, rel=0.02)
    assert plan["motion"]["lines"][0] == "896×512, 305 frames at 16 fps (19.1 s): new frames 76 to 156, 81 in all."
    assert len(plan["motion"]["labels"]) == 3
    assert plan["plate"]["lines"][0].startswith("896×512 put into 1920×1080, 305 frames")
    assert plan["segment_length"]["lines"][0].endswith(": 9 segments of 41, overlap 5, last 17.")
    assert plan["overlap"]["lines"][0].endswith(": 10 segments of 41, overlap 9, last 17.")
    assert plan["lengths"]["lines"][0].endswith(": 10 segments of 41, overlap 9.")
    assert "in 3 scenes" in plan["scene_cuts"]["lines"][0]
    lanes = plan["lanes"]
    assert lanes["lines"][1].startswith("Scenes at the same time: segments ")
    places = [label.rsplit(", ", 1)[1] for label in lanes["labels"]]
    assert set(places) == {"on GPU 1", "on GPU 2"}
    assert len(set(lanes["colours"])) == len(set(zip(places, lanes["colours"], strict=True))) == 2
    assert "one colour for each GPU" in lanes["told"]
    assert " of GPU memory on each of 2 GPUs (with 140 GiB), " in plan["together"]["lines"][1]
    assert plan["together"]["lines"][0] == lanes["lines"][0]
    assert len(plan["together"]["lines"]) == 2, "no scenes at the same time"
    for other in plan["other_gpus"]:
        assert len(other) == 2, "not known of another model before it has run"
        assert "GPUs" not in other[1]
    assert plan["named"][:4] == ["1", "2 ✎", "3 ✎ ↻", "4"]
    assert "99" in plan["wrong_plan"]["problems"][0]
    assert len(plan["wrong_plan"]["labels"]) == len(plan["scene_cuts"]["labels"]), "the rest of the plan stays"
    assert plan["focused"].startswith(f"Segment {len(plan['scene_cuts']['labels'])}: ")
    assert "neither a frame nor a time" in plan["wrong_cuts"]["problems"][0]


def test_a_panel_that_grows_is_not_a_step_of_undo(plan):
    assert plan["heights"][0] < plan["heights"][1]
    assert plan["steps"][0] == plan["steps"][1]


def test_plan_bar_offers_what_is_right(plan):
    assert plan["wrong_overlap"]["problems"] == [
        "overlap is 77, but it must be 4n+1 and at most 37 in segments of 41 frames: take 37"]
    assert plan["wrong_overlap"]["choices"] == ["37"]
    assert "overlap 37" in plan["mended"]["lines"][0]
    assert plan["wrong_size"]["problems"] == [
        "The width is 500 pixels, but SCAIL-2 needs a multiple of 32: use 480 or 512."]
    assert plan["wrong_size"]["choices"] == plan["offers"] == ["480", "512"]
    assert plan["right_size"]["lines"][0].startswith("512×512, ")
    assert (plan["z"], plan["z_offers"]) == (500, ["480", "512"]), "undone in one step"
    assert (plan["y"], plan["y_offers"]) == (512, [])


def test_plan_bar_leaves_no_trace(plan):
    for form in (plan["saved"], plan["saved_again"]):
        for node in form["nodes"]:
            assert "scail2_" not in str(node.get("widgets_values"))
            assert "frames at" not in str(node)
    assert [node["widgets_values"] for node in plan["saved"]["nodes"] if "widgets_values" in node] == [
        node["widgets_values"] for node in plan["saved_again"]["nodes"] if "widgets_values" in node]
    for node in plan["output"].values():
        assert not any(name.startswith("scail2") for name in node["inputs"])
    assert plan["reloaded"]["lines"][0].startswith("512×512, 305 frames")
    assert plan["inside"]["lines"] == plan["reloaded"]["lines"]
    assert plan["changed_outside"]["lines"][0].startswith("512×544, ")
    assert plan["listeners"]["during"] == "heard"
    assert plan["listeners"]["after"] != "heard"
    assert plan["left"] == 1


def test_panels_wait_for_the_server(page, thumbnail):
    cards = [card(side, number, thumbnail, nearest=number) for side in ("reference", "driving") for number in (1, 2)]
    found = page("server_away", facts=PLAN, cards=cards, expected=("net::ERR_FAILED", "500 (Internal Server Error)"))
    drag, late, away = found["drag"], found["late"], found["away"]
    assert drag["asked"][-1] == drag["last"]
    assert len(drag["asked"]) <= drag["ms"] / 80 + 1, "not each of 60 values"
    assert "segments of 105, overlap 5" in drag["lines"][0]
    assert late["asked"] == [61, 73], "one question at a time, and then the newest"
    assert late["during"] == late["before"], "nothing flickers meanwhile"
    assert "segments of 73, overlap 5" in late["after"]["lines"][0]
    assert away["note"] == ["The server does not answer. This is the last plan that it gave."]
    assert (away["lines"], away["pieces"]) == (late["after"]["lines"], late["after"]["pieces"])
    assert "segments of 77, overlap 5" in found["back"]["lines"][0]
    assert found["back"]["note"] == [""]
    assert found["broken"]["note"] == ["The server cannot answer (status 500): its log says why. This is the last plan "
                                       "that it gave."]
    assert found["broken"]["lines"] == found["back"]["lines"]
    assert found["identities"] == {"away": ["1", "The server does not answer. Nothing was changed.", ""],
                                   "back": ["2", "", "1:2, 2:1"]}


def test_help_page_shows_the_node(page):
    found = page("help_page", type="SCAIL2Identities")
    assert found["title"] == "Bind SCAIL-2 Identities"
    with Image.open(PACK / "js/docs/SCAIL2Identities.jpg") as picture:
        assert found["pictures"] == [picture.width]
