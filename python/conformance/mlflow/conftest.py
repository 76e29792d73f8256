"""Kaogong's MLflow protocol, seen through the unmodified MLflow client.

Run against a server that is up:

    MLFLOW_TRACKING_URI=http://127.0.0.1:7300/p/default MLFLOW_TRACKING_TOKEN=… pytest python/conformance/mlflow

Every test makes its own experiments, runs and models under names that no other run uses.
"""

from __future__ import annotations

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from mlflow_kit import URI, unique


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
