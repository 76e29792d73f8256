"""The server as such: version, groups that are absent, who may come in."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest
from mlflow_kit import TOKEN, URI, ask


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


@pytest.mark.skipif(not TOKEN, reason="the server trusts this machine")
def test_a_stranger_is_refused():
    request = urllib.request.Request(f"{URI}/api/2.0/mlflow/experiments/get?experiment_id=0")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    assert caught.value.code == 401
