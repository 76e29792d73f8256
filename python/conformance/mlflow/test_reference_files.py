"""Experiments and artifacts, beside MLflow's own server."""

from __future__ import annotations

import urllib.parse

from reference_kit import FILES


def test_experiments(both):
    both.fresh()
    create = "experiments/create"
    names = {"plain": "$word-a", "spaces": "$word a b", "wide": "$word 数据", "slash": "$word/x", "quotes": "$word'\"`", "percent": "$word%41", "climbs": "../$word", "control": "$word\n\t", "500": "$word-" + "x" * 485, "501": "$word-" + "x" * 486,
             "empty": "", "space alone": " ", "null": None, "list": ["x"], "spaces around": " $word ", "case": "$word-A"}
    for name, value in names.items():
        both.post(f"experiment name {name}", create, {"name": value}, save={"e": "experiment_id"})
    both.post("experiment without name", create, {})
    both.post("experiment twice", create, {"name": "$word-a"})
    both.post("experiment of an id that is a number", create, {"name": "$word-t", "tags": [{"key": "a", "value": "1"}, {"key": "b"}]}, save={"e": "experiment_id"})
    both.get("experiment get", "experiments/get", {"experiment_id": "$e"})
    for name, value in {"default": "0", "missing": "987654321", "word": "abc", "empty": "", "negative": "-1", "climbs": "../0"}.items():
        both.get(f"experiment get {name}", "experiments/get", {"experiment_id": value}, only=lambda it: it["experiment"]["name"])
    both.get("experiment get: nothing asked", "experiments/get", {})
    both.get("experiment by name", "experiments/get-by-name", {"experiment_name": "$word-a"}, only=lambda it: it["experiment"]["name"])
    both.get("experiment by name: missing", "experiments/get-by-name", {"experiment_name": "$word-zz"})
    both.get("experiment by name: nothing asked", "experiments/get-by-name", {})
    tag = "experiments/set-experiment-tag"
    for name, body in {"plain": {"key": "k", "value": "v"}, "no value": {"key": "nv"}, "no key": {"value": "v"}, "empty value": {"key": "ev", "value": ""}, "20,000": {"key": "l", "value": "x" * 20000}, "20,001": {"key": "l", "value": "x" * 20001},
                       "5,001": {"key": "m", "value": "x" * 5001}, "key 250": {"key": "k" * 250, "value": "v"}, "key 251": {"key": "k" * 251, "value": "v"}, "odd key": {"key": "a\nb", "value": "v"}, "key climbs": {"key": "../b", "value": "v"}}.items():
        both.post(f"experiment tag {name}", tag, {"experiment_id": "$e", **body})
    both.post("experiment tag: missing experiment", tag, {"experiment_id": "987654321", "key": "a", "value": "b"})
    both.get("experiment with its tags", "experiments/get", {"experiment_id": "$e"})
    both.post("experiment delete tag", "experiments/delete-experiment-tag", {"experiment_id": "$e", "key": "k"})
    both.post("experiment delete tag again", "experiments/delete-experiment-tag", {"experiment_id": "$e", "key": "k"})
    update = "experiments/update"
    for name, body in {"plain": {"new_name": "$word-new"}, "same": {"new_name": "$word-new"}, "taken": {"new_name": "$word-a"}, "empty": {"new_name": ""}, "none": {}, "501": {"new_name": "x" * 501}, "space": {"new_name": " "}}.items():
        both.post(f"experiment rename {name}", update, {"experiment_id": "$e", **body})
    both.post("experiment rename: missing", update, {"experiment_id": "987654321", "new_name": "$word-n"})
    both.post("experiment restore: active", "experiments/restore", {"experiment_id": "$e"})
    both.post("experiment delete", "experiments/delete", {"experiment_id": "$e"})
    both.post("experiment delete again", "experiments/delete", {"experiment_id": "$e"})
    both.post("experiment rename deleted", update, {"experiment_id": "$e", "new_name": "$word-d"})
    both.post("experiment tag deleted", tag, {"experiment_id": "$e", "key": "a", "value": "b"})
    both.post("run in a deleted experiment", "runs/create", {"experiment_id": "$e", "start_time": 1, "run_name": "n"})
    both.post("experiment with a deleted one's name", create, {"name": "$word-new"})
    both.post("experiment restored", "experiments/restore", {"experiment_id": "$e"})
    both.post("experiment delete: missing", "experiments/delete", {"experiment_id": "987654321"})
    both.post("experiment delete: default", "experiments/delete", {"experiment_id": ""})
    search = "experiments/search"
    only = lambda it: (sorted(e["name"] for e in it.get("experiments", [])), bool(it.get("next_page_token")))  # noqa: E731
    for body in [{"filter": "name = '$word-a'"}, {"filter": "name LIKE '$word%'"}, {"filter": "name ILIKE 'W-%' AND name LIKE '$word%'"}, {"filter": "attribute.name = '$word-a'"}, {"filter": "attributes.name != '$word-a' AND name LIKE '$word%'"}, {"filter": "tags.a = '1' AND name LIKE '$word%'"},
                 {"filter": "tag.a = '1' AND name LIKE '$word%'"}, {"filter": "tags.b = '' AND name LIKE '$word%'"}, {"filter": "tags.a != '1' AND name LIKE '$word%'"}, {"filter": "tags.a IS NULL AND name LIKE '$word%'"}, {"filter": "creation_time > 1 AND name LIKE '$word%'"}, {"filter": "last_update_time < 1"},
                 {"filter": "creation_time > '1'"}, {"filter": "experiment_id = '$e'"}, {"filter": "name IN ('$word-a')"}, {"filter": "name > 'a'"}, {"filter": "colour = 'x'"}, {"filter": "params.a = 'x'"}, {"filter": "name"}, {"filter": "name = a"},
                 {"filter": "name LIKE '$word%'", "max_results": 2}, {"max_results": 0}, {"max_results": -1}, {"max_results": 50001}, {"filter": "name LIKE '$word%'", "max_results": 50000}, {"page_token": "x"}, {"filter": "name LIKE '$word%'", "view_type": "DELETED_ONLY"}, {"filter": "name LIKE '$word%'", "view_type": "ALL"},
                 {"view_type": "SOME", "filter": "name = '$word-a'"}]:
        both.post(f"experiments {body}", search, {"max_results": 100, **body}, only=only)
    in_order = lambda it: [e["name"] for e in it.get("experiments", [])]  # noqa: E731
    for order in [["name"], ["name DESC"], ["attribute.name ASC"], ["creation_time DESC", "name"], ["last_update_time"], ["tags.a"], ["colour"], ["name sideways"], [""], ["experiment_id"]]:
        both.post(f"experiments ordered by {order}", search, {"max_results": 100, "filter": "name LIKE '$word%'", "order_by": order}, only=in_order)
    both.done()


