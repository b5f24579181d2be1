"""A Hugging Face Hub on loopback, so that huggingface_hub, timm and transformers work as they are.

It knows repositories, commits, large files, private repositories, tokens, branches and the card checker.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

LFS_FROM_BYTES = 10_000  # the real Hub stores files of 10 MB and above as large files; tests are smaller
LARGE_SUFFIXES = (".safetensors", ".bin", ".png")
DATASETS = "datasets/"  # before the name of a repository that holds a data set


@dataclass(frozen=True)
class Blob:
    data: bytes
    large: bool

    @property
    def oid(self) -> str:
        if self.large:
            return hashlib.sha256(self.data).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(self.data) + self.data).hexdigest()


@dataclass
class Repo:
    """Every commit is a complete mapping from path to blob; a branch is a list of commit ids, newest last."""

    private: bool = False
    branches: dict[str, list[str]] = field(default_factory=dict)
    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)

    def resolve(self, revision: str) -> str | None:
        if revision in self.commits:
            return revision
        return self.branches[revision][-1] if revision in self.branches else None

    def commit(self, revision: str, files: dict[str, Blob], message: str) -> str:
        history = self.branches.setdefault(revision, [])
        seed = json.dumps([revision, len(self.commits), message, {p: b.oid for p, b in files.items()}])
        oid = hashlib.sha1(seed.encode()).hexdigest()
        self.commits[oid], self.messages[oid] = files, message
        history.append(oid)
        return oid


class Hub(ThreadingHTTPServer):
    """The server and its state. ``tokens`` maps a token to its user; ``requests`` logs ``METHOD path``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.tokens: dict[str, str] = {}
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.failures: list[tuple[str, int]] = []
        self.lock = threading.RLock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def start(self) -> Hub:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def clear(self) -> None:
        for state in (self.tokens, self.repos, self.large, self.requests, self.failures):
            state.clear()

    def fail_once(self, pattern: str, status: int = 400) -> None:
        """Answer the next request whose ``METHOD path`` matches with ``status``; 0 drops the connection."""
        self.failures.append((pattern, status))

    def put(self, repo_id: str, files: dict[str, bytes], *, private: bool = False) -> str:
        """Create or extend a repository without going through HTTP; returns the commit id."""
        repo = self.repos.setdefault(repo_id, Repo(private))
        head = repo.resolve("main")
        kept = dict(repo.commits[head]) if head else {}
        added = {path: Blob(data, path.endswith(LARGE_SUFFIXES)) for path, data in files.items()}
        return repo.commit("main", {**kept, **added}, "put")

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        repo = self.repos[repo_id]
        head = repo.resolve(revision)
        assert head is not None, f"{repo_id} has no revision {revision}"
        return {path: blob.data for path, blob in repo.commits[head].items()}


class RefusedError(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        self.status, self.code, self.message = status, code, message


Route = Callable[..., None]
ROUTES: list[tuple[str, re.Pattern[str], Route]] = []


def route(method: str, pattern: str) -> Callable[[Route], Route]:
    def register(function: Route) -> Route:
        pattern_with_names = pattern.replace("{repo}", r"(?P<repo>[^/]+/[^/]+|[^/]+)")
        ROUTES.append((method, re.compile(pattern_with_names), function))
        return function

    return register


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *args: object) -> None:
        pass

    def handle_any(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.body = self.read_body()
        label = f"{self.command} {path}"
        with self.server.lock:
            self.server.requests.append(label)
            for index, (pattern, status) in enumerate(self.server.failures):
                if re.search(pattern, label):
                    del self.server.failures[index]
                    if status == 0:
                        self.close_connection = True
                        return
                    self.reply(status, {"error": "made to fail"})
                    return
            try:
                for method, pattern, function in ROUTES:
                    match = pattern.fullmatch(path)
                    if match and method == self.command:
                        function(self, **match.groupdict())
                        return
                raise RefusedError(404, "EntryNotFound", f"no such route: {label}")
            except RefusedError as refused:
                self.reply(refused.status, {"error": refused.message}, {"X-Error-Code": refused.code})

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    def reply(
        self,
        status: int,
        content: object = None,
        headers: dict[str, str] | None = None,
        size: int | None = None,
    ) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            if value:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) if size is None else size))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def user(self) -> str | None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme and token not in self.server.tokens:
            raise RefusedError(401, "", "Invalid credentials in Authorization header")
        return self.server.tokens.get(token)

    def repo(self, name: str, *, write: bool = False) -> Repo:
        user, found = self.user(), self.server.repos.get(name)
        owner = name.removeprefix(DATASETS).partition("/")[0]
        if found is None or (found.private and user != owner):
            raise RefusedError(401 if user is None else 404, "RepoNotFound", "Repository not found")
        if write and user != owner:
            raise RefusedError(401 if user is None else 403, "", f"no right to write to {name}")
        return found

    def files(self, name: str, revision: str) -> tuple[str, dict[str, Blob]]:
        found = self.repo(name)
        oid = found.resolve(revision)
        if oid is None:
            raise RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return oid, found.commits[oid]


