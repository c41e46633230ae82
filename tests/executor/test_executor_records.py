"""What a child wrote about its tests is read within bounds, whatever it wrote."""

import time

from stepcoder_executor.records import read_records

HEAD = b'[%d, "ran", "", 0, 4, 0.5, false]\n'


def test_a_record_that_is_still_being_written_is_none():
    blob = HEAD % 0 + b"12\n" + HEAD % 1 + b"1234"
    for cut in range(len(blob)):
        found = read_records(blob[:cut], 1, 2)
        assert all(record.value == "12" for record in found.values()), cut
    assert [record.value for record in read_records(blob + b"5\n", 1, 2).values()] == [
        "12",
        "12345",
    ]


def test_no_more_records_than_tests():
    blob = b"".join(HEAD % k + b"1\n" for k in range(50))
    assert list(read_records(blob, 1, 3)) == [0, 1, 2]


def test_a_flood_takes_no_time():
    floods = (b"\n" * (64 << 20), (HEAD % 0 + b"1\n") * (1 << 20), b"[" * (1 << 20) + b"\n\n")
    for flood in floods:
        began = time.process_time()
        read_records(flood, 1, 1000)
        assert time.process_time() - began < 1


def test_seconds_that_are_no_number_count_as_none():
    blob = b'[0, "ran", "", 0, 4, NaN, false, NaN]\n1\n'
    record = read_records(blob, 1, 1)[0]
    assert (record.wall_s, record.cpu_s) == (0.0, 0.0)
