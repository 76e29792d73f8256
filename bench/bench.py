"""Speed and size of the built program: start, memory, import, serving. Prints a table with ratios.

Everything runs on loopback and in temporary folders, is bounded in count and time, and ends by itself.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import pathlib
import signal
import struct
import subprocess
import tempfile
import time
import zlib

from tracking import bench_tracking

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "kaogong"
PICTURES = 50_000
SECONDS = 8
IDLE_S = 10


class Server:
    """The program on a data folder; a context manager."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder

    def __enter__(self):
        env = os.environ | {"KAOGONG_HOME": str(self.folder)}
        command = [str(PROGRAM), "up", "--data-dir", str(self.folder), "--listen", "127.0.0.1:0"]
        began = time.perf_counter()
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.address = json.loads(self.process.stdout.readline())["address"].removeprefix("http://")
        connection = http.client.HTTPConnection(self.address)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        self.start_s = time.perf_counter() - began
        self.token = json.loads((self.folder / "profile.json").read_text())["token"]
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)

    def cpu_s(self) -> float:
        """Seconds of processor time that the server and the processes of its models have taken."""
        total, rest = 0, [self.process.pid]
        while rest:
            place = pathlib.Path(f"/proc/{rest.pop()}")
            fields = (place / "stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
            rest += [int(it) for task in (place / "task").iterdir() for it in (task / "children").read_text().split()]
        return total / os.sysconf("SC_CLK_TCK")

    def rss_mib(self) -> float:
        lines = pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(it.split()[1]) for it in lines if it.startswith("VmRSS")) / 1024

    def run(self, *arguments: str) -> dict:
        env = os.environ | {"KAOGONG_HOME": str(self.folder)}
        done = subprocess.run([str(PROGRAM), *arguments, "--output", "json"], env=env, capture_output=True, check=True)
        return json.loads(done.stdout)


def png(seed: int) -> bytes:
    """A grey 28×28 picture of noise."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    noise = (b"%08d" % seed) * 4
    rows = b"".join(b"\0" + bytes((noise[(x + y) % 32] * (x + 1) + seed) & 255 for x in range(28)) for y in range(28))
    head = struct.pack(">IIBBBBB", 28, 28, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def make_pictures(folder: pathlib.Path) -> None:
    for number in range(PICTURES):
        place = folder / str(number % 10)
        if number < 10:
            place.mkdir(parents=True)
        (place / f"{number:05}.png").write_bytes(png(number))


def bench_import(server: Server, folder: pathlib.Path) -> list[tuple]:
    source = folder / "pictures"
    make_pictures(source)
    times = {"cp": [], "import": []}
    # Nothing is removed in between: `cp` was seen to take ten times longer shortly after many files were removed.
    for turn in range(3):
        os.sync()  # what came before is written out first, or it is written out at the next one's cost
        began = time.perf_counter()
        subprocess.run(["cp", "-r", str(source), str(folder / f"copy-{turn}")], check=True)
        times["cp"].append(time.perf_counter() - began)
        os.sync()
        began = time.perf_counter()
        server.run("datasets", "import", str(source), "--name", f"pictures-{turn}")
        times["import"].append(time.perf_counter() - began)
    ours, peer = min(times["import"]), min(times["cp"])
    return [(f"import of {PICTURES:,} PNG files", f"{ours:.2f} s", "cp -r of the same tree", f"{peer:.2f} s", ours / peer, "≤ 2")]


def make_model(path: pathlib.Path) -> None:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    sizes = [64, 128, 64, 10]
    nodes, weights, last = [], [], "x"
    for layer, (a, b) in enumerate(zip(sizes, sizes[1:])):
        weights.append(numpy_helper.from_array(random.normal(size=(a, b)).astype(np.float32), f"w{layer}"))
        weights.append(numpy_helper.from_array(random.normal(size=b).astype(np.float32), f"b{layer}"))
        nodes.append(helper.make_node("Gemm", [last, f"w{layer}", f"b{layer}"], [f"g{layer}"]))
        last = f"g{layer}"
        if layer < 2:
            nodes.append(helper.make_node("Relu", [last], [f"r{layer}"]))
            last = f"r{layer}"
    nodes.append(helper.make_node("Softmax", [last], ["y"], axis=1))
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def bare_loop(model: pathlib.Path) -> float:
    """Calls a second of ONNX Runtime itself, one row, one thread, from Python."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options)
    x = {"x": np.zeros((1, 64), dtype=np.float32)}
    calls, began = 0, time.perf_counter()
    while time.perf_counter() - began < 3:
        for _ in range(100):
            session.run(None, x)
        calls += 100
    return calls / (time.perf_counter() - began)


