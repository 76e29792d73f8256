"""Experiments: their life, errors, search."""

from __future__ import annotations

from mlflow.entities import ViewType
from mlflow_kit import refused, unique


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
