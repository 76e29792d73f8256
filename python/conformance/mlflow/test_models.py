"""Logged models, the registry, aliases, prompts."""

from __future__ import annotations

import json
import os
import subprocess

import mlflow
import numpy as np
from mlflow.entities import Metric
from mlflow_kit import ask, refused, unique


def kaogong(*arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    return subprocess.run([os.environ["KAOGONG_PROGRAM"], *arguments], check=check, capture_output=True, text=True)


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


def wide_onnx(name="wide"):
    """y = x · w + b with more than a KiB of weights: MLflow writes them into a file of their own."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(3)
    w, b = random.normal(size=(40, 50)).astype(np.float32), random.normal(size=(50,)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])],
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 40])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 50])],
        [numpy_helper.from_array(w, "w"), numpy_helper.from_array(b, "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), lambda x: x @ w + b


def answer_of(endpoint, x):
    body = {"inputs": [{"name": "x", "shape": list(x.shape), "datatype": "FP32", "data": x.flatten().tolist()}]}
    status, _, body = ask("POST", f"/v2/models/{endpoint}/infer", body)
    assert status == 200, body
    output = json.loads(body)["outputs"][0]
    return np.array(output["data"], dtype=np.float32).reshape(output["shape"])


def test_a_model_with_its_weights_in_another_file_is_one_model(client, tmp_path):
    model, reference = wide_onnx()
    x = np.random.default_rng(1).normal(size=(2, 40)).astype(np.float32)
    name = unique("wide")
    mlflow.set_experiment(unique("onnx"))
    with mlflow.start_run() as run:
        info = mlflow.onnx.log_model(model, name="model", registered_model_name=name)
    paths = {it.path for it in client.list_logged_model_artifacts(info.model_id)}
    assert any(it.endswith(".data") for it in paths), "MLflow wrote one file, and this test tests nothing"
    assert client.get_model_version(name, "1").status == "READY"
    # The same bytes from the same source are the version that is there.
    assert int(mlflow.register_model(info.model_uri, name).version) == 1
    kaogong("models", "register", name, "--run", run.info.run_id)
    import onnx

    # MLflow has moved the weights out of the model that it was given.
    onnx.save(wide_onnx()[0], tmp_path / "m.onnx", save_as_external_data=True, location="m.weights", size_threshold=100)
    assert (tmp_path / "m.weights").stat().st_size > 8000
    kaogong("models", "register", name, str(tmp_path / "m.onnx"))
    numbers = sorted(int(it.version) for it in client.search_model_versions(f"name='{name}'"))
    assert len(numbers) >= 2, "the file with its weights beside it is a version of its own"
    for number in numbers:
        endpoint = unique("wide")
        kaogong("endpoints", "create", endpoint, "--model", f"{name}@{number}")
        np.testing.assert_allclose(answer_of(endpoint, x), reference(x), rtol=1e-4, atol=1e-4)
    client.copy_model_version(f"models:/{name}/1", f"{name}-copy")
    endpoint = unique("wide")
    kaogong("endpoints", "create", endpoint, "--model", f"{name}-copy@1")
    np.testing.assert_allclose(answer_of(endpoint, x), reference(x), rtol=1e-4, atol=1e-4)
    # The files stay what MLflow loads.
    assert mlflow.onnx.load_model(f"models:/{name}/1").graph.name == "wide"


def test_ready_means_that_endpoints_can_serve_it(client, run_id, tmp_path):
    name = unique("broken")
    client.create_registered_model(name)
    model, _ = wide_onnx()
    import onnx

    onnx.save(model, tmp_path / "model.onnx", save_as_external_data=True, location="away.data", size_threshold=100)
    client.log_artifact(run_id, str(tmp_path / "model.onnx"), "model")
    problem = refused(client.create_model_version, name, f"runs:/{run_id}/model", run_id)
    assert "FAILED_REGISTRATION" in str(problem) and "`away.data`, which is not beside it" in str(problem)
    version = client.get_model_version(name, "1")
    assert version.status == "FAILED_REGISTRATION" and "away.data" in version.status_message
    told = kaogong("endpoints", "create", unique("e"), "--model", f"{name}@1", check=False)
    assert told.returncode != 0 and "away.data" in told.stderr
    client.log_artifact(run_id, str(tmp_path / "away.data"), "model")
    assert client.create_model_version(name, f"runs:/{run_id}/model", run_id).status == "READY"
    client.log_text(run_id, "no model", "noise/model.onnx")
    assert "FAILED_REGISTRATION" in str(refused(client.create_model_version, name, f"runs:/{run_id}/noise", run_id))
    # The registry keeps models of other kinds, and says that no endpoint serves them.
    client.log_text(run_id, "a pickle", "sklearn/model.pkl")
    other = client.create_model_version(name, f"runs:/{run_id}/sklearn", run_id)
    assert other.status == "READY" and "without an ONNX file" in other.status_message
    told = kaogong("endpoints", "create", unique("e"), "--model", f"{name}@{other.version}", check=False)
    assert told.returncode != 0 and "without an ONNX file" in told.stderr


def encoding_onnx(name):
    """An encoder that knows three codes: whatever is made up is none of them."""
    from onnx import TensorProto, helper

    node = helper.make_node("OneHotEncoder", ["x"], ["y"], domain="ai.onnx.ml", cats_int64s=[101, 202, 303], zeros=0)
    inputs = [helper.make_tensor_value_info("x", TensorProto.INT64, ["n", 1])]
    graph = helper.make_graph([node], name, inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1, 3])])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)], ir_version=8)


def test_a_version_says_what_is_known_about_its_model(client, run_id, tmp_path):
    import onnx

    name, copy = unique("encoding"), unique("copy")
    onnx.save(encoding_onnx(unique("g")), tmp_path / "model.onnx")
    client.log_artifact(run_id, str(tmp_path / "model.onnx"), "model")
    client.create_registered_model(name)
    remark = client.create_model_version(name, f"runs:/{run_id}/model", run_id).tags["kaogong.remark"]
    told = kaogong("models", "register", unique("by-command"), "--run", run_id, "--output", "json")
    assert remark and json.loads(told.stdout)["tags"]["kaogong.remark"] == remark, "both ways say the same"
    client.create_registered_model(copy)
    assert client.create_model_version(copy, f"models:/{name}/1").tags == {"kaogong.remark": remark}, "a copy says it too"
    onnx.save(tiny_onnx(), tmp_path / "model.onnx")
    client.log_artifact(run_id, str(tmp_path / "model.onnx"), "good")
    assert client.create_model_version(name, f"runs:/{run_id}/good", run_id).tags == {}
    own = client.create_model_version(name, f"runs:/{run_id}/model", run_id, tags={"kaogong.remark": "mine"})
    assert own.tags == {"kaogong.remark": "mine"}


def test_files_of_logged_models_are_files_of_their_run(client, tmp_path):
    mlflow.set_experiment(unique("files"))
    with mlflow.start_run() as run:
        first = mlflow.onnx.log_model(tiny_onnx(), name="model", save_as_external_data=False)
        mlflow.onnx.log_model(tiny_onnx(), name="model", save_as_external_data=False)
        mlflow.log_text("x", "note.txt")
    listed = json.loads(kaogong("runs", "artifacts", run.info.run_id, "--output", "json").stdout)
    paths = {it["path"] for it in listed["items"]}
    assert {"note.txt", "model/model.onnx", "model/MLmodel", f"{first.model_id}/model.onnx"} <= paths
    for path in ["model/model.onnx", f"{first.model_id}/model.onnx"]:
        kaogong("runs", "artifacts", run.info.run_id, "--get", path, "--to", str(tmp_path / "got"))
        assert b"tiny" in (tmp_path / "got").read_bytes()
        (tmp_path / "got").unlink()


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


def test_other_bytes_under_the_same_source_are_another_version(client, run_id, tmp_path):
    name = unique("bytes")
    client.create_registered_model(name)
    body = {"name": name, "source": f"runs:/{run_id}/model", "run_id": run_id}
    register = lambda: json.loads(ask("POST", "/api/2.0/mlflow/model-versions/create", body)[2])["model_version"]["version"]  # noqa: E731
    assert register() == "1"
    for number, producer in [("2", "one"), ("3", "two")]:
        model = tiny_onnx()
        model.producer_name = producer
        (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
        client.log_artifact(run_id, str(tmp_path / "model.onnx"), "model")
        assert [register(), register()] == [number, number]


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
