"""Runtime factory: makes a runtime by name, after checking that it runs the network."""

from collections.abc import Iterable
from typing import Any

from fsq.errors import RequestError
from fsq.installation import install_command
from fsq.runtimes.base import NetworkKind, Precision, Runtime
from fsq.runtimes.registry import RUNTIMES, RuntimeName


def check_runtime(name: RuntimeName, precision: Precision, network: NetworkKind) -> None:
    """Checks that a runtime is installed and runs a kind of network; imports nothing heavy.

    Raises:
      RequestError: It does not run the network or the precision, or is not installed.
    """
    fitting = [other for other, kind in RUNTIMES.items() if network in kind.networks]
    if name not in fitting:
        raise RequestError(
            f"runtime: expected {_either(fitting)} for this tokenizer's network ({network}), "
            f"got {name}. Choose one of these, or auto."
        )
    kind = RUNTIMES[name]
    if precision not in kind.precisions:
        others = [other for other in fitting if precision in RUNTIMES[other].precisions]
        advice = f"Use runtime {_either(others)}." if others else "No runtime supports it."
        raise RequestError(
            f"precision: expected {_either(kind.precisions)} with runtime {name}, "
            f"got {precision}. {advice}"
        )
    if not kind.is_installed():
        assert kind.package is not None
        raise RequestError(
            f"runtime: expected the package {kind.package.name}, which runs this tokenizer, "
            "found it not installed. "
            f"Install the extra: {install_command(kind.package.extra)}."
        )


def make_runtime(
    name: RuntimeName, autoencoder: Any, batch_size: int, precision: Precision = "float32"
) -> Runtime:
    """Makes a runtime for one batch size.

    Args:
      name: Name in the registry.
      autoencoder: Encoder and quantizer, trained here or imported.
      batch_size: Images per call.
      precision: Precision of the encoder.

    Raises:
      RequestError: See `check_runtime`.
    """
    check_runtime(name, precision, autoencoder.spec.network.kind)
    return RUNTIMES[name].make(autoencoder, batch_size, precision)


def _either(names: Iterable[str]) -> str:
    """Joins names for a message: 'a, b or c'."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last
