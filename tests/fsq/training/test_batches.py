"""The batches of a training run: the same bytes for the same seed and step, in every version."""

import hashlib

import numpy as np
import pytest

from fsq.training.data import ImagesInMemory, batch_of_step

PIXELS = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 3), np.uint8)
# sha256 of the batches of steps 0, 1, 11 (the last of the first epoch), 12 and 13, by `flip`.
DIGESTS = {
    False: [
        "b7dda51e833908b5",
        "e0049a2b128dc098",
        "c4a992886d61482d",
        "a6aec77dc53c965a",
        "3d868065679115fd",
    ],
    True: [
        "9391d015d0a7d510",
        "43fed0104deb7174",
        "17b6a1c2e3bb117a",
        "3af1a963eb25c3ca",
        "244906d2667a22fd",
    ],
}


@pytest.mark.parametrize(("flip", "digests"), DIGESTS.items())
def test_batches_from_memory_are_those_of_every_version_before(flip: bool, digests: list[str]):
    images = ImagesInMemory(PIXELS, flip=flip)
    batches = [batch_of_step(images, step, batch_size=8, seed=3) for step in (0, 1, 11, 12, 13)]
    assert [hashlib.sha256(batch).hexdigest()[:16] for batch in batches] == digests
