"""Equal keys: found among the first records before a job, and compared again at its end."""

from collections.abc import Iterable

from fsq.errors import DataError


def refuse_equal_keys(records: Iterable[tuple[bytes, str, int]]) -> None:
    """Compares the keys of some records.

    Args:
      records: Of each its key, its file and its number there.

    Raises:
      DataError: Two are equal; the message says which.
    """
    first: dict[bytes, tuple[str, int]] = {}
    for key, path, number in records:
        other_path, other = first.setdefault(key, (path, number))
        if (other_path, other) != (path, number):
            raise DataError(
                f"{key.decode('utf-8', 'surrogateescape')}: expected each key once, got it "
                f"in {other_path} (record {other}) and in {path} (record "
                f"{number}). Rename one of the two, or remove it. If the field of "
                "source.key is not meant to differ, name another, or leave source.key out."
            )
