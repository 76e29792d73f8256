"""Trains a model on the rows of a pinned dataset version and logs it as ONNX.

    python train/table.py --input data --algorithm mlp --experiment patients --task classification --seed 0
"""

import argparse
import pathlib
import sys
from collections import Counter

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parent.parent)]

import kaogong_job

kaogong_job.reach_server_directly()

import fit
import numpy as np

#: Columns of words with more different values than this hold names or remarks, not categories.
CATEGORIES_MAX = 50
#: Fewer values than this may all be different by chance.
ROWS_MIN = 10
#: The largest number that a tensor of 32-bit floats holds.
NUMBER_MAX = float(np.finfo(np.float32).max)


def number(text):
    """The number of a field; NaN for none that a tensor holds. Serving reads fields alike (tests/numbers.json)."""
    text = text.strip()
    if text.lower() in ("true", "false"):
        return float(text.lower() == "true")
    try:
        value = float(text)
    except ValueError:
        return np.nan
    return value if abs(value) <= NUMBER_MAX else np.nan


def row_mark(values):
    """Why the values only tell rows apart, as numbers of rows and ids do; `None` when they may tell more.

    A model learns such a column by heart and is wrong on rows it never saw. Whole numbers that are all different are
    ids; numbers that only rise, or only fall, from row to row count the rows.
    """
    if len(values) < ROWS_MIN or len(np.unique(values)) < len(values):
        return None
    steps = np.diff(values)
    if (steps > 0).all() or (steps < 0).all():
        return "it rises or falls from row to row, as row numbers do"
    return "a whole number of its own in every row, as ids are" if (values == np.rint(values)).all() else None


def describe(columns, rows, target):
    """The columns that are used, as the task describes them, and those that are not, with the reason."""
    used, left_out = [], []
    for column in columns:
        name, kind = column["name"], column["kind"]
        if name == target:
            continue
        fields = [row.get(name) or "" for row in rows]
        if kind in ("integer", "number", "boolean"):
            values = np.array([number(it) for it in fields])
            known = values[~np.isnan(values)]
            if len(known) == 0 or known.min() == known.max():
                left_out.append(f"{name} (one value)")
            elif reason := row_mark(known):
                left_out.append(f"{name} ({reason})")
            else:
                used.append({"name": name, "kind": "number", "fill": float(np.float32(np.median(known)))})
        elif kind == "text":
            counts = Counter(it for it in fields if it)
            if len(counts) >= ROWS_MIN and len(counts) == counts.total():
                left_out.append(f"{name} (a text of its own in every row, as names are)")
            elif 2 <= len(counts) <= CATEGORIES_MAX:
                used.append({"name": name, "kind": "category", "values": sorted(counts)})
            else:
                left_out.append(f"{name} ({len(counts)} different texts)")
        else:
            left_out.append(f"{name} ({kind})")
    return used, left_out


def matrix(used, rows):
    """One row of numbers for every row: numbers filled, categories one-hot."""
    parts = []
    for column in used:
        fields = [row.get(column["name"]) or "" for row in rows]
        if column["kind"] == "number":
            values = np.array([number(it) for it in fields])
            parts.append(np.where(np.isnan(values), column["fill"], values)[:, None])
        else:
            parts.append(np.array([[float(it == value) for value in column["values"]] for it in fields]))
    return np.hstack(parts).astype(np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", default="data", help="the job's name for the dataset")
    parser.add_argument("--algorithm", choices=["logistic", "linear", "mlp"], default="mlp")
    parser.add_argument("--experiment", default="table")
    parser.add_argument("--task", choices=["classification", "regression"], default="classification")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args()
    dataset = kaogong_job.dataset(options.input)
    target = dataset.summary.get("target")
    if not target:
        raise SystemExit(f"{dataset.name}@{dataset.number} names no column to predict; import it with --target COLUMN")
    fit.say(f"reading {dataset.name}@{dataset.number}, target {target}")
    rows = [row for row in dataset.table(split="train") if row.get(target)]
    used, left_out = describe(dataset.summary["columns"], rows, target)
    options.left_out = left_out
    for reason in left_out:
        fit.say(f"left out: {reason}")
    if len(rows) < 10 or not used:
        raise SystemExit(f"the training split has {len(rows)} rows with {len(used)} usable columns; that is too little")
    x = matrix(used, rows)
    task = {"kind": f"table-{options.task}", "columns": used, "labels": [], "input": "x"}
    if options.task == "classification":
        train_classes(x, [row[target] for row in rows], task, options)
    else:
        train_numbers(x, [row[target] for row in rows], task, options)


def train_classes(x, names, task, options):
    labels = sorted(set(names))
    if len(labels) < 2:
        raise SystemExit("the target has one value only; there is nothing to tell apart")
    index = {label: at for at, label in enumerate(labels)}
    task |= {"labels": labels, "output": "probabilities"}
    fit.classification(x, np.array([index[it] for it in names]), labels, task, options)


def train_numbers(x, fields, task, options):
    y = np.array([number(it) for it in fields])
    known = ~np.isnan(y)
    task |= {"output": "value"}
    fit.regression(x[known], y[known], task, options)


if __name__ == "__main__":
    main()
