"""Searches of runs, beside MLflow's own server: filters, orders, pages, views."""

from __future__ import annotations

import pytest

FILTERS = [
    "", " ", "metrics.m > 1", "metrics.m >= 2", "metrics.m < 2", "metrics.m <= 1", "metrics.m = 2", "metrics.m != 2", "metrics.m <> 2", "metric.m > 1", "metrics.m>1",
    "metrics.`m` > 1", 'metrics."m" > 1', "metrics.'m' > 1", "metrics.m > -1e3", "metrics.m > +1", "metrics.m > .5", "metrics.m > 1.", "metrics.m > '1'", "metrics.m > abc", "metrics.m LIKE '1'",
    "metrics.m IS NULL", "metrics.m IN (1)", "metrics.nan = 1", "metrics.nan != 1", "metrics.nan > 0", "metrics.nan < 0", "metrics.absent != 1", "metrics.m > NaN", "metrics.`a b/c` = 1",
    "metrics.m > 1 and metrics.m < 3", "metrics.m > 1 AND params.p = 'a'", "metrics.m > 1 And params.p = 'b'", "metrics.m > 1 OR metrics.m < 3", "NOT metrics.m > 1", "(metrics.m > 1)", "metrics.m > 1 AND", "AND metrics.m > 1",
    "metrics.m > 1,metrics.m < 3", "metrics.m > 1;", "metrics.m", "metrics. > 1", "metrics > 1", ".m > 1", "1 < metrics.m", "metrics.m => 1", "metrics.m == 2",
    "params.p = 'a'", 'params.p = "a"', "params.p = `a`", "params.p = a", "params.p = 1", "params.p != 'a'", "params.p > 'a'", "params.p LIKE 'A%'", "params.p ILIKE 'A%'", "params.p LIKE 'a_'", "params.p LIKE '%'",
    "params.p NOT LIKE 'a'", "params.p IN ('a', 'b')", "params.p NOT IN ('a')", "params.p IS NULL", "params.p IS NOT NULL", "params.p is null", "params.absent IS NULL", "params.absent != 'x'", "params.quote = 'it''s'", 'params.quote = "it\'s"',
    "params.quote = 'it\\'s'", "params.`a b` = 'x y'", "params.\"a b\" = 'x y'", "params.a b = 'x y'", "params.wide = '数据'", "params.p = ''", "params.empty = ''", "params.percent LIKE '100\\%'", "params.percent = '100%'", "params.percent LIKE '%\\%%'",
    "parameters.p = 'a'", "param.p = 'a'", "parameter.p = 'a'", "PARAMS.p = 'a'", "params.P = 'a'",
    "tags.t = 'x'", "tag.t = 'x'", "tags.t != 'x'", "tags.t LIKE 'x%'", "tags.t ILIKE 'X'", "tags.t IS NULL", "tags.t IS NOT NULL", "tags.absent IS NULL", "tags.`mlflow.runName` = 'one'", "tags.mlflow.runName = 'one'", "tags.\"mlflow.runName\" LIKE 'o%'",
    "tags.t = 'x' AND tags.u = 'y'", "tags.t = 'x AND y'", "tags.t > 'a'", "tags.t IN ('x')",
    "attributes.status = 'RUNNING'", "attribute.status = 'FINISHED'", "attr.status = 'RUNNING'", "run.status = 'RUNNING'", "status = 'RUNNING'", "status != 'RUNNING'", "status = 'running'", "status IN ('RUNNING', 'FAILED')", "status LIKE 'RUN%'", "status > 'A'", "Status = 'RUNNING'",
    "run_name = 'one'", "run name = 'one'", "`run name` = 'one'", "attributes.`Run name` = 'one'", "run_name LIKE 'o%'", "run_name ILIKE 'O%'", "run_name != 'one'", "run_name IN ('one')", "run_name IS NULL", "name = 'one'",
    "run_id = '$one'", "run_id != '$one'", "run_id IN ('$one', '$two')", "run_id NOT IN ('$one')", "run_id IN ()", "run_id IN ('$one',)", "run_id IN '$one'", "run_id IN (1)", "run_id LIKE '%'", "run_id = $one",
    "start_time > 1", "start_time >= 30", "start_time = 10", "start_time != 10", "start_time > '1'", "start_time > 1.5", "attributes.start_time < 25", "created > 1", "Created > 1", "end_time > 0", "start_time IN (10)", "start_time LIKE '1'",
    "user_id = 'me'", "artifact_uri LIKE '%'", "lifecycle_stage = 'active'", "experiment_id = '0'", "colour = 'red'", "colours.x = 'red'", "datasets.name = 'd'", "dataset.name = 'd'", "dataset.digest LIKE 'x%'", "dataset.context = 'train'", "dataset.colour = 'x'", "datasets.name IN ('d', 'e')", "dataset.name != 'd'",
    "params.p = 'a' -- comment", "params.p = 'a' /* x */", "params.p = 'a'; drop table runs", "params.p = 'a", "params.`p = 'a'", "params.p  =   'a'", "params.p\n=\n'a'", "params.p = 'a'\tAND metrics.m > 0", "select 1", "params.p = 'a' AND AND metrics.m > 1",
    "params.order = 'x'", "params.select = 'x'", "tags.from = 'x'", "metrics.count > 1", "params.key = 'x'", "tags.type = 'x'", "metrics.5 > 1", "params.1a = 'x'", "params.a-b = 'x'", "params.a.b.c = 'x'", "params.a/b = 'x'", "params.a:b = 'x'", "params.é = 'x'",
]

