"""Bytes on local disks and in object stores: atomic writes, digests, a lock per directory."""
