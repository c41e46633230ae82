"""Rows of JSON files: whatever is broken is one report, and every whole row is there."""

import gzip
import io
import json
import random

import pytest

from stepcoder_jax.data import json_container
from stepcoder_jax.data.json_rows import Rejected, Row, read_rows

ROWS = [{"k": n, "text": f'a "quoted" }}, {{ brace \\ and ü {n}'} for n in range(5)]


@pytest.fixture(params=[1 << 20, 7], ids=["one-chunk", "many-chunks"])
def _chunks(request, monkeypatch):
    monkeypatch.setattr(json_container, "_CHUNK", request.param)


def lines(rows):
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def listed(rows, **options):
    return json.dumps(rows, ensure_ascii=False, **options).encode()


def read(path, content):
    path.write_bytes(content)
    found = list(read_rows(path))
    good = [row.value for row in found if isinstance(row, Row)]
    return good, [row for row in found if isinstance(row, Rejected)]


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", lines(ROWS)),
        ("a.jsonl", b"\xef\xbb\xbf" + lines(ROWS).replace(b"\n", b"\r\n\r\n")),
        ("a.json", lines(ROWS)),
        ("a.json", listed(ROWS)),
        ("a.json", b"\xef\xbb\xbf \n" + listed(ROWS, indent=2)),
        ("a.jsonl.gz", gzip.compress(lines(ROWS))),
        ("a.json.gz", gzip.compress(listed(ROWS, indent=1))),
        ("a.jsonl", gzip.compress(lines(ROWS))),
        ("a.jsonl.gz", lines(ROWS)),
        ("a.jsonl", b"\n".join(b"\xef\xbb\xbf" + line for line in lines(ROWS).split(b"\n"))),
    ],
    ids=[
        "lines",
        "bom-crlf",
        "lines-as-json",
        "list",
        "indented",
        "gzip-lines",
        "gzip-list",
        "gzip-by-no-name",
        "gzip-by-name-alone",
        "joined-with-boms",
    ],
)
def test_every_form_of_a_file_gives_the_same_rows(tmp_path, name, content):
    assert read(tmp_path / name, content) == (ROWS, [])


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("indent", [None, 2])
def test_an_object_gives_its_values_with_their_keys_as_ids(tmp_path, indent):
    rows = {f'key "{n}"': row for n, row in enumerate(ROWS)}
    good, bad = read(tmp_path / "a.json", json.dumps(rows, indent=indent).encode())
    assert not bad
    assert [row.pop("id") for row in good] == [key.replace('"', '\\"') for key in rows]
    assert good == ROWS


BREAKS = {
    "cut in a string": (lambda row: row[: row.index(b"brace")], "not JSON"),
    "no closing brace": (lambda row: row[:-1], "not JSON"),
    "no quote": (lambda row: row.replace(b'"text": "', b'"text": ', 1), "not JSON"),
    "no first quote": (lambda row: row.replace(b'{"k"', b"{k", 1), "not JSON"),
    "not UTF-8": (lambda row: row.replace("ü".encode(), b"\xfc"), "not UTF-8"),
    "a number too long": (lambda row: row.replace(b'"k": 2', b'"k": ' + b"9" * 5000), "not usable"),
    "nested too deeply": (lambda row: b"[" * 200_000 + b"]" * 200_000, "nested too deeply"),
    "broken inside": (lambda row: b'{"k": 2, "c": [{"a": }, {"b": }], "d": 1}', "not JSON"),
    "nothing": (lambda row: b"?", "not JSON"),
    "UTF-16": (lambda row: b'{"k": "' + '2"}'.encode("utf-16-le"), ""),
}


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("name", BREAKS)
@pytest.mark.parametrize("form", ["lines", "list", "rows on lines"])
def test_a_broken_row_is_one_report_and_loses_nothing_else(tmp_path, name, form):
    spoil, reason = BREAKS[name]
    rows = [json.dumps(row, ensure_ascii=False).encode() for row in ROWS]
    rows[2] = spoil(rows[2])
    content = {"lines": b"\n".join(rows), "list": b"[" + b", ".join(rows) + b"]"}
    content["rows on lines"] = b"[\n" + b",\n".join(rows) + b"\n]\n"
    good, bad = read(tmp_path / ("a.jsonl" if form == "lines" else "a.json"), content[form])
    assert good == ROWS[:2] + ROWS[3:]
    assert len(bad) == 1
    assert reason in bad[0].reason
    assert bad[0].where.endswith("a.jsonl line 3" if form == "lines" else "a.json row 3")


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("end", range(1, len(listed(ROWS[:3])), 5))
def test_a_list_that_is_cut_off_keeps_what_was_whole(tmp_path, end):
    content = listed(ROWS[:3])
    good, bad = read(tmp_path / "a.json", content[:end])
    whole = [n for n in range(1, 4) if end >= len(listed(ROWS[:n])) - 1]
    assert good == ROWS[: len(whole)]
    assert len(bad) == 1


