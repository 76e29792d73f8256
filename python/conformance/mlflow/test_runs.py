"""Runs: their life, parameters, metrics with history, search, dataset inputs."""

from __future__ import annotations

import json
import math
import threading
import time
import uuid

import mlflow
import pytest
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow_kit import ask, refused, unique


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


def test_longer_values_are_cut_and_nothing_else_is_lost(client, experiment, run_id):
    client.log_batch(run_id, metrics=[Metric("m", 1.0, 1, 0)], params=[Param("p", "数" * 7000), Param("q", "1")], tags=[RunTag("t", "é" * 9000)])
    client.log_param(run_id, "single", "x" * 6001)
    client.log_param(run_id, "single", "x" * 6500)
    client.set_tag(run_id, "single", "x" * 8001)
    data = client.get_run(run_id).data
    assert (data.params["p"], data.params["q"], data.params["single"]) == ("数" * 6000, "1", "x" * 6000)
    assert (data.tags["t"], data.tags["single"], data.metrics) == ("é" * 8000, "x" * 8000, {"m": 1.0})
    run = client.create_run(experiment, tags={"t": "x" * 9000}, run_name="n" * 9000)
    assert (len(run.data.tags["t"]), len(run.info.run_name)) == (9000, 8000), "tags that a run begins with stay whole"
    run = client.create_run(experiment, tags={"accuracy (%)": "x", "../a": "y", "a\nb": "z"})
    assert client.get_run(run.info.run_id).data.tags.items() >= {"accuracy (%)": "x", "../a": "y", "a\nb": "z"}.items()
    assert refused(client.create_run, experiment, tags={"k" * 251: "x"}).error_code == "INVALID_PARAMETER_VALUE"
    model = client.create_logged_model(experiment, name="m", params={"p": "x" * 7000}, source_run_id=run_id)
    assert len(client.get_logged_model(model.model_id).params["p"]) == 6000
    assert "maximum length of 20000" in str(refused(client.set_experiment_tag, experiment, "k", "x" * 20_001))


def test_a_full_batch_is_taken_however_its_letters_are_written(client, run_id):
    params = [Param(f"p{it}", "数" * 6000) for it in range(100)]
    tags = [RunTag(f"t{it}", "据" * 8000) for it in range(100)]
    client.log_batch(run_id, params=params, tags=tags)
    data = client.get_run(run_id).data
    assert data.params["p99"] == "数" * 6000 and data.tags["t99"] == "据" * 8000


def test_limits_are_told_in_mlflows_words(client, run_id):
    send = lambda body: json.loads(ask("POST", "/api/2.0/mlflow/runs/log-batch", body)[2])  # noqa: E731
    metrics = [{"key": "m", "value": it, "timestamp": 1, "step": it} for it in range(1001)]
    assert "at most 1000 metrics. Got 1001" in send({"run_id": run_id, "metrics": metrics})["message"]
    assert "'params[0].key'" in send({"run_id": run_id, "params": [{"key": "a/../b", "value": "1"}]})["message"]
    assert "Missing value for required parameter 'run_id'" in send({"metrics": []})["message"]
    assert "'Param key' exceeds the maximum length of 250" in send({"run_id": run_id, "params": [{"key": "a" * 251, "value": "x"}]})["message"]
    assert "Invalid value" in send({"run_id": run_id, "metrics": "many"})["message"]
    status, _, body = ask("POST", "/api/2.0/mlflow/runs/log-batch", raw=b"{broken")
    assert status == 400 and json.loads(body)["error_code"] == "BAD_REQUEST"
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


def test_workers_that_start_together_get_a_run_each(experiment):
    body = {"experiment_id": experiment, "start_time": int(time.time() * 1000), "user_id": "me", "tags": []}
    ids = {json.loads(ask("POST", "/api/2.0/mlflow/runs/create", body)[2])["run"]["info"]["run_id"] for _ in range(8)}
    assert len(ids) == 8, "equal requests are no repetition as long as the server answers"


def test_a_repeated_point_counts_once(client, run_id):
    point = {"run_id": run_id, "key": "m", "value": 1.5, "timestamp": 7, "step": 3}
    for _ in range(3):
        assert ask("POST", "/api/2.0/mlflow/runs/log-metric", point)[0] == 200
    assert len(client.get_metric_history(run_id, "m")) == 1


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


def test_nan_is_a_value_in_searches(client, experiment):
    values = {"a": 1.0, "b": math.nan, "c": None, "d": math.inf, "e": -1.0, "f": 0.0, "g": -math.inf}
    for at, (name, value) in enumerate(values.items()):
        run_id = client.create_run(experiment, run_name=name, start_time=1000 + at).info.run_id
        if value is not None:
            client.log_metric(run_id, "loss", value)
    names = lambda filter_string="", **more: "".join(it.info.run_name for it in client.search_runs([experiment], filter_string, **more))  # noqa: E731
    # What MLflow's own server answers.
    assert names("metrics.loss != 0") == "gedba"
    assert names("metrics.loss = 0") == "f"
    assert names("metrics.loss >= 0") == "fda"
    assert names("metrics.loss < 100") == "gfea"
    assert names("metrics.loss > 1e308") == "d"
    assert names(order_by=["metrics.loss"]) == "gefadbc"
    assert names(order_by=["metrics.loss DESC"]) == "dafegbc"


@pytest.mark.parametrize("count", [2_500, 10_000])
def test_long_lists_of_runs(client, experiment, count):
    ids = [client.create_run(experiment).info.run_id for _ in range(3)]
    many = [f"run_{it:026d}" for it in range(count - len(ids))] + ids
    listed = ",".join(f"'{it}'" for it in many)
    for key in ["run_id", "attributes.run_id", "attribute.run_id"]:
        assert {it.info.run_id for it in client.search_runs([experiment], f"{key} IN ({listed})")} == set(ids)
    other = client.create_run(experiment).info.run_id
    assert [it.info.run_id for it in client.search_runs([experiment], f"run_id NOT IN ({listed})")] == [other]
    too_many = ",".join(f"'{it}'" for it in range(10_001))
    assert "more than 10000 values" in str(refused(client.search_runs, [experiment], f"run_id IN ({too_many})"))


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
