"""Runs, beside MLflow's own server: beginning, logging, limits, histories."""

from __future__ import annotations

import json

from mlflow.entities import Metric, Param, RunTag

MAX = 2**63 - 1


def point(key="m", value=1.0, timestamp=1, step=0):
    return {"run_id": "$run", "key": key, "value": value, "timestamp": timestamp, "step": step}


def test_runs_begin_and_end(both):
    both.fresh()
    made = {"r": "run.info.run_id"}
    both.post("create: empty body", "runs/create", {}, save=made)
    both.post("create: default experiment", "runs/create", {"experiment_id": "0", "start_time": 5, "run_name": "a b"}, save=made)
    both.post("create: no such experiment", "runs/create", {"experiment_id": "987654321"})
    both.post("create: experiment is a word", "runs/create", {"experiment_id": "abc"})
    both.post("create: experiment is a list", "runs/create", {"experiment_id": ["0"]})
    both.post("create: name twice, different", "runs/create", {"experiment_id": "$exp", "run_name": "a", "tags": [{"key": "mlflow.runName", "value": "b"}]})
    both.post("create: name in the tag", "runs/create", {"experiment_id": "$exp", "start_time": 5, "tags": [{"key": "mlflow.runName", "value": "b"}]}, save=made)
    both.post("create: start time as text", "runs/create", {"experiment_id": "$exp", "start_time": "1700000000000", "run_name": "t"}, save=made)
    both.post("create: start time is a word", "runs/create", {"experiment_id": "$exp", "start_time": "soon"})
    both.post("create: start time of 63 bits", "runs/create", {"experiment_id": "$exp", "start_time": MAX, "run_name": "late"}, save=made)
    both.post("create: start time over 63 bits", "runs/create", {"experiment_id": "$exp", "start_time": MAX + 1})
    both.post("create: start time below zero", "runs/create", {"experiment_id": "$exp", "start_time": -1, "run_name": "early"}, save=made)
    both.post("create: start time with a fraction", "runs/create", {"experiment_id": "$exp", "start_time": 1.5})
    both.post("create: tags are no list", "runs/create", {"experiment_id": "$exp", "tags": "x"})
    both.post("create: a tag without key", "runs/create", {"experiment_id": "$exp", "tags": [{"value": "x"}]})
    both.post("create: a tag without value", "runs/create", {"experiment_id": "$exp", "start_time": 5, "run_name": "n", "tags": [{"key": "x"}]}, save=made)
    both.post("create: tag of 8,001 characters", "runs/create", {"experiment_id": "$exp", "start_time": 5, "run_name": "n", "tags": [{"key": "x", "value": "x" * 8001}]}, save=made)
    both.post("create: tag of 8,000 characters", "runs/create", {"experiment_id": "$exp", "start_time": 5, "run_name": "n", "tags": [{"key": "x", "value": "é" * 8000}]}, save=made)
    both.post("create: tag key of 251 characters", "runs/create", {"experiment_id": "$exp", "start_time": 5, "run_name": "n", "tags": [{"key": "k" * 251, "value": "x"}]}, save=made)
    both.post("create: tag key with a line end", "runs/create", {"experiment_id": "$exp", "start_time": 5, "run_name": "n", "tags": [{"key": "a\nb", "value": "x"}]}, save=made)
    both.post("create: tag key that climbs", "runs/create", {"experiment_id": "$exp", "start_time": 5, "run_name": "n", "tags": [{"key": "../b", "value": "x"}]}, save=made)
    both.post("create: one tag twice", "runs/create", {"experiment_id": "$exp", "start_time": 5, "run_name": "n", "tags": [{"key": "x", "value": "1"}, {"key": "x", "value": "2"}]}, save=made)
    both.post("create: 101 tags", "runs/create", {"experiment_id": "$exp", "start_time": 5, "run_name": "n", "tags": [{"key": f"t{it}", "value": "1"} for it in range(101)]}, save=made)
    both.post("create: name of 251 characters", "runs/create", {"experiment_id": "$exp", "start_time": 5, "run_name": "m" * 251}, save=made)
    both.post("create: name of 8,001 characters", "runs/create", {"experiment_id": "$exp", "start_time": 5, "run_name": "m" * 8001}, save=made)
    both.post("create: name of 8,001 wide characters", "runs/create", {"experiment_id": "$exp", "start_time": 5, "run_name": "数" * 8001}, save=made)
    both.post("create: no start time", "runs/create", {"experiment_id": "$exp", "run_name": "n"}, save=made)
    both.post("create: an unknown field", "runs/create", {"experiment_id": "$exp", "start_time": 5, "run_name": "n", "colour": "red"}, save=made)
    both.post("create: a list as the body", "runs/create", [1])
    both.send("create: broken JSON", "POST", "runs/create", raw=b"{broken")
    both.send("create: no content type", "POST", "runs/create", raw=b'{"experiment_id": "0"}', headers={"Content-Type": "text/plain"})
    both.get("get: missing", "runs/get", {"run_id": "0" * 32})
    both.get("get: nothing asked", "runs/get", {})
    both.get("get: by its former name", "runs/get", {"run_uuid": "$run"})
    both.post("get: by POST", "runs/get", {"run_id": "$run"})
    for status in ["FINISHED", "RUNNING", "SCHEDULED", "KILLED", "FAILED", "3", 3, 0, 6, "finished", "", "ODD", None, ["FINISHED"]]:
        both.post(f"update: status {status!r}", "runs/update", {"run_id": "$run", "status": status, "end_time": 9})
    both.post("update: end before start", "runs/update", {"run_id": "$run", "end_time": -5})
    both.post("update: end of 63 bits", "runs/update", {"run_id": "$run", "end_time": MAX})
    both.post("update: end as words", "runs/update", {"run_id": "$run", "end_time": "x"})
    both.post("update: another name", "runs/update", {"run_id": "$run", "run_name": "second"})
    both.post("update: an empty name", "runs/update", {"run_id": "$run", "run_name": ""})
    both.post("update: nothing", "runs/update", {"run_id": "$run"})
    both.post("update: no run", "runs/update", {"status": "FINISHED"})
    both.get("get: after the updates", "runs/get", {"run_id": "$run"})
    both.post("restore: an active run", "runs/restore", {"run_id": "$run"})
    both.post("delete", "runs/delete", {"run_id": "$run"})
    both.post("delete: again", "runs/delete", {"run_id": "$run"})
    both.get("get: deleted", "runs/get", {"run_id": "$run"})
    both.post("update: deleted", "runs/update", {"run_id": "$run", "status": "FAILED"})
    both.post("log-metric: deleted", "runs/log-metric", point())
    both.post("log-param: deleted", "runs/log-parameter", {"run_id": "$run", "key": "p", "value": "1"})
    both.post("set-tag: deleted", "runs/set-tag", {"run_id": "$run", "key": "t", "value": "1"})
    both.post("log-batch: deleted", "runs/log-batch", {"run_id": "$run", "tags": [{"key": "a", "value": "b"}]})
    both.post("restore", "runs/restore", {"run_id": "$run"})
    both.post("delete: missing", "runs/delete", {"run_id": "absent"})
    both.done()