def load(address: str, request: bytes, connections: int, seconds: float, out) -> None:
    """Sends one request after the other on each connection; gives the rate, the latencies and its own processor time."""
    import selectors
    import socket

    host, port = address.split(":")
    selector = selectors.DefaultSelector()
    for _ in range(connections):
        it = socket.create_connection((host, int(port)))
        it.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        it.setblocking(False)
        it.send(request)
        selector.register(it, selectors.EVENT_READ, [time.perf_counter()])
    latencies, began = [], time.perf_counter()
    end = began + seconds
    while time.perf_counter() < end:
        for key, _ in selector.select(0.1):
            answer = key.fileobj.recv(65536)
            if not answer.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"the endpoint answered {answer[:200]!r}")
            now = time.perf_counter()
            latencies.append(now - key.data[0])
            key.data[0] = now
            key.fileobj.send(request)
    took = time.perf_counter() - began
    latencies.sort()
    out.put({
        "rate": len(latencies) / took,
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1000,
        "cpu_s": time.process_time(),
        "took_s": took,
    })


def drive(server: Server, head: str, body: bytes, connections: int) -> dict:
    """Runs the load in a process of its own and adds what the server took."""
    out = multiprocessing.Queue()
    before = server.cpu_s()
    generator = multiprocessing.Process(target=load, args=(server.address, head.encode() + body, connections, SECONDS, out))
    generator.start()
    seen = out.get(timeout=SECONDS + 30)
    generator.join()
    seen["server_cpu_s"] = server.cpu_s() - before
    return seen


