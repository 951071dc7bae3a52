"""Manifests as people and spreadsheets write them: read as they were meant, or refused with one sentence each."""

from __future__ import annotations

import json

import pytest

from scail_model.batch.manifest import read_manifest

READ = [
    ("CSV with commas", "csv", b"id,A.b\nanna,1\n", {"anna": {"A.b": "1"}}),
    ("CSV with semicolons, as a European spreadsheet saves it", "csv", b"id;A.b\nanna;1,5\n", {"anna": {"A.b": "1,5"}}),
    ("CSV with tabs", "csv", b"id\tA.b\nanna\t1\n", {"anna": {"A.b": "1"}}),
    ("TSV", "tsv", b"id\tA.b\nanna\t1\n", {"anna": {"A.b": "1"}}),
    ("CSV with a byte order mark", "csv", b"\xef\xbb\xbfid,A.b\nanna,1\n", {"anna": {"A.b": "1"}}),
    ("Unicode text of a spreadsheet", "csv", "id\tA.b\nanna\té\n".encode("utf-16"), {"anna": {"A.b": "é"}}),
    (
        "CSV with a spreadsheet's line about its separator",
        "csv",
        b"sep=;\r\nid;A.b\r\nanna;1\r\n",
        {"anna": {"A.b": "1"}},
    ),
    ("CSV with line ends of Windows", "csv", b"id,A.b\r\nanna,1\r\n", {"anna": {"A.b": "1"}}),
    ("CSV of Excel, which leaves out the last empty cells of a row", "csv", b"id,A.b,A.c\r\nanna,1\r\n",
     {"anna": {"A.b": "1"}}),
    ("CSV whose known columns are in capitals", "csv", b"ID,A.b\nanna,1\n", {"anna": {"A.b": "1"}}),
    ("CSV with line ends of an old Macintosh", "csv", b"id,A.b\ranna,1\r", {"anna": {"A.b": "1"}}),
    ("CSV with empty rows and an empty last column", "csv", b"id,A.b,\n,,\nanna,1,\n\n", {"anna": {"A.b": "1"}}),
    (
        "CSV with a prompt of two lines in quotes",
        "csv",
        b'id,P.text\nanna,"a ""tall"" man\nwalks, slowly"\n',
        {"anna": {"P.text": 'a "tall" man\nwalks, slowly'}},
    ),
    (
        "CSV with a title in quotes",
        "csv",
        b'id,"""Driving video"".file"\nanna,x.mp4\n',
        {"anna": {'"Driving video".file': "x.mp4"}},
    ),
    (
        "CSV with a row of defaults and an empty cell",
        "csv",
        b"id,A.b,A.c\n*,1,2\nanna,,3\n",
        {"anna": {"A.b": "1", "A.c": "3"}},
    ),
    (
        "CSV with axes",
        "csv",
        b"id,cross,A.b,A.c\na,who,1,\nb,who,2,\nx,what,,3\n",
        {"a-x": {"A.b": "1", "A.c": "3"}, "b-x": {"A.b": "2", "A.c": "3"}},
    ),
    ("JSON", "json", b'{"rows": [{"id": "anna", "A.b": 1}]}', {"anna": {"A.b": 1}}),
    ("JSON with a byte order mark", "json", b'\xef\xbb\xbf{"rows": [{"id": "anna", "A.b": 1}]}', {"anna": {"A.b": 1}}),
    (
        "JSON with a default taken back",
        "json",
        b'{"defaults": {"A.b": 1}, "rows": [{"id": "anna", "A.b": null}]}',
        {"anna": {}},
    ),
    (
        "YAML with an id that older YAML takes for a truth",
        "yaml",
        b"rows:\n- {id: no, A.b: on}\n",
        {"no": {"A.b": "on"}},
    ),
    ("YAML with a date for an id", "yaml", b"rows:\n- {id: 2026-11-30, A.b: 1}\n", {"2026-11-30": {"A.b": 1}}),
    ("YAML with a shot number that begins with zeros", "yaml", b"rows:\n- {id: 007, A.b: 0}\n", {"007": {"A.b": 0}}),
    (
        "YAML with a time that older YAML takes for a number",
        "yaml",
        b"rows:\n- {id: a, A.b: 1:30}\n",
        {"a": {"A.b": "1:30"}},
    ),
    ("YAML with numbers", "yaml", b"rows:\n- {id: 7, A.b: -1.5e3, A.c: true}\n", {"7": {"A.b": -1500.0, "A.c": True}}),
    (
        "YAML with an anchor merged",
        "yaml",
        b"rows:\n- &x {id: a, A.b: 1, A.c: 2}\n- {<<: *x, id: b, A.c: 3}\n",
        {"a": {"A.b": 1, "A.c": 2}, "b": {"A.b": 1, "A.c": 3}},
    ),
    (
        "three axes",
        "yaml",
        b"cross: {x: [{id: a}], y: [{id: b}, {id: c}], z: [{id: d, A.b: 1}]}\n",
        {"a-b-d": {"A.b": 1}, "a-c-d": {"A.b": 1}},
    ),
]