def test_metrics(both):
    both.fresh()
    log = "runs/log-metric"
    values = {"plain": 0.5, "whole": 3, "zero": 0, "text": "0.5", "NaN": "NaN", "Infinity": "Infinity", "-Infinity": "-Infinity", "inf": "inf",
              "word": "abc", "empty text": "", "null": None, "true": True, "list": [1], "largest": 1.7976931348623157e308, "smallest": 5e-324, "2**53+1": 2**53 + 1}
    for name, value in values.items():
        both.post(f"metric value {name}", log, point(f"v/{name}".replace("**", "").replace("+", ""), value))
    both.send("metric value bare NaN", "POST", log, raw=b'{"run_id": "x", "key": "bare", "value": NaN, "timestamp": 1}')
    both.send("metric value of 400 digits", "POST", log, raw=b'{"run_id": "x", "key": "bare", "value": 1' + b"0" * 400 + b', "timestamp": 1}')
    for name, value in {"zero": 0, "text": "12", "63 bits": MAX, "64 bits": MAX + 1, "negative": -1, "fraction": 1.5, "whole float": 2.0, "word": "x", "null": None}.items():
        both.post(f"metric timestamp {name}", log, point("t", 1, value))
    for name, value in {"text": "12", "63 bits": MAX, "64 bits": MAX + 1, "negative": -7, "lowest": -(2**63), "fraction": 1.5, "word": "x", "null": None}.items():
        both.post(f"metric step {name}", log, point("s", 1, 1, value))
    keys = ["a/b", "a b", "a.b", "a:b", "数", "é", "a-b_c", "-", "/a", "a/", "a//b", "./a", "a/./b", "../a", "a/../b", "..", ".", "", "a\\b", "a\nb", "a\tb", "a%b", "a#b", "a?b",
            "a@b", "a'b", 'a"b', "a;b", "a=b", "a,b", "(a)", "[a]", "{a}", "😀", " a", "a ", "a\u0000b", "k" * 250, "k" * 251]
    for at, key in enumerate(keys):
        both.post(f"metric key {at} {key[:12]!r}", log, point(key))
        both.post(f"param key {at} {key[:12]!r}", "runs/log-parameter", {"run_id": "$run", "key": key, "value": "1"})
        both.post(f"tag key {at} {key[:12]!r}", "runs/set-tag", {"run_id": "$run", "key": key, "value": "1"})
    both.post("metric without key", log, {"run_id": "$run", "value": 1, "timestamp": 1})
    both.post("metric without value", log, {"run_id": "$run", "key": "m", "timestamp": 1})
    both.post("metric without timestamp", log, {"run_id": "$run", "key": "m", "value": 1})
    both.post("metric without run", log, {"key": "m", "value": 1, "timestamp": 1})
    both.post("metric of a missing run", log, {"run_id": "f" * 32, "key": "m", "value": 1, "timestamp": 1})
    for step, stamp, value in [(3, 1, 1.0), (1, 9, 2.0), (3, 5, 3.0), (3, 5, 2.5), (2, 99, 9.0)]:
        both.post(f"metric latest {step} {stamp} {value}", log, point("latest", value, stamp, step))
    both.get("the run with its metrics", "runs/get", {"run_id": "$run"})
    both.post("metric value nan", log, point("small", "nan"))
    both.get("the metric that was sent as nan", "runs/get", {"run_id": "$run"}, only=lambda it: [m["value"] for m in it["run"]["data"]["metrics"] if m["key"] == "small"])
    both.done()