def bench_serving(server: Server, folder: pathlib.Path, notes: list[str]) -> list[tuple]:
    model = folder / "mlp.onnx"
    make_model(model)
    bare = bare_loop(model)
    server.run("models", "register", "mlp", str(model))
    rows = []
    body = json.dumps({"inputs": [{"name": "x", "shape": [1, 64], "datatype": "FP32", "data": [0.5] * 64}]}).encode()
    for engine in ("onnxruntime", "tract"):
        server.run("endpoints", "create", f"mlp-{engine}", "--model", "mlp@1", "--engine", engine)
        head = (
            f"POST /v2/models/mlp-{engine}/infer HTTP/1.1\r\nhost: {server.address}\r\nauthorization: Bearer {server.token}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        drive(server, head, body, 4)  # warm
        seen = drive(server, head, body, 16)
        calls = seen["rate"] * seen["took_s"]
        rows.append((f"JSON requests to an MLP on {engine}", f"{seen['rate']:,.0f} /s", "bare ONNX Runtime loop, Python",
                     f"{bare:,.0f} /s", seen["rate"] / bare, "≥ 8,000 /s"))
        notes.append(
            f"{engine}: p50 {seen['p50_ms']:.2f} ms, p99 {seen['p99_ms']:.2f} ms on 16 connections; the server took "
            f"{seen['server_cpu_s'] / calls * 1e6:.0f} µs of processor a call ({seen['server_cpu_s'] / seen['took_s']:.2f} cores), "
            f"the load generator {seen['cpu_s'] / calls * 1e6:.0f} µs ({seen['cpu_s'] / seen['took_s']:.2f} cores); "
            f"the engine alone takes {1e6 / bare:.0f} µs"
        )
    return rows


def make_cnn(path: pathlib.Path) -> None:
    """A small CNN on 64×64 grey pictures: one or two milliseconds a call."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    nodes, weights, last, channels = [], [], "x", 1
    for layer, (to, stride) in enumerate([(32, 1), (64, 2), (64, 1), (128, 2), (128, 1)]):
        weights.append(numpy_helper.from_array((random.normal(size=(to, channels, 3, 3)) * 0.05).astype(np.float32), f"w{layer}"))
        nodes.append(helper.make_node("Conv", [last, f"w{layer}"], [f"c{layer}"], strides=[stride] * 2, pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        last, channels = f"r{layer}", to
    weights.append(numpy_helper.from_array(random.normal(size=(channels, 10)).astype(np.float32), "w"))
    nodes += [helper.make_node("GlobalAveragePool", [last], ["p"]), helper.make_node("Flatten", ["p"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])]
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 64, 64])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])]
    graph = helper.make_graph(nodes, "cnn", *ends, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def bare_side_by_side(model: pathlib.Path, threads: int) -> float:
    """Calls a second of ONNX Runtime itself with a session of one thread on each core."""
    import threading

    import numpy as np
    import onnxruntime

    def loop() -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(model), options)
        x = {"x": np.zeros((1, 1, 64, 64), dtype=np.float32)}
        session.run(None, x)
        start.wait()
        while time.perf_counter() - began[0] < 4:
            session.run(None, x)
            counts.append(1)

    counts, began = [], [0.0]
    start = threading.Barrier(threads, lambda: began.__setitem__(0, time.perf_counter()))
    all_threads = [threading.Thread(target=loop) for _ in range(threads)]
    for it in all_threads:
        it.start()
    for it in all_threads:
        it.join()
    return len(counts) / (time.perf_counter() - began[0])


def bench_workers(server: Server, folder: pathlib.Path, notes: list[str]) -> list[tuple]:
    """What a process of its own costs a model, and how much of the cores a CNN gets. Runs after `bench_serving`."""
    body = json.dumps({"inputs": [{"name": "x", "shape": [1, 64], "datatype": "FP32", "data": [0.5] * 64}]}).encode()

    def head(name: str, length: int, more: str = "content-type: application/json\r\n") -> str:
        return (
            f"POST /v2/models/{name}/infer HTTP/1.1\r\nhost: {server.address}\r\nauthorization: Bearer {server.token}\r\n"
            f"{more}content-length: {length}\r\n\r\n"
        )

    server.run("endpoints", "create", "mlp-inside", "--model", "mlp@1", "--engine", "onnxruntime", "--in-process")
    seen: dict[str, dict[int, list[dict]]] = {it: {1: [], 16: []} for it in ("mlp-inside", "mlp-onnxruntime")}
    for name in seen:
        drive(server, head(name, len(body)), body, 4)  # warm
    for _ in range(2):  # one after the other, so that both meet the same machine
        for name, by_connections in seen.items():
            for connections, runs in by_connections.items():
                runs.append(drive(server, head(name, len(body)), body, connections))
    rate = {it: max(run["rate"] for run in all_runs[16]) for it, all_runs in seen.items()}
    p50_us = {it: min(run["p50_ms"] for run in all_runs[1]) * 1000 for it, all_runs in seen.items()}
    added = p50_us["mlp-onnxruntime"] - p50_us["mlp-inside"]
    rows = [
        ("JSON requests, model in its own process", f"{rate['mlp-onnxruntime']:,.0f} /s", "in the server's process",
         f"{rate['mlp-inside']:,.0f} /s", rate["mlp-onnxruntime"] / rate["mlp-inside"], "≥ 0.75"),
        ("added by it on one connection, p50", f"{added:.1f} µs", "whole call, server's process", f"{p50_us['mlp-inside']:.0f} µs",
         added / p50_us["mlp-inside"], "stated"),
    ]
    make_cnn(folder / "cnn.onnx")
    cores = os.cpu_count() or 1
    bare = bare_side_by_side(folder / "cnn.onnx", cores)
    server.run("models", "register", "cnn", str(folder / "cnn.onnx"))
    server.run("endpoints", "create", "cnn", "--model", "cnn@1", "--engine", "onnxruntime")
    picture = bytes(4 * 64 * 64)
    ask = json.dumps({"inputs": [{"name": "x", "shape": [1, 1, 64, 64], "datatype": "FP32", "parameters": {"binary_data_size": len(picture)}}]}).encode()
    more = f"content-type: application/octet-stream\r\ninference-header-content-length: {len(ask)}\r\n"
    cnn = drive(server, head("cnn", len(ask) + len(picture), more), ask + picture, 8)
    rows.append(("requests to a small CNN", f"{cnn['rate']:,.0f} /s", f"ONNX Runtime on {cores} threads, Python", f"{bare:,.0f} /s", cnn["rate"] / bare, "≥ 0.85"))
    worker = server.run("endpoints", "show", "mlp-onnxruntime")["process"]
    rollup = pathlib.Path(f"/proc/{worker}/smaps_rollup").read_text().splitlines()
    memory = {it.split(":")[0]: int(it.split()[1]) / 1024 for it in rollup[1:]}
    notes.append(f"the process of the MLP takes {memory['Pss']:.1f} MiB (PSS; {memory['Rss']:.1f} MiB RSS, most of it shared with the others)")
    return rows


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="kaogong-bench-") as name:
        folder = pathlib.Path(name)
        data = folder / "data"
        data.mkdir()
        with Server(data):
            pass
        starts, memory = [], 0.0
        for turn in range(5):
            with Server(data) as server:
                starts.append(server.start_s)
                if turn == 4:
                    time.sleep(IDLE_S)
                    memory = server.rss_mib()
        rows = [
            ("start to first answer, existing folder", f"{min(starts):.2f} s", "limit", "1.00 s", min(starts), "< 1 s"),
            ("resident memory when idle", f"{memory:.0f} MiB", "limit", "120 MiB", memory / 120, "< 120 MiB"),
        ]
        notes: list[str] = []
        with Server(data) as server:
            rows += bench_import(server, folder)
            rows += bench_serving(server, folder, notes)
            rows += bench_workers(server, folder, notes)
        tracked = folder / "tracked"
        tracked.mkdir()
        with Server(tracked):
            pass
        rows += bench_tracking(Server, tracked, notes)
    print(f"| {'what':<44} | {'Kaogong':>12} | {'beside':<30} | {'figure':>12} | {'ratio':>6} | target |")
    print(f"|{'-' * 46}|{'-' * 14}|{'-' * 32}|{'-' * 14}|{'-' * 8}|--------|")
    for what, ours, beside, figure, ratio, target in rows:
        print(f"| {what:<44} | {ours:>12} | {beside:<30} | {figure:>12} | {ratio:>6.2f} | {target} |")
    for note in notes:
        print(f"\n{note}")


if __name__ == "__main__":
    main()
