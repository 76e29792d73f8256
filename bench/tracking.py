"""Rates of the experiment tracking calls, with few runs stored and with many."""

from __future__ import annotations

import json
import pathlib
import shutil
import socket
import sqlite3
import threading
import time

FEW, MANY = 100, 50_000
CONNECTIONS = 4
SECONDS = 6

_RUNS = """
WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last})
INSERT INTO runs (id, experiment_id, project_id, name, status, user_name, started_at, lifecycle, dataset_versions,
  inputs, outputs, request_key, created_at)
SELECT 'run_000000000000000000' || substr(CAST(100000000 + i AS TEXT), 2), e.id, e.project_id, 'seeded ' || i,
  'FINISHED', 'bench', i, 'active', '[]', '[]', '[]', 'seed' || i, i FROM n, experiments e WHERE e.is_default = 1
"""
_BELOW = [
    "INSERT INTO params (run_id, key, value, experiment_id) SELECT id, 'p', 'v', experiment_id FROM runs WHERE name LIKE 'seeded %' ON CONFLICT DO NOTHING",
    "INSERT INTO tags (run_id, key, value, experiment_id) SELECT id, 't', 'v', experiment_id FROM runs WHERE name LIKE 'seeded %' ON CONFLICT DO NOTHING",
    "INSERT INTO metrics SELECT id, 'loss', 1, 1, started_at, 0 FROM runs WHERE name LIKE 'seeded %' ON CONFLICT DO NOTHING",
    "INSERT INTO latest_metrics (run_id, experiment_id, key, at, step, value, is_nan) SELECT id, experiment_id, 'loss', 1, "
    "1, started_at, 0 FROM runs WHERE name LIKE 'seeded %' ON CONFLICT DO NOTHING",
]


def seed(data: pathlib.Path, first: int, last: int) -> None:
    """Puts runs number `first` to `last` into the database of a server that does not run."""
    with sqlite3.connect(data / "kaogong.db") as database:
        database.execute(_RUNS.format(first=first, last=last))
        for statement in _BELOW:
            database.execute(statement)


def _call(connection: socket.socket, request: bytes) -> bytes:
    connection.sendall(request)
    answer = connection.recv(1 << 16)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"the server answered {answer[:300]!r}")
    return answer


def _rate(server, requests) -> tuple[float, float]:
    """Calls a second on some connections, and the server's processor time of a call in milliseconds. `requests(n)`
    makes the bytes of call number `n` of all."""
    host, port = server.address.split(":")
    end, count, lock = time.perf_counter() + SECONDS, [0], threading.Lock()

    def work() -> None:
        with socket.create_connection((host, int(port))) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while time.perf_counter() < end:
                with lock:
                    count[0] += 1
                    number = count[0]
                _call(connection, requests(number))

    before, began = server.cpu_s(), time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    for it in threads:
        it.start()
    for it in threads:
        it.join()
    return count[0] / (time.perf_counter() - began), (server.cpu_s() - before) / count[0] * 1000


def _post(server, path: str, body: dict) -> bytes:
    text = json.dumps(body).encode()
    head = (
        f"POST /p/default/api/2.0/mlflow/{path} HTTP/1.1\r\nhost: {server.address}\r\n"
        f"authorization: Bearer {server.token}\r\ncontent-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n"
    )
    return head.encode() + text


def measure(server) -> dict[str, tuple[float, float]]:
    """Of each call its rate and its processor time."""
    stamp = int(time.time() * 1000)

    def create(number: int) -> bytes:
        tags = [{"key": "mlflow.source.name", "value": "train.py"}]
        return _post(server, "runs/create", {"experiment_id": "0", "start_time": stamp + number, "tags": tags})

    host, port = server.address.split(":")
    with socket.create_connection((host, int(port))) as connection:
        answer = _call(connection, create(0))
    run = json.loads(answer.split(b"\r\n\r\n", 1)[1])["run"]["info"]["run_id"]

    def log(number: int) -> bytes:
        metrics = [{"key": f"m{it}", "value": 0.5, "timestamp": stamp, "step": number} for it in range(10)]
        return _post(server, "runs/log-batch", {"run_id": run, "metrics": metrics})

    return {"create run": _rate(server, create), "log batch of 10 metrics": _rate(server, log)}


def bench_tracking(server_of, data: pathlib.Path, notes: list[str]) -> list[tuple]:
    """Rows of the table: each rate with many runs beside the one with few. `server_of(folder)` starts the program."""
    folders = [data.with_name(f"{data.name}-{runs}") for runs in (FEW, MANY)]
    seed(data, 1, FEW)
    for folder, first in zip(folders, (None, FEW + 1)):
        shutil.copytree(data, folder)
        if first:
            seed(folder, first, MANY)
    # One after the other, twice, so that both meet the same machine; each on a copy, since measuring adds runs.
    found: list[dict[str, tuple[float, float]]] = [{}, {}]
    for turn in range(2):
        for best, folder in zip(found, folders):
            copy = folder.with_name(f"{folder.name}-{turn}")
            shutil.copytree(folder, copy)
            with server_of(copy) as server:
                for what, seen in measure(server).items():
                    best[what] = max(best.get(what, seen), seen)
    rows = []
    for what, (rate, cpu) in found[1].items():
        few, few_cpu = found[0][what]
        rows.append((f"{what}, {MANY:,} runs stored", f"{rate:,.0f} /s", f"{FEW} runs stored", f"{few:,.0f} /s", rate / few, "≥ 0.9"))
        notes.append(f"{what}: the server took {few_cpu:.2f} ms of processor a call with {FEW} runs, {cpu:.2f} ms with {MANY:,}")
    return rows
