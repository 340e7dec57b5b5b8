"""Images in a store are read before their turn; order and errors stay those of their turn."""

import itertools
import threading

import pytest

from pipeline.sources.read_ahead import REQUESTS, read_ahead


def test_reads_in_a_store_run_at_the_same_time_and_keep_their_order():
    # Nobody passes before all have come: one read after another would wait for ever.
    meeting = threading.Barrier(REQUESTS, timeout=60)

    def read(number: int) -> int:
        if number < REQUESTS:
            meeting.wait()
        return number

    assert list(read_ahead(range(100), read, place="s3://bucket")) == list(range(100))


def test_no_more_is_asked_for_than_may_be_under_way():
    asked = itertools.count()
    reader = read_ahead(((next(asked), n) for n in range(1000)), str, place="s3://bucket")
    next(reader)
    assert next(asked) == REQUESTS + 1
    reader.close()


def test_on_a_disk_nothing_is_read_before_its_turn():
    read: list[int] = []
    reader = read_ahead(range(10), read.append, place="photos")
    next(reader)
    assert read == [0]


def test_an_error_is_raised_at_the_turn_of_its_item():
    reader = read_ahead([1, 0, 2], lambda number: 6 // number, place="s3://bucket")
    assert next(reader) == 6
    with pytest.raises(ZeroDivisionError):
        next(reader)