def test_params_and_tags(both):
    both.fresh()
    log = "runs/log-parameter"
    for name, value in {"text": "1", "empty": "", "truth": True, "null": None, "list": [1], "6,000": "x" * 6000, "6,001": "x" * 6001,
                        "7,000 wide": "数" * 7000, "line ends": "a\nb\r\n", "quotes": "'\"`"}.items():
        both.post(f"param value {name}", log, {"run_id": "$run", "key": f"p {name.replace(',', '')}", "value": value})
        both.post(f"tag value {name}", "runs/set-tag", {"run_id": "$run", "key": f"t {name.replace(',', '')}", "value": value})
    both.post("param without value", log, {"run_id": "$run", "key": "none"})
    both.post("param without key", log, {"run_id": "$run", "value": "1"})
    both.post("param again, same", log, {"run_id": "$run", "key": "p text", "value": "1"})
    both.post("param again, another", log, {"run_id": "$run", "key": "p text", "value": "2"})
    both.post("param again, longer than is kept", log, {"run_id": "$run", "key": "p 6001", "value": "x" * 6500})
    both.post("tag again, another", "runs/set-tag", {"run_id": "$run", "key": "t text", "value": "2"})
    for size in (8000, 8001, 9000):
        both.post(f"tag value of {size}", "runs/set-tag", {"run_id": "$run", "key": f"t{size}", "value": "é" * size})
    both.post("tag without value", "runs/set-tag", {"run_id": "$run", "key": "none"})
    both.post("the name's tag", "runs/set-tag", {"run_id": "$run", "key": "mlflow.runName", "value": "renamed"})
    both.post("the name's tag, empty", "runs/set-tag", {"run_id": "$run", "key": "mlflow.runName", "value": ""})
    both.get("the run with its parameters", "runs/get", {"run_id": "$run"})
    for kind, path in [("param", log), ("tag", "runs/set-tag")]:
        both.post(f"{kind} value zero byte", path, {"run_id": "$run", "key": "zero", "value": "a\0b"})
    for name, body in {"there": {"key": "t text"}, "again": {"key": "t text"}, "absent": {"key": "nothing"}, "without key": {}, "odd key": {"key": "a\nb"}}.items():
        both.post(f"delete-tag {name}", "runs/delete-tag", {"run_id": "$run", **body})
    both.done()


