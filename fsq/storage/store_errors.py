"""Errors of the clients of object stores, as OSError with a number, a reason and a path."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator

from fsq.errors import FsqError

AWS_REMEDY = (
    "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run 'aws configure'"
)
GCS_REMEDY = (
    "run 'gcloud auth application-default login', or set GOOGLE_APPLICATION_CREDENTIALS; public "
    "data is read as gs://anonymous@bucket/"
)
HUB_REMEDY = "run 'hf auth login', or set HF_TOKEN; or correct the name"
_REMEDIES = {"s3": AWS_REMEDY, "gs": GCS_REMEDY, "hf": HUB_REMEDY}

# (what the client's text says, number, reason); the first that is found. Order matters: the text
# of a missing access token also says that the store is unavailable.
_KINDS = (
    (r"OAuth2 access token|Could not find .*credentials", errno.EACCES, "no credentials"),
    (r"NO_SUCH_BUCKET|bucket does not exist|bucket was not found", errno.ENOENT, "no such bucket"),
    (
        r"RepositoryNotFound|GatedRepo",
        errno.EACCES,
        "no such repository, or no access to it",
    ),
    (r"RevisionNotFound", errno.ENOENT, "no such revision"),
    (
        r"INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN|UNAUTHENTICATED"
        r"|\b401\b|EXPIRED_TOKEN|ExpiredToken",
        errno.EACCES,
        "credentials are refused",
    ),
    (r"ACCESS_DENIED|PERMISSION_DENIED|HTTP status 403|\b403 \w", errno.EACCES, "access is denied"),
    (
        r"PermanentRedirect|HTTP status 301|AuthorizationHeaderMalformed|IllegalLocationConstraint",
        errno.EREMOTE,
        "the bucket is in another region: set AWS_REGION to it",
    ),
    (r"NO_SUCH_KEY|RESOURCE_NOT_FOUND|NOT_FOUND|\b404\b", errno.ENOENT, "no such object"),
    (
        r"NETWORK_CONNECTION|CURL error|curlCode|ConnectError|ConnectTimeout|Connection refused"
        r"|resolve host|Name or service|timed? ?out|DEADLINE_EXCEEDED",
        errno.EHOSTUNREACH,
        "the store cannot be reached: check the network and the endpoint",
    ),
)


@contextlib.contextmanager
def os_errors(path: str) -> Iterator[None]:
    """Converts the errors of a store's client to OSError with a number and the path."""
    try:
        yield
    except FsqError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno and error.filename == path:
            raise
        raise as_os_error(error, path) from error


def as_os_error(error: Exception, path: str) -> OSError:
    """Returns an OSError with a number, a reason of one line, and the path."""
    text = " ".join(str(error).split())
    number = getattr(error, "errno", None)
    # Made with its number, an OSError is of the class that belongs to it.
    if number == errno.ENOSPC:
        return OSError(number, os.strerror(number), path)
    for pattern, number, reason in _KINDS:
        if re.search(pattern, f"{type(error).__name__}: {text}"):
            remedy = _REMEDIES.get(path.partition("://")[0], "")
            more = f": {remedy}" if number == errno.EACCES and remedy else ""
            return OSError(number, f"{reason}{more}", path)
    if isinstance(error, FileNotFoundError):
        return OSError(errno.ENOENT, "no such object", path)
    return OSError(errno.EIO, text[:300] or type(error).__name__, path)
