"""MLflow's own tracking server beside ours: the same calls to both, and what is compared.

A call has a name, and its answers are compared in the parts that a client sees: the status, the error code, and of a
body that is no error every field. What must differ is made equal first (`told`): ids, moments, page tokens and drawn
names. Texts of errors are not compared: they are for people.
"""

from __future__ import annotations

import json
import math
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import requests
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow_kit import TOKEN, URI, unique
from urllib3.util.retry import Retry

API = "/api/2.0/mlflow/"
FILES = "/api/2.0/mlflow-artifacts/artifacts"
PATIENCE_S = 300
# What a server draws when a run or a model gets no name: a few words and a number.
DRAWN = re.compile(r"[a-z]+-[a-z]+(-[a-z]+)?-\d{1,3}")
# Left out everywhere: who called, whom the reference does not know; its workspaces, which are projects here; and what
# this server says of a version that no endpoint can serve.
LEFT_OUT = {"user_id", "workspace", "status_message"}
# The client reads an absent field as its empty value.
EMPTY = (None, "", [], {}, 0, False)


def start_reference(folder: Path) -> tuple[subprocess.Popen, str]:
    """`mlflow server` on SQLite in a folder of its own. The address answers when `wait_for` returns."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "KAOGONG_"))}
    env |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts")]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
    return server, f"http://127.0.0.1:{port}"


def wait_for(server: subprocess.Popen, uri: str, folder: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        assert server.poll() is None, (folder / "log").read_text()[-3000:]
        try:
            if requests.get(f"{uri}/health", timeout=10).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    raise AssertionError(f"mlflow server did not answer in {PATIENCE_S} s: {(folder / 'log').read_text()[-3000:]}")


def shown(it, other) -> str:
    """What of an answer is not in the other one, in one short line."""
    if isinstance(it, dict) and isinstance(other, dict):
        return "{" + ", ".join(f"{key}: {shown(value, other.get(key))}" for key, value in it.items() if value != other.get(key)) + "}"
    if isinstance(it, list | tuple) and isinstance(other, list | tuple):
        parts = [shown(a, b) for a, b in zip(it, other) if a != b] if len(it) == len(other) else [str(a) for a in it if a not in other]
        return f"{len(it)}[" + ", ".join(parts)[:600] + "]"
    text = str(it)
    return text if len(text) < 300 else f"{text[:140]}…{text[-60:]} ({len(text)})"


class Side:
    """One of the two servers, with the ids that it gave to what the calls name."""

    def __init__(self, uri: str, token: str = ""):
        self.uri = uri
        self.names: dict[str, str] = {}
        self.http = requests.Session()
        # A server that refuses a body without reading it may close the connection afterwards.
        again = Retry(total=3, status=0, allowed_methods={"GET", "PUT", "DELETE"})
        self.http.mount("http://", requests.adapters.HTTPAdapter(max_retries=again))
        if token:
            self.http.headers["Authorization"] = f"Bearer {token}"
        self.client = MlflowClient(uri)

    def fill(self, it):
        """Puts this side's ids where a call says `$run`."""
        if isinstance(it, str):
            return re.sub(r"\$(\w+)", lambda m: str(self.names.get(m[1], m[0])), it)
        if isinstance(it, dict):
            return {key: self.fill(value) for key, value in it.items()}
        if isinstance(it, list | tuple):
            return [self.fill(part) for part in it]
        return it

    def told(self, it, key: str = ""):
        """An answer with what must differ made equal."""
        if isinstance(it, dict):
            parts = {name: self.told(value, name) for name, value in it.items() if name not in LEFT_OUT}
            return {name: value for name, value in parts.items() if value not in EMPTY} or None
        if isinstance(it, list | tuple):
            parts = [self.told(part) for part in it]
            parts = [part for part in parts if part is not None]
            keyed = key in ("tags", "params", "metrics", "aliases") and all(isinstance(part, dict) for part in parts)
            return sorted(parts, key=lambda part: str(part.get("key") or part.get("alias"))) if keyed else parts
        if isinstance(it, float) and math.isnan(it):
            return "NaN"
        if isinstance(it, int | float) and not isinstance(it, bool):
            return "<now>" if abs(it - time.time() * 1000) < 3_600_000 else float(it)
        if isinstance(it, str):
            if key.endswith("page_token") and it:
                return "<token>"
            for name, value in self.names.items():
                if value and len(value) > 8:
                    it = it.replace(value, f"<{name}>")
                elif value == it and "id" in key:
                    it = f"<{name}>"
            # The experiment in an address may be none that the calls name.
            it = re.sub(r"(mlflow-artifacts:/)[^/]+", r"\1<experiment>", it)
            return DRAWN.sub("<drawn>", it) if DRAWN.fullmatch(it) else it
        return it


