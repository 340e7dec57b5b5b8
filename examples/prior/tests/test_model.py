"""The prior's network: what each place sees, what the cache changes, what tokens come out."""

import keras
import numpy as np
import pytest

from examples.prior.config import SamplingSpec, TrainingSpec
from examples.prior.model import Prior
from examples.prior.sampling import Sampler, choose, hidden_counts
from examples.prior.step import TrainStep
from examples.prior.vocabulary import Mode, Vocabulary
from fsq.quantizer import lattice

VOCABULARY = Vocabulary(levels=(5, 4), classes=3, grid=(3, 3))


@pytest.fixture(scope="module")
def prior() -> Prior:
    keras.utils.set_random_seed(5)
    prior = Prior(VOCABULARY, width=16, depth=2, heads=4, modes=("causal", "masked"), dropout=0.5)
    random = np.random.default_rng(0)
    for variable in prior.trainable_variables:  # large enough for differences to show
        variable.assign(random.normal(0, 0.3, variable.shape))
    return prior


@pytest.fixture
def sequences() -> np.ndarray:
    random = np.random.default_rng(1)
    return np.concatenate(
        [random.integers(20, 24, (4, 1)), random.integers(0, 20, (4, 9))], axis=1
    ).astype(np.int32)


def test_logits_are_over_the_tokens_of_the_dataset_and_nothing_else(
    prior: Prior, sequences: np.ndarray
):
    assert prior(sequences[:, :-1]).shape == (4, 9, 20)
    assert prior(sequences, mode="masked").shape == (4, 9, 20)


def test_the_row_of_a_token_is_its_own_and_those_of_its_digits(prior: Prior):
    own, of_digits = np.asarray(prior.table.own), np.asarray(prior.table.of_digits)
    rows = np.asarray(prior.table.rows())
    first, second = lattice.tokens_to_digits(np.arange(20), (5, 4)).T
    expected = own[:20] + of_digits[:5][first] + of_digits[5:][second]
    np.testing.assert_allclose(rows[:20], expected, atol=1e-6)
    np.testing.assert_array_equal(rows[20:], own[20:])  # classes and signs have no digits


def test_muon_has_the_matrices_of_the_blocks_and_adam_the_rest(prior: Prior):
    step = TrainStep(prior, TrainingSpec(steps=10))
    adam = {v.path for v in prior.trainable_variables if step.optimizer._should_use_adamw(v)}
    muon = {v.path for v in prior.trainable_variables} - adam
    assert len(muon) == 4 * 2 and all("block_" in path for path in muon)
    assert {v.path for v in prior.trainable_variables if "kernel" in v.path} == muon


def test_sampling_with_the_cache_gives_the_logits_of_the_full_pass(
    prior: Prior, sequences: np.ndarray
):
    full = np.asarray(prior(sequences[:, :-1]))
    cache = prior.new_cache(4)
    for place in range(9):
        logits, cache = prior.step(sequences[:, place], place, cache)
        np.testing.assert_allclose(logits, full[:, place], atol=1e-4)


@pytest.mark.parametrize("changed", range(1, 9))
def test_a_later_token_does_not_change_an_earlier_answer(
    prior: Prior, sequences: np.ndarray, changed: int
):
    other = sequences.copy()
    other[:, changed] = (other[:, changed] + 1) % 20
    before, after = np.asarray(prior(sequences[:, :-1])), np.asarray(prior(other[:, :-1]))
    np.testing.assert_array_equal(before[:, :changed], after[:, :changed])
    assert (np.abs(before[:, changed:] - after[:, changed:]).max(axis=(0, 2)) > 1e-4).all()


def test_a_masked_answer_sees_the_tokens_on_both_sides(prior: Prior, sequences: np.ndarray):
    before = np.asarray(prior(sequences, mode="masked"))
    for changed in (0, 1, 9):  # the class too
        other = sequences.copy()
        other[:, changed] = VOCABULARY.mask if changed else VOCABULARY.no_class
        other[0, 0] = 20 + (sequences[0, 0] - 19) % 4
        after = np.asarray(prior(other, mode="masked"))
        assert (np.abs(before[0] - after[0]).max(axis=-1) > 1e-4).all()


