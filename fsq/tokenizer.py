"""Tokenizer: encodes images to tokens, decodes tokens, saves and loads.

A saved tokenizer is a directory with tokenizer.json (the token contract, with the
sha256 of the weights) and tokenizer.safetensors (the weights, with the sha256 of
the contract's other fields). Loading runs no code from either. A finished dataset
contains both files, so it loads as a tokenizer too.
"""

import hashlib
import os
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from fsq.errors import DataError, RequestError
from fsq.forked import refuse_fork
from fsq.imported.reference_batch import Agreement, Reference, compare
from fsq.models.keras_backend import require_tensorflow
from fsq.quantizer import lattice
from fsq.runtimes.base import Precision, Runtime
from fsq.runtimes.batch_encoder import BatchEncoder
from fsq.runtimes.cache import RuntimeCache
from fsq.runtimes.factory import make_runtime
from fsq.runtimes.probe import ProbeResult
from fsq.runtimes.registry import RUNTIMES, RuntimeName, reference_runtime
from fsq.spec.contract import CONTRACT_FILE, WEIGHTS_FILE, ImportedSpec, TokenContract
from fsq.spec.serialization import (
    check_weights,
    folder_of,
    load_codes,
    pack_weights,
    parse_contract,
    read_file,
)
from fsq.storage import filesystem

__all__ = ["Tokenizer", "load_codes"]

DEFAULT_BATCH_SIZE = 256


