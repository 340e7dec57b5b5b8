"""A loopback stand-in of the Hugging Face hub's HTTP interface, as the real client asks it.

One dataset or model repository with commits; reads only. It answers what
`huggingface_hub` asks for: the repository at a revision, the tree, information of
paths, and files through a redirect, as the hub sends large files from elsewhere.
"""

import contextlib
import hashlib
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hub(ThreadingHTTPServer):
    """The server; `requests` are 'METHOD path' lines, `commits` the files of each commit."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.token: str | None = None
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        """Its address, for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.server_port}"

    def push(self, repository: str, files: Mapping[str, bytes]) -> str:
        """Adds a commit with just these files to main; returns its hash."""
        content = repr(sorted(files.items())).encode()
        commit = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        commits = self.commits.setdefault(repository, {})
        commits.pop(commit, None)
        commits[commit] = dict(files)
        return commit

    def at(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Returns a commit's hash and files; None if there is no such revision."""
        commits = self.commits.get(repository, {})
        if revision == "main" and commits:
            revision = list(commits)[-1]
        return (revision, commits[revision]) if revision in commits else None


def _blob(path: str, data: bytes) -> dict[str, Any]:
    digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    return {"type": "file", "path": path, "size": len(data), "oid": digest}


def _folders(files: Mapping[str, bytes]) -> set[str]:
    parts = [path.split("/")[:-1] for path in files]
    return {"/".join(part[: n + 1]) for part in parts for n in range(len(part))}


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        path = urllib.parse.unquote(self.path)
        self.server.requests.append(f"{self.command} {path}")
        if self.server.token and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self._refuse(401, "RepoNotFound")
            return
        self._answer(path.partition("?")[0], path.partition("?")[2], body)

    do_HEAD = do_POST = do_GET

    def _answer(self, path: str, query: str, body: bytes) -> None:
        asked = re.fullmatch(
            r"/api/(datasets|models)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?",
            path,
        )
        if asked:
            kind, name, what, revision, inner = asked.groups()
            self._describe(f"{kind}/{name}", what, revision or "main", inner or "", query, body)
            return
        file = re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        stored = re.fullmatch(r"/stored/(datasets|models)/([^/]+/[^/]+)/([^/]+)/(.+)", path)
        if not (found := file or stored):
            self._refuse(404, "EntryNotFound")
            return
        kind = "models" if file and not file[1] else "datasets" if file else found[1]
        kind = kind.rstrip("/")
        at = self.server.at(f"{kind}/{found[2]}", found[3])
        if at is None or found[4] not in at[1]:
            self._refuse(404, "EntryNotFound")
            return
        if file:
            location = f"{self.server.url}/stored/{kind}/{found[2]}/{at[0]}/{found[4]}"
            self._send(302, b"", {"Location": location, "X-Repo-Commit": at[0]})
            return
        self._send_range(at[1][found[4]])

    def _describe(
        self, repository: str, what: str | None, revision: str, inner: str, query: str, body: bytes
    ) -> None:
        at = self.server.at(repository, revision)
        if at is None:
            known = repository in self.server.commits
            self._refuse(404, "RevisionNotFound" if known else "RepoNotFound")
            return
        commit, files = at
        entries = [_blob(path, data) for path, data in files.items()]
        entries += [{"type": "directory", "path": p, "oid": "0" * 40} for p in _folders(files)]
        if what == "tree":
            prefix = f"{inner}/" if inner else ""
            found = [entry for entry in entries if entry["path"].startswith(prefix)]
            if "recursive=true" not in query.lower():
                found = [e for e in found if "/" not in e["path"].removeprefix(prefix)]
            self._send_json(found)
        elif what == "paths-info":
            text = body.decode()
            wanted = (
                json.loads(text)["paths"]
                if text.startswith("{")
                else urllib.parse.parse_qs(text)["paths"]
            )
            self._send_json([entry for entry in entries if entry["path"] in wanted])
        else:
            self._send_json({"id": repository.partition("/")[2], "sha": commit, "siblings": []})

    def _send_json(self, content: object) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send_range(self, data: bytes) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not asked:
            self._send(200, data, {})
            return
        start, end = int(asked[1]), min(int(asked[2] or len(data) - 1), len(data) - 1)
        header = {"Content-Range": f"bytes {start}-{end}/{len(data)}"}
        self._send(206, data[start : end + 1], header)

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def _send(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextlib.contextmanager
def serve_hub() -> Iterator[Hub]:
    """Starts a hub without repositories, and stops it."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
