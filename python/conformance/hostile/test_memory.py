"""What hostile files cost a server of its own: its memory, and that of the processes it starts, stays within what was
promised, over what it has when it starts, and the server answers afterwards."""

from __future__ import annotations

import concurrent.futures
import json
import os
import pathlib
import subprocess
import threading
import time

import files
import pytest
import requests

#: What imports may take, as `kaogong up` has it by default.
PROMISED = 512 << 20
PROGRAM = os.environ["KAOGONG_PROGRAM"]
#: What six callers send at once; the others are sent one by one.
SENT_TOGETHER = ["one_value_of_a_gibibyte", "one_list_of_a_hundred_million", "prefixes", "archive_of_images"]


def memory_of(pid):
    """Resident bytes of a process, without what it maps from files; 0 when it is gone."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(it.split()[1]) << 10 for it in lines if it.startswith(("RssAnon:", "RssShmem:")))


def tree(pid):
    """A process and all below it."""
    found = [pid]
    for one in found:
        try:
            threads = pathlib.Path(f"/proc/{one}/task").iterdir()
            found.extend(int(it) for thread in threads for it in (thread / "children").read_text().split())
        except OSError:
            continue
    return found


class Watch:
    """The most memory that a process and those below it have at one moment."""

    def __init__(self, pid):
        self.pid, self.most, self.over = pid, 0, threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)

    def look(self):
        while not self.over.wait(0.01):
            self.most = max(self.most, sum(map(memory_of, tree(self.pid))))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


class Server:
    """A server of its own, which lets programs on this machine in."""

    def __init__(self, folder):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KAOGONG_")}
        command = [PROGRAM, "up", "--data-dir", str(folder / "data"), "--listen", "127.0.0.1:0", "--trust-loopback"]
        self.log = open(folder / "log", "wb")
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=self.log)
        self.address = json.loads(self.process.stdout.readline())["address"]
        self.count = 0

    def url(self, path):
        return f"{self.address}/api/v1/projects/default/{path}"

    def send(self, kind, path):
        """Imports a body as it is, under a new name. Gives the name, the status and the answer."""
        self.count += 1
        name = f"d{self.count}"
        with open(path, "rb") as body:
            url = self.url(f"datasets/{name}/versions")
            answer = requests.post(url, params={"format": kind}, data=body, timeout=900)
        return name, answer.status_code, answer.json()

    def look_at(self, name):
        """Reads what was imported in all the ways that pages do."""
        version = self.url(f"datasets/{name}/versions/1")
        items = requests.get(f"{version}/items", params={"limit": 20}, timeout=300)
        assert items.status_code == 200, items.text
        for item in items.json()["items"]:
            for way in ["", "/content", "/thumbnail"]:
                answer = requests.get(f"{version}/items/{item['id']}{way}", timeout=300)
                assert answer.status_code in (200, 400), answer.text[:300]

    def close(self):
        self.process.terminate()
        self.process.wait(60)
        self.log.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return {path.stem: (kind, path) for kind, path in files.write_all(folder)}


@pytest.fixture
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    server.allowed = resident(server) + PROMISED
    yield server
    server.close()


def check_import(status, answer):
    """Taken, or refused with words about it; a refusal never is the server's fault."""
    assert status in (201, 400, 413, 429), answer
    if status != 201:
        assert answer["error"]["message"], answer


def resident(server):
    """The memory of a server and the processes that it started."""
    return sum(map(memory_of, tree(server.process.pid)))


@pytest.mark.parametrize("at_once", [1, 6])
def test_no_file_takes_more_than_was_promised(server, hostile, at_once):
    found, over = {}, {}
    for stem, (kind, path) in hostile.items():
        if at_once > 1 and stem not in SENT_TOGETHER:
            continue
        with Watch(server.process.pid) as watch, concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            began = time.monotonic()
            done = list(pool.map(lambda _: server.send(kind, path), range(at_once)))
            took = time.monotonic() - began
            for name, status, answer in done:
                check_import(status, answer)
                if status == 201 and at_once == 1:
                    server.look_at(name)
        found[stem] = f"{watch.most >> 20} MiB, {took:.1f} s, {done[0][1]} {done[0][2].get('error', {}).get('message', '')}"
        print(f"{at_once} × {stem}: {found[stem]}", flush=True)
        # What earlier imports left behind counts, too.
        if watch.most > server.allowed:
            over[stem] = f"{found[stem]}; {server.allowed >> 20} MiB are allowed"
        assert server.process.poll() is None, "the server ended"
    assert not over, over
    # What stays with the server afterwards is within the promise, too.
    assert resident(server) <= server.allowed
    print(f"{at_once} at once: {resident(server) >> 20} MiB stay, {(server.allowed - PROMISED) >> 20} at the start")
    assert requests.get(f"{server.address}/healthz", timeout=10).status_code == 200


def test_what_is_refused_says_how_much_is_allowed(server, hostile):
    for stem in ["one_value_of_a_gibibyte", "a_text_of_a_gibibyte_by_gzip", "one_list_of_a_hundred_million"]:
        _, status, answer = server.send(*hostile[stem])
        assert status == 400, answer
        assert "MiB" in answer["error"]["message"], answer
