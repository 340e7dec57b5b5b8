"""sha256 of files, local or in object stores."""

import hashlib

from fsq.storage import filesystem

BLOCK_BYTES = 1 << 20


def sha256_of_file(path: str) -> str:
    """Hashes a file block by block.

    Raises:
      OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    with filesystem.open_read(path) as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
