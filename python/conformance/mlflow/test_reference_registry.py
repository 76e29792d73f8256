"""Registered models, their versions, aliases, stages and tags, beside MLflow's own server."""

from __future__ import annotations

MODEL = "registered-models"
VERSION = "model-versions"



def test_registered_models(both):
    both.fresh()
    names = {"plain": "$word-m", "spaces": "$word m n", "wide": "$word 模型", "slash": "$word/m", "colon": "$word:m", "backslash": "$word\\m", "quotes": "$word'\"", "percent": "$word%41", "climbs": "../$word", "dots": "..", "dot": ".", "control": "$word\nm", "256": "$word-" + "x" * 241,
             "empty": "", "space": " ", "null": None, "list": ["x"], "hash": "$word#", "spaces around": " $word "}
    for name, value in names.items():
        both.post(f"model name {name}", f"{MODEL}/create", {"name": value})
    both.post("model without name", f"{MODEL}/create", {})
    both.post("model twice", f"{MODEL}/create", {"name": "$word-m"})
    both.post("model with tags", f"{MODEL}/create", {"name": "$word-t", "description": "words", "tags": [{"key": "a", "value": "1"}, {"key": "b"}]})
    both.post("model with one tag twice", f"{MODEL}/create", {"name": "$word-t2", "tags": [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]})
    both.post("model with an odd tag", f"{MODEL}/create", {"name": "$word-t3", "tags": [{"key": "a\nb", "value": "1"}]})
    for name in ["$word-t", "absent", "", "$word/m"]:
        both.get(f"model get {name!r}", f"{MODEL}/get", {"name": name})
    both.get("model get: nothing asked", f"{MODEL}/get", {})
    for name, body in {"plain": {"key": "k", "value": "v"}, "no value": {"key": "nv"}, "no key": {"value": "v"}, "100,000": {"key": "l", "value": "x" * 100_000}, "100,001": {"key": "l", "value": "x" * 100_001}, "key 250": {"key": "k" * 250, "value": "v"}, "key 251": {"key": "k" * 251, "value": "v"},
                       "odd key": {"key": "a\nb", "value": "v"}, "missing model": {"name": "absent", "key": "a", "value": "v"}}.items():
        both.post(f"model tag {name}", f"{MODEL}/set-tag", {"name": "$word-m", **body})
    both.send("model delete tag", "DELETE", f"{MODEL}/delete-tag", {"name": "$word-m", "key": "k"})
    both.send("model delete tag again", "DELETE", f"{MODEL}/delete-tag", {"name": "$word-m", "key": "k"})
    both.send("model update", "PATCH", f"{MODEL}/update", {"name": "$word-m", "description": "new words"})
    both.send("model update: missing", "PATCH", f"{MODEL}/update", {"name": "absent", "description": "x"})
    both.get("model after the updates", f"{MODEL}/get", {"name": "$word-m"})
    for name, body in {"plain": {"name": "$word-m", "new_name": "$word-r"}, "taken": {"name": "$word-r", "new_name": "$word-t"}, "missing": {"name": "absent", "new_name": "$word-x"}, "empty": {"name": "$word-r", "new_name": ""}, "slash": {"name": "$word-r", "new_name": "a/b"}, "same": {"name": "$word-r", "new_name": "$word-r"}}.items():
        both.post(f"model rename {name}", f"{MODEL}/rename", body)
    only = lambda it: ([m["name"] for m in it.get("registered_models", [])], bool(it.get("next_page_token")))  # noqa: E731
    like = "name LIKE '$word%'"
    for query in [{"filter": like}, {"filter": "name = '$word-r'"}, {"filter": "name ILIKE 'W-%' AND name LIKE '$word%'"}, {"filter": "name != '$word-r' AND " + like}, {"filter": "tags.a = '1' AND " + like}, {"filter": "tag.a = '1' AND " + like}, {"filter": "tags.a != '1' AND " + like}, {"filter": "tags.`a` LIKE '1' AND " + like}, {"filter": "tags.a IS NULL"},
                  {"filter": "colour = 'x'"}, {"filter": "name > 'a'"}, {"filter": "name = x"}, {"filter": "name"}, {"filter": "name IN ('$word-r')"}, {"filter": "name LIKE '$word%' OR name = 'x'"}, {"filter": "run_id = 'x'"}, {"filter": like, "max_results": "2"}, {"max_results": "0"}, {"max_results": "-1"},
                  {"filter": like, "max_results": "1000"}, {"max_results": "1001"}, {"max_results": "x"}, {"filter": like, "page_token": "???"}]:
        both.get(f"models {query}", f"{MODEL}/search", query, only=only)
    for order in ["name", "name DESC", "name ASC", "last_updated_timestamp, name", "timestamp DESC", "creation_timestamp", "colour", "name sideways", ""]:
        status_only = (lambda it: None) if "timestamp" in order else only
        both.get(f"models ordered by {order!r}", f"{MODEL}/search", {"filter": like, "order_by": order}, only=status_only)
    both.send("model update: no words", "PATCH", f"{MODEL}/update", {"name": "$word-t"})
    both.send("model update: long words", "PATCH", f"{MODEL}/update", {"name": "$word-t", "description": "w" * 5001})
    both.post("model name 257", f"{MODEL}/create", {"name": "$word-" + "x" * 242})
    both.send("model delete", "DELETE", f"{MODEL}/delete", {"name": "$word-r"})
    both.send("model delete again", "DELETE", f"{MODEL}/delete", {"name": "$word-r"})
    both.send("model delete: nothing asked", "DELETE", f"{MODEL}/delete", {})
    both.done()