REFUSED = [
    ("a file that is not there", "csv", None, "does not exist"),
    ("an empty file", "yaml", b" \n", "m.yaml is empty"),
    ("a workbook", "csv", b"PK\x03\x04....", "save it as CSV"),
    ("CSV in Latin-1", "csv", b"id,A.b\nanna,caf\xe9\n", "line 2: byte 0xe9 is not UTF-8"),
    ("UTF-16 without a mark", "csv", "id,A.b\nanna,1\n".encode("utf-16-le"), "zero character"),
    ("CSV with only a header", "csv", b"id,A.b\n", "has no rows"),
    ("CSV without ids", "csv", b"A.b\n1\n", 'no column "id"'),
    ("an index without a name, as pandas writes it", "csv", b",id,A.b\n0,a,1\n1,b,2\n",
     'line 2: the cell "0" stands in a column without a name'),
    ("a column that is no key", "csv", b"id,Colour\na,1\nb,2\nc,3\nd,4\n",
     'line 2, line 3, line 4 and 1 more rows: the key "Colour"'),
    ("an error of a formula", "csv", b"id,Prompt.text\na,#NAME?\n", "Prompt.text is #NAME?, an error"),
    ("half of an emoji", "json", b'{"rows": [{"id": "a", "Prompt.text": "x \\ud83d"}]}', "has '\\ud83d' in it"),
    ("a title in quotes, as CSV and JSON have it, in YAML", "yaml", b'rows:\n- {id: a}\n- id: b\n  "Clip".file: x\n',
     "put the whole of it into quotes, as '\"Clip\".file'"),
    ("a row with a comma too many", "csv", b"id,A.b\nanna,1,5\n", "line 2: it has 3 cells"),
    ("two columns of one name", "csv", b"id,A.b,A.b\nanna,1,2\n", 'the column "A.b" stands there 2 times'),
    ("a cell under no name", "csv", b"id,A.b,,A.c\nanna,1,x,2\n", 'the cell "x" stands in a column without a name'),
    ("an open quote", "csv", b'id,A.b\nanna,"1\nboris,2\n', "line 2: it cannot be read as CSV"),
    ("two rows of defaults", "csv", b"id,A.b\n*,1\n*,2\nanna,3\n", "line 3: it is a second row of defaults"),
    ("defaults on an axis", "csv", b"id,cross,A.b\n*,who,1\na,who,2\n", "leave one of both empty"),
    ("broken JSON", "json", b'{"rows": [{"id": "a",}]}', "line 1, column 22: it is not JSON"),
    ("a list", "json", b'[{"id": "a"}]', "holds a list, but a manifest is a mapping"),
    ("a text", "yaml", b"rows\n", 'holds the text "rows"'),
    ("another section", "yaml", b"row: [{id: a}]\n", "'row' is not a part of a manifest"),
    ("rows that are a mapping", "yaml", b"rows: {a: {A.b: 1}}\n", "rows is a mapping, but it must be a list"),
    ("a row that is a text", "yaml", b"rows: [a]\n", 'it is the text "a", but it must be a mapping'),
    (
        "a key twice",
        "yaml",
        b"rows:\n- id: a\n  A.b: 1\n  A.b: 2\n",
        'line 4: the key "A.b" stands there already, in line 3',
    ),
    (
        "a key twice in JSON",
        "json",
        b'{"rows": [{"id": "a", "A.b": 1, "A.b": 2}]}',
        'the key "A.b" of "a" stands there twice',
    ),
    ("broken YAML", "yaml", b"rows:\n- {id: a\n- {id: b}\n", "it is not YAML"),
    ("a tab in YAML", "yaml", b"rows:\n\t- id: a\n", "line 2, column 1: it is not YAML"),
    ("two documents", "yaml", b"rows: [{id: a}]\n---\nrows: [{id: b}]\n", "it is not YAML"),
    ("a tag of Python", "yaml", b"rows: [{id: !!python/name:os.system x}]\n", "it is not YAML"),
    ("no id", "yaml", b"rows: [{A.b: 1}]\n", "line 1: there is no id"),
    ("an empty id", "yaml", b"rows: [{id: '', A.b: 1}]\n", "there is no id"),
    ("a truth for an id", "yaml", b"rows: [{id: true}]\n", "the id is True, but it must be a text"),
    ("a fraction for an id", "yaml", b"rows: [{id: 1.10}]\n", "the id is 1.1, but it must be a text"),
    ("a path for an id", "yaml", b"rows: [{id: ../anna}]\n", 'the id "../anna" cannot name a folder'),
    ("an id with a space", "yaml", b"rows: [{id: anna 1}]\n", 'the id "anna 1" cannot name a folder'),
    ("an id with an accent", "yaml", "rows: [{id: zoé}]\n".encode(), "letters without accents"),
    ("an id like a flag", "yaml", b"rows: [{id: -x}]\n", 'the id "-x" cannot name a folder'),
    ("a very long id", "json", json.dumps({"rows": [{"id": "x" * 300}]}).encode(), "at most 120"),
    ("a device of Windows", "yaml", b"rows: [{id: nul}]\n", "cannot name a folder on Windows"),
    ("an id twice", "yaml", b"rows: [{id: a}, {id: a}]\n", 'the id "a" is that of m.yaml, line 1 too'),
    ("ids that differ in case only", "yaml", b"rows:\n- {id: a}\n- {id: A}\n", "but for upper and lower case"),
    (
        "an id that two products share",
        "yaml",
        b"cross: {x: [{id: a-b}, {id: a}], y: [{id: c}, {id: b-c}]}\n",
        'the id "a-b-c" is that of',
    ),
    ("an id of the defaults", "yaml", b"defaults: {id: a}\nrows: [{id: b}]\n", "the defaults have an id"),
    (
        "one key on two axes",
        "yaml",
        b"cross: {x: [{id: a, A.b: 1}], y: [{id: b, A.b: 2}]}\n",
        "on another axis of cross",
    ),
    ("an empty axis", "yaml", b"cross: {x: [{id: a}], y: []}\n", "the axis y of cross is empty"),
    ("a cross that is a list", "yaml", b"cross: [{id: a}]\n", "cross is a list"),
    (
        "a product of a billion",
        "json",
        json.dumps({"cross": {name: [{"id": str(i)} for i in range(1000)] for name in "abc"}}).encode(),
        "1,000,000,000 rows",
    ),
    ("a key that is none", "yaml", b"rows: [{id: a, workflows: x.json}]\n", 'is it "workflow"?'),
    ("a number for a key", "yaml", b"rows: [{id: a, 5: x}]\n", "the key 5 is 5, but keys are texts"),
    ("not a number", "yaml", b"rows: [{id: a, A.b: .nan}]\n", "A.b is nan"),
    ("not a number in JSON", "json", b'{"rows": [{"id": "a", "A.b": NaN}]}', "A.b is nan"),
    ("a mapping for a value", "yaml", b"rows: [{id: a, A.b: {c: 1}}]\n", "A.b is a mapping"),
    ("a number for a workflow", "yaml", b"rows: [{id: a, workflow: 5}]\n", "workflow is 5, but it must be a text"),
    ("smaller as a list", "yaml", b"rows: [{id: a, smaller: [1]}]\n", "smaller is [1]"),
    (
        "another workflow when it is smaller",
        "yaml",
        b"rows: [{id: a, smaller: {workflow: x}}]\n",
        "smaller changes workflow",
    ),
    ("a name without an ending that says what it is", "txt", b"id,A.b\n", "end it with .csv, .json or .yaml"),
    ("nothing but defaults", "yaml", b"defaults: {A.b: 1}\n", "has no rows"),
    ("JSON nested a hundred thousand times", "json", b'{"rows": ' + b"[" * 100_000, "nested too deeply"),
]


