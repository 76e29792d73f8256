"""The dataset folder opens in plain pylance: nobody is locked in.

Run against a server that is up, with KAOGONG_PROGRAM naming the program and KAOGONG_DATA its data folder.
"""

from __future__ import annotations

import json
import os
import pathlib
import struct
import subprocess
import uuid
import zlib

import lance


def png(value: int) -> bytes:
    """A grey 4×4 picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes([value] * 4) for _ in range(4))
    head = struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def kaogong(*arguments: str) -> dict:
    done = subprocess.run([os.environ["KAOGONG_PROGRAM"], *arguments, "--output", "json"], check=True, capture_output=True)
    return json.loads(done.stdout)


def test_items_and_labels_are_plain_tables(tmp_path):
    originals = {}
    for number in range(12):
        label = "dark" if number < 6 else "bright"
        folder = tmp_path / "pictures" / label
        folder.mkdir(parents=True, exist_ok=True)
        originals[f"{label}/{number}.png"] = png(number * 20)
        (folder / f"{number}.png").write_bytes(originals[f"{label}/{number}.png"])
    name = f"open-{uuid.uuid4().hex[:8]}"
    kaogong("datasets", "import", str(tmp_path / "pictures"), "--name", name)
    folders = sorted(pathlib.Path(os.environ["KAOGONG_DATA"], "tables").iterdir(), key=lambda it: it.stat().st_mtime)
    items = lance.dataset(str(folders[-1] / "items.lance")).to_table().to_pylist()
    assert len(items) == 12
    stored = {row["name"]: row["content"] for row in items}
    assert stored == originals
    labels = lance.dataset(str(folders[-1] / "labels.lance")).to_table().to_pylist()
    by_item = {row["item_id"]: row["label"] for row in labels}
    assert all(row["name"].startswith(by_item[row["item_id"]]) for row in items)