@route("GET", "/api/whoami-v2")
def whoami(request: Handler) -> None:
    user = request.user()
    if user is None:
        raise RefusedError(401, "", "not logged in")
    request.reply(200, {"type": "user", "name": user, "orgs": [], "auth": {"type": "access_token"}})


@route("POST", "/api/repos/create")
def create_repo(request: Handler) -> None:
    asked, user = json.loads(request.body), request.user()
    if user is None:
        raise RefusedError(401, "", "not logged in")
    owner = asked.get("organization") or user
    if owner != user:
        raise RefusedError(403, "", f"{user} may not create repositories under {owner}")
    name = f"{owner}/{asked['name']}"
    answer = {"url": f"{request.server.url}/{name}", "name": name, "id": name}
    if name in request.server.repos:
        request.reply(409, answer)
        return
    private = bool(asked.get("private")) or asked.get("visibility") == "private"
    request.server.repos[name] = Repo(private)
    request.server.repos[name].commit("main", {}, "initial commit")
    request.reply(200, answer)


@route("POST", "/api/models/{repo}/branch/(?P<branch>.+)")
def create_branch(request: Handler, repo: str, branch: str) -> None:
    found = request.repo(repo, write=True)
    if branch in found.branches:
        raise RefusedError(409, "", f"Reference already exists: refs/heads/{branch}")
    found.branches[branch] = list(found.branches["main"])
    request.reply(200, {})


@route("POST", "/api/validate-yaml")
def validate_card(request: Handler) -> None:
    errors = card_errors(json.loads(request.body)["content"])
    request.reply(400 if errors else 200, {"errors": [{"message": e} for e in errors], "warnings": []})


@route("POST", "/api/models/{repo}/preupload/(?P<revision>.+)")
def preupload(request: Handler, repo: str, revision: str) -> None:
    found = request.repo(repo, write=True)
    head = found.resolve(revision)
    if head is None:
        raise RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    answer = []
    for file in json.loads(request.body)["files"]:
        large = file["size"] >= LFS_FROM_BYTES or file["path"].endswith(LARGE_SUFFIXES)
        present = found.commits[head].get(file["path"])
        answer.append(
            {
                "path": file["path"],
                "uploadMode": "lfs" if large else "regular",
                "shouldIgnore": False,
                "oid": present.oid if present else None,
            }
        )
    request.reply(200, {"files": answer})


@route("POST", r"/{repo}\.git/info/lfs/objects/batch")
def large_batch(request: Handler, repo: str) -> None:
    request.repo(repo, write=True)
    objects = []
    for item in json.loads(request.body)["objects"]:
        entry: dict[str, Any] = {"oid": item["oid"], "size": item["size"]}
        if item["oid"] not in request.server.large:
            entry["actions"] = {
                "upload": {"href": f"{request.server.url}/large/{item['oid']}"},
                "verify": {"href": f"{request.server.url}/large/{item['oid']}/verify"},
            }
        objects.append(entry)
    request.reply(200, {"transfer": "basic", "objects": objects})


@route("PUT", "/large/(?P<oid>[0-9a-f]{64})")
def large_upload(request: Handler, oid: str) -> None:
    if hashlib.sha256(request.body).hexdigest() != oid:
        raise RefusedError(422, "", "the content does not have this hash")
    request.server.large[oid] = request.body
    request.reply(200, {})


@route("POST", "/large/(?P<oid>[0-9a-f]{64})/verify")
def large_verify(request: Handler, oid: str) -> None:
    request.reply(200 if oid in request.server.large else 404, {})


@route("POST", "/api/models/{repo}/commit/(?P<revision>.+)")
def commit(request: Handler, repo: str, revision: str) -> None:
    found = request.repo(repo, write=True)
    head = found.resolve(revision)
    if head is None:
        raise RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    files, message = dict(found.commits[head]), ""
    for line in request.body.splitlines():
        item = json.loads(line)
        value = item["value"]
        if item["key"] == "header":
            message = value["summary"]
        elif item["key"] == "file":
            files[value["path"]] = Blob(base64.b64decode(value["content"]), large=False)
        elif item["key"] == "lfsFile":
            if value["oid"] not in request.server.large:
                raise RefusedError(422, "", f"large file {value['path']} was never uploaded")
            files[value["path"]] = Blob(request.server.large[value["oid"]], large=True)
        elif item["key"] == "deletedFile":
            files.pop(value["path"], None)
        elif item["key"] == "deletedFolder":
            files = {path: blob for path, blob in files.items() if not path.startswith(value["path"])}
    oid = found.commit(revision, files, message)
    request.reply(200, {"commitUrl": f"{request.server.url}/{repo}/commit/{oid}", "commitOid": oid})


