"""The training scripts on real data, against a file store of MLflow. Needs the scikit-learn environment.

    python -m unittest discover python/tests -p 'test_train*'
"""

import csv
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "train")]

import fit
import numpy as np
import onnx
import table
from fake_server import FakeServer, pictures_export
from onnx.reference import ReferenceEvaluator
from PIL import Image

PYTHON = HERE.parent


def run(folder, script, *arguments):
    done = subprocess.run([sys.executable, str(PYTHON / script), *arguments], capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise AssertionError(f"{script} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def columns_of(rows):
    def kind(values):
        try:
            [float(it) for it in values if it]
            return "number"
        except ValueError:
            return "text"

    return [{"name": name, "kind": kind([row[name] for row in rows])} for name in rows[0]]


class Train(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def serve(self, view, export):
        fake = FakeServer(view, export)
        self.addCleanup(fake.close)
        store = {"MLFLOW_TRACKING_URI": f"file:{self.folder}/mlruns", "MLFLOW_ALLOW_FILE_STORE": "true"}
        before = dict(os.environ)
        os.environ.update(fake.environment() | store)
        self.addCleanup(lambda: (os.environ.clear(), os.environ.update(before)))

    def model(self):
        found = list(self.folder.glob("mlruns/**/model.onnx"))
        self.assertEqual(len(found), 1)
        model = onnx.load(found[0])
        self.assertLessEqual(model.ir_version, 9)
        self.assertLessEqual(model.opset_import[0].version, 17)
        properties = {it.key: it.value for it in model.metadata_props}
        self.assertEqual(model.graph.input[0].name, "x")
        self.assertEqual(model.graph.input[0].type.tensor_type.shape.dim[0].dim_param, "batch")
        return ReferenceEvaluator(model), json.loads(properties["kaogong.task"])

    def metric(self, key):
        found = list(self.folder.glob(f"mlruns/*/*/metrics/{key}"))
        self.assertEqual(len(found), 1)
        return [float(line.split()[1]) for line in found[0].read_text().splitlines()]

    def check_digits(self, algorithm):
        run(self.folder, "demo/make_digits.py", str(self.folder / "digits"))
        files = sorted((self.folder / "digits").glob("*/*.png"))
        items = [(f"{it.parent.name}/{it.name}", it.parent.name, "train", it.read_bytes()) for it in files]
        self.assertEqual(len(items), 1797)
        held, items = items[::5], [it for at, it in enumerate(items) if at % 5]
        self.serve({"summary": {"kind": "images"}}, lambda query: pictures_export(items))
        run(self.folder, "train/images.py", "--algorithm", algorithm, "--experiment", "digits")
        evaluator, task = self.model()
        self.assertEqual((task["width"], task["height"], task["channels"], len(task["labels"])), (8, 8, 1, 10))
        pixels = [np.asarray(Image.open(io.BytesIO(it[3])), np.float32).reshape(-1) * task["scale"] for it in held]
        answers = np.argmax(evaluator.run(None, {"x": np.stack(pixels)})[0], axis=1)
        right = np.mean([task["labels"][answer] == it[1] for answer, it in zip(answers, held, strict=True)])
        self.assertGreaterEqual(right, 0.95)
        losses = self.metric("train_loss")
        self.assertTrue(len(losses) > 5 and losses[-1] < losses[0])
        self.assertGreaterEqual(self.metric("validation_accuracy")[0], 0.95)

    def test_digits_by_logistic_regression(self):
        self.check_digits("logistic")

    def test_digits_by_perceptron(self):
        self.check_digits("mlp")

    def test_colour_pictures_of_several_sizes(self):
        items = []
        for at in range(40):
            colour = [(200, 30, 30), (30, 30, 200)][at % 2]
            pixels = np.full((50 + at, 100, 3), colour, np.uint8)
            pixels[: at + 1] //= 2
            out = io.BytesIO()
            Image.fromarray(pixels).save(out, "PNG")
            items.append((f"{'红蓝'[at % 2]}/{at}.png", "红蓝"[at % 2], "train", out.getvalue()))
        self.serve({"summary": {"kind": "images"}}, lambda query: pictures_export(items))
        run(self.folder, "train/images.py", "--algorithm", "mlp", "--experiment", "colours")
        _, task = self.model()
        self.assertEqual((task["channels"], task["labels"], task["width"]), (3, ["红", "蓝"] if "红" < "蓝" else ["蓝", "红"], 32))
        self.assertGreaterEqual(self.metric("validation_accuracy")[0], 0.99)

    def check_table(self, name, target, task, algorithm, change=lambda rows: None):
        run(self.folder, "demo/make_tables.py", str(self.folder / "tables"))
        with (self.folder / "tables" / name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        change(rows)
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        view = {"summary": {"kind": "table", "target": target, "columns": columns_of(rows)}}
        self.serve(view, lambda query: out.getvalue().encode())
        run(self.folder, "train/table.py", "--algorithm", algorithm, "--experiment", "t", "--task", task)
        return self.model()

    def test_breast_cancer_with_gaps_and_words(self):
        def change(rows):
            for at, row in enumerate(rows):
                row["ward"] = "一二三"[at % 3]
                if at % 7 == 0:
                    row["mean_radius"] = ""

        for algorithm in ["logistic", "mlp"]:
            with self.subTest(algorithm):
                self.setUp()
                _, task = self.check_table("breast-cancer.csv", "diagnosis", "classification", algorithm, change)
                self.assertEqual(task["labels"], ["benign", "malignant"])
                self.assertEqual(task["columns"][-1]["kind"], "category")
                self.assertGreaterEqual(self.metric("validation_accuracy")[0], 0.92)

    def test_diabetes_progression(self):
        for algorithm in ["linear", "mlp"]:
            with self.subTest(algorithm):
                self.setUp()
                evaluator, task = self.check_table("diabetes.csv", "progression", "regression", algorithm)
                self.assertEqual((task["kind"], len(task["columns"])), ("table-regression", 10))
                self.assertEqual(evaluator.run(None, {"x": np.ones((3, 10), np.float32)})[0].shape, (3, 1))
                self.assertGreaterEqual(self.metric("validation_r2")[0], 0.3)

    def test_columns_of_any_magnitude(self):
        def to_tiny_units(rows):
            for row in rows:
                row |= {name: f"{float(value) * 1e-12:.9e}" for name, value in row.items() if name != "progression"}

        self.check_table("diabetes.csv", "progression", "regression", "linear", to_tiny_units)
        self.assertGreaterEqual(self.metric("validation_r2")[0], 0.3)


class Columns(unittest.TestCase):
    def test_columns_that_only_tell_rows_apart_are_left_out(self):
        rng = np.random.default_rng(0)
        ids = rng.permutation(10_000)[:40]
        rows = [
            {
                "rownames": str(at + 1),
                "ID": str(ids[at]),
                "clock": f"{at * 0.25:.2f}",
                "patient": f"p{ids[at]}",
                "age": str(20 + at % 30),
                "size": f"{rng.normal():.6f}",
                "ward": "ab"[at % 2],
                "y": "yn"[at % 2],
            }
            for at in range(40)
        ]
        kinds = {"rownames": "integer", "ID": "integer", "age": "integer", "clock": "number", "size": "number"}
        columns = [{"name": name, "kind": kinds.get(name, "text")} for name in rows[0]]
        used, left_out = table.describe(columns, rows, "y")
        self.assertEqual([it["name"] for it in used], ["age", "size", "ward"])
        self.assertEqual([it.split(" ")[0] for it in left_out], ["rownames", "ID", "clock", "patient"])
        self.assertIn("as row numbers do", left_out[0])
        self.assertIn("as ids are", left_out[1])

    def test_a_few_rows_prove_nothing(self):
        rows = [{"x": str(at), "y": "yn"[at % 2]} for at in range(9)]
        used, _ = table.describe([{"name": "x", "kind": "integer"}], rows, "y")
        self.assertEqual(len(used), 1)


class Measures(unittest.TestCase):
    def test_a_rare_class_that_is_never_found_shows(self):
        truth = np.array([0] * 95 + [1] * 5)
        measures = fit.measures_of(truth, np.zeros(100, int))
        self.assertEqual((measures["validation_accuracy"], measures["validation_balanced_accuracy"]), (0.95, 0.5))
        self.assertLess(measures["validation_macro_f1"], 0.5)


class Numbers(unittest.TestCase):
    def test_fields_are_read_as_serving_reads_them(self):
        for field, expected in json.loads((HERE / "numbers.json").read_text()).items():
            with self.subTest(field):
                got = float(np.float32(table.number(field)))
                self.assertEqual(None if np.isnan(got) else got, expected)

    def test_only_a_column_of_almost_one_value_keeps_its_scale(self):
        noise = np.array([0, 1] * 8)
        x = np.stack([3e-12 * noise, 1000 + 1e-4 * noise, 0.0 * noise, 5 + noise], axis=1)
        scale = fit._scaler(x).scale_
        np.testing.assert_allclose(scale, [1.5e-12, 1.0, 1.0, 0.5], rtol=1e-6)


if __name__ == "__main__":
    unittest.main()
