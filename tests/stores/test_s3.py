"""Paths in S3, against a real server over HTTP."""

import contextlib
import errno
import io
import random
import socket
import time
from collections.abc import Iterator

import pytest
from builders.s3_server import BUCKET, SECRET, S3Server, serve_s3

from fsq.errors import RequestError
from fsq.storage import filesystem
from fsq.storage.filesystem import FileEntry


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with serve_s3() as server:
        yield server


@pytest.fixture(autouse=True)
def environment(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)


def names(folder: str, *, recursive: bool = True) -> list[tuple[str, int]]:
    entries = filesystem.list_files(folder, recursive=recursive)
    return [(entry.name, entry.size_bytes) for entry in entries]


@pytest.mark.parametrize("data", [b"", b"tokens", bytes(11 << 20)], ids=["empty", "small", "parts"])
def test_what_is_written_is_read_again(data: bytes):
    path = f"s3://{BUCKET}/written/{len(data)}"
    filesystem.write(path, data)
    assert filesystem.read(path) == data
    assert filesystem.read_sized(path, len(data)) == data
    assert filesystem.read_head(path, 3) == data[:3]


def test_an_object_of_a_failed_block_does_not_appear():
    path = f"s3://{BUCKET}/failed/x"
    with pytest.raises(KeyError), filesystem.open_write(path) as file:
        file.write(b"half")
        raise KeyError
    assert not filesystem.exists(path)


def test_a_listing_is_sorted_and_leaves_out_what_stands_for_folders(server: S3Server):
    for name in ("b/2", "b/1", "a.png", "b/", "b-x", "ä"):
        body = b"" if name.endswith("/") else b"12"
        server.client.put_object(Bucket=BUCKET, Key=f"listed/{name}", Body=body)
    found = filesystem.list_files(f"s3://{BUCKET}/listed", recursive=True)
    assert [entry.name for entry in found] == ["a.png", "b-x", "b/1", "b/2", "ä"]
    assert found[0] == FileEntry("a.png", 2, filesystem.modified_ns(f"s3://{BUCKET}/listed/a.png"))
    assert names(f"s3://{BUCKET}/listed/", recursive=False) == [("a.png", 2), ("b-x", 2), ("ä", 2)]
    assert names(f"s3a://{BUCKET}/listed/b") == [("1", 2), ("2", 2)]


def test_a_listing_asks_once_for_all_folders(server: S3Server):
    for number in range(20):
        server.client.put_object(Bucket=BUCKET, Key=f"many/{number % 7}/{number}", Body=b"")
    with server.counted() as requests:
        assert len(names(f"s3://{BUCKET}/many")) == 20
    assert [request.method for request in requests] == ["GET"]


def test_a_folder_that_is_not_there_holds_nothing():
    assert names("s3://no-bucket/x") == names(f"s3://{BUCKET}/none") == []
    assert not filesystem.exists("s3://no-bucket/x")


def test_an_object_is_renamed_copied_and_removed():
    root = f"s3://{BUCKET}/moved"
    filesystem.write(f"{root}/a/1", b"one")
    filesystem.rename(f"{root}/a/1", f"{root}/b/2")
    filesystem.copy(f"{root}/b/2", f"{root}/b/3")
    assert names(root) == [("b/2", 3), ("b/3", 3)]
    assert filesystem.exists(f"{root}/b")
    assert not filesystem.exists(f"{root}/b/1")
    filesystem.remove(f"{root}/b/2")
    filesystem.remove(f"{root}/b/2")
    assert names(root) == [("b/3", 3)]
    filesystem.remove(root)
    assert names(root) == []
    assert not filesystem.exists(f"{root}/b/3")


