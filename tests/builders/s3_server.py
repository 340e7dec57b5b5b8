"""A real S3 server over HTTP, in this process, that notes the requests it gets."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import boto3
import pytest
import werkzeug.serving
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

BUCKET = "images"
SECRET = "wJalr-a-secret-key"
REGION = "us-east-1"


class Request(NamedTuple):
    """A request: its method, its path, and the range of bytes asked for."""

    method: str
    path: str
    range: str | None


class S3Server(NamedTuple):
    """The server's address, a client of AWS's own, and the requests so far."""

    url: str
    client: "boto3.client"
    requests: list[Request]

    def upload(self, folder: Path, prefix: str, bucket: str = BUCKET) -> str:
        """Copies a local folder into a bucket by AWS's own client; returns its path."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                key = f"{prefix}/{path.relative_to(folder).as_posix()}"
                self.client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
        return f"s3://{bucket}/{prefix}"

    def objects(self, prefix: str, bucket: str = BUCKET) -> dict[str, bytes]:
        """Returns the objects below a prefix, by the rest of their names; folders' markers not."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=f"{prefix}/"
        )
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        return {
            key.removeprefix(f"{prefix}/"): self.client.get_object(Bucket=bucket, Key=key)[
                "Body"
            ].read()
            for key in keys
            if not key.endswith("/")
        }

    @contextlib.contextmanager
    def counted(self) -> Iterator[list[Request]]:
        """Yields a list that holds the requests of the block, when the block has ended."""
        found: list[Request] = []
        start = len(self.requests)
        yield found
        found += self.requests[start:]

    def environment(self) -> dict[str, str]:
        """Returns the variables with which AWS's own tools find the server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextlib.contextmanager
def serve_s3() -> Iterator[S3Server]:
    """Starts the server with one bucket, and stops it."""
    requests: list[Request] = []

    def note(handler: werkzeug.serving.WSGIRequestHandler, *_: object) -> None:
        path = re.sub(r"uploadId=[^&]*", "uploadId", handler.path)
        requests.append(Request(handler.command, path, handler.headers.get("Range")))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(werkzeug.serving.WSGIRequestHandler, "log_request", note)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        client = boto3.client(
            "s3",
            endpoint_url=f"http://{host}:{port}",
            region_name=REGION,
            aws_access_key_id="key",
            aws_secret_access_key=SECRET,
        )
        client.create_bucket(Bucket=BUCKET)
        try:
            yield S3Server(f"http://{host}:{port}", client, requests)
        finally:
            server.stop()
