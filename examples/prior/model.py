"""The network: one transformer, two ways to be asked.

'causal': what is the next token, given the class and all tokens before it.
'masked': what are the hidden tokens, given the class and those that are not
hidden (MaskGIT; Chang et al. 2022, arXiv:2202.04200).

Blocks, table and positions are shared; each way has a head of its own, a
normalisation and a bias, and both compare with the rows of the tokens in the
table (weight tying). Logits are over the tokens of the dataset and nothing else.
Written with keras.ops alone, so it runs on every backend of Keras.
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
    """One block, normalised before attention and before the MLP.

    Args:
      width: Channels.
      heads: Of attention; they share the channels evenly.
      dropout: Share of what each half adds that is dropped while training.
      seed: Of dropout.
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
          visible: bool [L, L], which place (column) each place (row) sees.
          training: Whether to drop.
        """
        queries, keys, values = self._split(x)
        x = x + self.dropout(self._attend(queries, keys, values, visible), training=training)
        return x + self.dropout(self._mlp(x), training=training)

    def step(self, x: Any, cache: tuple[Any, Any], here: Any, visible: Any) -> tuple[Any, Any]:
        """Runs on one place of each sequence, the places before it being in the cache.

        Args:
          x: [B, 1, width].
          cache: Keys and values, [B, heads, L, width / heads] each.
          here: bool [L], true at this place.
          visible: bool [L], true at this place and before.

        Returns:
          x and the cache with this place in it.
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
    """A row for each integer of a sequence; that of a token knows where the token lies.

    It is a row of its own and one for each of its digits in the lattice, added up: tokens
    that lie side by side differ in few of them, so what is learned of one serves the others.

    Args:
      vocabulary: Says how many rows, and which digits.
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
        """Makes the rows of the tokens and of their digits."""
        initializer = keras.initializers.RandomNormal(stddev=0.02)
        shape = (self._vocabulary.size, self._width)
        self.own = self.add_weight(shape, initializer, name="own")
        shape = (self._digits.shape[1], self._width)
        self.of_digits = self.add_weight(shape, initializer, name="of_digits")

    def rows(self) -> Any:
        """Returns all of them, float32 [vocabulary.size, width]."""
        tokens = self._vocabulary.tokens
        of_tokens = self.own[:tokens] + ops.matmul(self._digits, self.of_digits)
        return ops.concatenate([of_tokens, self.own[tokens:]])


class Head(layers.Layer):
    """What a mode has of its own: a normalisation, and a bias for each token."""

    def __init__(self, name: str):
        super().__init__(name=name)
        self.norm = layers.LayerNormalization(epsilon=_EPSILON, name="norm")

    def build(self, shape: Any, tokens: int) -> None:
        """Makes the norm and a bias per token."""
        self.norm.build(shape)
        self.bias = self.add_weight(shape=(tokens,), initializer="zeros", name="bias")

    def call(self, x: Any, table: Any) -> Any:
        """Maps features [..., width] to logits [..., tokens], by the rows of `table`."""
        return ops.matmul(self.norm(x), ops.transpose(table)) + self.bias


class Prior(layers.Layer):
    """The transformer. A sequence is [class, token 0, token 1, ...], the tokens row by row.

    Args:
      vocabulary: What its integers mean.
      width: Channels.
      depth: Blocks.
      heads: Of attention.
      modes: How it can be asked.
      dropout: See `Block`; of the embedded sequence too.
      seed: Of dropout. That of the weights is Keras' own state.
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
          sequences: Integers below `vocabulary.size`: [B, 1 + M] in mode 'causal', M from 0 to
            length - 1 tokens that are known; [B, 1 + length] in mode 'masked', the tokens to
            find out being `vocabulary.mask`.
          mode: What is asked.
          training: Whether to drop.

        Returns:
          float32 [B, 1 + M, tokens], at each place those of the token that follows it; or
          [B, length, tokens], those of the token itself.
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
        """Returns the keys and values of no place yet, for `step`."""
        shape = (batch, self._num_heads, self.vocabulary.length, self._width // self._num_heads)
        return [(ops.zeros(shape), ops.zeros(shape)) for _ in self.blocks]

    def step(
        self, tokens: Any, place: Any, cache: list[tuple[Any, Any]]
    ) -> tuple[Any, list[tuple[Any, Any]]]:
        """Returns what mode 'causal' says of the token after `place`, and the new cache.

        Args:
          tokens: What stands at this place, the class at place 0: integers [B].
          place: Which it is; all before it are in the cache.
          cache: From `new_cache` or the step before.

        Returns:
          Logits, float32 [B, tokens], the same as `call` gives for this place.
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