def test_both_modes_share_all_but_their_heads(prior: Prior):
    own = [variable for variable in prior.trainable_variables if "head_" in variable.path]
    assert len(own) == 2 * 3
    assert {tuple(variable.shape) for variable in own} == {(16,), (20,)}
    tables = [variable for variable in prior.trainable_variables if 20 <= variable.shape[0] <= 25]
    assert sorted(tuple(v.shape) for v in tables if len(v.shape) == 2) == [(25, 16)]


@pytest.mark.parametrize("mode", ["causal", "masked"])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_sampled_tokens_are_in_range_and_follow_from_the_seed(
    prior: Prior, mode: Mode, guidance: float
):
    classes = np.array([20, 21, 22, 23, 20])
    sampling = SamplingSpec(guidance=guidance, steps=4, seed=3)
    sampler = Sampler(prior)
    tokens = sampler.sample(classes, sampling, mode)
    assert tokens.shape == (5, 3, 3)
    assert tokens.dtype == np.int32
    assert tokens.min() >= 0 and tokens.max() < 20
    np.testing.assert_array_equal(tokens, sampler.sample(classes, sampling, mode))
    other = sampling.model_copy(update={"seed": 4})
    assert (tokens != sampler.sample(classes, other, mode)).any()


def test_the_likeliest_token_is_what_the_cached_sampler_takes_greedily(prior: Prior):
    tokens = (
        Sampler(prior).sample(np.array([20, 22]), SamplingSpec(top_k=1), "causal").reshape(2, 9)
    )
    shown = np.concatenate([[[20], [22]], tokens[:, :-1]], axis=1)
    np.testing.assert_array_equal(np.asarray(prior(shown)).argmax(-1), tokens)


def test_no_guidance_and_guidance_of_one_are_the_same(prior: Prior):
    sampler, classes = Sampler(prior), np.array([20, 21])
    shifted = sampler.sample(classes, SamplingSpec(guidance=1.0 + 1e-9), "causal")
    np.testing.assert_array_equal(shifted, sampler.sample(classes, SamplingSpec(), "causal"))


def test_tokens_are_drawn_by_their_probabilities_among_the_top_k():
    logits = np.log([0.5, 0.3, 0.15, 0.05])
    random = np.random.default_rng(0)
    drawn = choose(np.tile(logits, (20_000, 1)), SamplingSpec(), random)
    np.testing.assert_allclose(np.bincount(drawn) / 20_000, [0.5, 0.3, 0.15, 0.05], atol=0.015)
    drawn = choose(np.tile(logits, (20_000, 1)), SamplingSpec(top_k=2), random)
    np.testing.assert_allclose(np.bincount(drawn) / 20_000, [0.625, 0.375], atol=0.015)
    drawn = choose(np.tile(logits, (20_000, 1)), SamplingSpec(top_k=2, temperature=0.5), random)
    np.testing.assert_allclose(np.bincount(drawn) / 20_000, [25 / 34, 9 / 34], atol=0.015)


@pytest.mark.parametrize("steps", [1, 2, 8, 49, 100])
def test_masks_vanish_step_by_step_until_none_is_left(steps: int):
    counts = hidden_counts(49, steps)
    assert len(counts) == min(steps, 49)
    assert counts[-1] == 0
    assert all(after < before for before, after in zip([49, *counts], counts, strict=False))


@pytest.mark.parametrize("mode", ["causal", "masked"])
def test_dropout_is_for_training_alone(prior: Prior, sequences: np.ndarray, mode: Mode):
    shown = sequences[:, :-1] if mode == "causal" else sequences
    once, again = (np.asarray(prior(shown, mode=mode)) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert (np.asarray(prior(shown, mode=mode, training=True)) != once).any()
