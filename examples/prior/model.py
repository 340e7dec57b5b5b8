"""The network: a transformer with two modes, 'causal' and 'masked'.

'causal' predicts the next token from the class and all tokens before it.
'masked' predicts the masked tokens from the class and the other tokens
(MaskGIT; Chang et al. 2022, arXiv:2202.04200).

Both modes share the blocks, the embedding table and the positions. Each has an
output head of its own, a normalisation and a bias; the output weights are the
rows of the embedding table (weight tying). Logits cover the tokens of the dataset
only. Written in keras.ops, so it runs on every backend of Keras.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from examples.prior.vocabulary import Mode, Vocabulary
from fsq.quantizer import lattice

_EPSILON = 1e-6


class Block(layers.Layer):
    """A pre-norm transformer block: attention, then an MLP.

    Args:
      width: Channels.
      heads: Attention heads, of width / heads channels each.
      dropout: Dropout rate of the output of attention and of the MLP.
      seed: Seed of dropout.
    """

    def __init__(self, width: int, heads: int, dropout: float, seed: int, name: str):
        super().__init__(name=name)
        self._heads = heads
        self.attention_norm = layers.LayerNormalization(epsilon=_EPSILON, name="attention_norm")
        self.qkv = layers.Dense(3 * width, use_bias=False, name="qkv")
        self.out = layers.Dense(width, use_bias=False, name="out")
        self.mlp_norm = layers.LayerNormalization(epsilon=_EPSILON, name="mlp_norm")
        self.up = layers.Dense(4 * width, activation="gelu", name="up")
        self.down = layers.Dense(width, name="down")
        self.dropout = layers.Dropout(dropout, seed=seed, name="dropout")

    def build(self, shape: Any) -> None:
        """Makes the weights for inputs [B, T, width]."""
        *_, width = shape
        for layer in (self.attention_norm, self.qkv, self.out, self.mlp_norm, self.up):
            layer.build((None, None, width))
        self.down.build((None, None, 4 * width))
        self.dropout.build((None, None, width))

    def call(self, x: Any, visible: Any, training: bool = False) -> Any:
        """Runs on whole sequences.

        Args:
          x: [B, L, width].
          visible: bool [L, L], whether each position (row) sees another (column).
          training: Whether dropout is active.
        """
        queries, keys, values = self._split(x)
        x = x + self.dropout(self._attend(queries, keys, values, visible), training=training)
        return x + self.dropout(self._mlp(x), training=training)

    def step(self, x: Any, cache: tuple[Any, Any], here: Any, visible: Any) -> tuple[Any, Any]:
        """Runs on one position of each sequence; those before it are in the cache.

        Args:
          x: [B, 1, width].
          cache: Keys and values, [B, heads, L, width / heads] each.
          here: bool [L], true at this position.
          visible: bool [L], true at this position and those before it.

        Returns:
          x, and the cache with this position added.
        """
        queries, keys, values = self._split(x)
        here = ops.reshape(here, (1, 1, -1, 1))
        keys, values = ops.where(here, keys, cache[0]), ops.where(here, values, cache[1])
        x = x + self._attend(queries, keys, values, visible[None])
        return x + self._mlp(x), (keys, values)

    def _split(self, x: Any) -> tuple[Any, Any, Any]:
        """Queries, keys and values, [B, heads, L, width / heads] each."""
        batch, length, width = ops.shape(x)
        qkv = self.qkv(self.attention_norm(x))
        qkv = ops.reshape(qkv, (batch, length, 3, self._heads, width // self._heads))
        queries, keys, values = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), num=3)
        return queries, keys, values

    def _attend(self, queries: Any, keys: Any, values: Any, visible: Any) -> Any:
        batch, heads, length, size = ops.shape(queries)
        scores = ops.matmul(queries, ops.swapaxes(keys, 2, 3)) * size**-0.5
        weights = ops.softmax(ops.where(visible, scores, -1e9))
        mixed = ops.transpose(ops.matmul(weights, values), (0, 2, 1, 3))
        return self.out(ops.reshape(mixed, (batch, length, heads * size)))

    def _mlp(self, x: Any) -> Any:
        return self.down(self.up(self.mlp_norm(x)))


class Table(layers.Layer):
    """The embedding table: a row for each id of the vocabulary.

    The row of a token is the sum of a row of its own and a row for each of its digits in the
    lattice. Neighbouring tokens share most digits, and so most of their embedding.

    Args:
      vocabulary: Defines the ids, and the digits of each token.
      width: Channels.
    """

    def __init__(self, vocabulary: Vocabulary, width: int):
        super().__init__(name="table")
        self._vocabulary, self._width = vocabulary, width
        tokens, levels = vocabulary.tokens, vocabulary.levels
        digits = lattice.tokens_to_digits(np.arange(tokens), levels)
        columns = [np.eye(count)[digits[:, axis]] for axis, count in enumerate(levels)]
        self._digits = np.concatenate(columns, axis=1, dtype=np.float32)  # one-hot
        self.build()

    def build(self) -> None:
        """Makes the rows of the ids and of the digits."""
        initializer = keras.initializers.RandomNormal(stddev=0.02)
        shape = (self._vocabulary.size, self._width)
        self.own = self.add_weight(shape, initializer, name="own")
        shape = (self._digits.shape[1], self._width)
        self.of_digits = self.add_weight(shape, initializer, name="of_digits")

    def rows(self) -> Any:
        """Returns the embeddings of all ids, float32 [vocabulary.size, width]."""
        tokens = self._vocabulary.tokens
        of_tokens = self.own[:tokens] + ops.matmul(self._digits, self.of_digits)
        return ops.concatenate([of_tokens, self.own[tokens:]])


class Head(layers.Layer):
    """The output head of a mode: a normalisation, and a bias for each token."""

    def __init__(self, name: str):
        super().__init__(name=name)
        self.norm = layers.LayerNormalization(epsilon=_EPSILON, name="norm")

    def build(self, shape: Any, tokens: int) -> None:
        """Makes the norm and a bias per token."""
        self.norm.build(shape)
        self.bias = self.add_weight(shape=(tokens,), initializer="zeros", name="bias")

    def call(self, x: Any, table: Any) -> Any:
        """Maps features [..., width] to logits [..., tokens]; `table` is the output matrix."""
        return ops.matmul(self.norm(x), ops.transpose(table)) + self.bias


class Prior(layers.Layer):
    """The transformer. A sequence is [class, token 0, token 1, ...], tokens in raster order.

    Args:
      vocabulary: Defines the ids of its sequences.
      width: Channels.
      depth: Number of blocks.
      heads: Attention heads.
      modes: The modes that it has a head for.
      dropout: Dropout rate, see `Block`; applied to the embedded sequence too.
      seed: Seed of dropout. The initial weights follow from Keras' global seed.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        width: int,
        depth: int,
        heads: int,
        modes: Sequence[Mode] = ("causal",),
        dropout: float = 0.0,
        seed: int = 0,
    ):
        super().__init__(name="prior")
        self.vocabulary, self.modes = vocabulary, tuple(modes)
        self._width, self._num_heads = width, heads
        self.blocks = [
            Block(width, heads, dropout, seed + number, name=f"block_{number}")
            for number in range(depth)
        ]
        self.heads = {mode: Head(name=f"head_{mode}") for mode in self.modes}
        self.table = Table(vocabulary, width)
        self.dropout = layers.Dropout(dropout, seed=seed + depth, name="dropout")
        self.build((None, vocabulary.length + 1))

    def build(self, shape: Any) -> None:
        """Makes the positions and the weights of all blocks and heads."""
        initializer = keras.initializers.RandomNormal(stddev=0.02)
        width = self._width
        self.positions = self.add_weight((shape[1], width), initializer, name="positions")
        for layer in (*self.blocks, self.dropout):
            layer.build((None, None, width))
        for head in self.heads.values():
            head.build((None, None, width), self.vocabulary.tokens)

    def call(self, sequences: Any, mode: Mode = "causal", training: bool = False) -> Any:
        """Returns logits over the tokens.

        Args:
          sequences: Integers below `vocabulary.size`: [B, 1 + M] in mode 'causal', M known
            tokens, 0 to length - 1; [B, 1 + length] in mode 'masked', with
            `vocabulary.mask` where a token is to be predicted.
          mode: The mode.
          training: Whether dropout is active.

        Returns:
          Mode 'causal': float32 [B, 1 + M, tokens], at each position for the token after it.
          Mode 'masked': float32 [B, length, tokens], at each position for the token there.
        """
        length = ops.shape(sequences)[1]
        places = ops.arange(length)
        visible = places[:, None] >= places[None, :]
        if mode == "masked":
            visible = ops.ones_like(visible)
        table = self.table.rows()
        x = ops.take(table, sequences, axis=0) + self.positions[:length]
        x = self.dropout(x, training=training)
        for block in self.blocks:
            x = block(x, visible, training=training)
        if mode == "masked":
            x = x[:, 1:]
        return self._logits(x, table, mode)

    def new_cache(self, batch: int) -> list[tuple[Any, Any]]:
        """Returns an empty cache of keys and values, for `step`."""
        shape = (batch, self._num_heads, self.vocabulary.length, self._width // self._num_heads)
        return [(ops.zeros(shape), ops.zeros(shape)) for _ in self.blocks]

    def step(
        self, tokens: Any, place: Any, cache: list[tuple[Any, Any]]
    ) -> tuple[Any, list[tuple[Any, Any]]]:
        """Runs mode 'causal' on one position; returns logits and the new cache.

        Args:
          tokens: The ids at this position, the class at position 0: integers [B].
          place: The position; all before it are in the cache.
          cache: From `new_cache` or the step before.

        Returns:
          Logits of the token after it, float32 [B, tokens], equal to those of `call`; the cache.
        """
        places = ops.arange(self.vocabulary.length)
        table = self.table.rows()
        x = ops.take(table, tokens[:, None], axis=0)
        x = x + ops.take(self.positions, place, axis=0)
        kept = []
        for block, before in zip(self.blocks, cache, strict=True):
            x, after = block.step(x, before, places == place, places <= place)
            kept.append(after)
        return self._logits(x, table, "causal")[:, 0], kept

    def _logits(self, x: Any, table: Any, mode: Mode) -> Any:
        return self.heads[mode](x, table[: self.vocabulary.tokens])