@route("GET", "/api/models/{repo}(/revision/(?P<revision>.+))?")
def model_info(request: Handler, repo: str, revision: str | None = None) -> None:
    oid, files = request.files(repo, revision or "main")
    siblings = [{"rfilename": path} for path in sorted(files)]
    request.reply(
        200,
        {
            "id": repo,
            "modelId": repo,
            "sha": oid,
            "private": request.repo(repo).private,
            "siblings": siblings,
            "tags": [],
            "downloads": 0,
            "likes": 0,
        },
    )


@route("GET", "/api/models/{repo}/tree/(?P<revision>[^/]+)(/(?P<folder>.*))?")
def tree(request: Handler, repo: str, revision: str, folder: str | None = None) -> None:
    _, files = request.files(repo, revision)
    start = f"{folder}/" if folder else ""
    below = {path: blob for path, blob in files.items() if path.startswith(start)}
    if folder and not below:
        raise RefusedError(404, "EntryNotFound", f"{folder} does not exist")
    if "recursive=true" in urlsplit(request.path).query.lower():
        request.reply(200, [described(path, blob) for path, blob in sorted(below.items())])
        return
    names = sorted({path.removeprefix(start).partition("/")[0] for path in below})
    request.reply(200, [described(start + name, below.get(start + name)) for name in names])


def described(path: str, blob: Blob | None) -> dict[str, Any]:
    if blob is None:
        return {"type": "directory", "path": path, "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0}
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(blob.data), "oid": blob.oid}
    if blob.large:
        entry["lfs"] = {"oid": blob.oid, "size": len(blob.data), "pointerSize": 134}
    return entry


def download(request: Handler, repo: str, revision: str, file: str) -> None:
    oid, files = request.files(repo, revision)
    if file not in files:
        raise RefusedError(404, "EntryNotFound", f"{file} not found")
    blob = files[file]
    headers = {"X-Repo-Commit": oid, "ETag": f'"{blob.oid}"', "Accept-Ranges": "bytes"}
    if blob.large:
        headers |= {"X-Linked-Etag": f'"{blob.oid}"', "X-Linked-Size": str(len(blob.data))}
    part = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
    if part:
        first, last = int(part[1]), min(int(part[2] or len(blob.data)), len(blob.data) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(blob.data)}"
        request.reply(206, blob.data[first : last + 1], headers)
    else:
        request.reply(200, blob.data, headers)


for verb in ("HEAD", "GET"):
    route(verb, "/{repo}/resolve/(?P<revision>[^/]+)/(?P<file>.+)")(download)


def of_data_set(function: Route) -> Route:
    return lambda request, repo, **named: function(request, DATASETS + repo, **named)


route("GET", "/api/datasets/{repo}(/revision/(?P<revision>.+))?")(of_data_set(model_info))
route("GET", "/api/datasets/{repo}/tree/(?P<revision>[^/]+)(/(?P<folder>.*))?")(of_data_set(tree))
for verb in ("HEAD", "GET"):
    route(verb, "/datasets/{repo}/resolve/(?P<revision>[^/]+)/(?P<file>.+)")(of_data_set(download))


@route("POST", "/api/datasets/{repo}/paths-info/(?P<revision>.+)")
def paths_info(request: Handler, repo: str, revision: str) -> None:
    _, files = request.files(DATASETS + repo, revision)
    asked = parse_qs(request.body.decode())["paths"]
    found = {path: blob for path, blob in files.items() if path in asked}
    request.reply(200, [described(path, blob) for path, blob in sorted(found.items())])


def card_errors(text: str) -> list[str]:
    """What the Hub's card checker would refuse: types in the metadata and the shape of ``model-index``."""
    block = re.match(r"---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    data = yaml.safe_load(block[1]) if block else {}
    if not isinstance(data, dict):
        return ["the metadata is not a mapping"]
    errors = []
    for key in ("license", "library_name", "pipeline_tag"):
        if not isinstance(data.get(key, ""), str) or (key == "license" and data.get(key, "mit") not in LICENSES):
            errors.append(f'"{key}" must be one of the known names, not {data.get(key)!r}')
    for key in ("tags", "datasets", "metrics"):
        value = data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            errors.append(f'"{key}" must be an array of strings')
    for name in data.get("datasets") or []:
        if not re.fullmatch(r"[\w.\-]+(/[\w.\-]+)?", str(name)):
            errors.append(f'"datasets" holds {name!r}, which is no dataset id')
    index = data.get("model-index", [])
    for model in index if isinstance(index, list) else [None]:
        if not isinstance(model, dict) or not isinstance(model.get("name"), str):
            errors.append('"model-index[].name" is required')
            continue
        for result in model.get("results", []):
            required = [("task", "type"), ("dataset", "type"), ("dataset", "name")]
            errors += [f'"{a}.{b}" is required' for a, b in required if not result.get(a, {}).get(b)]
            for metric in result.get("metrics", []):
                if not metric.get("type") or "value" not in metric:
                    errors.append('"metrics[].type" and "value" are required')
    return errors


LICENSES = {
    "apache-2.0",
    "mit",
    "bsd-3-clause",
    "cc-by-4.0",
    "cc-by-nc-4.0",
    "cc0-1.0",
    "openrail",
    "other",
    "unknown",
}