class Tokenizer:
    """Encodes images to tokens and decodes tokens to images.

    Make one with `Tokenizer.load` or, after training, `Tokenizer.of`. It can be pickled and
    copied. A process that was forked after TensorFlow had run refuses it.

    Args:
      contract: The token contract.
      autoencoder: The networks, with their weights set.
      batch_size: Images per call of the encoder. Another batch size can change
        a token whose latent lies within a rounding error of a boundary, so a
        dataset is encoded with one batch size.
    """

    def __init__(self, contract: TokenContract, autoencoder: Any, batch_size: int):
        self.contract = contract
        self.batch_size = batch_size
        self._autoencoder = autoencoder
        self._runtime_name = reference_runtime(contract.network.kind)
        self._precision: Precision = "float32"
        self._made_runtime: Runtime | None = None

    @classmethod
    def of(cls, autoencoder: Any, batch_size: int = DEFAULT_BATCH_SIZE) -> "Tokenizer":
        """Wraps a trained autoencoder."""
        weights_sha256 = hashlib.sha256(pack_weights(autoencoder)).hexdigest()
        return cls(TokenContract.of(autoencoder.spec, weights_sha256), autoencoder, batch_size)

    @classmethod
    def load(
        cls, directory: str | os.PathLike[str], *, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> "Tokenizer":
        """Loads a tokenizer directory, or the tokenizer inside a finished dataset.

        Raises:
          RequestError: A file is missing, damaged or of an unsupported format.
        """
        folder = folder_of(directory)
        return cls.from_bytes(
            read_file(folder, CONTRACT_FILE),
            read_file(folder, WEIGHTS_FILE),
            where=str(directory),
            batch_size=batch_size,
        )

    @classmethod
    def from_bytes(
        cls, contract_data: bytes, weights_data: bytes, *, where: str, batch_size: int
    ) -> "Tokenizer":
        """Builds a tokenizer from the bytes of its two files; `where` is for messages.

        Raises:
          RequestError: A file is damaged or of an unsupported format.
        """
        contract = parse_contract(contract_data, f"{where}/{CONTRACT_FILE}")
        weights_path = f"{where}/{WEIGHTS_FILE}"
        check_weights(weights_data, contract, weights_path)
        try:
            weights = safetensors.numpy.load(weights_data)
        # The last three are raised for a dtype that NumPy does not have.
        except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
            raise RequestError(f"{weights_path}: expected safetensors, got: {error}.") from error
        try:
            return cls(contract, _build(contract, weights, weights_path), batch_size)
        except DataError as error:
            raise RequestError(f"{weights_path}: {error}") from error

    def at_size(self, height: int, width: int) -> "Tokenizer":
        """Returns a tokenizer of the same networks for images of another size.

        An imported one has no reference batch of this size, so it cannot be saved.

        Raises:
          RequestError: The networks do not take this size.
        """
        refuse_fork("tokenizer")
        try:
            contract = self.contract.at_size(height, width)
        except ValueError as error:
            raise RequestError(f"tokenizer: {error}.") from error
        autoencoder = self._autoencoder
        if (height, width) != self.contract.image.shape[:2]:
            autoencoder = autoencoder.at_size(height, width)
        other = Tokenizer(contract, autoencoder, self.batch_size)
        other._runtime_name, other._precision = self._runtime_name, self._precision
        return other

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes the two files, the contract last, without which there is no tokenizer."""
        folder = folder_of(directory)
        filesystem.make_folder(folder)
        contract, weights = self._to_bytes()
        filesystem.write(filesystem.join(folder, WEIGHTS_FILE), weights)
        filesystem.write(filesystem.join(folder, CONTRACT_FILE), contract)

    def _to_bytes(self) -> tuple[bytes, bytes]:
        """Returns the content of the two files; the inverse of `from_bytes`."""
        if self.contract.imported and self.reference is None:
            raise RequestError(
                "tokenizer: expected the size that it was imported with, got another, for which "
                "there is no reference batch. Save or copy the tokenizer itself."
            )
        weights = pack_weights(self._autoencoder)
        weights_sha256 = hashlib.sha256(weights).hexdigest()
        contract = self.contract.model_copy(update={"weights_sha256": weights_sha256})
        return contract.to_json().encode(), weights

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the two files and the runtime's name: graphs of libraries do not pickle."""
        runtime = self._runtime_name, self._precision
        return _unpickle, (*self._to_bytes(), self.batch_size, *runtime)

    @property
    def fingerprint(self) -> str:
        """sha256 of the contract, which contains the sha256 of the weights."""
        return hashlib.sha256(self.contract.to_json().encode()).hexdigest()

    @property
    def reference(self) -> Reference | None:
        """The reference batch of an imported tokenizer; None if it was trained here.

        None too if its images have another size; see `at_size`.
        """
        if not self.contract.imported:
            return None
        reference: Reference = self._autoencoder.reference
        return reference if reference.images.shape[1:] == self.contract.image.shape else None

    def check_reference(self) -> Agreement | None:
        """Encodes the reference batch and compares the tokens; None if there is none."""
        if (reference := self.reference) is None:
            return None
        return compare(self._encode(reference.images), reference.tokens)

    def check_neighbours(self) -> Agreement | None:
        """Encodes the reference batch with other images in each batch, to detect batch dependence.

        Returns:
          Agreement with the tokens of the reference; None if there is none.
        """
        if (reference := self.reference) is None:
            return None
        half = max(1, self.batch_size // 2)
        tokens = [
            self.encode_batch(np.concatenate([images, 255 - images]))[: len(images)]
            for images in np.split(reference.images, range(half, len(reference.images), half))
        ]
        return compare(np.concatenate(tokens), reference.tokens)

    def use_runtime(self, name: RuntimeName, precision: Precision = "float32") -> None:
        """Sets the runtime of the encoder, which is the reference by default.

        Raises:
          RequestError: It does not run the network or the precision, or is not installed.
        """
        refuse_fork("tokenizer")
        runtime = make_runtime(name, self._autoencoder, self.batch_size, precision)
        self._made_runtime, self._runtime_name, self._precision = runtime, name, precision

    def choose_runtime(self) -> tuple[RuntimeName, ProbeResult]:
        """Sets the runtime to the fastest one that gives the tokens of the reference.

        Returns:
          Its name, and the agreement of its tokens on the probe.
        """
        from fsq.runtimes.autoselect import choose_runtime

        chosen, runtime = choose_runtime(self._autoencoder, self.batch_size, self._probe())
        self._made_runtime, self._runtime_name, self._precision = runtime, chosen.name, "float32"
        return chosen.name, chosen.probe

    def probe_runtime(self) -> ProbeResult:
        """Compares the tokens of the runtime in use with the reference's."""
        from fsq.runtimes.probe import compare_runtimes

        reference = reference_runtime(self.contract.network.kind)
        return compare_runtimes(
            self._autoencoder,
            make_runtime(reference, self._autoencoder, self.batch_size),
            self._runtime,
            self._probe(),
        )

    def _probe(self) -> np.ndarray:
        """Returns the reference batch, or synthetic images without one, in whole batches."""
        from fsq.runtimes.probe import fill_batches, probe_images

        if (reference := self.reference) is not None:
            return fill_batches(reference.images, self.batch_size)
        return probe_images(self.contract.image, self.contract.tokens_per_image, self.batch_size)

    @property
    def _runtime(self) -> Runtime:
        """The runtime in use, made when it is first needed."""
        refuse_fork("tokenizer")
        if self._made_runtime is None:
            self._made_runtime = make_runtime(
                self._runtime_name, self._autoencoder, self.batch_size, self._precision
            )
        return self._made_runtime

    @property
    def encoder(self) -> BatchEncoder:
        """The contract and the runtime in use, which is all that encoding needs."""
        return BatchEncoder(self.contract, self._runtime)

    def cache_encoder(self, cache: RuntimeCache) -> None:
        """Caches the encoder on disk for the next run, if its runtime can be serialized."""
        if RUNTIMES[self._runtime_name].serialization is not None:
            images = self._probe()[: self.batch_size]
            tokens = self.encode_batch(images)
            cache.store_encoder(self._runtime_name, self._precision, self._runtime, images, tokens)

    def encode_batch(self, images: np.ndarray) -> np.ndarray:
        """Encodes one batch of at most `batch_size` images; see `BatchEncoder`."""
        return self.encoder.encode_batch(images)

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Encodes images of the contract's size.

        Args:
          images: uint8, shape [B, H, W, C], any B.

        Returns:
          Tokens in [0, vocab_size), int32 or int64, shape [B, rows, columns].

        Raises:
          ValueError: The shape or dtype is wrong, or a latent is NaN or infinite.
        """
        images = np.asarray(images)
        shape = self.contract.image.shape
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != shape:
            raise ValueError(
                f"images: expected uint8 [B, {', '.join(map(str, shape))}], "
                f"got {images.dtype} {list(images.shape)}. Use fsq.images to decode and fit them."
            )
        if len(images) == 0:
            return np.zeros((0, *self.contract.grid), lattice.token_dtype(self.contract.vocab_size))
        tokens = self._encode(images)
        if (bad := int((tokens < 0).sum())) > 0:
            raise ValueError(
                f"encode: expected finite latents, got {bad} of {tokens.size} NaN or infinite."
            )
        return tokens

    def encode_images(self, images: Any) -> Any:
        """Encodes images inside a graph, as in `dataset.map(tokenizer.encode_images)`.

        The tokens are those of a job with the same batch size and runtime, whatever batches
        the images come in: the encoder gets batches of `batch_size`, the last of them padded.
        A runtime other than TensorFlow's runs in this process alone.

        Args:
          images: uint8 [B, H, W, C], any B, which may be unknown.

        Returns:
          Tokens in [0, vocab_size), int32 or int64 [B, rows, columns]. A latent that is NaN or
          infinite is a tf.errors.InvalidArgumentError when the graph runs.

        Raises:
          ValueError: Shape or type of the images is wrong.
        """
        import tensorflow as tf

        from fsq.runtimes.in_graph import encode_in_graph

        # The runtime outlives the graph that is being traced.
        with tf.init_scope():
            encoder = self.encoder
        return encode_in_graph(encoder, images)

    def _encode(self, images: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [
                self.encode_batch(images[start : start + self.batch_size])
                for start in range(0, len(images), self.batch_size)
            ]
        )

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        """Decodes tokens to images.

        Args:
          tokens: Integers in [0, vocab_size), shape [B, rows, columns].

        Returns:
          uint8 images, shape [B, H, W, C].

        Raises:
          ValueError: The shape is wrong, or a token is out of range.
          RequestError: The tokenizer was imported without a decoder.
        """
        from fsq.models.autoencoder import floats_to_pixels

        refuse_fork("tokenizer")
        if not self.contract.has_decoder:
            raise RequestError(
                "tokenizer: expected a decoder, got a tokenizer that was imported without one. "
                "Import it again with its decoder."
            )
        tokens = lattice.check_tokens(tokens, self.contract.vocab_size)
        if tokens.ndim != 3 or tokens.shape[1:] != self.contract.grid:
            raise ValueError(
                f"tokens: expected shape [B, {self.contract.grid[0]}, {self.contract.grid[1]}], "
                f"got {list(tokens.shape)}."
            )
        pieces = [np.zeros((0, *self.contract.image.shape), np.uint8)]
        for start in range(0, len(tokens), self.batch_size):
            codes = self._autoencoder.quantizer.indices_to_codes(
                tokens[start : start + self.batch_size]
            )
            floats = self._autoencoder.decoder(codes, training=False)
            pieces.append(np.asarray(floats_to_pixels(floats, self.contract.image)))
        return np.concatenate(pieces)


def _unpickle(
    contract: bytes, weights: bytes, batch_size: int, runtime: RuntimeName, precision: Precision
) -> Tokenizer:
    tokenizer = Tokenizer.from_bytes(
        contract, weights, where="pickled tokenizer", batch_size=batch_size
    )
    tokenizer._runtime_name, tokenizer._precision = runtime, precision
    return tokenizer


def _build(contract: TokenContract, weights: dict[str, np.ndarray], where: str) -> Any:
    refuse_fork("tokenizer")
    require_tensorflow()
    spec = contract.spec
    if isinstance(spec, ImportedSpec):
        from fsq.imported.model import build_imported

        return build_imported(spec, weights, where)
    from fsq.models.autoencoder import build_autoencoder

    autoencoder = build_autoencoder(spec)
    autoencoder.set_weights(weights)
    return autoencoder