@pytest.mark.parametrize(("form", "data", "rows"), [case[1:] for case in READ], ids=[case[0] for case in READ])
def test_read_as_meant(tmp_path, form, data, rows):
    path = tmp_path / f"m.{form}"
    path.write_bytes(data)
    manifest = read_manifest(path)
    assert manifest.faults == ()
    assert {row.id: dict(row.values) for row in manifest.rows} == rows


@pytest.mark.parametrize(("form", "data", "text"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refused_with_a_sentence(tmp_path, form, data, text):
    path = tmp_path / f"m.{form}"
    if data is not None:
        path.write_bytes(data)
    manifest = read_manifest(path)
    assert any(text in fault for fault in manifest.faults), manifest.faults
    assert all(fault.endswith((".", "?")) and "\n" not in fault for fault in manifest.faults)


@pytest.mark.parametrize("head", [",id", "Unnamed: 0,id", "Colour,id", "id,Colour"])
def test_a_wrong_column_is_said_once(tmp_path, head):
    (tmp_path / "m.csv").write_text("\n".join([head, *(f"r{number},s{number}" for number in range(300))]))
    manifest = read_manifest(tmp_path / "m.csv")
    assert len(manifest.faults) == 1
    assert len(manifest.rows) == 300


def test_a_folder_is_no_manifest(tmp_path):
    (tmp_path / "m.yaml").mkdir()
    assert "is a folder" in read_manifest(tmp_path / "m.yaml").faults[0]


def test_all_faults_are_named_at_once_and_fine_rows_are_kept(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text("defaults: {colour: red}\nrows:\n- {id: a, A.b: 1}\n- {A.b: 2}\n- {id: 'b c'}\n- 7\nmore: 1\n")
    manifest = read_manifest(path)
    assert [row.id for row in manifest.rows] == ["a"]
    assert len(manifest.faults) == 5
    assert len(manifest.unnamed) == 2, "they are checked though they cannot be made"


def test_smaller_values_of_a_table_and_of_a_mapping(tmp_path):
    (tmp_path / "m.csv").write_text("id,A.b,smaller:A.b\n*,81,61\nx,,\ny,,33\n")
    (tmp_path / "m.json").write_text(
        json.dumps(
            {
                "defaults": {"A.b": "81", "smaller": {"A.b": "61"}},
                "rows": [{"id": "x"}, {"id": "y", "smaller": {"A.b": "33"}}],
            }
        )
    )
    for name in ("m.csv", "m.json"):
        rows = read_manifest(tmp_path / name).rows
        assert [(row.id, dict(row.values), dict(row.smaller)) for row in rows] == [
            ("x", {"A.b": "81"}, {"A.b": "61"}),
            ("y", {"A.b": "81"}, {"A.b": "33"}),
        ]
