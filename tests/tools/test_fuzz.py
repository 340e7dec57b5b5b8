"""Every reader under damaged input, a second each: `python -m tools.fuzz` takes longer."""

import base64
import contextlib

import pytest

from tools.fuzz import READERS, Changes, Target, fuzz

pytestmark = pytest.mark.slow

# About a second each.
COUNTS = {
    "tfrecord": 20_000,
    "example": 3_000,
    "tfds": 100,
    "image": 3_000,
    "part": 2_000,
    "status": 20_000,
    "tokenizer": 300,
    "dataset": 400,
    "listing": 2_000,
    "config": 1_000,
}


def test_every_reader_has_its_count():
    assert list(COUNTS) == list(READERS)


@pytest.mark.parametrize("reader", READERS)
def test_damaged_input_is_read_rightly_or_refused_as_documented(reader: str):
    figures = fuzz(reader, count=COUNTS[reader])
    assert figures.crashes == []
    assert figures.accepted + figures.refused == figures.tried == COUNTS[reader]
    # Neither would show anything.
    assert figures.accepted and figures.refused


def test_the_same_seed_makes_the_same_changes():
    one, two = Changes(3), Changes(3)
    for _ in range(100):
        assert one.bytes(b"some bytes", b"others") == two.bytes(b"some bytes", b"others")
        assert repr(one.json(b'{"a": [1, 2]}')) == repr(two.json(b'{"a": [1, 2]}'))


def test_what_crashes_is_reported_with_its_input(monkeypatch: pytest.MonkeyPatch):
    @contextlib.contextmanager
    def reader():
        def attempt(changes):
            raise KeyError(len(changes.bytes(b"input")))

        yield Target(attempt)

    monkeypatch.setitem(READERS, "broken", reader)
    figures = fuzz("broken", count=3)
    assert (figures.tried, figures.accepted, figures.refused) == (3, 0, 0)
    assert len(figures.crashes) == 3
    changes = Changes(0)
    changes.bytes(b"input")
    error, data = figures.crashes[0].rsplit(" ", 1)
    assert error.startswith("KeyError: ")
    assert base64.b64decode(data) == changes.last