class Both:
    """Sends each call to both servers and keeps where they differ."""

    def __init__(self, reference: Side, ours: Side, listed: dict[str, str]):
        self.sides = (reference, ours)
        self.listed = listed
        self.found: list[str] = []
        self.called: set[str] = set()

    def fresh(self) -> None:
        """A new experiment with one run, `$exp` and `$run`, and a new word `$word` for names."""
        word = unique("w")
        now = int(time.time() * 1000)
        for side in self.sides:
            side.names = {"word": word}
            side.names["exp"] = side.client.create_experiment(f"exp-{word}")
            side.names["run"] = side.client.create_run(side.names["exp"], start_time=now, run_name="first").info.run_id

    def keep(self, name: str, answers: list) -> None:
        assert name not in self.called, f"two calls are called {name}"
        self.called.add(name)
        is_same = answers[0] == answers[1]
        if name in self.listed:
            if is_same:
                self.found.append(f"{name}: listed as a difference, and both answer {str(answers[0])[:300]}")
        elif not is_same:
            self.found.append(f"{name}\n    mlflow:  {shown(answers[0], answers[1])}\n    kaogong: {shown(answers[1], answers[0])}")

    def send(self, name: str, method: str, path: str, body=None, *, raw: bytes | None = None, query=None, save=None, headers=None, only=None) -> None:
        """One HTTP call. `save` names ids in the answer: `{"run2": "run.info.run_id"}`; `only` takes of a
        body what is compared."""
        answers = []
        for side in self.sides:
            data = raw if raw is not None else (json.dumps(side.fill(body)).encode() if body is not None else None)
            sent = {"Content-Type": "application/json"} if data is not None else {}
            url = side.uri + (path if path.startswith("/api") else API + path)
            # Prepared by hand: `requests` would tidy odd paths up.
            request = requests.Request(method, side.uri, params=side.fill(query), data=data, headers=sent | (headers or {}))
            ready = side.http.prepare_request(request)
            ready.url = side.fill(url) + (f"?{ready.url.split('?', 1)[1]}" if "?" in ready.url else "")
            reply = side.http.send(ready, timeout=60)
            answers.append(self.answer(side, reply, save or {}, only))
        self.keep(name, answers)

    @staticmethod
    def answer(side: Side, reply: requests.Response, save: dict[str, str], only):
        try:
            value = reply.json()
        except ValueError:
            value = (reply.content.decode("latin-1") or None) if reply.ok else None
        if not reply.ok:
            return reply.status_code, value.get("error_code") if isinstance(value, dict) else None
        for name, path in save.items():
            it = value
            for part in path.split("."):
                it = (it or {}).get(part) if not isinstance(it, list) else it[int(part)]
            side.names[name] = it
        return reply.status_code, only(value) if only else side.told(value)

    def post(self, name: str, path: str, body, **more) -> None:
        self.send(name, "POST", path, body, **more)

    def get(self, name: str, path: str, query=None, **more) -> None:
        self.send(name, "GET", path, query=query, **more)

    def client(self, name: str, call) -> None:
        """One call of the client: what it returns, or the code of what it raises."""
        answers = []
        for side in self.sides:
            try:
                answers.append(("returned", side.told(call(side.client, side.fill))))
            except MlflowException as error:
                answers.append(("raised", error.error_code))
        self.keep(name, answers)

    def done(self) -> None:
        """Fails with all differences of a test at once."""
        found, self.found = self.found, []
        assert not found, f"{len(found)} differences that are not listed:\n" + "\n".join(found)


def both_sides(reference_uri: str, listed: dict[str, str]) -> Both:
    return Both(Side(reference_uri), Side(URI, TOKEN), listed)
