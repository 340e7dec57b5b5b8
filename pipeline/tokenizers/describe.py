"""Description and check of a tokenizer directory, for `fsq inspect`."""

from fsq.errors import DataError, RequestError
from fsq.spec.contract import CONTRACT_FILE, WEIGHTS_FILE, TokenContract
from fsq.spec.network_spec import ImportedNetwork
from fsq.spec.serialization import check_weights
from fsq.storage import filesystem
from fsq.tokenizer import Tokenizer

REFERENCE_BATCH_SIZE = 32  # small enough for large images


def check_tokenizer(directory: str, contract: TokenContract) -> list[tuple[str, str]]:
    """Checks the weights, and encodes the reference batch again if there is one.

    Returns:
      (name, value) pairs to print.

    Raises:
      RequestError: The tokenizer cannot be loaded.
      DataError: Fewer than 99.9 % of the reference batch's tokens agree.
    """
    contract_path, weights_path = (
        filesystem.join(directory, name) for name in (CONTRACT_FILE, WEIGHTS_FILE)
    )
    if not filesystem.exists(weights_path):
        raise RequestError(f"{directory}: expected {WEIGHTS_FILE}, found none. Copy it again.")
    contract_data, weights_data = filesystem.read(contract_path), filesystem.read(weights_path)
    check_weights(weights_data, contract, weights_path)
    if not contract.imported:
        return []
    tokenizer = Tokenizer.from_bytes(
        contract_data, weights_data, where=directory, batch_size=REFERENCE_BATCH_SIZE
    )
    agreement = tokenizer.check_reference()
    assert agreement is not None
    if not agreement.is_good:
        raise DataError(
            f"{directory}: expected at least 99.9 % of the tokens of its reference batch, "
            f"got {agreement.percent} ({agreement.same:,} of {agreement.total:,}). "
            "Use the versions of its card, or import it again on this machine."
        )
    return [("reference", str(agreement))]


def describe_contract(contract: TokenContract) -> list[tuple[str, str]]:
    """Describes a token contract as (name, value) pairs."""
    image, network = contract.fitted, contract.network
    imported = []
    if isinstance(network, ImportedNetwork):
        decoder = "with" if network.decoder else "without"
        imported.append(("imported", f"as {network.kind}, {decoder} a decoder"))
    return [
        *imported,
        (
            "images in",
            f"{contract.show_sizes} x {image.channels}, crop {image.crop}, {image.resize}",
        ),
        ("levels", f"{list(contract.levels)}, preset {contract.preset}, eps {contract.eps:g}"),
        ("tokens", f"{contract.show_grid}, each in [0, {contract.vocab_size})"),
        ("weights", f"sha256 {contract.weights_sha256[:16]}"),
    ]
