"""Writes tables that come with scikit-learn as CSV files: breast-cancer.csv (classes), diabetes.csv (numbers).

    python make_tables.py FOLDER
"""

import csv
import pathlib
import sys

from sklearn.datasets import load_breast_cancer, load_diabetes


def write(path, columns, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    print(path)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    cancer = load_breast_cancer()
    columns = [*(it.replace(" ", "_") for it in cancer.feature_names), "diagnosis"]
    names = [cancer.target_names[it] for it in cancer.target]
    write(folder / "breast-cancer.csv", columns, ([*row, name] for row, name in zip(cancer.data.tolist(), names, strict=True)))
    diabetes = load_diabetes(scaled=False)
    rows = ([*row, value] for row, value in zip(diabetes.data.tolist(), diabetes.target.tolist(), strict=True))
    write(folder / "diabetes.csv", [*diabetes.feature_names, "progression"], rows)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
