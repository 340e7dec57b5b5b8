"""The Keras backend of this process: networks are trained and run on TensorFlow alone."""

import os

from fsq.errors import RequestError
from fsq.installation import explain_missing


def require_tensorflow() -> None:
    """Raises a RequestError if Keras runs on another backend, or cannot be imported on it."""
    try:
        import keras
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name in ("keras", "tensorflow")
        if missing and (message := explain_missing(error)) is not None:
            raise RequestError(f"Keras: {message}") from error
        found = f"an error of its import ({error})"
        if "KERAS_BACKEND" in os.environ:
            found = f"{os.environ['KERAS_BACKEND']}, which is not installed"
        raise _refusal(found) from error
    if (found := keras.config.backend()) != "tensorflow":
        raise _refusal(found)


def _refusal(found: str) -> RequestError:
    return RequestError(
        f"Keras: expected the backend tensorflow, got {found}. Set KERAS_BACKEND=tensorflow before "
        "Keras is imported; the layers of fsq alone run on other backends."
    )
