"""Base of the quantizer layers: their other methods on symbolic tensors, masks, shapes."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import keras
from keras import ops

Method = TypeVar("Method", bound=Callable[..., Any])


class QuantizerLayer(keras.layers.Layer):
    """A Keras layer whose other methods can be used in functional models, as layers can.

    A method marked with `layer_method` that gets a symbolic tensor becomes a call of the layer
    itself, with the method's name as an argument. So the functional model owns the layer: its
    weights are trained, saved, cloned and exported with the model, once for all its methods.

    Every position is quantized alone, so a mask of the input is the mask of the result.

    Subclasses implement `quantize_latents` and `latents_shape`.
    """

    def __init__(self, **kwargs: Any):
        # Not cast by Keras, because codes must keep their digits under every policy.
        super().__init__(autocast=False, **kwargs)
        self.supports_masking = True

    def quantize_latents(self, z: Any, training: bool | None) -> Any:
        """Quantizes latents in the compute dtype to codes."""
        raise NotImplementedError

    def latents_shape(self) -> tuple[int | None, ...]:
        """Returns the shape of a batch of latents, for which the layer can be built."""
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Quantizes latents; see `call`."""
        for x in args[:1]:
            check_rank(x, type(self).__name__)
        if kwargs.get("method") is not None:
            self.build_once()
        return super().__call__(*args, **kwargs)

    def call(self, z: Any, training: bool | None = None, method: str | None = None) -> Any:
        """Quantizes latents to codes, or runs the method of that name.

        Args:
          z: Latents, or the argument of the method.
          training: Adds what the layer has for training only.
          method: Set by the methods themselves, in functional models.
        """
        if method is not None:
            return self._method(method)(self, z)
        return self.quantize_latents(ops.cast(z, self.compute_dtype), training)

    def compute_output_spec(
        self, z: Any, training: bool | None = None, method: str | None = None
    ) -> Any:
        """Returns shape and dtype of the result as a symbolic tensor."""
        if method is None:
            return super().compute_output_spec(z, training=training)
        result = self._method(method)(self, z)
        return keras.KerasTensor(result.shape, dtype=result.dtype)

    def build_once(self) -> None:
        """Makes the weights if there are none yet."""
        if not self.built:
            self.build(self.latents_shape())

    def _method(self, name: str) -> Callable[..., Any]:
        """Returns a method as a function that takes symbolic tensors for what they are."""
        found: Any = getattr(type(self), name, None)
        # The name may come from a file.
        if not hasattr(found, "is_layer_method"):
            raise ValueError(f"{type(self).__name__}: expected a method of tensors, got {name!r}.")
        method: Callable[..., Any] = found.__wrapped__
        return method


def layer_method(method: Method) -> Method:
    """Makes a method of one tensor a call of its layer where the tensor is symbolic or masked."""

    @functools.wraps(method)
    def run(layer: QuantizerLayer, *args: Any, **kwargs: Any) -> Any:
        for x in (*args, *kwargs.values()):
            check_rank(x, f"{type(layer).__name__}.{method.__name__}")
            symbolic = keras.utils.is_keras_tensor(x)
            if symbolic:
                # Raises the errors that Keras would wrap in its own words.
                layer.build_once()
                method(layer, keras.KerasTensor(x.shape, dtype=x.dtype))
            if symbolic or getattr(x, "_keras_mask", None) is not None:
                return layer(x, method=method.__name__)
        return method(layer, *args, **kwargs)

    run.is_layer_method = True  # type: ignore[attr-defined]
    return run  # type: ignore[return-value]


def check_rank(x: Any, where: str) -> None:
    """Raises a ValueError for a tensor of unknown rank, which TensorFlow has."""
    if getattr(getattr(x, "shape", None), "rank", 0) is None:
        raise ValueError(
            f"{where}: expected a tensor of known rank, got shape <unknown>. Name its dimensions "
            "first: tf.ensure_shape(x, [None, 4])."
        )