ORDERS = [
    [], ["metrics.m"], ["metrics.m ASC"], ["metrics.m DESC"], ["metrics.m desc"], ["metrics.nan"], ["metrics.nan DESC"], ["metrics.absent"], ["params.p"], ["params.p DESC"], ["params.absent"], ["tags.t"], ["tags.t DESC"], ["tags.`mlflow.runName`"],
    ["start_time"], ["start_time DESC"], ["attributes.start_time"], ["attribute.start_time ASC"], ["end_time"], ["status"], ["run_name"], ["run_name DESC"], ["Created"], ["created DESC"], ["`Run name`"], ["attributes.`run name` DESC"],
    ["metrics.m ASC", "start_time DESC"], ["tags.u", "metrics.m DESC"], ["metrics.m sideways"], ["metrics.m ASC DESC"], ["colour"], ["metrics"], [""], [" "], ["metrics.`a b/c` DESC"], ["metrics.a b"], ["metrics.m, params.p"], ["dataset.name"], ["artifact_uri"], ["user_id"], ["lifecycle_stage"],
]


@pytest.fixture
def some_runs(both):
    """Runs one to five: metrics 1, 2, 3, NaN and none; parameters and tags of some."""
    both.fresh()
    create = lambda name, start: both.post(f"search: create {name}", "runs/create", {"experiment_id": "$exp", "run_name": name, "start_time": start}, save={name: "run.info.run_id"})  # noqa: E731
    batch = lambda name, **parts: both.post(f"search: fill {name}", "runs/log-batch", {"run_id": f"${name}"} | {kind: [{"key": key, "value": value} | ({"timestamp": 1} if kind == "metrics" else {}) for key, value in pairs.items()] for kind, pairs in parts.items()})  # noqa: E731
    for at, name in enumerate(["one", "two", "three", "four", "five"]):
        create(name, 10 * (at + 1))
    both.post("search: delete the first run", "runs/delete", {"run_id": "$run"})
    odd = {"order": "x", "select": "x", "key": "x", "1a": "x", "a-b": "x", "a.b.c": "x", "a/b": "x", "a:b": "x", "é": "x", "a b": "x y"}
    batch("one", metrics={"m": 1, "nan": "NaN", "a b/c": 1, "count": 5, "5": 2}, params={"p": "a", "quote": "it's", "wide": "数据", "percent": "100%", **odd}, tags={"t": "x", "u": "y", "from": "x", "type": "x"})
    batch("two", metrics={"m": 2, "nan": 1, "a b/c": 2}, params={"p": "ab", "empty": "", "percent": "1000"}, tags={"t": "x AND y"})
    batch("three", metrics={"m": 3, "nan": -1}, params={"p": "B"}, tags={"t": "X", "u": "y"})
    batch("four", metrics={"m": "NaN", "nan": "Infinity"}, params={"p": "b"})
    both.post("search: end two", "runs/update", {"run_id": "$two", "status": "FINISHED", "end_time": 99})
    dataset = {"name": "d", "digest": "xyz", "source_type": "local", "source": "/x"}
    both.post("search: an input of three", "runs/log-inputs", {"run_id": "$three", "datasets": [{"dataset": dataset, "tags": [{"key": "mlflow.data.context", "value": "train"}]}]})
    return both


