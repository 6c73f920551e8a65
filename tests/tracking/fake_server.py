# ruff: noqa: N802  (op_NAME answers the operation NAME)
"""A loopback stand-in for a W&B server: GraphQL, the file stream, uploads and reports, kept in memory.

It shows what the real client sends and asks for. It does not show that the real service accepts it.
`errors` holds the tracebacks of this file's own mistakes: every test ends with `assert fake.errors == []`.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
import re
import sys
import threading
import traceback
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Tree = dict[str, Any]
NOW = "2026-01-01T00:00:00Z"
ENTITY = "team"


def strict(row: Tree) -> Tree:
    """A row in JSON proper, as the service gives it: what is no number becomes a text."""
    names = {math.inf: "Infinity", -math.inf: "-Infinity"}
    return {
        key: value if not isinstance(value, float) or math.isfinite(value) else names.get(value, "NaN")
        for key, value in row.items()
    }


def matches(run: StoredRun, wanted: Tree) -> bool:
    """Whether a run passes a filter of those that normbench asks with."""
    for key, value in wanted.items():
        if key == "$or":
            passes = any(matches(run, one) for one in value)
        elif key == "$and":
            passes = all(matches(run, one) for one in value)
        elif key == "tags":
            passes = bool(set(run.fields.get("tags") or []) & set(value["$in"]))
        elif key == "group":
            passes = run.fields.get("groupName") == value
        else:
            raise ValueError(f"no filter {key} here")
        if not passes:
            return False
    return True


@dataclass
class StoredRun:
    """What the server knows of a run. `history` maps the line's offset in the file stream to its row."""

    id: str
    fields: Tree = field(default_factory=dict)
    config: Tree = field(default_factory=dict)
    summary: Tree = field(default_factory=dict)
    history: dict[int, Tree] = field(default_factory=dict)
    exitcode: int | None = None
    complete: bool = False

    @property
    def rows(self) -> list[Tree]:
        """The history in order, without what the client adds to every row."""
        return [
            {k: v for k, v in self.history[at].items() if k not in {"_runtime", "_timestamp"}}
            for at in sorted(self.history)
        ]

    @property
    def plain_config(self) -> Tree:
        """The configuration as the user gave it."""
        return {key: value["value"] for key, value in self.config.items() if key != "_wandb"}

    @property
    def plain_summary(self) -> Tree:
        """The summary as the user gave it; the client leaves out what is None."""
        given = {key: value for key, value in self.summary.items() if not key.startswith("_")}
        return {"diverged_at_step": None, **given}

    def node(self) -> Tree:
        """The run as the public API shows it."""
        return {
            "id": "s_" + self.id,
            "name": self.id,
            "displayName": self.fields.get("displayName") or self.id,
            "tags": self.fields.get("tags") or [],
            "state": "finished" if self.complete else "running",
            "config": json.dumps(self.config),
            "summaryMetrics": json.dumps(self.summary),
            "systemMetrics": "{}",
            "group": self.fields.get("groupName"),
            "jobType": self.fields.get("jobType"),
            "projectId": "1",
            "createdAt": NOW,
            "heartbeatAt": NOW,
            "historyLineCount": len(self.history),
            "historyKeys": {"lastStep": max((row["_step"] for row in self.history.values()), default=-1)},
            "user": {"name": "tester", "username": "tester"},
            "readOnly": False,
        }


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Says nothing."""

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            raw = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                raw += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        raw = gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw
        shown = {name: value for name, value in self.headers.items() if name.lower() != "authorization"}
        self.server.fake.received.append(f"{self.command} {self.path} {shown}".encode() + b"\n" + raw)
        return raw

    def _reply(self, answer: object, status: int = 200) -> None:
        out = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)

    def do_GET(self) -> None:
        """Anything asked for by GET is noted; a stored file is given back."""
        self._body()
        fake = self.server.fake
        stored = fake.files.get(self.path)
        if stored is None and self.path != "/":
            fake.note("GET " + self.path)
        self._reply(stored if stored is not None else {})

    def do_PUT(self) -> None:
        """Stores an upload."""
        with self.server.fake.lock:
            self.server.fake.files[self.path] = self._body()
        self._reply({})

    def do_POST(self) -> None:
        """GraphQL and the file stream."""
        raw = self._body()
        fake = self.server.fake
        if not fake.allows(self.headers.get("Authorization") or ""):
            self._reply({"errors": [{"message": "user is not logged in"}]}, 401)
            return
        stream = re.fullmatch(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream", self.path)
        if self.path == "/graphql":
            with fake.lock:
                answer = fake.graphql(json.loads(raw))
            self._reply(answer)
        elif stream:
            with fake.lock:
                fake.stream(stream[3], json.loads(raw))
            self._reply({"exitcode": None, "limits": {}})
        else:
            fake.note("POST " + self.path)
            self._reply({})


class Server(ThreadingHTTPServer):
    """Keeps what went wrong in the fake itself."""

    daemon_threads = True
    fake: FakeWandb

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that exits resets its sockets; anything else is a bug of the fake, which the client would hide."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            self.fake.errors.append(traceback.format_exc())


class FakeWandb:
    """The server; use it in a `with` statement.

    Args:
        key: The only API key that is let in; None lets every key in.
    """

    def __init__(self, key: str | None = None) -> None:
        self.key = key
        self.lock = threading.RLock()
        self.runs: dict[str, StoredRun] = {}
        self.views: dict[str, Tree] = {}
        self.projects: list[str] = []
        self.artifacts: dict[str, Tree] = {}
        self.files: dict[str, bytes] = {}
        self.operations: list[tuple[str, Tree, str]] = []
        self.received: list[bytes] = []  # every request whole: its line, its headers but the key, its body unpacked
        self.unknown: list[str] = []
        self.errors: list[str] = []
        self.httpd = Server(("127.0.0.1", 0), Handler)
        self.httpd.fake = self
        self.url = f"http://127.0.0.1:{self.httpd.server_port}"
        self.arrived = threading.Condition(self.lock)
        self._alive = True

    def __enter__(self) -> FakeWandb:
        threading.Thread(target=self.httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.die()

    def die(self) -> None:
        """Stops answering, as a server that crashed."""
        if self._alive:
            self._alive = False
            self.httpd.shutdown()
            self.httpd.server_close()

    def note(self, what: str) -> None:
        """Remembers a question that this stand-in has no answer to."""
        if what not in self.unknown:
            self.unknown.append(what)

    def allows(self, authorization: str) -> bool:
        """Whether a request carries the key."""
        if self.key is None:
            return True
        scheme, _, value = authorization.partition(" ")
        given = base64.b64decode(value).decode() if scheme.lower() == "basic" else value
        return given.rpartition(":")[2] == self.key

    def wait_for_run(self, run_id: str, seconds: float = 20) -> None:
        """Returns once a run has been opened."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: run_id in self.runs, seconds), f"no run within {seconds} s"

    # What the client sends.

    def run(self, run_id: str) -> StoredRun:
        """A run, made on first mention."""
        return self.runs.setdefault(run_id, StoredRun(run_id))

    def stream(self, run_id: str, request: Tree) -> None:
        """Rows of history, the summary, and the end of a run."""
        run = self.run(run_id)
        for name, part in (request.get("files") or {}).items():
            lines = (
                {part["offset"] + i: json.loads(line) for i, line in enumerate(part["content"])}
                if (name == "wandb-history.jsonl")
                else {}
            )
            run.history.update(lines)
            if name == "wandb-summary.json":
                run.summary = json.loads(part["content"][-1])
        if request.get("exitcode") is not None:
            run.exitcode = request["exitcode"]
        run.complete |= bool(request.get("complete"))

    def graphql(self, request: Tree) -> Tree:
        """Answers one operation; `op_NAME` below holds the answer to each."""
        query, variables = request.get("query", ""), request.get("variables") or {}
        match = re.search(r"\b(?:query|mutation|subscription)\s+(\w+)", query)
        name = match[1] if match else "anonymous"
        self.operations.append((name, variables, query))
        answer = getattr(self, "op_" + name, None)
        if answer is None:
            self.note("graphql " + name)
            return {"data": {}}
        return {"data": answer(variables)}

    # Who is there.

    server_info: Tree = {  # noqa: RUF012
        "cliVersionInfo": {"max_cli_version": "9.9.9"},
        "latestLocalVersionInfo": None,
        "features": [],
        "exposesExplicitRoot": False,
    }

    def op_GetDefaultEntity(self, v: Tree) -> Tree:
        return self.op_Viewer(v)

    def op_Viewer(self, v: Tree) -> Tree:
        team = {"name": ENTITY, "id": "E", "isTeam": True, "photoUrl": None, "organization": None}
        viewer = {
            "id": "VXNlcjox",
            "entity": ENTITY,
            "username": "tester",
            "name": "tester",
            "email": "t@example.org",
            "flags": "{}",
            "admin": False,
            "teams": {"edges": [{"node": team}]},
            "apiKeys": {"edges": []},
            "deletedAt": None,
        }
        return {"viewer": viewer, "serverInfo": self.server_info}

    def op_ServerInfo(self, v: Tree) -> Tree:
        return {"serverInfo": self.server_info}

    def op_ServerFeaturesQuery(self, v: Tree) -> Tree:
        return {"serverInfo": {"features": []}}

    def op_OrganizationCoreWeaveOrganizationID(self, v: Tree) -> Tree:
        return {"entity": None}

    # Runs.

    def op_UpsertBucket(self, v: Tree) -> Tree:
        run = self.run(v.get("name") or v["id"])
        self.arrived.notify_all()
        if v.get("config"):
            run.config = json.loads(v["config"])
        if v.get("summaryMetrics"):
            run.summary = json.loads(v["summaryMetrics"])
        run.fields |= {key: value for key, value in v.items() if value is not None}
        project = v.get("project") or "uncategorized"
        bucket = {
            "id": "s_" + run.id,
            "name": run.id,
            "displayName": run.fields.get("displayName") or run.id,
            "description": None,
            "config": json.dumps(run.config),
            "sweepName": None,
            "historyLineCount": len(run.history),
            "project": {
                "id": "UHJvamVjdDox",
                "name": project,
                "internalId": "1",
                "entityName": ENTITY,
                "entity": {"id": "E", "name": ENTITY},
            },
        }
        return {"upsertBucket": {"inserted": True, "bucket": bucket}}

    def op_RunResumeStatus(self, v: Tree) -> Tree:
        run = self.runs.get(v["name"])
        if run is None:
            return {"model": None}
        last = [json.dumps(run.history[max(run.history)])] if run.history else []
        bucket = {
            "name": run.id,
            "summaryMetrics": json.dumps(run.summary),
            "displayName": run.fields.get("displayName"),
            "logLineCount": 0,
            "historyLineCount": len(run.history),
            "eventsLineCount": 0,
            "historyTail": json.dumps(last),
            "eventsTail": "[]",
            "config": json.dumps(run.config),
            "tags": run.fields.get("tags") or [],
            "wandbConfig": json.dumps({"t": 1}),
        }
        project = {"id": "UHJvamVjdDox", "name": v["project"], "entity": {"id": "E", "name": ENTITY}}
        return {"model": project | {"internalId": "1", "bucket": bucket}}

    def op_CreateRunFiles(self, v: Tree) -> Tree:
        files = [{"name": name, "uploadUrl": f"{self.url}/storage/{v['run']}/{name}"} for name in v["files"]]
        return {"createRunFiles": {"runID": "s_" + v["run"], "uploadHeaders": [], "files": files}}

    def op_Runs(self, v: Tree) -> Tree:
        wanted = json.loads(v.get("filters") or "{}")
        runs = [run for run in self.runs.values() if matches(run, wanted)]
        runs = [run for run in runs if run.fields.get("project") == v["project"]]
        first = int(v.get("cursor") or 0)
        page = runs[first : first + int(v.get("perPage") or 50)]
        edges = [{"node": run.node(), "cursor": str(first + i + 1)} for i, run in enumerate(page)]
        more = {"endCursor": str(first + len(page)), "hasNextPage": first + len(page) < len(runs)}
        return {
            "project": {
                "internalId": "1",
                "runCount": len(runs),
                "readOnly": False,
                "runs": {"edges": edges, "pageInfo": more},
            }
        }

    def op_Run(self, v: Tree) -> Tree:
        run = self.runs.get(v["name"])
        return {"project": {"run": run.node() if run else None}}

    def op_RunHistoryKeys(self, v: Tree) -> Tree:
        return self.op_Run(v)

    def op_RunParquetHistory(self, v: Tree) -> Tree:
        rows = self.runs[v["runName"]].history
        live = [strict(rows[at]) for at in sorted(rows)]
        return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": live}}}}

    def op_HistoryPage(self, v: Tree) -> Tree:
        rows = self.runs[v["run"]].history
        wanted = [rows[at] for at in sorted(rows) if v["minStep"] <= rows[at]["_step"] < v["maxStep"]]
        return {"project": {"run": {"history": [json.dumps(strict(row)) for row in wanted[: v["pageSize"]]]}}}

    # Reports.

    def op_ProjectViews(self, v: Tree) -> Tree:
        nodes = [{**view, "user": {"username": "tester", "photoUrl": "", "email": ""}} for view in self.views.values()]
        edges = [{"node": node, "cursor": node["id"]} for node in nodes]
        known = {run.fields.get("project") for run in self.runs.values()} | set(self.projects)
        if v["project"] not in known:
            return {"project": None}
        return {"project": {"allViews": {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}}}

    def _project(self, name: str) -> Tree:
        return {
            "__typename": "Project",
            "id": "P_" + name,
            "name": name,
            "entityName": ENTITY,
            "createdAt": NOW,
            "isBenchmark": False,
            "user": None,
        }

    def op_GetProjects(self, v: Tree) -> Tree:
        names = sorted({run.fields["project"] for run in self.runs.values() if "project" in run.fields})
        edges = [{"node": self._project(name)} for name in {*names, *self.projects}]
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"models": {"pageInfo": page, "edges": edges}}

    def op_CreateProject(self, v: Tree) -> Tree:
        name = v["input"]["name"]
        self.projects.append(name)
        project = self._project(name)
        return {"result": {"project": project, "model": project, "inserted": True}}

    def op_ProjectInternalId(self, v: Tree) -> Tree:
        return {"project": {"id": "P_" + v["projectName"], "internalId": "UHJvamVjdEludGVybmFsSWQ6MQ=="}}

    def op_upsertView(self, v: Tree) -> Tree:
        view_id = v.get("id") or f"VmlldzoxMDA{len(self.views)}"
        kept = {key: v[key] for key in ("type", "name", "displayName", "description", "spec")}
        project = {"id": "P_" + v["projectName"], "name": v["projectName"], "entityName": v["entityName"]}
        self.views[view_id] = {"id": view_id, **kept, "project": project, "createdAt": NOW, "updatedAt": NOW}
        return {"upsertView": {"inserted": not v.get("id"), "view": self.views[view_id]}}

    def op_SpecificReport(self, v: Tree) -> Tree:
        return {"view": self.views.get(v["reportId"])}

    # Artifacts: how tables travel.

    def op_ArtifactType(self, v: Tree) -> Tree:
        return {"project": {"artifact": None}}

    def op_CreateArtifact(self, v: Tree) -> Tree:
        given = v["input"]
        artifact_id = f"art{len(self.artifacts)}"
        name = given.get("artifactCollectionName") or (given.get("artifactCollectionNames") or ["?"])[0]
        self.artifacts[artifact_id] = {"name": name, "digest": given.get("digest"), "committed": False}
        sequence = {"id": "seq", "latestArtifact": None}
        artifact = {"id": artifact_id, "state": "PENDING", "versionIndex": 0, "artifactSequence": sequence}
        return {"createArtifact": {"artifact": artifact}}

    def _upload(self, folder: str, name: str) -> Tree:
        return {"id": "f", "uploadUrl": f"{self.url}/storage/{folder}/{name}", "uploadHeaders": []}

    def op_CreateArtifactManifest(self, v: Tree) -> Tree:
        manifest = {"id": "man_" + v["artifactID"], "file": self._upload(v["artifactID"], "manifest")}
        return {"createArtifactManifest": {"artifactManifest": manifest}}

    def op_UpdateArtifactManifest(self, v: Tree) -> Tree:
        manifest = {"id": v["artifactManifestID"], "file": self._upload(v["artifactManifestID"], "manifest")}
        return {"updateArtifactManifest": {"artifactManifest": manifest}}

    def op_CreateArtifactFiles(self, v: Tree) -> Tree:
        nodes = [
            self._upload(given["artifactID"], given["name"])
            | {
                "storagePath": "a/" + given["name"],
                "uploadMultipartUrls": None,
                "artifact": {"id": given["artifactID"]},
            }
            for given in v["input"]["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def op_CommitArtifact(self, v: Tree) -> Tree:
        artifact = self.artifacts[v["artifactID"]]
        artifact["committed"] = True
        return {"commitArtifact": {"artifact": {"id": v["artifactID"], "digest": artifact["digest"]}}}
