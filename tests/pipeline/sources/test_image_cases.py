"""One contract for all sources: every case of image_cases.py ends as it says there.

Each source is tokenized with all cases in one dataset, and once more by other
rules; the tests only compare.
"""

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from builders.image_cases import CASES, RULE_CASES, RULES, Case
from builders.jobs import job_config
from builders.sources import SourceBuilder

from fsq.images.spec import DecodeRules, ImageSpec
from pipeline.reports.contact_sheet import draw_sheet
from pipeline.reports.verify import verify_dataset
from pipeline.run import Summary, tokenize
from pipeline.sources import SourceConfig
from pipeline.sources.units import cut_units
from pipeline.stages.decode import DecodedImage, Refusal, decode_record
from pipeline.views import DEFAULT_VIEWS

RGB = ImageSpec(size_pixels=16, channels=3)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one source made of a list of cases.

    Attributes:
      cases: In the order of the input.
      keys: By the name of a case, its key.
      decoded: By key, what decoding gave.
      written: The keys in the shards of the job.
      rejects: The lines of the job's rejects.jsonl.
      summary: The job's.
    """

    cases: list[Case]
    keys: dict[str, str]
    decoded: dict[str, DecodedImage | Refusal]
    written: list[str]
    rejects: list[dict[str, str]]
    summary: Summary


def name_of(case: Case) -> str:
    return case.file_name or f"cases/{case.name}.png"


def run_cases(
    source: SourceBuilder, cases: list[Case], tokenizer: Path, folder: Path, rules: DecodeRules
) -> Outcome:
    # The order of an image folder, which every source then has.
    in_order = sorted(cases, key=lambda case: os.fsencode(name_of(case)))
    images = {name_of(case): case.data for case in in_order}
    assert len(images) == len(cases)
    built = source.build(folder / "in", images)
    keys = source.keys(list(images))
    config = job_config(
        built.model_dump(),
        tokenizer,
        folder / "out",
        batch_size=64,
        max_reject_fraction=1.0,
        decode=rules.model_dump(),
    )
    summary = tokenize(config)
    return Outcome(
        cases=in_order,
        keys={case.name: key for case, key in zip(in_order, keys, strict=True)},
        decoded=dict(decode_all(built, rules)),
        written=read_keys(folder / "out"),
        rejects=read_rejects(folder / "out"),
        summary=summary,
    )


@pytest.fixture(scope="module")
def outcome(
    source: SourceBuilder, tokenizer_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    """All cases, by the rules that hold where a config says nothing."""
    folder = tmp_path_factory.mktemp("cases")
    return run_cases(source, CASES, tokenizer_directory, folder, DecodeRules())


@pytest.fixture(scope="module")
def outcome_by_rules(
    source: SourceBuilder, tokenizer_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    """The cases for which the rules of a config decide."""
    folder = tmp_path_factory.mktemp("cases")
    return run_cases(source, RULE_CASES, tokenizer_directory, folder, RULES)


def decode_all(
    config: SourceConfig, rules: DecodeRules
) -> Iterator[tuple[str, DecodedImage | Refusal]]:
    opened = config.open()
    with opened.list().on_disk() as listing:
        for unit in cut_units(listing, 64):
            for record in opened.read(unit, listing.features):
                yield record.key, decode_record(record, RGB, DEFAULT_VIEWS, rules)


def read_keys(directory: Path) -> list[str]:
    files = sorted(map(str, directory.glob("*.tfrecord-*")))
    return [
        tf.train.Example.FromString(data)
        .features.feature["key"]
        .bytes_list.value[0]
        .decode("utf-8", "surrogateescape")
        for data in tf.data.TFRecordDataset(files).as_numpy_iterator()
    ]


def read_rejects(directory: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (directory / "rejects.jsonl").read_text().splitlines()]


def check(case: Case, outcome: Outcome) -> None:
    key = outcome.keys[case.name]
    decoded = outcome.decoded[key]
    rejected = [reject for reject in outcome.rejects if reject["key"] == key]
    if isinstance(case.expected, str):
        assert decoded == Refusal("decode", case.expected)
        (reject,) = rejected
        assert (reject["stage"], reject["reason"]) == ("decode", case.expected)
        assert key not in outcome.written
    else:
        assert isinstance(decoded, DecodedImage), decoded
        (pixels,) = decoded.pixels
        assert np.abs(pixels.astype(int) - case.expected.astype(int)).max() <= case.tolerance
        assert rejected == []
        assert outcome.written.count(key) == 1


def check_accounts(outcome: Outcome) -> None:
    refused = [case for case in outcome.cases if isinstance(case.expected, str)]
    assert outcome.summary.images_listed == len(outcome.cases)
    assert outcome.summary.images_rejected == len(refused)
    assert outcome.summary.records == len(outcome.cases) - len(refused)
    # In the order of the input.
    assert [r["key"] for r in outcome.rejects] == [outcome.keys[case.name] for case in refused]
    ended = [*outcome.written, *(reject["key"] for reject in outcome.rejects)]
    assert sorted(ended) == sorted(outcome.keys.values())
    assert list(verify_dataset(outcome.summary.directory)) == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_file_gives_its_picture_or_is_refused_with_its_reason(case: Case, outcome: Outcome):
    check(case, outcome)


@pytest.mark.parametrize("case", RULE_CASES, ids=lambda case: case.name)
def test_the_rules_of_the_config_decide(case: Case, outcome_by_rules: Outcome):
    check(case, outcome_by_rules)


def test_every_file_is_written_or_rejected(outcome: Outcome, outcome_by_rules: Outcome):
    check_accounts(outcome)
    check_accounts(outcome_by_rules)


def test_originals_are_decoded_by_the_rules_of_their_dataset(outcome_by_rules: Outcome):
    draw_sheet(outcome_by_rules.summary.directory, len(RULE_CASES), originals=True)


def test_keys_are_the_names_where_a_source_has_names(source: SourceBuilder, outcome: Outcome):
    if source.keeps_names:
        assert outcome.keys == {case.name: name_of(case) for case in CASES}


def test_a_reason_is_one_line_without_an_address(outcome: Outcome):
    for reject in outcome.rejects:
        assert reject["reason"].isprintable()
        assert " at 0x" not in reject["reason"]
