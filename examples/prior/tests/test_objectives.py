"""Objectives and baselines of the prior, against values computed by hand."""

import math

import numpy as np
import pytest

from examples.prior.baselines import STRENGTHS, measure_baselines
from examples.prior.objectives import (
    bits_per_dimension,
    causal_batch,
    cosine_counts,
    drop_classes,
    even_counts,
    held_out_by_content,
    masked_batch,
    validation_batch,
)
from examples.prior.vocabulary import Vocabulary

VOCABULARY = Vocabulary(levels=(5, 4), classes=3, grid=(2, 2))
SEQUENCES = np.array([[20, 1, 2, 3, 4], [22, 5, 6, 7, 8]], np.int32)
BOTH = np.array([True, True])


def test_the_next_token_is_asked_for_at_every_place():
    batch = causal_batch(SEQUENCES, np.array([True, False]))
    assert batch.inputs.tolist() == [[20, 1, 2, 3], [22, 5, 6, 7]]
    assert batch.targets.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert batch.weights.tolist() == [[1, 1, 1, 1], [0, 0, 0, 0]]


def test_hidden_tokens_are_asked_for_and_every_image_counts_the_same():
    random = np.random.default_rng(0)
    batch = masked_batch(SEQUENCES, BOTH, VOCABULARY, np.array([1, 4]), random)
    hidden = batch.inputs[:, 1:] == VOCABULARY.mask
    assert hidden.sum(axis=1).tolist() == [1, 4]
    assert batch.inputs[:, 0].tolist() == [20, 22]
    assert (batch.inputs[:, 1:][~hidden] == SEQUENCES[:, 1:][~hidden]).all()
    assert batch.targets.tolist() == SEQUENCES[:, 1:].tolist()
    assert (batch.weights > 0).tolist() == hidden.tolist()
    assert batch.weights.sum(axis=1).tolist() == [4, 4]


def test_the_share_of_classes_that_is_dropped_is_the_one_asked_for():
    many = np.tile(SEQUENCES, (5000, 1))
    dropped = drop_classes(many, VOCABULARY, 0.1, np.random.default_rng(0))
    assert np.mean(dropped[:, 0] == VOCABULARY.no_class) == pytest.approx(0.1, abs=0.01)
    kept = dropped[:, 0] != VOCABULARY.no_class
    assert (dropped[kept] == many[kept]).all()
    assert (dropped[:, 1:] == many[:, 1:]).all()
    assert (many[:, 0] < VOCABULARY.no_class).all()
    assert (drop_classes(many, VOCABULARY, 0.0, np.random.default_rng(0)) == many).all()


def test_the_cosine_hides_two_thirds_of_the_tokens_on_average():
    counts = cosine_counts(20_000, 100, np.random.default_rng(0))
    assert counts.min() >= 1 and counts.max() == 100
    assert counts.mean() == pytest.approx(200 / math.pi + 0.5, abs=1)


def test_validation_asks_the_same_every_time_and_hides_every_count_equally_often():
    many = np.tile(SEQUENCES, (4, 1))
    counted = np.ones(8, bool)
    one, two = (validation_batch(many, counted, "masked", VOCABULARY, 3) for _ in range(2))
    assert (one.inputs == two.inputs).all()
    hidden = (one.inputs[:, 1:] == VOCABULARY.mask).sum(axis=1)
    assert np.bincount(hidden).tolist() == [0, 2, 2, 2, 2]


@pytest.mark.parametrize("length", [2, 4, 7, 49, 64, 256, 1024])
def test_a_few_images_have_counts_of_all_sizes(length: int):
    assert sorted(even_counts(length, length, first=5)) == list(range(1, length + 1))
    few = even_counts(max(2, length // 8), length, first=0)
    assert few.mean() / length == pytest.approx(0.5, abs=0.26 if length < 49 else 0.12)


def test_equal_tokens_are_held_out_together_and_the_share_is_kept():
    random = np.random.default_rng(0)
    many = random.integers(0, 20, (5000, 5)).astype(np.int32)
    out = held_out_by_content(many, 0.2)
    assert out.mean() == pytest.approx(0.2, abs=0.02)
    other_class = many.copy()
    other_class[:, 0] += 1
    assert (held_out_by_content(other_class[::-1], 0.2) == out[::-1]).all()


def test_unigram_and_bigram_are_what_counting_by_hand_gives():
    training = np.array([[0, 1], [0, 1], [0, 0]])
    held_out = np.array([[0, 1]])
    found = measure_baselines(training, held_out, vocab_size=3)
    unigram = np.array([4 + 1, 2 + 1, 0 + 1]) / 9
    assert found.uniform == pytest.approx(math.log(3))
    assert found.unigram == pytest.approx(-np.log(unigram[[0, 1]]).mean())
    # All three images begin with 0; of the three tokens that follow a 0, two are 1.
    by_strength = [
        -(
            math.log((3 + strength * unigram[0]) / (3 + strength))
            + math.log((2 + strength * unigram[1]) / (3 + strength))
        )
        / 2
        for strength in STRENGTHS
    ]
    assert found.bigram == pytest.approx(min(by_strength))


def test_a_pair_that_was_never_seen_falls_back_on_the_unigram():
    found = measure_baselines(np.array([[0, 1]]), np.array([[2, 2]]), vocab_size=3)
    first = min((-math.log(s * 0.2 / (1 + s)) - math.log(0.2)) / 2 for s in STRENGTHS)
    assert found.bigram == pytest.approx(first)


def test_bits_per_dimension_are_nats_over_all_values_of_a_pixel():
    assert bits_per_dimension(math.log(1000), 64, 3072) == pytest.approx(
        64 * math.log2(1000) / 3072
    )