# Names of files as they stand in an address: what is in a segment is percent-encoded where it must be.
NAMES = ["plain.txt", "a/b/c.txt", "sp ace.txt", "数据.txt", "é.txt", "😀", "semi;colon", "col:on", "quo'te", 'dou"ble', "comma,", "at@", "plus+", "amp&", "eq=", "dollar$", "star*", "excl!", "tilde~", "paren()", "brack[]", "brace{}", "pipe|", "caret^", "back`tick", "less<", "more>",
         "quest?", "hash#", "per%cent", "per%41", "%2e%2e", "%2e", "%2f", "trailing.", "trailing ", " leading", ".hidden", "..", ".", "...", "..a", "a..", "a/../b", "a/./b", "a//b", "/a", "//a", "a/", "back\\slash", "\\a", "\\\\a", "..\\x", "a\\..\\b", "C:\\x", "C:/x", "C:x", "c:", "file:/x", "http://x/y",
         "line\nend", "tab\tbed", "nul\0l", "bell\a", "del\x7f", "n" * 255, "n" * 256, "数" * 85, "数" * 86, "d/" * 120 + "x", "d" * 200 + "/" + "e" * 200, "CON", "nul", "a:b:c", "~", "~/x", "$HOME", "-rf", "--", "\u202e", "\ufeff", "e\u0301"]


