"""The few routes that a job reads, from memory; can break off answers like a server that is killed."""

import io
import json
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


def tar_of(entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def pictures_export(items):
    """`items` are (name, label, split, content)."""
    lines = [json.dumps({"name": name, "label": label, "split": split}) for name, label, split, _ in items]
    manifest = ("\n".join(lines) + "\n").encode()
    return tar_of([("manifest.jsonl", manifest), *((name, content) for name, _, _, content in items)])


class FakeServer:
    """Serves one dataset version, `demo/data@3`."""

    def __init__(self, view, export, breaks=()):
        self.view, self.export, self.breaks, self.calls = view, export, list(breaks), []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                fake.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, handler):
        parts = urlsplit(handler.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.calls.append(handler.path)
        base = "/api/v1/projects/demo/datasets/data/versions/3"
        if handler.headers["Authorization"] != "Bearer secret":
            return self.send(handler, 401, b'{"error":{"message":"who is calling?"}}')
        if parts.path == base:
            return self.send(handler, 200, json.dumps(self.view).encode())
        if parts.path == base + "/export":
            body = self.export(query)
            cut = self.breaks.pop(0) if self.breaks else None
            if cut == "busy":
                return self.send(handler, 503, b"{}")
            return self.send(handler, 200, body, cut)
        return self.send(handler, 404, b'{"error":{"message":"nothing here"}}')

    @staticmethod
    def send(handler, status, body, cut=None):
        handler.send_response(status)
        if cut is None:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body if cut is None else body[: int(len(body) * cut)])

    def environment(self):
        return {
            "KAOGONG_URL": self.url,
            "KAOGONG_TOKEN": "secret",
            "KAOGONG_PROJECT": "demo",
            "KAOGONG_INPUTS": json.dumps({"data": {"dataset": "data", "number": 3}}),
            "KAOGONG_PATIENCE_S": "20",
        }

    def close(self):
        self.server.shutdown()
        self.server.server_close()
