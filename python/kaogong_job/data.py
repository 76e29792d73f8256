"""Dataset versions that a job reads, pinned when the job was submitted."""

import csv
import io
import json
import os
import tarfile
from dataclasses import dataclass

from kaogong_job import server


@dataclass(frozen=True)
class Item:
    """One picture: its name in the source, its class, its split and its original bytes."""

    name: str
    label: str | None
    split: str | None
    content: bytes


class Dataset:
    """One immutable version of a dataset."""

    def __init__(self, name, number):
        self.name = name
        self.number = number
        self._view = None

    @classmethod
    def of_input(cls, alias):
        """The version that the job's inputs name `alias`."""
        inputs = json.loads(os.environ.get("KAOGONG_INPUTS") or "{}")
        if alias not in inputs:
            raise KeyError(f"the job has no input `{alias}`; it has: {', '.join(sorted(inputs)) or 'none'}")
        pinned = inputs[alias]
        return cls(pinned["dataset"], int(pinned["number"]))

    def _url(self, *parts, **query):
        return server.project_url("datasets", self.name, "versions", self.number, *parts, **query)

    @property
    def view(self):
        """The version as the server describes it: items, splits, columns."""
        if self._view is None:
            self._view = server.read_json(self._url())
        return self._view

    @property
    def summary(self):
        """What is in the version."""
        return self.view["summary"]

    def items(self, split=None):
        """Gives the pictures one by one. When the server restarts, the stream is opened again and goes on
        after the last picture that was given: a version never changes, so the order is the same."""
        url = self._url("export", format="images", split=split, manifest="true")
        given, patience = 0, server.Patience()
        while True:
            try:
                with server.open_url(url) as answer:
                    for at, item in enumerate(_read_tar(answer)):
                        if at >= given:
                            patience.progress()
                            given += 1
                            yield item
                return
            except (*server.BROKEN, tarfile.ReadError) as error:
                patience.wait(error)

    def table(self, split=None):
        """The rows as a list of dicts of texts, in order; an empty text is no value."""
        text = server.read(self._url("export", format="csv", split=split, rewrite="true")).decode("utf-8-sig")
        return list(csv.DictReader(io.StringIO(text, newline="")))


def _read_tar(answer):
    """Items of an export whose first entry is `manifest.jsonl`. Raises EOFError for a stream that was cut."""
    with tarfile.open(fileobj=answer, mode="r|", encoding="utf-8", errors="replace", bufsize=1 << 18) as archive:
        lines, expected, seen = [], 0, 0
        for entry in archive:
            if not entry.isfile():
                continue
            content = archive.extractfile(entry).read()
            if len(content) < entry.size:
                raise EOFError(f"{entry.name} was cut")
            if seen == 0 and not expected and entry.name == "manifest.jsonl":
                lines = [json.loads(line) for line in content.splitlines() if line]
                expected = len(lines)
                continue
            if seen >= expected:
                raise server.Refused(f"the export holds {entry.name}, which its manifest does not")
            line = lines[seen]
            seen += 1
            yield Item(line["name"], line["label"], line["split"], content)
        if seen < expected:
            raise EOFError(f"{seen} of {expected} pictures came")