@pytest.mark.usefixtures("_chunks")
def test_what_follows_the_end_of_a_list_is_reported_and_read(tmp_path):
    content = listed(ROWS[:2]) + b"\n]\n" + listed(ROWS[2:])[1:]
    good, bad = read(tmp_path / "a.json", content)
    assert good == ROWS
    assert len(bad) == 1


def test_objects_that_follow_each_other_on_a_line_are_as_many_rows(tmp_path):
    first, second, third = (json.dumps(row).encode() for row in ROWS[:3])
    content = b"\n".join([first + second + b" \r" + third, first + second[:-4], first + b", 1"])
    (tmp_path / "a.jsonl").write_bytes(content)
    found = list(read_rows(tmp_path / "a.jsonl"))
    places = [row.where.rpartition(" ")[2] for row in found]
    assert places == ["1", "1.2", "1.3", "2", "2.2", "3"]
    assert [row.value for row in found if isinstance(row, Row)] == [*ROWS[:3], ROWS[0]]
    assert all("not JSON" in row.reason for row in found if isinstance(row, Rejected))


def test_a_file_in_utf_16_is_said_to_be_one(tmp_path):
    good, bad = read(tmp_path / "a.jsonl", "\n".join(map(json.dumps, ROWS)).encode("utf-16"))
    assert not good
    assert ["as UTF-16 has" in row.reason for row in bad] == [True] * len(ROWS)


def test_a_gzip_that_is_cut_off_says_so_and_keeps_what_was_whole(tmp_path):
    rng = random.Random(0)
    rows = [{"k": n, "text": rng.randbytes(300).hex()} for n in range(200)]
    packed = gzip.compress(lines(rows))
    good, bad = read(tmp_path / "a.jsonl.gz", packed[: len(packed) // 2])
    assert 50 < len(good) < 150
    assert good == rows[: len(good)]
    assert "damaged gzip" in bad[-1].reason
    good, bad = read(tmp_path / "b.jsonl.gz", b"this was never packed")
    assert (good, len(bad)) == ([], 1)


def test_a_row_of_ten_megabytes_is_read_and_one_over_the_limit_is_passed_over(
    tmp_path, monkeypatch
):
    large = {"text": "x" * 10_000_000}
    assert read(tmp_path / "a.jsonl", lines([large, *ROWS]))[0] == [large, *ROWS]
    assert read(tmp_path / "a.json", listed([large, *ROWS]))[0] == [large, *ROWS]
    monkeypatch.setattr("stepcoder_jax.data.json_rows.MAX_ROW_BYTES", 3 << 20)
    for name, content in (("a.jsonl", lines([large, *ROWS])), ("a.json", listed([large, *ROWS]))):
        good, bad = read(tmp_path / name, content)
        assert good == ROWS
        assert ["more than" in row.reason for row in bad] == [True]


def test_rows_are_read_one_at_a_time(tmp_path):
    (tmp_path / "a.json").write_bytes(listed(ROWS * 100_000))
    with (tmp_path / "a.json").open("rb") as stream:
        text = json_container.elements(io.TextIOWrapper(stream), 1 << 20)
        assert next(text) == ROWS[0]
        assert stream.tell() < 4 << 20