def found(both, name: str, body: dict) -> None:
    """The names of the runs that a search finds, in order: what its other fields hold is asked elsewhere."""
    both.post(name, "runs/search", {"experiment_ids": ["$exp"], **body}, only=lambda it: ([run["info"]["run_name"] for run in it.get("runs", [])], bool(it.get("next_page_token"))))


def test_filters(some_runs):
    for it in FILTERS:
        found(some_runs, f"filter {it!r}", {"filter": it})
    some_runs.done()


def test_orders(some_runs_again):
    for it in ORDERS:
        found(some_runs_again, f"order {it!r}", {"order_by": it})
    # The ids are not the same.
    some_runs_again.post("order ['run_id']", "runs/search", {"experiment_ids": ["$exp"], "order_by": ["run_id"]}, only=lambda it: len(it["runs"]))
    some_runs_again.done()


@pytest.fixture
def some_runs_again(both):
    """The runs of the test before."""
    assert "one" in both.sides[0].names, "this test takes the runs of test_filters"
    return both


def test_pages_and_views(some_runs_again):
    both = some_runs_again
    for view in ["ACTIVE_ONLY", "DELETED_ONLY", "ALL", "active_only", "1", 2, 3, 0, 4, "", "SOME", None]:
        found(both, f"view {view!r}", {"run_view_type": view})
    for size in [1, 2, 5, 0, -1, 50000, 50001, 2**31, 2**63, "3", "x", 1.5, None]:
        found(both, f"max_results {size!r}", {"max_results": size})
    for token in ["", "x", "???", "eyJvZmZzZXQiOiAyfQ==", "eyJvZmZzZXQiOiAtMX0=", "eyJvZmZzZXQiOiAieCJ9", "e30=", "W10=", "eyJvZmZzZXQiOiA5OTk5OTk5fQ==", None]:
        found(both, f"page_token {token!r}", {"page_token": token})
    for ids in [[], ["987654"], ["abc"], [""], ["$exp", "$exp"], "$exp", [0], None, ["$exp", "987654"]]:
        found(both, f"experiment_ids {ids!r}", {"experiment_ids": ids})
    found(both, "order_by is a text", {"order_by": "start_time"})
    found(both, "filter is a number", {"filter": 5})
    found(both, "filter is a list", {"filter": ["a"]})
    for size in (1, 2, 3):
        both.client(f"the client's pages of {size}", lambda c, f: walk(c, f("$exp"), size))
    both.post("a run as a search shows it", "runs/search", {"experiment_ids": ["$exp"], "filter": "run_name = 'three'"})
    both.done()


def walk(client, experiment, size):
    names, token = [], None
    while True:
        page = client.search_runs([experiment], order_by=["metrics.m DESC"], max_results=size, page_token=token)
        names.append([run.info.run_name for run in page])
        token = page.token
        if not token:
            return names
