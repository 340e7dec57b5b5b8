"""The page with every key of every config: as the models have it, with a meaning for each key."""

import pytest

from tools.config_reference import CONFIGS, PAGE, keys_of, render


def test_the_page_of_the_configs_is_that_of_the_models():
    page = PAGE.read_text(encoding="utf-8")
    assert page == render(), "run: python -m tools.config_reference"


@pytest.mark.parametrize(("command", "model"), CONFIGS)
def test_every_key_has_a_meaning_in_the_docstring_of_its_model(command: str, model: type):
    keys, sections = keys_of(model)
    for section in sections:
        keys += section.keys
    assert [key.name for key in keys if not key.meaning] == []