def test_batches(both):
    both.fresh()
    params = lambda count: [{"key": f"p{it}", "value": "1"} for it in range(count)]  # noqa: E731
    tags = lambda count: [{"key": f"t{it}", "value": "1"} for it in range(count)]  # noqa: E731
    metrics = lambda count: [{"key": "m", "value": it, "timestamp": it, "step": it} for it in range(count)]  # noqa: E731
    bodies = {
        "empty": {}, "100 params": {"params": params(100)}, "101 params": {"params": params(101)}, "100 tags": {"tags": tags(100)}, "101 tags": {"tags": tags(101)},
        "1,000 metrics": {"metrics": metrics(1000)}, "1,001 metrics": {"metrics": metrics(1001)}, "1,001 in all": {"metrics": metrics(950), "params": params(51)},
        "a param twice": {"params": [{"key": "d", "value": "1"}, {"key": "d", "value": "1"}]}, "a param twice, different": {"params": [{"key": "e", "value": "1"}, {"key": "e", "value": "2"}]},
        "a tag twice": {"tags": [{"key": "d", "value": "1"}, {"key": "d", "value": "2"}]}, "a point twice": {"metrics": metrics(1) * 2},
        "a param that has another value": {"params": [{"key": "p1", "value": "2"}, {"key": "new", "value": "1"}], "tags": [{"key": "beside", "value": "1"}]},
        "a param of 6,001": {"params": [{"key": "long", "value": "x" * 6001}, {"key": "short", "value": "1"}]}, "a tag of 8,001": {"tags": [{"key": "long", "value": "x" * 8001}]},
        "one bad key": {"params": [{"key": "good", "value": "1"}, {"key": "../x", "value": "1"}]},
        "metrics are text": {"metrics": "x"}, "params are a number": {"params": 5}, "an entry is text": {"params": ["x"]}, "an entry is null": {"params": [None]}, "null lists": {"params": None, "metrics": None},
        "a metric without value": {"metrics": [{"key": "a", "timestamp": 1}]}, "a metric without timestamp": {"metrics": [{"key": "a", "value": 1}]}, "a param without value": {"params": [{"key": "nv"}]}, "a tag without value": {"tags": [{"key": "nv"}]},
        "no such run": {"run_id": "f" * 32, "params": params(1)}, "an empty run": {"run_id": "", "params": params(1)},
    }
    for name, body in bodies.items():
        both.post(f"batch {name}", "runs/log-batch", {"run_id": "$run", **body})
    big = {"run_id": "$run", "tags": [{"key": f"b{it}", "value": "x" * 7900} for it in range(100)], "params": [{"key": f"b{it}", "value": "x" * 5900} for it in range(40)]}
    both.post("batch over a million bytes", "runs/log-batch", big)
    both.get("the run after the batches", "runs/get", {"run_id": "$run"})
    both.post("batch one bad metric", "runs/log-batch", {"run_id": "$run", "metrics": [{"key": "good", "value": 1, "timestamp": 1}, {"key": "bad", "value": "x", "timestamp": 1}]})
    both.client("client log_batch of 150 params", lambda c, f: c.log_batch(f("$run"), params=[Param(f"c{it}", str(it)) for it in range(90)], metrics=[Metric("cm", it, it, it) for it in range(900)], tags=[RunTag("ct", "1")]))
    both.client("client get_run", lambda c, f: sorted(c.get_run(f("$run")).data.params.items()))
    both.post("log-model", "runs/log-model", {"run_id": "$run", "model_json": json.dumps({"artifact_path": "m", "flavors": {}, "run_id": "x", "utc_time_created": "now"})})
    both.post("log-model: broken", "runs/log-model", {"run_id": "$run", "model_json": "{"})
    both.post("log-model: a field is missing", "runs/log-model", {"run_id": "$run", "model_json": "{}"})
    both.done()


