"""Artifacts of runs: there and back, large, in ranges, paths that climb."""

from __future__ import annotations

import json
import os

import mlflow
from mlflow_kit import ask


def test_artifacts_there_and_back(client, run_id, tmp_path):
    folder = tmp_path / "out"
    (folder / "深" / "er").mkdir(parents=True)
    (folder / "plain.txt").write_text("hello")
    (folder / "深" / "naïve file 1+&.txt").write_text("考工")
    (folder / "深" / "er" / "100%.bin").write_bytes(b"\0\1\2")
    (folder / "empty").write_bytes(b"")
    client.log_artifacts(run_id, str(folder), "all")
    client.log_text(run_id, "x", "note.txt")
    client.log_dict(run_id, {"a": 1}, "d/a.json")
    top = {it.path: it.is_dir for it in client.list_artifacts(run_id)}
    assert top == {"all": True, "note.txt": False, "d": True}
    below = {it.path: (it.is_dir, it.file_size) for it in client.list_artifacts(run_id, "all")}
    assert below == {"all/plain.txt": (False, 5), "all/深": (True, None), "all/empty": (False, 0)}
    got = client.download_artifacts(run_id, "all", str(tmp_path))
    for path in ["plain.txt", "深/naïve file 1+&.txt", "深/er/100%.bin", "empty"]:
        assert open(os.path.join(got, path), "rb").read() == (folder / path).read_bytes()
    assert mlflow.artifacts.load_text(f"runs:/{run_id}/note.txt") == "x"
    assert client.list_artifacts(run_id, "note.txt") == []
    client.log_text(run_id, "y", "note.txt")
    assert mlflow.artifacts.load_text(f"runs:/{run_id}/note.txt") == "y"


def test_a_large_artifact(client, run_id, tmp_path):
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(20 << 20))
    client.log_artifact(run_id, str(path))
    got = client.download_artifacts(run_id, "large.bin", str(tmp_path / "."))
    assert open(got, "rb").read() == path.read_bytes()


def test_ranges_of_an_artifact(client, run_id):
    client.log_text(run_id, "0123456789", "r.txt")
    experiment = client.get_run(run_id).info.experiment_id
    at = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run_id}/artifacts/r.txt"
    status, headers, body = ask("GET", at, headers={"Range": "bytes=2-4"})
    assert (status, body) == (206, b"234") and headers.get("content-range", headers.get("Content-Range")) == "bytes 2-4/10"
    assert ask("GET", at, headers={"Range": "bytes=-3"})[2] == b"789"
    assert ask("GET", at, headers={"Range": "bytes=50-"})[0] == 416
    assert ask("GET", at)[2] == b"0123456789"


def test_artifact_paths_that_climb_are_refused(client, run_id):
    experiment = client.get_run(run_id).info.experiment_id
    base = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run_id}/artifacts"
    for path in ["/%2e%2e/x", "/a/%2e%2e/%2e%2e/x", "/a%2f%2e%2e%2fx", "/a%00b", "/%252e%252e", "/a%252f%252e%252e", "/c:%5ca", "/%5c%5chost%5ca", "/a%23b", "/a/"]:
        status, _, body = ask("PUT", base + path, raw=b"x")
        assert status in (400, 404), (path, status, body)
    status, _, body = ask("GET", base + "/absent")
    assert status == 404 and json.loads(body)["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    status, _, _ = ask("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/run_00000000000000000000000000/artifacts/x", raw=b"x")
    assert status == 404


def test_names_with_odd_letters_are_names(client, run_id, tmp_path):
    names = ["back\\slash.txt", "a\\b\\c.txt", "\\a", "..\\x", "a\\..\\..\\b", "sp ace.txt", "colon:.txt", "semi;colon.txt", "数据 é.txt"]
    for name in names:
        (tmp_path / name).write_text(name)
        client.log_artifact(run_id, str(tmp_path / name))
    client.log_artifact(run_id, str(tmp_path / names[0]), "folder\\with")
    assert {it.path for it in client.list_artifacts(run_id)} == {*names, "folder\\with"}
    got = tmp_path / "got"
    got.mkdir()
    for name in [*names, f"folder\\with/{names[0]}"]:
        assert open(client.download_artifacts(run_id, name, str(got))).read() == name.rsplit("/", 1)[-1]


def test_artifacts_can_be_removed(client, run_id):
    client.log_text(run_id, "x", "a/b.txt")
    client.log_text(run_id, "x", "ab.txt")
    experiment = client.get_run(run_id).info.experiment_id
    assert ask("DELETE", f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run_id}/artifacts/a")[0] == 200
    assert [it.path for it in client.list_artifacts(run_id)] == ["ab.txt"]
