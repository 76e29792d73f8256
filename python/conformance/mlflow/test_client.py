"""Kaogong's MLflow protocol, seen through the unmodified MLflow client.

Run against a server that is up:

    MLFLOW_TRACKING_URI=http://127.0.0.1:7300/p/default MLFLOW_TRACKING_TOKEN=… pytest test_client.py

Every test makes its own experiments, runs and models under names that no other run uses.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
import urllib.error
import urllib.request
import uuid

import mlflow
import pytest
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

URI = os.environ["MLFLOW_TRACKING_URI"].rstrip("/")
TOKEN = os.environ.get("MLFLOW_TRACKING_TOKEN", "")


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def client() -> MlflowClient:
    mlflow.set_tracking_uri(URI)
    return MlflowClient(URI)


@pytest.fixture
def experiment(client: MlflowClient) -> str:
    return client.create_experiment(unique("exp"))


@pytest.fixture
def run_id(client: MlflowClient, experiment: str) -> str:
    return client.create_run(experiment).info.run_id


def ask(method: str, path: str, body: object = None, raw: bytes | None = None, headers: dict | None = None):
    """One HTTP call beside the client: status, headers, body."""
    data = raw if raw is not None else (json.dumps(body).encode() if body is not None else None)
    request = urllib.request.Request(f"{URI}{path}", data=data, method=method)
    if TOKEN:
        request.add_header("Authorization", f"Bearer {TOKEN}")
    if data is not None:
        request.add_header("Content-Type", "application/json")
    for key, value in (headers or {}).items():
        request.add_header(key, value)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def refused(call, *args, **kwargs) -> MlflowException:
    with pytest.raises(MlflowException) as caught:
        call(*args, **kwargs)
    return caught.value


# ---- the server itself


def test_version_health_and_capabilities():
    from packaging.version import Version

    assert Version(ask("GET", "/version")[2].decode()) >= Version("3.4")
    assert ask("GET", "/health")[0] == 200
    info = json.loads(ask("GET", "/api/3.0/mlflow/server-info")[2])
    assert info["artifact_serving_enabled"] is True
    assert info["multipart_uploads_enabled"] is False


@pytest.mark.parametrize("path", ["/api/3.0/mlflow/traces/x", "/api/2.0/mlflow/webhooks", "/ajax-api/3.0/mlflow/gateway/x"])
def test_groups_that_are_absent_say_so(path):
    status, _, body = ask("GET", path)
    assert status == 404
    assert json.loads(body)["error_code"] == "ENDPOINT_NOT_FOUND"


def test_the_twin_for_the_web_console_answers(experiment):
    status, _, body = ask("GET", f"/ajax-api/2.0/mlflow/experiments/get?experiment_id={experiment}")
    assert status == 200 and json.loads(body)["experiment"]["experiment_id"] == experiment


# ---- experiments


def test_experiment_life(client):
    name = unique("life")
    made = client.create_experiment(name, tags={"team": "vision"})
    found = client.get_experiment(made)
    assert (found.name, found.lifecycle_stage, found.tags) == (name, "active", {"team": "vision"})
    assert found.artifact_location.startswith("mlflow-artifacts:/")
    assert client.get_experiment_by_name(name).experiment_id == made
    assert client.get_experiment_by_name(unique("none")) is None
    client.set_experiment_tag(made, "stage", "x")
    assert client.get_experiment(made).tags["stage"] == "x"
    client.delete_experiment_tag(made, "stage")
    assert "stage" not in client.get_experiment(made).tags
    client.rename_experiment(made, name + "-2")
    assert client.get_experiment(made).name == name + "-2"
    client.delete_experiment(made)
    assert client.get_experiment(made).lifecycle_stage == "deleted"
    assert "active" in str(refused(client.create_run, made))
    client.restore_experiment(made)
    assert client.get_experiment(made).lifecycle_stage == "active"


def test_an_experiment_takes_its_runs_along(client, experiment, run_id):
    client.delete_experiment(experiment)
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"
    client.restore_experiment(experiment)
    assert client.get_run(run_id).info.lifecycle_stage == "active"


def test_experiment_errors(client, experiment):
    name = client.get_experiment(experiment).name
    assert refused(client.create_experiment, name).error_code == "RESOURCE_ALREADY_EXISTS"
    problem = refused(client.get_experiment, "exp_00000000000000000000000000")
    assert problem.error_code == "RESOURCE_DOES_NOT_EXIST" and "No Experiment with id=" in str(problem)
    assert refused(client.get_experiment, "12345").error_code == "RESOURCE_DOES_NOT_EXIST"
    assert refused(client.create_experiment, "x" * 501).error_code == "INVALID_PARAMETER_VALUE"


def test_the_default_experiment_is_zero(client):
    found = client.get_experiment("0")
    assert found.experiment_id == "0" and found.name == "Default"
    run = client.create_run("0")
    assert run.info.experiment_id == "0"
    assert run.info.run_id in [it.info.run_id for it in client.search_runs(["0"])]
    client.delete_run(run.info.run_id)


def test_search_experiments_filters_orders_and_pages(client):
    mark = unique("mark")
    names = [f"{mark}-{it}" for it in "cab"]
    for name in names:
        client.create_experiment(name, tags={"mark": mark, "last": name[-1]})
    search = lambda **more: [it.name[-1] for it in client.search_experiments(**more)]  # noqa: E731
    assert search(filter_string=f"tags.mark = '{mark}'", order_by=["name ASC"]) == ["a", "b", "c"]
    assert search(filter_string=f"name LIKE '{mark}%' AND tags.last != 'a'", order_by=["name DESC"]) == ["c", "b"]
    assert search(filter_string=f"name ILIKE '{mark.upper()}%'", order_by=["creation_time ASC"])[0] == "c"
    first = client.search_experiments(filter_string=f"tags.mark='{mark}'", max_results=2, order_by=["name"])
    assert len(first) == 2 and first.token
    rest = client.search_experiments(filter_string=f"tags.mark='{mark}'", max_results=2, order_by=["name"], page_token=first.token)
    assert [it.name[-1] for it in rest] == ["c"] and not rest.token
    client.delete_experiment(client.get_experiment_by_name(names[0]).experiment_id)
    assert len(search(filter_string=f"tags.mark='{mark}'")) == 2
    assert len(search(filter_string=f"tags.mark='{mark}'", view_type=ViewType.DELETED_ONLY)) == 1
    assert len(search(filter_string=f"tags.mark='{mark}'", view_type=ViewType.ALL)) == 3


# ---- runs


def test_run_life(client, experiment):
    run = client.create_run(experiment, run_name="first", tags={"a": "1"}, start_time=1_700_000_000_000)
    run_id = run.info.run_id
    assert (run.info.status, run.info.run_name, run.info.start_time) == ("RUNNING", "first", 1_700_000_000_000)
    assert run.data.tags["a"] == "1" and run.data.tags["mlflow.runName"] == "first"
    assert run.info.artifact_uri == f"mlflow-artifacts:/{experiment}/{run_id}/artifacts"
    client.set_terminated(run_id, "FAILED", end_time=1_700_000_001_000)
    found = client.get_run(run_id)
    assert (found.info.status, found.info.end_time) == ("FAILED", 1_700_000_001_000)
    client.update_run(run_id, name="second")
    assert client.get_run(run_id).info.run_name == "second"
    assert client.get_run(run_id).data.tags["mlflow.runName"] == "second"
    client.set_tag(run_id, "mlflow.runName", "third")
    assert client.get_run(run_id).info.run_name == "third"
    assert client.create_run(experiment).info.run_name


def test_deleted_runs_are_hidden_and_come_back(client, experiment):
    keep, drop = (client.create_run(experiment).info.run_id for _ in range(2))
    client.delete_run(drop)
    ids = lambda view: {it.info.run_id for it in client.search_runs([experiment], run_view_type=view)}  # noqa: E731
    assert ids(ViewType.ACTIVE_ONLY) == {keep}
    assert ids(ViewType.DELETED_ONLY) == {drop}
    assert ids(ViewType.ALL) == {keep, drop}
    problem = refused(client.log_metric, drop, "a", 1.0)
    assert problem.error_code == "INVALID_PARAMETER_VALUE" and "must be in the 'active' state" in str(problem)
    client.restore_run(drop)
    client.log_metric(drop, "a", 1.0)
    assert client.get_run(drop).info.lifecycle_stage == "active"


def test_missing_runs_are_told_in_mlflows_words(client):
    problem = refused(client.get_run, "run_00000000000000000000000000")
    assert problem.error_code == "RESOURCE_DOES_NOT_EXIST" and "Run with id=" in str(problem)
    assert refused(client.get_run, uuid.uuid4().hex).error_code == "RESOURCE_DOES_NOT_EXIST"


def test_params_metrics_and_tags(client, run_id):
    client.log_param(run_id, "solver", "adam")
    client.log_param(run_id, "solver", "adam")
    problem = refused(client.log_param, run_id, "solver", "sgd")
    assert problem.error_code == "INVALID_PARAMETER_VALUE" and "Changing param values is not allowed" in str(problem)
    client.log_metric(run_id, "val/loss", 0.5, step=1)
    client.log_metric(run_id, "val/loss", 0.25, step=2)
    client.log_metric(run_id, "val/loss", 0.75, step=0)
    client.set_tag(run_id, "备注", "第一次")
    client.set_tag(run_id, "gone", "x")
    client.delete_tag(run_id, "gone")
    assert refused(client.delete_tag, run_id, "gone").error_code == "RESOURCE_DOES_NOT_EXIST"
    data = client.get_run(run_id).data
    assert data.params == {"solver": "adam"}
    assert data.metrics == {"val/loss": 0.25}
    assert data.tags["备注"] == "第一次" and "gone" not in data.tags


def test_numbers_without_an_ordinary_value(client, run_id):
    for key, value in [("nan", math.nan), ("inf", math.inf), ("minus", -math.inf), ("tiny", 5e-324), ("big", 1e300)]:
        client.log_metric(run_id, key, value)
    metrics = client.get_run(run_id).data.metrics
    assert math.isnan(metrics["nan"])
    assert metrics["inf"] == pytest.approx(1.7976931348623157e308) and metrics["minus"] == pytest.approx(-1.7976931348623157e308)
    assert metrics["tiny"] == 5e-324 and metrics["big"] == 1e300
    assert math.isnan(client.get_metric_history(run_id, "nan")[0].value)
    status, _, _ = ask("POST", "/api/2.0/mlflow/runs/log-metric", raw=b'{"run_id": "%s", "key": "bare", "value": NaN, "timestamp": "5"}' % run_id.encode())
    assert status == 200 and math.isnan(client.get_run(run_id).data.metrics["bare"])


def test_large_integers_keep_every_digit(client, run_id):
    step, moment = 2**53 + 1, 2**53 + 3
    client.log_batch(run_id, metrics=[Metric("m", 1.0, moment, step)])
    point = client.get_metric_history(run_id, "m")[0]
    assert (point.step, point.timestamp) == (step, moment)


def test_batches_and_history(client, run_id):
    metrics = [Metric("loss", 1.0 / (it + 1), 1_700_000_000_000 + it, it) for it in range(1000)]
    client.log_batch(run_id, metrics=metrics)
    client.log_batch(run_id, params=[Param(f"p{it}", str(it)) for it in range(100)])
    client.log_batch(run_id, tags=[RunTag(f"t{it}", "x") for it in range(100)])
    points = client.get_metric_history(run_id, "loss")
    assert [it.step for it in points] == list(range(1000))
    data = client.get_run(run_id).data
    assert len(data.params) == 100 and data.metrics["loss"] == pytest.approx(0.001)
    assert client.get_metric_history(run_id, "absent") == []


def test_history_pages_and_intervals(client, run_id):
    client.log_batch(run_id, metrics=[Metric("m", float(it), it, it) for it in range(250)])
    status, _, body = ask("GET", f"/api/2.0/mlflow/metrics/get-history?run_id={run_id}&metric_key=m&max_results=200")
    first = json.loads(body)
    assert status == 200 and len(first["metrics"]) == 200
    _, _, body = ask("GET", f"/api/2.0/mlflow/metrics/get-history?run_id={run_id}&metric_key=m&max_results=200&page_token={first['next_page_token']}")
    assert len(json.loads(body)["metrics"]) == 50
    _, _, body = ask("GET", f"/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval?run_ids={run_id}&metric_key=m&max_results=10&start_step=100&end_step=199")
    steps = [it["step"] for it in json.loads(body)["metrics"]]
    assert steps[0] == 100 and steps[-1] == 199 and len(steps) <= 11


def test_a_long_history_comes_in_pages(client, run_id):
    count = 26_000
    for at in range(0, count, 1000):
        client.log_batch(run_id, metrics=[Metric("m", float(it), it, it) for it in range(at, at + 1000)])
    first = json.loads(ask("GET", f"/api/2.0/mlflow/metrics/get-history?run_id={run_id}&metric_key=m")[2])
    assert len(first["metrics"]) == 25_000 and first["next_page_token"]
    assert [it.step for it in client.get_metric_history(run_id, "m")] == list(range(count))
    path = f"/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval?run_ids={run_id}&run_ids={run_id}&metric_key=m&max_results=25000"
    assert len(json.loads(ask("GET", path)[2])["metrics"]) <= 25_000


def test_long_values(client, run_id):
    # Nothing that a database could make smaller before it puts it into an index.
    noise = "".join(uuid.uuid4().hex for _ in range(250))
    client.log_param(run_id, "p", noise[:6000])
    client.set_tag(run_id, "t", noise)
    data = client.get_run(run_id).data
    assert (data.params["p"], data.tags["t"]) == (noise[:6000], noise)


def test_limits_are_told_in_mlflows_words(client, run_id):
    send = lambda body: json.loads(ask("POST", "/api/2.0/mlflow/runs/log-batch", body)[2])  # noqa: E731
    metrics = [{"key": "m", "value": it, "timestamp": 1, "step": it} for it in range(1001)]
    assert "at most 1000 metrics. Got 1001" in send({"run_id": run_id, "metrics": metrics})["message"]
    assert "'params[0].key'" in send({"run_id": run_id, "params": [{"key": "a/../b", "value": "1"}]})["message"]
    assert "Missing value for required parameter 'run_id'" in send({"metrics": []})["message"]
    assert "'Param value' exceeds the maximum length of 6000" in send({"run_id": run_id, "params": [{"key": "a", "value": "x" * 6001}]})["message"]
    assert "Invalid value" in send({"run_id": run_id, "metrics": "many"})["message"]
    status, _, body = ask("POST", "/api/2.0/mlflow/runs/log-batch", raw=b"{broken")
    assert status == 400 and json.loads(body)["error_code"] == "INVALID_PARAMETER_VALUE"
    status, _, body = ask("POST", "/api/2.0/mlflow/runs/log-batch", raw=b"[1]")
    assert status == 400
    assert client.get_run(run_id).data.metrics == {}


def test_no_body_makes_a_server_error(run_id):
    bodies = [{}, {"run_id": 5}, {"run_id": None}, {"run_id": run_id, "key": [], "value": {}}, {"run_id": run_id, "tags": [1]}]
    for path in ["runs/create", "runs/update", "runs/search", "runs/log-metric", "runs/log-batch", "runs/log-inputs", "runs/outputs", "experiments/create", "registered-models/create", "model-versions/create", "logged-models", "logged-models/search"]:
        for body in bodies:
            status, _, answer = ask("POST", f"/api/2.0/mlflow/{path}", body)
            assert status < 500, (path, body, answer)
            if status >= 400:
                assert json.loads(answer)["error_code"], (path, body)


def test_a_repeated_request_makes_no_second_run(client, experiment):
    body = {"experiment_id": experiment, "start_time": int(time.time() * 1000), "user_id": "me", "tags": []}
    ids = {json.loads(ask("POST", "/api/2.0/mlflow/runs/create", body)[2])["run"]["info"]["run_id"] for _ in range(3)}
    assert len(ids) == 1
    client.log_metric(ids.copy().pop(), "m", 1.0)
    again = json.loads(ask("POST", "/api/2.0/mlflow/runs/create", body)[2])["run"]["info"]["run_id"]
    assert again not in ids
    point = {"run_id": again, "key": "m", "value": 1.5, "timestamp": 7, "step": 3}
    for _ in range(3):
        assert ask("POST", "/api/2.0/mlflow/runs/log-metric", point)[0] == 200
    assert len(client.get_metric_history(again, "m")) == 1


def test_many_threads_log_to_one_run(client, run_id):
    def log(part: int) -> None:
        for it in range(20):
            client.log_metric(run_id, f"m{part}", float(it), step=it)

    threads = [threading.Thread(target=log, args=(it,)) for it in range(8)]
    for it in threads:
        it.start()
    for it in threads:
        it.join()
    assert client.get_run(run_id).data.metrics == {f"m{it}": 19.0 for it in range(8)}
    assert all(len(client.get_metric_history(run_id, f"m{it}")) == 20 for it in range(8))


def test_search_runs(client, experiment):
    for it in range(6):
        run = client.create_run(experiment, run_name=f"run {it}", start_time=1000 + it)
        run_id = run.info.run_id
        client.log_param(run_id, "learning rate", str(it / 10))
        client.log_metric(run_id, "acc", it / 10)
        client.set_tag(run_id, "kind", "even" if it % 2 == 0 else "odd")
        if it > 3:
            client.set_tag(run_id, "late", "yes")
    names = lambda filter_string="", **more: [it.info.run_name[-1] for it in client.search_runs([experiment], filter_string, **more)]  # noqa: E731
    assert names() == ["5", "4", "3", "2", "1", "0"]
    assert names("metrics.acc >= 0.4") == ["5", "4"]
    assert names("metrics.acc > 0.1 AND tags.kind = 'even'", order_by=["metrics.acc ASC"]) == ["2", "4"]
    assert names("params.`learning rate` = '0.3'") == ["3"]
    assert names('params."learning rate" != \'0.3\'', order_by=["params.`learning rate` ASC"]) == ["0", "1", "2", "4", "5"]
    assert names("tags.kind LIKE 'ev%'") == ["4", "2", "0"]
    assert names("tags.kind LIKE 'EV%'") == []
    assert names("tags.kind ILIKE 'EV%'") == ["4", "2", "0"]
    assert names("attributes.run_name = 'run 1'") == ["1"]
    assert names("attributes.start_time >= 1004", order_by=["start_time ASC"]) == ["4", "5"]
    assert names("status = 'RUNNING' and tags.late IS NULL") == ["3", "2", "1", "0"]
    assert names("tags.late IS NOT NULL") == ["5", "4"]
    ids = [it.info.run_id for it in client.search_runs([experiment])]
    assert names(f"run_id IN ('{ids[0]}', '{ids[2]}')") == ["5", "3"]
    assert names(f"attributes.run_id NOT IN ('{ids[0]}')") == ["4", "3", "2", "1", "0"]


def test_search_runs_pages(client, experiment):
    for it in range(5):
        client.create_run(experiment, start_time=1000 + it, tags={"n": str(it)})
    for filter_string in ["", "tags.absent IS NULL"]:
        seen, token = [], None
        while True:
            page = client.search_runs([experiment], filter_string, max_results=2, page_token=token)
            seen += [it.data.tags["n"] for it in page]
            token = page.token
            if not token:
                break
        assert seen == ["4", "3", "2", "1", "0"]
    assert client.search_runs(["exp_00000000000000000000000000"]) == []


@pytest.mark.parametrize("filter_string", ["metrics.a = 'x'", "params.a = 1", "colour = 'red'", "metrics.a > 1 OR metrics.b > 1", "a", "tags.a = 'x", "run_id IN ()", "x.y = 'z'"])
def test_filters_that_mean_nothing_are_refused(client, experiment, filter_string):
    assert refused(client.search_runs, [experiment], filter_string).error_code == "INVALID_PARAMETER_VALUE"


def test_a_long_pattern_is_refused(client, experiment):
    for filter_string in [f"tags.a LIKE '{'x' * 8001}'", f"params.a ILIKE '{'x' * 8001}'"]:
        assert refused(client.search_runs, [experiment], filter_string).error_code == "INVALID_PARAMETER_VALUE"
    assert client.search_runs([experiment], f"tags.a LIKE '{'x' * 8000}'") == []


def test_dataset_inputs(client, experiment, run_id):
    dataset = Dataset(name="digits", digest="abc123", source_type="local", source="{}", schema="{}", profile="{}")
    entry = DatasetInput(dataset=dataset, tags=[InputTag("mlflow.data.context", "training")])
    for _ in range(2):
        client.log_inputs(run_id, [entry])
    inputs = client.get_run(run_id).inputs.dataset_inputs
    assert [(it.dataset.name, it.dataset.digest) for it in inputs] == [("digits", "abc123")]
    find = lambda text: len(client.search_runs([experiment], text))  # noqa: E731
    assert find("dataset.name = 'digits'") == 1 and find("datasets.context = 'training'") == 1
    assert find("dataset.digest LIKE 'x%'") == 0
    body = json.loads(ask("POST", "/api/2.0/mlflow/experiments/search-datasets", {"experiment_ids": [experiment]})[2])
    assert body["dataset_summaries"] == [{"experiment_id": experiment, "name": "digits", "digest": "abc123", "context": "training"}]


def test_the_fluent_api(client):
    mlflow.set_experiment(unique("fluent"))
    with mlflow.start_run(run_name="parent") as parent:
        mlflow.log_params({"a": 1, "b": "x"})
        mlflow.log_metrics({"m": 1.0, "n": 2.0}, step=3)
        with mlflow.start_run(run_name="child", nested=True) as child:
            mlflow.log_metric("m", 2.0)
    assert client.get_run(parent.info.run_id).info.status == "FINISHED"
    assert client.get_run(child.info.run_id).data.tags["mlflow.parentRunId"] == parent.info.run_id
    with pytest.raises(ZeroDivisionError), mlflow.start_run() as broken:
        _ = 1 / 0
    assert client.get_run(broken.info.run_id).info.status == "FAILED"
    frame = mlflow.search_runs(experiment_ids=[parent.info.experiment_id])
    assert len(frame) == 3


# ---- artifacts


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
    for path in ["/%2e%2e/x", "/a/%2e%2e/%2e%2e/x", "/a%2f%2e%2e%2fx", "/a%00b", "/a%5cb"]:
        status, _, body = ask("PUT", base + path, raw=b"x")
        assert status in (400, 404), (path, status, body)
    status, _, body = ask("GET", base + "/absent")
    assert status == 404 and json.loads(body)["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    status, _, _ = ask("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/run_00000000000000000000000000/artifacts/x", raw=b"x")
    assert status == 404


def test_artifacts_can_be_removed(client, run_id):
    client.log_text(run_id, "x", "a/b.txt")
    client.log_text(run_id, "x", "ab.txt")
    experiment = client.get_run(run_id).info.experiment_id
    assert ask("DELETE", f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run_id}/artifacts/a")[0] == 200
    assert [it.path for it in client.list_artifacts(run_id)] == ["ab.txt"]


# ---- models


def tiny_onnx():
    import onnx
    from onnx import TensorProto, helper

    weight = helper.make_tensor("w", TensorProto.FLOAT, [2, 1], [1.0, 2.0])
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def test_an_onnx_model_is_logged_registered_and_loaded(client):
    name = unique("tiny")
    mlflow.set_experiment(unique("onnx"))
    with mlflow.start_run() as run:
        info = mlflow.onnx.log_model(tiny_onnx(), name="model", registered_model_name=name, save_as_external_data=False)
    loaded = mlflow.onnx.load_model(info.model_uri)
    assert loaded.graph.name == "tiny"
    version = client.get_model_version(name, "1")
    assert (version.status, version.run_id) == ("READY", run.info.run_id)
    client.set_registered_model_alias(name, "champion", "1")
    assert mlflow.onnx.load_model(f"models:/{name}@champion").graph.name == "tiny"
    assert mlflow.onnx.load_model(f"models:/{name}/1").graph.name == "tiny"
    assert mlflow.onnx.load_model(f"runs:/{run.info.run_id}/model").graph.name == "tiny"
    outputs = client.get_run(run.info.run_id).outputs.model_outputs
    assert [it.model_id for it in outputs] == [info.model_id]
    model = client.get_logged_model(info.model_id)
    assert (str(model.status), model.source_run_id, model.name) == ("READY", run.info.run_id, "model")
    paths = {it.path for it in client.list_logged_model_artifacts(info.model_id)}
    assert {"MLmodel", "model.onnx"} <= paths


def test_logged_models(client):
    experiment = client.create_experiment(unique("logged"))
    made = [client.create_logged_model(experiment, name=f"m{it}", params={"depth": str(it)}, tags={"odd": str(it % 2)}, model_type="agent") for it in range(3)]
    found = client.get_logged_model(made[0].model_id)
    assert (found.name, found.params, found.model_type, str(found.status)) == ("m0", {"depth": "0"}, "agent", "PENDING")
    assert str(client.finalize_logged_model(made[0].model_id, "READY").status) == "READY"
    client.set_logged_model_tags(made[0].model_id, {"a": "b"})
    assert client.get_logged_model(made[0].model_id).tags["a"] == "b"
    client.delete_logged_model_tag(made[0].model_id, "a")
    assert "a" not in client.get_logged_model(made[0].model_id).tags
    names = lambda **more: [it.name for it in client.search_logged_models([experiment], **more)]  # noqa: E731
    assert names() == ["m2", "m1", "m0"]
    assert names(filter_string="tags.odd = '0'", order_by=[{"field_name": "creation_timestamp", "ascending": True}]) == ["m0", "m2"]
    assert names(filter_string="params.depth = '1'") == ["m1"]
    assert names(filter_string="name LIKE 'm%' AND status = 'READY'") == ["m0"]
    first = client.search_logged_models([experiment], max_results=2)
    assert len(first) == 2 and len(client.search_logged_models([experiment], max_results=2, page_token=first.token)) == 1
    client.delete_logged_model(made[2].model_id)
    assert names() == ["m1", "m0"]
    assert refused(client.get_logged_model, made[2].model_id).error_code == "RESOURCE_DOES_NOT_EXIST"
    many = client.create_logged_model(experiment, name="many", params={f"p{it}": "x" for it in range(250)})
    assert len(client.get_logged_model(many.model_id).params) == 250


def test_metrics_of_logged_models(client):
    experiment = mlflow.set_experiment(unique("measured")).experiment_id
    with mlflow.start_run() as run:
        run_id = run.info.run_id
        good, bad, unseen = (client.create_logged_model(experiment, name=it, source_run_id=run_id) for it in ["good", "bad", "unseen"])
        mlflow.log_metric("acc", 0.25, step=1, model_id=good.model_id)
        mlflow.log_metric("acc", 0.75, step=2, model_id=good.model_id)
    client.log_batch(run_id, metrics=[Metric("acc", 0.5, 1, 1, model_id=bad.model_id)])
    client.log_metric(run_id, "loss", 0.125, model_id=bad.model_id, dataset_name="digits", dataset_digest="abc")
    metrics = mlflow.get_logged_model(good.model_id).metrics
    assert [(it.key, it.value, it.step, it.model_id, it.run_id) for it in metrics] == [
        ("acc", 0.25, 1, good.model_id, run_id),
        ("acc", 0.75, 2, good.model_id, run_id),
    ]
    loss = [it for it in mlflow.get_logged_model(bad.model_id).metrics if it.key == "loss"]
    assert [(it.value, it.dataset_name, it.dataset_digest) for it in loss] == [(0.125, "digits", "abc")]
    assert not mlflow.get_logged_model(unseen.model_id).metrics
    assert client.get_run(run_id).data.metrics["acc"] == 0.75

    def names(filter_string=None, **more):
        found = mlflow.search_logged_models(experiment_ids=[experiment], filter_string=filter_string, output_format="list", **more)
        return [it.name for it in found]

    by_acc = lambda ascending: [{"field_name": "metrics.acc", "ascending": ascending}]  # noqa: E731
    assert names("metrics.acc > 0.5") == ["good"]
    assert names("metrics.acc >= 0.5", order_by=by_acc(True)) == ["bad", "good"]
    assert names(order_by=by_acc(True)) == ["bad", "good", "unseen"]
    assert names(order_by=by_acc(False)) == ["good", "bad", "unseen"]
    assert names("metrics.loss < 1", datasets=[{"dataset_name": "digits"}]) == ["bad"]
    assert names("metrics.acc < 1", datasets=[{"dataset_name": "digits"}]) == []
    assert names(datasets=[{"dataset_name": "digits", "dataset_digest": "abc"}]) == ["bad"]
    assert names(datasets=[{"dataset_name": "digits", "dataset_digest": "other"}]) == []
    problem = refused(client.log_metric, run_id, "acc", 1.0, model_id="m-00000000000000000000000000")
    assert problem.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_registered_models(client, run_id):
    name = unique("model")
    made = client.create_registered_model(name, tags={"a": "1"}, description="first")
    assert (made.name, made.description, made.tags) == (name, "first", {"a": "1"})
    assert refused(client.create_registered_model, name).error_code == "RESOURCE_ALREADY_EXISTS"
    client.update_registered_model(name, "second")
    client.set_registered_model_tag(name, "b", "2")
    client.delete_registered_model_tag(name, "a")
    found = client.get_registered_model(name)
    assert (found.description, found.tags) == ("second", {"b": "2"})
    other = name + "-new"
    client.rename_registered_model(name, other)
    assert refused(client.get_registered_model, name).error_code == "RESOURCE_DOES_NOT_EXIST"
    client.delete_registered_model(other)
    problem = refused(client.get_registered_model, other)
    assert problem.error_code == "RESOURCE_DOES_NOT_EXIST" and f"Registered Model with name={other} not found" in str(problem)
    for bad in ["a/b", "a:b", " "]:
        assert refused(client.create_registered_model, bad).error_code == "INVALID_PARAMETER_VALUE"


def test_model_versions(client, run_id):
    name = unique("versions")
    client.create_registered_model(name)
    source = lambda it: f"runs:/{run_id}/model{it}"  # noqa: E731
    made = [client.create_model_version(name, source(it), run_id, tags={"n": str(it)}, description="d") for it in range(3)]
    assert [int(it.version) for it in made] == [1, 2, 3]
    found = client.get_model_version(name, "2")
    assert (found.source, found.run_id, found.status, found.tags) == (source(1), run_id, "READY", {"n": "1"})
    uri = client.get_model_version_download_uri(name, "2")
    assert uri.endswith(f"/{run_id}/artifacts/model1")
    client.update_model_version(name, "2", "other")
    client.set_model_version_tag(name, "2", "x", "y")
    client.delete_model_version_tag(name, "2", "n")
    found = client.get_model_version(name, "2")
    assert (found.description, found.tags) == ("other", {"x": "y"})
    problem = refused(client.get_model_version, name, "9")
    assert problem.error_code == "RESOURCE_DOES_NOT_EXIST" and f"Model Version (name={name}, version=9) not found" in str(problem)
    client.delete_model_version(name, "3")
    assert [int(it.version) for it in client.search_model_versions(f"name='{name}'", order_by=["version_number ASC"])] == [1, 2]
    again = client.create_model_version(name, source(7), run_id)
    assert int(again.version) == 4


def test_a_repeated_registration_makes_no_second_version(client, run_id):
    name = unique("repeat")
    client.create_registered_model(name)
    body = {"name": name, "source": f"runs:/{run_id}/model", "run_id": run_id}
    numbers = {json.loads(ask("POST", "/api/2.0/mlflow/model-versions/create", body)[2])["model_version"]["version"] for _ in range(3)}
    assert numbers == {"1"}


def test_other_bytes_under_the_same_source_are_another_version(client, run_id):
    name = unique("bytes")
    client.create_registered_model(name)
    body = {"name": name, "source": f"runs:/{run_id}/model", "run_id": run_id}
    register = lambda: json.loads(ask("POST", "/api/2.0/mlflow/model-versions/create", body)[2])["model_version"]["version"]  # noqa: E731
    assert register() == "1"
    client.log_text(run_id, "one", "model/model.onnx")
    assert register() == "2"
    client.log_text(run_id, "two", "model/model.onnx")
    assert [register(), register()] == ["3", "3"]


def test_sources_that_this_project_does_not_have_are_refused(client):
    name = unique("foreign")
    client.create_registered_model(name)
    for source in ["runs:/run_00000000000000000000000000/model", "models:/m-00000000000000000000000000"]:
        assert refused(client.create_model_version, name, source).error_code == "RESOURCE_DOES_NOT_EXIST"


def test_aliases_and_stages(client, run_id):
    name = unique("alias")
    client.create_registered_model(name)
    for it in range(2):
        client.create_model_version(name, f"runs:/{run_id}/m{it}", run_id)
    client.set_registered_model_alias(name, "champion", "1")
    client.set_registered_model_alias(name, "Challenger", "2")
    assert int(client.get_model_version_by_alias(name, "champion").version) == 1
    client.set_registered_model_alias(name, "champion", "2")
    assert int(client.get_model_version_by_alias(name, "champion").version) == 2
    assert sorted(client.get_model_version(name, "2").aliases) == ["Challenger", "champion"]
    assert {key: int(value) for key, value in client.get_registered_model(name).aliases.items()} == {"champion": 2, "Challenger": 2}
    client.delete_registered_model_alias(name, "Challenger")
    problem = refused(client.get_model_version_by_alias, name, "Challenger")
    assert problem.error_code == "INVALID_PARAMETER_VALUE" and "alias Challenger not found" in str(problem)
    for bad in ["latest", "v1", "a b"]:
        assert refused(client.set_registered_model_alias, name, bad, "1").error_code == "INVALID_PARAMETER_VALUE"
    client.transition_model_version_stage(name, "1", "Production")
    client.transition_model_version_stage(name, "2", "production", archive_existing_versions=True)
    assert client.get_model_version(name, "1").current_stage == "Archived"
    assert [int(it.version) for it in client.get_latest_versions(name, ["Production"])] == [2]
    assert "Invalid Model Version stage" in json.loads(ask("POST", "/api/2.0/mlflow/model-versions/transition-stage", {"name": name, "version": "1", "stage": "live"})[2])["message"]


def test_search_the_registry(client, run_id):
    mark = unique("reg")
    for it in "cab":
        client.create_registered_model(f"{mark}-{it}", tags={"mark": mark, "last": it})
        client.create_model_version(f"{mark}-{it}", f"runs:/{run_id}/{it}", run_id, tags={"mark": mark})
    names = lambda text, **more: [it.name[-1] for it in client.search_registered_models(text, **more)]  # noqa: E731
    assert names(f"tags.mark = '{mark}'") == ["a", "b", "c"]
    assert names(f"name LIKE '{mark}%' AND tags.last != 'a'", order_by=["name DESC"]) == ["c", "b"]
    assert names(f"name ILIKE '{mark.upper()}%'", order_by=["timestamp ASC"])[0] == "c"
    first = client.search_registered_models(f"tags.mark='{mark}'", max_results=2)
    assert len(first) == 2 and [it.name[-1] for it in client.search_registered_models(f"tags.mark='{mark}'", max_results=2, page_token=first.token)] == ["c"]
    versions = client.search_model_versions(f"run_id = '{run_id}' AND tags.mark = '{mark}'", order_by=["name ASC"])
    assert [it.name[-1] for it in versions] == ["a", "b", "c"]
    assert len(client.search_model_versions(f"source_path = 'runs:/{run_id}/a'")) == 1
    assert refused(client.search_registered_models, "colour = 'red'").error_code == "INVALID_PARAMETER_VALUE"


def test_prompts_are_kept_apart_from_models(client):
    name = unique("prompt")
    for text in ["Hello {{name}}", "Good day {{name}}"]:
        client.register_prompt(name=name, template=text)
    assert client.load_prompt(f"prompts:/{name}/2").template == "Good day {{name}}"
    assert name in [it.name for it in client.search_prompts(f"name = '{name}'")]
    assert client.search_registered_models(f"name = '{name}'") == []
    assert client.search_model_versions(f"name = '{name}'") == []


def test_sources_on_the_clients_disk_are_refused(client):
    name = unique("local")
    client.create_registered_model(name)
    for source in ["/tmp/model", "file:///tmp/model"]:
        status, _, body = ask("POST", "/api/2.0/mlflow/model-versions/create", {"name": name, "source": source})
        assert status == 400 and "Invalid model version source" in json.loads(body)["message"]
    made = client.create_model_version(name, "s3://bucket/model")
    assert made.source == "s3://bucket/model"


@pytest.mark.skipif(not TOKEN, reason="the server trusts this machine")
def test_a_stranger_is_refused():
    request = urllib.request.Request(f"{URI}/api/2.0/mlflow/experiments/get?experiment_id=0")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    assert caught.value.code == 401
