"""What the code says to people: first lines of modules, and errors in one line that help."""

import re
from collections import Counter

import pytest

import fsq.errors
from tools.messages import ROOT, Message, find_messages

FOLDERS = ("fsq", "pipeline")
# ValueError is raised by the quantizers, and by validators of configs.
RAISED = {*fsq.errors.__all__, "ValueError"}
# Parts of a message that are messages themselves, and are checked where they are made.
PASSED_ON = re.compile(r"\{[^{}]*(error|damage|lost|reason|message|WRONG_DATA)[^{}]*\}")
EXCEPTIONS = {
    # Follow the words 'got:' in the message that reports them.
    "{name} of an unknown type",
    "no lengths of the shards of {name}, which old versions left out",
    "the file name {paths[0]}",
    "{name}, which is no number of JSON",
    "a name twice in one object",
    # The problems themselves are printed before it, a line each.
    "{directory}: {problems} problem(s) found.",
    # Nobody sees these: an interrupted run says so itself.
    "{where}: interrupted.",
    "{names[PRIMARY.name]}: interrupted.",
}


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    return [message for folder in FOLDERS for message in find_messages(ROOT / folder)]


def of_kind(messages: list[Message], kind: str) -> list[Message]:
    return [message for message in messages if message.kind == kind]


def test_every_module_is_listed_once(messages: list[Message]):
    expected = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    found = Counter(message.path for message in of_kind(messages, "module"))
    assert found == Counter(path.relative_to(ROOT).as_posix() for path in expected)


def test_the_first_line_of_a_module_is_a_sentence_of_one_line(messages: list[Message]):
    odd = [
        str(module)
        for module in of_kind(messages, "module")
        if not re.fullmatch(r"[^\s].{8,98}\.", module.text)
    ]
    assert odd == []


def test_no_two_modules_have_the_same_first_line(messages: list[Message]):
    counts = Counter(module.text for module in of_kind(messages, "module"))
    assert [text for text, count in counts.items() if count > 1] == []


def test_an_error_is_one_line(messages: list[Message]):
    errors = of_kind(messages, "error")
    assert len(errors) > 200
    assert [str(error) for error in errors if "\n" in error.text] == []


def test_an_error_says_what_was_expected(messages: list[Message]):
    raised = [error for error in of_kind(messages, "error") if error.raised in RAISED]
    assert len(raised) > 200
    silent = [
        str(error)
        for error in raised
        if "expected " not in error.text
        and not PASSED_ON.search(error.text)
        and error.text not in EXCEPTIONS
    ]
    assert silent == []


def test_the_exceptions_are_still_there(messages: list[Message]):
    assert {error.text for error in of_kind(messages, "error")} >= EXCEPTIONS