def test_model_versions(both):
    both.fresh()
    both.post("version: its model", f"{MODEL}/create", {"name": "$word-v"})
    from_run = {"name": "$word-v", "source": "runs:/$run/model", "run_id": "$run"}
    number = {"v": "model_version.version"}
    both.post("version: first", f"{VERSION}/create", {**from_run, "description": "words", "tags": [{"key": "a", "value": "1"}]}, save=number)
    both.post("version: second", f"{VERSION}/create", {**from_run, "source": "runs:/$run/other"}, save=number)
    for name, body in {"no name": {"name": None}, "missing model": {"name": "absent"}, "no source": {"source": None}, "empty source": {"source": ""}, "a path": {"source": "/etc/passwd"}, "a file address": {"source": "file:///etc/passwd"}, "climbs": {"source": "runs:/$run/../../x"}, "climbs, encoded": {"source": "mlflow-artifacts:/0/%2e%2e/x"},
                       "another run": {"run_id": "f" * 32}, "a number as source": {"source": 5}, "tags are text": {"tags": "x"}}.items():
        both.post(f"version create: {name}", f"{VERSION}/create", {**from_run, **body})
    for version in ["1", 1, "2", "3", "0", "-1", "x", "", "1.0", "01", "9" * 30, None]:
        both.get(f"version get {version!r}", f"{VERSION}/get", {"name": "$word-v"} | ({} if version is None else {"version": str(version)}), only=lambda it: it["model_version"]["version"])
    both.get("version get: missing model", f"{VERSION}/get", {"name": "absent", "version": "1"})
    both.get("version as a client sees it", f"{VERSION}/get", {"name": "$word-v", "version": "1"})
    both.get("version's download", f"{VERSION}/get-download-uri", {"name": "$word-v", "version": "1"}, only=lambda it: bool(it))
    both.get("version's download: missing", f"{VERSION}/get-download-uri", {"name": "$word-v", "version": "9"})
    for stage in ["Staging", "Production", "Archived", "None", "staging", "production", "Odd", "", None]:
        both.post(f"stage {stage!r}", f"{VERSION}/transition-stage", {"name": "$word-v", "version": "1", "stage": stage, "archive_existing_versions": False})
    both.post("stage: archives", f"{VERSION}/transition-stage", {"name": "$word-v", "version": "1", "stage": "Production"})
    both.post("stage: archives the other", f"{VERSION}/transition-stage", {"name": "$word-v", "version": "2", "stage": "Production", "archive_existing_versions": True})
    both.post("stage: None that archives", f"{VERSION}/transition-stage", {"name": "$word-v", "version": "2", "stage": "None", "archive_existing_versions": True})
    both.post("stage: missing version", f"{VERSION}/transition-stage", {"name": "$word-v", "version": "9", "stage": "Production"})
    both.post("latest versions", f"{MODEL}/get-latest-versions", {"name": "$word-v"})
    both.post("latest versions of a stage", f"{MODEL}/get-latest-versions", {"name": "$word-v", "stages": ["Archived"]})
    both.post("latest versions of an odd stage", f"{MODEL}/get-latest-versions", {"name": "$word-v", "stages": ["Odd"]})
    both.post("latest versions: missing", f"{MODEL}/get-latest-versions", {"name": "absent"})
    for alias in ["champion", "Champion", "a-b_c", "v1a", "latest", "LATEST", "v1", "V22", "a b", "a/b", "a.b", "冠军", "", None, "x" * 255, "x" * 256, "1", "@x"]:
        both.post(f"alias {str(alias)[:20]!r} {len(str(alias))}", f"{MODEL}/alias", {"name": "$word-v", "alias": alias, "version": "1"})
    both.post("alias moves", f"{MODEL}/alias", {"name": "$word-v", "alias": "champion", "version": "2"})
    both.post("alias: missing version", f"{MODEL}/alias", {"name": "$word-v", "alias": "champion", "version": "9"})
    both.post("alias: missing model", f"{MODEL}/alias", {"name": "absent", "alias": "champion", "version": "1"})
    for alias in ["champion", "absent", "", "latest", "v1"]:
        both.get(f"alias get {alias!r}", f"{MODEL}/alias", {"name": "$word-v", "alias": alias}, only=lambda it: it["model_version"]["version"])
    both.get("model with its aliases", f"{MODEL}/get", {"name": "$word-v"})
    both.send("alias delete", "DELETE", f"{MODEL}/alias", {"name": "$word-v", "alias": "champion"})
    both.send("alias delete again", "DELETE", f"{MODEL}/alias", {"name": "$word-v", "alias": "champion"})
    for name, body in {"plain": {"key": "k", "value": "v"}, "no value": {"key": "nv"}, "no key": {"value": "v"}, "100,001": {"key": "l", "value": "x" * 100_001}, "odd key": {"key": "a\nb", "value": "v"}, "missing": {"version": "9", "key": "a", "value": "v"}, "odd version": {"version": "x", "key": "a", "value": "v"}}.items():
        both.post(f"version tag {name}", f"{VERSION}/set-tag", {"name": "$word-v", "version": "1", **body})
    both.send("version delete tag", "DELETE", f"{VERSION}/delete-tag", {"name": "$word-v", "version": "1", "key": "k"})
    both.send("version delete tag again", "DELETE", f"{VERSION}/delete-tag", {"name": "$word-v", "version": "1", "key": "k"})
    both.send("version update", "PATCH", f"{VERSION}/update", {"name": "$word-v", "version": "1", "description": "new"})
    both.send("version update: missing", "PATCH", f"{VERSION}/update", {"name": "$word-v", "version": "9", "description": "new"})
    only = lambda it: ([m["version"] for m in it.get("model_versions", [])], bool(it.get("next_page_token")))  # noqa: E731
    mine = "name = '$word-v'"
    for query in [{"filter": mine}, {"filter": "name LIKE '$word%'"}, {"filter": mine + " AND version_number = 1"}, {"filter": mine + " AND version_number > 1"}, {"filter": mine + " AND version = '1'"}, {"filter": "run_id = '$run'"}, {"filter": "run_id IN ('$run')"}, {"filter": "run_id IN ('$run', 'x')"}, {"filter": "run_id IN ()"},
                  {"filter": mine + " AND run_id LIKE '%'"}, {"filter": "source_path = 'runs:/$run/model'"}, {"filter": mine + " AND source_path LIKE '%model'"}, {"filter": mine + " AND tags.a = '1'"}, {"filter": mine + " AND tags.a != '1'"}, {"filter": "stage = 'Production'"}, {"filter": "colour = 'x'"}, {"filter": "version_number = 'x'"},
                  {"filter": mine, "max_results": "1"}, {"filter": mine, "max_results": "0"}, {"filter": mine, "max_results": "200000"}, {"filter": mine, "max_results": "200001"}, {"filter": mine, "order_by": "version_number ASC"}, {"filter": mine, "order_by": "version_number DESC"}, {"filter": mine, "order_by": "name"}, {"filter": mine, "order_by": "creation_timestamp"},
                  {"filter": mine, "order_by": "colour"}, {"filter": mine, "page_token": "???"}]:
        both.get(f"versions {query}", f"{VERSION}/search", query, only=only)
    both.send("version delete", "DELETE", f"{VERSION}/delete", {"name": "$word-v", "version": "1"})
    both.send("version delete again", "DELETE", f"{VERSION}/delete", {"name": "$word-v", "version": "1"})
    both.send("version delete: odd", "DELETE", f"{VERSION}/delete", {"name": "$word-v", "version": "x"})
    both.get("version get: deleted", f"{VERSION}/get", {"name": "$word-v", "version": "1"})
    both.post("version: third", f"{VERSION}/create", from_run, save=number)
    both.client("client get_model_version_by_alias", lambda c, f: c.get_model_version_by_alias(f("$word-v"), "absent"))
    both.client("client search_model_versions", lambda c, f: [it.version for it in c.search_model_versions(f"name = '{f('$word-v')}'")])
    both.done()