def test_artifact_names(both):
    both.fresh()
    base = f"{FILES}/$exp/$run/artifacts/"
    for at, name in enumerate(NAMES):
        shown = f"{at} {name[:14]!r}"
        address = base + urllib.parse.quote(name, safe="/")
        both.send(f"put {shown}", "PUT", address, raw=b"x%d" % at, headers={"Content-Type": "application/octet-stream"})
        both.send(f"fetch {shown}", "GET", address)
    for name in ["%2e%2e/x", "a/%2e%2e/x", "%252e%252e/x", "a%2fb", "..%2fx", "%5cx", "..%5cx", "%00", "%ff", "%", "%zz", "a%", "%c3%28", "%u0041"]:
        both.send(f"put raw {name}", "PUT", base + name, raw=b"x", headers={"Content-Type": "application/octet-stream"})
        both.send(f"fetch raw {name}", "GET", base + name)
    both.done()


def names_of(it):
    return sorted((file["path"], file.get("is_dir", False), file.get("file_size", 0)) for file in it.get("files", []))


def test_artifact_lists(both):
    both.fresh()
    base = f"{FILES}/$exp/$run/artifacts"
    for name in ["a.txt", "d/b.txt", "d/e/c.txt", "sp%20ace/x.txt", "%E6%95%B0/%E6%8D%AE.txt", "back%5Cslash/y.txt"]:
        both.send(f"artifact {name}", "PUT", f"{base}/{name}", raw=b"12345", headers={"Content-Type": "application/octet-stream"})
    for path in ["", None, "d", "d/", "/d", "d/e", "a.txt", "absent", "..", "../..", "d/..", "d/../d", ".", "./d", "d//e", "sp ace", "sp%20ace", "数", "back\\slash", "\\d", "d\\e", "%2e%2e", "%252e%252e", "#", "?", "a#b", "C:", "C:\\", "file:/etc", "\0"]:
        query = {"run_id": "$run"} | ({} if path is None else {"path": path})
        both.get(f"list {path!r}", "artifacts/list", query, only=names_of)
    both.get("list by its former name", "artifacts/list", {"run_uuid": "$run"}, only=names_of)
    both.get("list of nothing", "artifacts/list", {})
    both.get("list of a missing run", "artifacts/list", {"run_id": "f" * 32})
    proxy = FILES
    for path in ["$exp/$run/artifacts", "$exp/$run/artifacts/d", "$exp/$run/artifacts/absent", "$exp/$run/artifacts/../..", "..", "%2e%2e"]:
        both.get(f"proxy list {path}", proxy, {"path": path}, only=names_of)
    both.client("client list", lambda c, f: sorted(it.path for it in c.list_artifacts(f("$run"))))
    both.client("client list of a folder", lambda c, f: sorted(it.path for it in c.list_artifacts(f("$run"), "back\\slash")))
    both.client("client log_text", lambda c, f: c.log_text(f("$run"), "text", "t/数 据\\x.txt"))
    both.client("client list again", lambda c, f: sorted(it.path for it in c.list_artifacts(f("$run"), "t")))
    both.send("delete a file", "DELETE", f"{base}/a.txt")
    both.send("delete it again", "DELETE", f"{base}/a.txt")
    both.send("delete a folder", "DELETE", f"{base}/d")
    both.send("delete what climbs", "DELETE", f"{base}/%2e%2e/x")
    both.send("fetch a folder", "GET", f"{base}/sp%20ace")
    both.send("put over a folder", "PUT", f"{base}/sp%20ace", raw=b"x", headers={"Content-Type": "application/octet-stream"})
    both.send("put below a file", "PUT", f"{base}/sp%20ace/x.txt/y", raw=b"x", headers={"Content-Type": "application/octet-stream"})
    both.get("list after all", "artifacts/list", {"run_id": "$run"}, only=names_of)
    both.done()