def test_histories(both):
    both.fresh()
    path = "metrics/get-history"
    points = [{"key": "h", "value": it / 2, "timestamp": 100 - it, "step": it % 7} for it in range(20)]
    both.post("history points", "runs/log-batch", {"run_id": "$run", "metrics": [*points, {"key": "n", "value": "NaN", "timestamp": 1}]})
    both.client("history by the client", lambda c, f: sorted((m.step, m.timestamp, m.value) for m in c.get_metric_history(f("$run"), "h")))
    both.get("history of NaN", path, {"run_id": "$run", "metric_key": "n"})
    both.get("history of an absent metric", path, {"run_id": "$run", "metric_key": "zzz"})
    both.get("history without a key", path, {"run_id": "$run"})
    both.get("history without a run", path, {"metric_key": "h"})
    both.get("history of a missing run", path, {"run_id": "f" * 32, "metric_key": "h"})
    for size in ["1", "0", "-1", "25000", "25001", "x", "1.5", "9223372036854775808", ""]:
        both.get(f"history max_results {size!r}", path, {"run_id": "$run", "metric_key": "n", "max_results": size})
    both.get("history with a broken token", path, {"run_id": "$run", "metric_key": "h", "page_token": "???"})
    both.get("history with a token of another kind", path, {"run_id": "$run", "metric_key": "h", "page_token": "eyJvZmZzZXQiOiAxfQ=="})
    both.client("history in pages", lambda c, f: sum(len(page) for page in pages(c, f("$run"))))
    both.done()


def test_numbers_where_texts_are_asked(both):
    """Clients in languages other than Python send numbers; the reference takes texts alone."""
    both.fresh()
    both.post("number: experiment", "runs/create", {"experiment_id": 0, "start_time": 5, "run_name": "n"})
    both.post("number: name of a run", "runs/create", {"experiment_id": "$exp", "start_time": 5, "run_name": 5})
    both.post("number: key of a metric", "runs/log-metric", point(5))
    for path in ["runs/log-parameter", "runs/set-tag"]:
        for value in (5, 0.5, -1e300):
            both.post(f"number: {path} {value}", path, {"run_id": "$run", "key": "p", "value": value} if path.endswith("tag") else {"run_id": "$run", "key": f"p{value}".replace("+", ""), "value": value})
    both.post("number: tag of an experiment", "experiments/set-experiment-tag", {"experiment_id": "$exp", "key": "n", "value": 5})
    both.post("number: a model", "registered-models/create", {"name": "$word"})
    both.post("number: tag of a model", "registered-models/set-tag", {"name": "$word", "key": "n", "value": 5})
    both.post("number: filter", "runs/search", {"experiment_ids": ["$exp"], "filter": 5})
    both.done()


def pages(client, run_id):
    token = None
    while True:
        page = client._tracking_client.store.get_metric_history(run_id, "h", max_results=6, page_token=token)
        yield page
        token = page.token
        if not token:
            return
