"""Storage on local disks and in object stores: atomic writes, digests, directory locks."""
