"""Every model of the suite gives what ONNX Runtime's Python package gives, or is refused with the reason."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import suite  # noqa: E402

MODELS = suite.all_models()


@pytest.fixture(scope="session")
def results():
    return {(it.model, it.engine): it for it in suite.run_all(MODELS)}


def test_the_suite_is_large_enough():
    names = [it.name for it in MODELS]
    assert len(names) == len(set(names)) >= 250


@pytest.mark.parametrize("name", [it.name for it in MODELS])
def test_onnxruntime_answers_as_its_python_package(results, name):
    result = results[name, "onnxruntime"]
    assert result.outcome == "equal", result.said


@pytest.mark.parametrize("name", [it.name for it in MODELS])
def test_tract_answers_the_same_or_refuses_by_name(results, name):
    result = results[name, "tract"]
    assert result.outcome == "equal" or (result.outcome == "refused" and "tract is" in result.said), result.said


def test_tract_serves_what_it_is_verified_for(results):
    served = [it for (_, engine), it in results.items() if engine == "tract" and it.outcome == "equal"]
    assert len(served) >= 100


def served(name: str, endpoint: str, **more) -> tuple[dict, dict]:
    """A version and an endpoint of a model of the suite."""
    content = next(it.content for it in MODELS if it.name == name)
    _, upload = suite.call("POST", "/uploads", raw=content)
    status, version = suite.call("POST", f"/models/{endpoint}/versions", {"upload": upload["hash"]})
    assert status == 201, version
    status, view = suite.call("POST", "/endpoints", {"name": endpoint, "model": f"{endpoint}@{version['number']}", **more})
    assert status == 201, view
    suite.call("DELETE", f"/endpoints/{endpoint}")
    return version, view


def test_a_model_that_takes_nothing_made_up_is_registered_with_a_remark():
    version, view = served("sklearn-OneHotEncoder-codes", "remarked", engine="onnxruntime")
    assert "OneHotEncoder" in version["tags"]["kaogong.remark"]
    assert view["state"] == "ready" and "OneHotEncoder" in view["remark"]
    version, view = served("mlp", "unremarked", engine="onnxruntime")
    assert "kaogong.remark" not in version["tags"] and view["remark"] is None


@pytest.mark.parametrize("engine", suite.ENGINES)
@pytest.mark.parametrize(
    ("name", "batching", "shared"),
    [("mlp", None, True), ("mlp", "auto", True), ("mlp", "off", False), ("cnn", None, True), ("Concat-const", None, False),
     ("Concat-const", "on", True)],
)
def test_rows_share_runs_where_the_graph_or_the_owner_says_so(engine, name, batching, shared):
    _, view = served(name, f"batching-{engine}", engine=engine, batching=batching)
    assert (view["shares_runs"], view["batching"]) == (shared, batching or "auto")


def test_a_list_of_maps_is_served_as_probabilities_with_labels():
    model = next(it for it in MODELS if it.name == "sklearn-zipmap-texts")
    _, upload = suite.call("POST", "/uploads", raw=model.content)
    suite.call("POST", "/models/maps/versions", {"upload": upload["hash"]})
    status, view = suite.call("POST", "/endpoints", {"name": "maps", "model": "maps"})
    assert status == 201, view
    assert view["outputs"][1] == {"name": "output_probability", "datatype": "FP32", "shape": [-1, 3]}
    client = suite.triton.InferenceServerClient(suite.URL.removeprefix("http://"))
    tensor = suite.triton.InferInput("X", [1, 4], "FP32")
    tensor.set_data_from_numpy(model.source.rows["X"][:1])
    wanted = suite.triton.InferRequestedOutput("output_probability", class_count=1)
    answer = client.infer("maps", [tensor], outputs=[wanted], headers={"Authorization": f"Bearer {suite.TOKEN}"})
    assert answer.as_numpy("output_probability").ravel()[0].decode().split(":")[2] in ("b", "c", "é")
    suite.call("DELETE", "/endpoints/maps")
