"""Conversions between codes, digits and tokens in Keras ops; those in NumPy are in `lattice`.

Invalid concrete values raise an error. A compiled graph cannot raise, so it marks
them: the token -1, the digit -1, the code NaN.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from fsq.quantizer import lattice
from fsq.quantizer.lattice import Levels
from fsq.quantizer.ops import constant, divide


def steps_to_indices(steps: Any, lowest: np.ndarray, levels: Levels) -> Any:
    """Joins rounded bound values into tokens.

    Args:
      steps: Integers in float32 or float64, channel d in lowest[d] + [0, levels[d]), or
        NaN; shape [..., D].
      lowest: The step of digit 0 in each channel.
      levels: Values per channel, length D.

    Returns:
      Integers in [0, vocab_size), -1 where a step is NaN; shape [...].
    """
    size, basis = lattice.vocab_size(levels), lattice.basis(levels)
    first = -sum(int(low) * step for low, step in zip(lowest, basis, strict=True))
    dtype = lattice.token_dtype(size)
    check_token_dtype(levels)
    float_dtype = keras.backend.standardize_dtype(steps.dtype)
    if size <= 2 ** (np.finfo(float_dtype).nmant + 1):
        # Every partial sum is an integer that the float type represents exactly, in any order.
        # This saves a cast of the steps.
        total = ops.sum(steps * constant(basis, float_dtype), axis=-1) + first
        tokens = ops.cast(total, dtype)
    else:
        total = ops.sum(steps, axis=-1)
        tokens = ops.sum(ops.cast(steps, dtype) * constant(basis, dtype), axis=-1)
        # A sum may be promoted to a wider type; the token type is fixed.
        tokens = ops.cast(tokens, dtype) + constant(first, dtype)
    # A NaN cast to int is undefined, and engines differ in comparisons with it: ONNX has graphs
    # where NaN >= 0. So NaN is asked for by name, and the choice is between integers.
    return ops.where(ops.isnan(total), -1, tokens)


def codes_to_digits(codes: Any, levels: Levels, *, symmetric: bool, tolerance: float) -> Any:
    """Converts codes to digits, as floats [..., D]; -1 where a code is NaN or off the lattice.

    Args:
      codes: Floats, shape [..., D].
      levels: Values per channel, length D.
      symmetric: See `fsq.quantizer.lattice.code_centers`.
      tolerance: Largest distance of a code from its digit, in steps, up to 0.5.
    """
    dtype = keras.backend.standardize_dtype(codes.dtype)
    center = constant(lattice.code_centers(levels, symmetric=symmetric), dtype)
    # If the center is a digit, it is added after rounding, where the sum is exact.
    wide = codes * center + center if symmetric else codes * center
    steps = ops.round(wide)
    digits = steps if symmetric else steps + center
    # Compared as floats, so that NaN and values beyond the integers fail too.
    valid = (digits >= 0) & (digits < constant(levels, dtype))
    if tolerance < 0.5:
        valid = valid & (ops.abs(wide - steps) <= tolerance)
    return ops.where(valid, digits, -1.0)


def digits_to_codes(
    digits: Any, levels: Levels, *, symmetric: bool, scale: np.ndarray | float = 1.0
) -> Any:
    """Converts digits [..., D] to codes in [-1, 1] times a scale, float32; invalid ones to NaN."""
    digits = ops.cast(digits, "float32")
    centers = lattice.code_centers(levels, symmetric=symmetric)
    codes = divide(digits - constant(centers, "float32"), np.array(centers) / scale)
    valid = (digits >= 0) & (digits < constant(levels, "float32"))
    return ops.where(valid, codes, float("nan"))


def digits_to_indices(digits: Any, levels: Levels) -> Any:
    """Joins digits [..., D], of an integer or float dtype, into tokens [...].

    A digit out of range gives the token -1.
    """
    dtype = lattice.token_dtype(lattice.vocab_size(levels))
    check_token_dtype(levels)
    # Compared before the cast, because a cast to 32 bits may wrap an invalid value into the range.
    found = keras.backend.standardize_dtype(digits.dtype)
    limits = constant(levels, found) if _holds(found, max(levels)) else None
    valid = digits >= 0 if limits is None else (digits >= 0) & (digits < limits)
    valid = ops.all(valid, axis=-1)
    digits = ops.cast(digits, dtype)
    tokens = ops.sum(digits * constant(lattice.basis(levels), dtype), axis=-1)
    return ops.where(valid, ops.cast(tokens, dtype), constant(-1, dtype))


def indices_to_digits(indices: Any, levels: Levels) -> Any:
    """Splits tokens [...] into int32 digits [..., D]; a token out of range gives the digits -1.

    Raises:
      ValueError: A concrete token is out of range, or not an integer.
    """
    size = lattice.vocab_size(levels)
    dtype = lattice.token_dtype(size)
    check_token_dtype(levels)
    values = concrete(indices)
    if values is not None:
        # Also, a backend that converts int64 to int32 would wrap tokens before they are checked.
        indices = lattice.check_tokens(values, size)
    indices = ops.convert_to_tensor(indices)
    if "int" not in keras.backend.standardize_dtype(indices.dtype):
        raise ValueError(f"tokens: expected integers, got {indices.dtype}.")
    # Compared before the cast, because a cast to 32 bits may wrap an invalid value into the range.
    found = keras.backend.standardize_dtype(indices.dtype)
    valid = (indices >= 0) & (indices < size) if _holds(found, size) else indices >= 0
    valid = ops.expand_dims(valid, -1)
    indices = ops.expand_dims(ops.cast(indices, dtype), -1)
    digits = (indices // constant(lattice.basis(levels), dtype)) % constant(levels, dtype)
    return ops.cast(ops.where(valid, digits, constant(-1, dtype)), "int32")


def _holds(dtype: str, number: int) -> bool:
    """Returns whether a dtype can hold the number; if not, all its values are smaller."""
    return dtype.startswith(("float", "bfloat")) or number <= np.iinfo(dtype).max


def refuse_nan(z: Any) -> None:
    """Raises a ValueError if latents are concrete and one is NaN."""
    values = concrete(z)
    if values is not None and (bad := int(np.isnan(values.astype(np.float32)).sum())):
        raise ValueError(
            f"FSQ: expected latents without NaN, got {bad} in {values.size} values. Check the "
            "encoder; with raise_on_nan=False they give the token -1."
        )


def code_tolerance(dtype: str, levels: Levels, *, symmetric: bool) -> float:
    """Returns the largest distance of a stored code from its digit, in steps; mostly a quarter.

    A code near 1 is stored with an error of at most half a unit in the last place. Values
    farther off are not codes, but latents, say.

    Raises:
      ValueError: The float type does not resolve the levels.
    """
    bits = {"bfloat16": 8, "float16": 11}.get(dtype)
    if bits is not None and max(lattice.code_centers(levels, symmetric=symmetric)) >= 2**bits:
        raise ValueError(
            f"codes_to_indices: expected codes in a dtype that resolves {max(levels)} levels, got "
            f"{dtype}. Keep the codes in float32, or use latents_to_indices."
        )
    widest = max(lattice.code_centers(levels, symmetric=symmetric))
    return 0.5 if dtype == "bfloat16" and widest >= 128 else 0.25


def check_token_dtype(levels: Levels) -> None:
    """Raises a ValueError if tokens need int64 and the backend silently uses int32."""
    size = lattice.vocab_size(levels)
    if lattice.token_dtype(size) == "int64" and keras.backend.backend() == "jax":
        found = keras.backend.standardize_dtype(ops.convert_to_tensor(np.int64(0)).dtype)
        if found != "int64":
            raise ValueError(
                f"FSQ: expected int64 for {size} tokens, got {found} from JAX. Set "
                "JAX_ENABLE_X64=1, or call jax.config.update('jax_enable_x64', True) first."
            )


def float_dtype(x: Any) -> str:
    """Returns the dtype to compute in: float64 for float64, else float32, under any policy."""
    return "float64" if keras.backend.standardize_dtype(x.dtype) == "float64" else "float32"


def concrete(x: Any) -> np.ndarray | None:
    """Returns the values as an array, or None while a graph is traced."""
    if not keras.utils.is_keras_tensor(x):
        try:
            return ops.convert_to_numpy(x) if ops.is_tensor(x) else np.asarray(x)
        except (NotImplementedError, TypeError, AttributeError):  # symbolic, each backend's way
            return None
    return None
