"""Clients of S3 and Google Cloud Storage (pyarrow.fs), each made once in a process.

Credentials come from the environment as each cloud's own tools find them: they stand
in no path, no config and no manifest.
"""

import functools
import os
import threading
import urllib.parse
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fsq.errors import RequestError
from fsq.installation import install_command

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

TRIES = 5
CONNECT_SECONDS = 10
REQUEST_SECONDS = 60
# For all tries of a request to Google Cloud Storage; the client's own limit is 15 minutes.
GCS_SECONDS = 60
# Another value of one of these is another client.
ENVIRONMENT = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "STORAGE_EMULATOR_HOST",
)
ANONYMOUS = "anonymous"

_lock = threading.Lock()


def client_of(scheme: str, bucket: str, user: str) -> "FileSystem":
    """Returns the client of a bucket; `user` is 'anonymous' or empty.

    Raises:
      RequestError: pyarrow is not installed.
    """
    # A child that was forked needs connections of its own.
    state = (os.getpid(), *(os.environ.get(name) for name in ENVIRONMENT))
    with _lock:
        return _client(scheme, bucket, user, state)


@functools.lru_cache(maxsize=64)
def _client(scheme: str, bucket: str, user: str, state: tuple[Any, ...]) -> "FileSystem":
    try:
        import pyarrow.fs  # noqa: F401 - takes a while, and is in an extra
    except ImportError as error:
        raise RequestError(
            f"{scheme}://{bucket}: expected the extra 'stores', which reads object stores, found "
            f"no module {error.name!r}. Install it: {install_command('stores')}."
        ) from error
    return MAKERS[scheme](bucket, user)


def _make_s3(bucket: str, user: str) -> "FileSystem":
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    scheme, address = _endpoint(endpoint, "https")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return S3FileSystem(
        anonymous=user == ANONYMOUS,
        region=region or _region_of(bucket, is_aws=not endpoint),
        endpoint_override=address,
        scheme=scheme,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=TRIES),
        # An object of up to 10 MB is then one request, and one that is empty is possible.
        allow_delayed_open=True,
    )


def _region_of(bucket: str, *, is_aws: bool) -> str | None:
    if not is_aws:
        return "us-east-1"  # most stores take any, but a signature needs one
    from pyarrow.fs import resolve_s3_region

    try:
        region: str = resolve_s3_region(bucket)
    except OSError:  # the first request says what is wrong
        return None
    return region


def _make_gs(bucket: str, user: str) -> "FileSystem":
    from pyarrow.fs import GcsFileSystem

    endpoint = os.environ.get("STORAGE_EMULATOR_HOST", "")
    scheme, address = _endpoint(endpoint, "http")
    return GcsFileSystem(
        anonymous=user == ANONYMOUS or bool(endpoint),
        scheme=scheme if endpoint else None,
        endpoint_override=address,
        retry_time_limit=timedelta(seconds=GCS_SECONDS),
    )


def _endpoint(url: str, usual_scheme: str) -> tuple[str, str | None]:
    if not url:
        return "https", None
    if "://" not in url:
        return usual_scheme, url.rstrip("/")
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc + parts.path.rstrip("/")


# Client of a bucket for each scheme: (bucket, user) -> client.
MAKERS: dict[str, Callable[[str, str], Any]] = {"s3": _make_s3, "gs": _make_gs}
ALIASES = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}
