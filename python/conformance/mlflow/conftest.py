"""Kaogong's MLflow protocol, seen through the unmodified MLflow client.

Run against a server that is up:

    MLFLOW_TRACKING_URI=http://127.0.0.1:7300/p/default MLFLOW_TRACKING_TOKEN=… pytest python/conformance/mlflow

Every test makes its own experiments, runs and models under names that no other run uses.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from mlflow_kit import URI, unique
from reference_differences import DIFFERENCES
from reference_kit import both_sides, start_reference, wait_for


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


# MLflow's own server, once it is wanted: its folder, its process and its address.
BEGUN: list = []


def pytest_collection_finish(session):
    """It takes seconds to start, so it begins while other tests run. `REFERENCE_URI` names one that is up."""
    is_wanted = any("both" in getattr(it, "fixturenames", ()) for it in session.items)
    if is_wanted and not session.config.option.collectonly and "REFERENCE_URI" not in os.environ:
        folder = Path(tempfile.mkdtemp(prefix="mlflow-"))
        BEGUN.extend([folder, *start_reference(folder)])


def pytest_sessionfinish():
    if BEGUN:
        folder, server, _ = BEGUN
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def reference():
    """Both servers, side by side."""
    if not BEGUN:
        return both_sides(os.environ["REFERENCE_URI"], DIFFERENCES)
    folder, server, uri = BEGUN
    wait_for(server, uri, folder)
    return both_sides(uri, DIFFERENCES)


@pytest.fixture
def both(reference):
    return reference
