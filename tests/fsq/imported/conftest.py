"""Networks that know nothing of this project, and what an import of them does."""

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml

from fsq import FSQ
from fsq.errors import FsqError
from fsq.tokenizer import Tokenizer
from fsq.yaml_config import load_config
from pipeline.tokenizers.config import ImportConfig
from pipeline.tokenizers.import_external import import_tokenizer, save_import
from pipeline.tokenizers.output_checks import check_free_output

LEVELS = [5, 4, 3]


@dataclasses.dataclass(frozen=True)
class Original:
    """A Keras autoencoder, and the tokens that its own code made of some images."""

    encoder: keras.Model
    decoder: keras.Model
    quantizer: FSQ
    images: np.ndarray
    tokens: np.ndarray

    def latents(self, images: np.ndarray) -> np.ndarray:
        return self.encoder(images.astype("float32") / 255, training=False).numpy()


@dataclasses.dataclass(frozen=True)
class Import:
    """`fsq import` of a config, with changes; None removes a key."""

    folder: Path
    config: dict[str, Any]

    @property
    def output(self) -> Path:
        return Path(self.config["output"])

    def run(self, **changes: Any) -> Tokenizer:
        """Imports, and loads what was written."""
        config = self.config | {
            name: str(value) if isinstance(value, Path) else value
            for name, value in changes.items()
        }
        path = self.folder / "import.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in config.items() if v is not None}))
        loaded = load_config(str(path), ImportConfig)
        check_free_output(loaded.output)
        save_import(loaded, str(path), import_tokenizer(loaded))
        return Tokenizer.load(loaded.output)

    def refusal(self, **changes: Any) -> str:
        """The message of an import that is refused; it is one line, and nothing was written."""
        before = {*self.folder.rglob("*"), self.folder / "import.yaml"}
        with pytest.raises(FsqError) as error:
            self.run(**changes)
        assert set(self.folder.rglob("*")) == before
        assert "\n" not in str(error.value)
        return str(error.value)

    def reference(self, images: np.ndarray, tokens: np.ndarray) -> Path:
        """Saves another reference batch."""
        np.savez(self.folder / "other.npz", images=images, tokens=tokens)
        return self.folder / "other.npz"


@pytest.fixture(scope="session")
def original() -> Original:
    keras.utils.set_random_seed(3)
    layers = keras.layers
    encoder = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(8, 4, strides=2, padding="same", activation="gelu"),
            layers.BatchNormalization(),
            layers.Conv2D(8, 4, strides=2, padding="same", activation="silu"),
            layers.LayerNormalization(),
            layers.Conv2D(3, 1),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            layers.Conv2DTranspose(8, 4, strides=2, padding="same", activation="relu"),
            layers.UpSampling2D(),
            layers.Conv2D(3, 3, padding="same", activation="sigmoid"),
        ]
    )
    images = np.random.default_rng(1).integers(0, 256, (80, 16, 16, 3), np.uint8)
    made = Original(encoder, decoder, FSQ(LEVELS, preset="torch"), images, np.zeros(0))
    tokens = np.asarray(made.quantizer.latents_to_indices(made.latents(images)))
    return dataclasses.replace(made, tokens=tokens)


@pytest.fixture(scope="session")
def files(original: Original, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The original, saved in both ways that Keras has, and its reference batch."""
    folder = tmp_path_factory.mktemp("original")
    for name in ("encoder", "decoder"):
        model = getattr(original, name)
        model.save(folder / f"{name}.keras")
        model.export(folder / name, verbose=False)
    np.savez(folder / "reference.npz", images=original.images, tokens=original.tokens)
    return folder


@pytest.fixture
def keras_import(files: Path, tmp_path: Path) -> Import:
    """Imports the original's .keras file."""
    image = {"size_pixels": 16, "channels": 3, "pixel_range": [0, 1], "resize": "bicubic"}
    return _import(tmp_path, files / "encoder.keras", LEVELS, image)


@pytest.fixture
def torch_import(root: Path, tmp_path: Path) -> Import:
    """Imports the encoder that PyTorch exported to ONNX."""
    image = {"size_pixels": 28, "channels": 1, "pixel_range": [0, 1], "resize": "bicubic"}
    encoder = root / "tests" / "data" / "torch_fsq" / "encoder.onnx"
    return _import(tmp_path, encoder, [8, 5, 5, 5], image)


def _import(folder: Path, encoder: Path, levels: list[int], image: dict[str, Any]) -> Import:
    config = {
        "encoder": str(encoder),
        "levels": levels,
        "preset": "torch",
        "image": image,
        "reference": str(encoder.parent / "reference.npz"),
        "output": str(folder / "tokenizer"),
    }
    return Import(folder, config)
