"""What the tests of the MLflow protocol share: the server's address and one HTTP call beside the client."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
import uuid

import pytest
from mlflow.exceptions import MlflowException

URI = os.environ["MLFLOW_TRACKING_URI"].rstrip("/")
TOKEN = os.environ.get("MLFLOW_TRACKING_TOKEN", "")


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


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
