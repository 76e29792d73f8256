"""Where this server answers otherwise than MLflow's own, on purpose, and why.

A call that is listed here and gets the same answer from both fails the test, so the list stays true.
"""

from __future__ import annotations

DIFFERENCES: dict[str, str] = {}


def differ(why: str, *calls: str) -> None:
    for it in calls:
        assert it not in DIFFERENCES, it
        DIFFERENCES[it] = why


differ(
    "Stricter against loss: the reference takes a field that is not of its type for absent, and goes on without it.",
    "create: start time over 63 bits", "create: start time with a fraction", "create: tags are no list", "create: a tag without key",
    "metric timestamp 64 bits", "metric timestamp fraction", "metric step 64 bits", "metric step fraction",
    "batch one bad metric", "history max_results 'x'", "history max_results '1.5'", "history max_results ''", "history max_results '9223372036854775808'",
    "update: status 'finished'", "update: status ''", "update: status 'ODD'", "max_results 1.5", "view 0", "view 4", "view 'SOME'", "experiments {'view_type': 'SOME', 'filter': \"name = '$word-a'\"}",
)
differ(
    "Stricter against loss: the reference leaves out a condition that it cannot read, and finds more than was asked for.",
    "filter 'metrics.m > 1 AND'", "filter 'AND metrics.m > 1'", "filter \"params.p = 'a' AND AND metrics.m > 1\"", "filter 'metrics. > 1'", "filter \"params.quote = 'it\\\\'s'\"",
    "page_token 'eyJvZmZzZXQiOiAtMX0='", "history with a token of another kind",
)
differ(
    "Takes more: what the words mean is clear.",
    "filter ' '", "filter 'metrics.m <> 2'", "filter 'metrics.m > +1'", "filter 'params.p = `a`'", "filter \"status IN ('RUNNING', 'FAILED')\"", "filter \"run_name IN ('one')\"", "filter \"tags.from = 'x'\"", "filter 'metrics.5 > 1'",
    "filter \"params.a-b = 'x'\"", "filter \"params.a/b = 'x'\"", "filter \"params.a:b = 'x'\"", "order ['`Run name`']", "order ['attributes.`run name` DESC']", "order_by is a text", "experiment_ids '$exp'", "experiment_ids [0]",
    "experiments {'filter': \"attributes.name != '$word-a' AND name LIKE '$word%'\"}", "experiments {'filter': \"name IN ('$word-a')\"}", "experiments ordered by ['tags.a']", "create: no content type", "create: empty body",
)
differ(
    "Takes more: clients in languages other than Python send numbers where texts are asked.",
    "number: experiment", "number: name of a run", "number: key of a metric", "number: runs/log-parameter 5", "number: runs/log-parameter 0.5", "number: runs/log-parameter -1e+300", "number: runs/set-tag 5", "number: runs/set-tag 0.5",
    "number: runs/set-tag -1e+300", "number: tag of an experiment", "number: tag of a model",
)
differ("Two quotes in a row are one, as in SQL; the reference finds nothing.", "filter \"params.quote = 'it''s'\"")
differ("The address of a run's artifacts is made of its ids, and nothing is stored that could be searched.", "filter \"artifact_uri LIKE '%'\"", "order ['artifact_uri']")
differ(
    "The reference fails with a status of 500, or with another code for the same refusal.",
    "metric value list", "metric value of 400 digits", "batch an entry is text", "batch an entry is null", "batch null lists", "max_results None", "page_token 'W10='", "models {'filter': 'tags.a IS NULL'}", "version get '999999999999999999999999999999'",
    "stage: None that archives", "experiment rename deleted", "experiment rename taken", "experiment rename space", "version create: another run", "version get '-1'",
)
differ("An address that has no such method is refused with 400 here, and the header `Allow` names those that it has.", "get: by POST")
differ(
    "Stricter: a mistyped id would look like a run that logged nothing.",
    "history of a missing run",
)
differ("Stricter against loss: what a change does not name stays as it was.", "model update: no words")
differ(
    "Stricter: PostgreSQL holds no NUL in a text, and a run must not depend on the database.",
    "param value zero byte", "tag value zero byte",
)
differ(
    "Stricter: the reference holds these lengths in its columns, and SQLite does not look at them.",
    "create: tag key of 251 characters", "create: name of 8,001 characters", "create: name of 8,001 wide characters", "model update: long words", "model name 257",
)
differ("A run that says no start begins now; the reference keeps none.", "create: no start time")
differ("Stricter against loss: the reference writes 0 for the newest value.", "the metric that was sent as nan")
differ("Of a tag that is sent twice the last one is kept; the reference fails on its database.", "create: one tag twice")
differ("A name of spaces alone cannot be seen.", "experiment name space alone")
differ("Stricter: a page of no entries leads nowhere.", "models {'max_results': '0'}", "models {'max_results': '-1'}")
differ("Says more: the aliases of the latest versions too.", "model with its aliases")


def names(why: str, *calls: str) -> None:
    differ(why, *(f"{way} {it}" for it in calls for way in ("put", "fetch")))


names(
    "Refused: MLflow's own client refuses the whole list of a folder that holds such a name, and control characters reach terminals and logs.",
    "28 'hash#'", "raw %00", "54 'C:\\\\x'", "61 'tab\\tbed'", "62 'nul\\x00l'", "63 'bell\\x07'", "64 'del\\x7f'",
)
names(
    "Both refuse; the reference fails with a status of 500, or answers without a code.",
    "32 '%2e'", "33 '%2f'", "39 '.'", "44 'a/./b'", "45 'a//b'", "46 '/a'", "47 '//a'", "48 'a/'", "59 'http://x/y'", "60 'line\\nend'",
)
differ("The reference fails with a status of 500, or another code.", "put over a folder", "put below a file", "fetch a folder", "put 75 '~/x'", "put raw a%2fb", "fetch raw a%2fb")
names("Refused: not UTF-8, so no name; the reference keeps another one.", "raw %ff", "raw %c3%28")
names("Takes more: a name of a file here is no name on a disk.", "66 'nnnnnnnnnnnnnn'", "68 '数数数数数数数数数数数数数数'")
differ(
    "A name means what it says. The reference takes percent signs off a second time, and writes one file over another; a path that is not plain is no folder.",
    "list 'sp%20ace'", "list '.'", "list './d'", "list 'd//e'", "list '#'", "list '?'", "list 'file:/etc'", "list '\\x00'",
)
