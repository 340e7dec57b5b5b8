"""How samples are judged: the Frechet distance, and the classifier on images that are easy."""

import numpy as np
import pytest

from examples.prior.classifier import FEATURES, Classifier, train_classifier
from examples.prior.evaluate import Evaluation, render_report
from examples.prior.frechet import frechet_distance

pytestmark = pytest.mark.slow


def test_equal_sets_have_no_distance():
    features = np.random.default_rng(0).normal(size=(500, 8)) @ np.diag(np.arange(8.0))
    assert frechet_distance(features, features[::-1]) == pytest.approx(0, abs=1e-9)


def test_the_distance_is_that_of_the_normal_distributions_by_hand():
    # Variances 2 and 8, along one axis each: (sqrt(8) - sqrt(2))^2 = 2, and a shift of 3 and 4.
    one = np.array([[-1.0, 0.0], [1.0, 0.0]])
    other = np.array([[-2.0, 0.0], [2.0, 0.0]]) + np.array([3.0, 4.0])
    assert frechet_distance(one, other) == pytest.approx(25 + 2)
    assert frechet_distance(other, one) == pytest.approx(25 + 2)
    # C1 = diag(2, 0), C2 = diag(0, 2): nothing in common, so the traces add up.
    assert frechet_distance(one, one[:, ::-1]) == pytest.approx(4)


def test_the_distance_of_covariances_that_do_not_commute():
    linalg = pytest.importorskip("scipy.linalg")

    random = np.random.default_rng(1)
    one, other = (random.normal(size=(400, 5)) @ random.normal(size=(5, 5)) for _ in range(2))
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    shift = one.mean(axis=0) - other.mean(axis=0)
    root = linalg.sqrtm(first @ second).real
    expected = shift @ shift + np.trace(first + second - 2 * root)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-6)


def test_a_classifier_learns_what_is_easy_and_gives_its_features():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 256)
    images = random.integers(0, 60, (256, 16, 16, 1))
    images[labels == 1, 4:12, 4:12] += 180
    images = images.astype(np.uint8)
    classifier = Classifier(train_classifier(images[:192], labels[:192], 2, epochs=20))
    found = classifier.predict(images[192:])
    assert found.features.shape == (64, FEATURES)
    assert (found.classes == labels[192:]).mean() > 0.95


def test_the_report_says_what_was_measured():
    found = Evaluation(
        mode="causal",
        sampling={"temperature": 1.0, "guidance": 1.5},
        classifier_accuracy=0.9,
        named_as_asked=0.85,
        reconstructions_named=0.87,
        images=100,
        frechet_samples=3.0,
        frechet_reconstructions=2.0,
        frechet_training=1.0,
    )
    text = render_report(found, "out/prior")
    assert text.startswith("# prior, evaluated by a classifier\n")
    assert "| Samples classified as the requested class | 85.0% |\n" in text
    assert "mode `causal`: temperature 1, guidance 1.5" in text