def test_small_reads_in_order_are_few_requests_and_a_jump_fetches_little(server: S3Server):
    data = random.Random(1).randbytes(4 << 20)
    server.client.put_object(Bucket=BUCKET, Key="big", Body=data)
    path = f"s3://{BUCKET}/big"
    with server.counted() as requests, filesystem.open_read(path) as file:
        assert b"".join(iter(lambda: file.read(1000), b"")) == data
    assert [request.method for request in requests] == ["HEAD", *["GET"] * 5]
    with server.counted() as requests, filesystem.open_read(path) as file:
        file.seek(3_000_000)
        assert file.read(12) == data[3_000_000:3_000_012]
        assert file.seek(-5, io.SEEK_END) == len(data) - 5
        assert file.read() == data[-5:]
        assert file.read(1) == b""
    assert [request.range for request in requests] == [
        None,
        f"bytes=3000000-{3_000_000 + (1 << 18) - 1}",
        f"bytes={len(data) - 5}-{len(data) - 1}",
    ]
    with server.counted() as requests:
        assert filesystem.read(path) == data
    assert [request.range for request in requests] == [None, f"bytes=0-{len(data) - 1}"]


def test_reads_at_random_places_give_the_bytes_of_these_places(server: S3Server):
    rng = random.Random(2)
    data = rng.randbytes(3 << 20)
    server.client.put_object(Bucket=BUCKET, Key="random", Body=data)
    with filesystem.open_read(f"s3://{BUCKET}/random") as file:
        for _ in range(100):
            if rng.random() < 0.5:
                file.seek(rng.randrange(len(data)))
            start, length = file.tell(), rng.choice([0, 1, 100, 300_000, 2_000_000])
            assert file.read(length) == data[start : start + length]


MISSING = [
    (lambda: filesystem.read(f"s3://{BUCKET}/none"), "no such object", f"s3://{BUCKET}/none"),
    (lambda: filesystem.modified_ns(f"s3://{BUCKET}/none"), "no such object", None),
    (lambda: filesystem.write("s3://no-bucket/x", b""), "no such bucket", "s3://no-bucket/x"),
]


@pytest.mark.parametrize(("access", "reason", "path"), MISSING)
def test_what_is_missing_is_named(access, reason: str, path: str | None):
    with pytest.raises(FileNotFoundError) as error:
        access()
    assert (error.value.errno, error.value.strerror) == (errno.ENOENT, reason)
    assert path in (None, error.value.filename)


@contextlib.contextmanager
def answering(status: str, code: str) -> Iterator[str]:
    """Yields the address of a server that answers every request with one error."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
            self.send_response(int(status))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_PUT = do_GET

        def log_message(self, *_: object) -> None:
            pass

    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}"
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "code", "number", "reason"),
    [
        ("403", "AccessDenied", errno.EACCES, "access is denied: set AWS_PROFILE, or"),
        ("403", "InvalidAccessKeyId", errno.EACCES, "credentials are refused: set AWS_PROFILE, or"),
        ("301", "PermanentRedirect", errno.EREMOTE, "the bucket is in another region: set"),
    ],
)
def test_a_refusal_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, status: str, code: str, number: int, reason: str
):
    with answering(status, code) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
        with pytest.raises(OSError) as error:
            filesystem.write("s3://images/x", b"1")
    assert error.value.errno == number
    assert error.value.strerror.startswith(reason)
    assert SECRET not in str(error.value)


def test_a_store_that_cannot_be_reached_is_said_within_a_minute(monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(OSError, match="cannot be reached: check the network") as error:
            filesystem.read("s3://images/x")
    assert error.value.errno == errno.EHOSTUNREACH
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("ftp://host/x", "expected a local path, s3://, gs:// or hf://, got the scheme 'ftp'"),
        ("s3:///x", "expected s3://bucket/name"),
        (f"s3://key:{SECRET}@bucket/x", "expected no credentials in a path"),
        (f"gs://{SECRET}@bucket/x", "expected no credentials in a path"),
        ("hf://datasets/x", "expected hf://datasets/owner/name/path"),
    ],
)
def test_a_path_that_cannot_be_one_is_refused(path: str, message: str):
    with pytest.raises(RequestError) as error:
        filesystem.exists(path)
    assert message in str(error.value)
    assert SECRET not in str(error.value)


def test_nothing_is_written_to_the_hub_and_the_message_says_what_to_type():
    with pytest.raises(RequestError) as error:
        filesystem.write("hf://datasets/me/tokens/v1/manifest.json", b"")
    assert str(error.value).endswith(
        "then type: hf upload me/tokens DIR v1/manifest.json --repo-type dataset."
    )
