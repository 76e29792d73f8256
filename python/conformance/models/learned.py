"""Models that scikit-learn, LightGBM and XGBoost have fitted, as their converters write them."""

from __future__ import annotations

import warnings

import lightgbm
import numpy as np
import pandas
import xgboost
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as OtherFloats
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn import (
    calibration, cluster, compose, decomposition, discriminant_analysis, ensemble, feature_selection, impute, linear_model, mixture, multiclass, multioutput, naive_bayes, neighbors, neural_network, pipeline,
    preprocessing, svm, tree)
from sklearn.datasets import load_diabetes, load_iris
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from zoo_kit import Model, Source, given

warnings.filterwarnings("ignore")
IRIS = load_iris()
X, Y = IRIS.data.astype(np.float32), IRIS.target
SUGAR = load_diabetes()
U, V = SUGAR.data[:200, :6].astype(np.float32) * 10, SUGAR.target[:200].astype(np.float32)
POSITIVE = np.abs(X)
TEXTS = np.array(["red car fast", "blue slow bike", "red bike", "fast blue car", "green car", "slow green bike"] * 5)
NO_ZIPMAP = {"zipmap": False}
OPSETS = {"": 18, "ai.onnx.ml": 3}


def classifiers():
    yield linear_model.LogisticRegression(max_iter=500)
    yield linear_model.LogisticRegressionCV(max_iter=500, cv=2)
    yield linear_model.SGDClassifier(loss="log_loss", random_state=0)
    yield linear_model.Perceptron(random_state=0)
    yield linear_model.RidgeClassifier()
    yield linear_model.PassiveAggressiveClassifier(random_state=0)
    yield svm.SVC(probability=True, random_state=0)
    yield svm.SVC(kernel="linear", random_state=0)
    yield svm.LinearSVC(random_state=0)
    yield svm.NuSVC(probability=True, random_state=0)
    yield tree.DecisionTreeClassifier(max_depth=5, random_state=0)
    yield tree.ExtraTreeClassifier(random_state=0)
    yield ensemble.RandomForestClassifier(40, random_state=0)
    yield ensemble.ExtraTreesClassifier(20, random_state=0)
    yield ensemble.GradientBoostingClassifier(n_estimators=20, random_state=0)
    yield ensemble.AdaBoostClassifier(n_estimators=10, random_state=0)
    yield ensemble.BaggingClassifier(n_estimators=5, random_state=0)
    yield ensemble.VotingClassifier([("a", linear_model.LogisticRegression(max_iter=500)),
                                     ("b", tree.DecisionTreeClassifier(random_state=0))], voting="soft",
                                    flatten_transform=False)
    yield ensemble.StackingClassifier([("a", naive_bayes.GaussianNB()), ("b", tree.DecisionTreeClassifier(random_state=0))])
    yield neighbors.KNeighborsClassifier()
    yield naive_bayes.GaussianNB()
    yield naive_bayes.BernoulliNB()
    yield naive_bayes.MultinomialNB()
    yield naive_bayes.ComplementNB()
    yield neural_network.MLPClassifier(hidden_layer_sizes=(8,), max_iter=200, random_state=0)
    yield discriminant_analysis.LinearDiscriminantAnalysis()
    yield discriminant_analysis.QuadraticDiscriminantAnalysis()
    yield calibration.CalibratedClassifierCV(naive_bayes.GaussianNB(), cv=2)
    yield multiclass.OneVsRestClassifier(linear_model.LogisticRegression())


def regressors():
    yield linear_model.LinearRegression()
    yield linear_model.Ridge()
    yield linear_model.Lasso()
    yield linear_model.ElasticNet()
    yield linear_model.BayesianRidge()
    yield linear_model.HuberRegressor(max_iter=1000)
    yield linear_model.PoissonRegressor(max_iter=500)
    yield linear_model.SGDRegressor(random_state=0)
    yield svm.SVR()
    yield svm.LinearSVR(random_state=0)
    yield tree.DecisionTreeRegressor(max_depth=6, random_state=0)
    yield ensemble.RandomForestRegressor(20, random_state=0)
    yield ensemble.ExtraTreesRegressor(20, random_state=0)
    yield ensemble.GradientBoostingRegressor(n_estimators=20, random_state=0)
    yield ensemble.VotingRegressor([("a", linear_model.Ridge()), ("b", tree.DecisionTreeRegressor(random_state=0))])
    yield neighbors.KNeighborsRegressor()
    yield neural_network.MLPRegressor(hidden_layer_sizes=(8,), max_iter=300, random_state=0)
    yield multioutput.MultiOutputRegressor(linear_model.Ridge())


def transformers():
    yield preprocessing.StandardScaler()
    yield preprocessing.MinMaxScaler()
    yield preprocessing.MaxAbsScaler()
    yield preprocessing.RobustScaler()
    yield preprocessing.Normalizer()
    yield preprocessing.Binarizer()
    yield preprocessing.PolynomialFeatures(2)
    yield preprocessing.PowerTransformer()
    yield preprocessing.KBinsDiscretizer(3, encode="ordinal")
    yield decomposition.PCA(2)
    yield decomposition.TruncatedSVD(2)
    yield impute.SimpleImputer()
    yield impute.KNNImputer()
    yield feature_selection.SelectKBest(k=2)
    yield feature_selection.VarianceThreshold()
    yield cluster.KMeans(3, n_init=2, random_state=0)
    yield mixture.GaussianMixture(2, random_state=0)
    yield ensemble.IsolationForest(n_estimators=10, random_state=0)


def name_of(it) -> str:
    kernel = f"-{it.kernel}" if getattr(it, "kernel", "rbf") == "linear" else ""
    return f"sklearn-{type(it).__name__}{kernel}"


def of_sklearn():
    rows = Source(rows={"X": X})
    for model in classifiers():
        options = None if isinstance(model, svm.LinearSVC) else {id(model): NO_ZIPMAP}
        yield name_of(model), lambda model=model, options=options: to_onnx(
            model.fit(POSITIVE, Y), X[:1], options=options, target_opset=17), rows
    for model in regressors():
        target = np.stack([V, -V], 1) if isinstance(model, multioutput.MultiOutputRegressor) else V
        yield name_of(model), lambda model=model, target=target: to_onnx(
            model.fit(U, target), U[:1], target_opset=17), Source(rows={"X": U})
    for model in transformers():
        yield name_of(model), lambda model=model: to_onnx(model.fit(X, Y), X[:1], target_opset=OPSETS), rows


def of_pipelines():
    codes = np.array([[101, 5], [202, 6], [303, 5], [101, 7]] * 5)
    words = np.array([["a", "x"], ["b", "y"], ["c", "x"], ["a", "z"]] * 5, dtype=object)
    two = [("n", FloatTensorType([None, 2])), ("t", StringTensorType([None, 1]))]

    def fit(model, x, y=None, kinds=None, **more):
        fitted = model.fit(x) if y is None else model.fit(x, y)
        return lambda: to_onnx(fitted, initial_types=kinds, target_opset=17, **more)

    texts = Source(by_input={"X": ("a", "b", "c", "x", "y", "z")})
    yield "sklearn-OneHotEncoder-texts", fit(preprocessing.OneHotEncoder(), words, kinds=[
        ("X", StringTensorType([None, 2]))]), Source(rows={"X": words})
    yield "sklearn-OneHotEncoder-ignore", fit(preprocessing.OneHotEncoder(handle_unknown="ignore"), words, kinds=[
        ("X", StringTensorType([None, 2]))]), texts
    yield "sklearn-OneHotEncoder-codes", fit(preprocessing.OneHotEncoder(), codes, kinds=[
        ("X", Int64TensorType([None, 2]))]), Source(rows={"X": codes})
    yield "sklearn-OrdinalEncoder", fit(preprocessing.OrdinalEncoder(), codes, kinds=[
        ("X", Int64TensorType([None, 2]))]), Source(rows={"X": codes})
    yield "sklearn-LabelEncoder", fit(preprocessing.LabelEncoder(), words[:, 0], kinds=[
        ("X", StringTensorType([None]))]), Source(rows={"X": words[:, 0]})
    sentences = Source(rows={"X": TEXTS.astype(object).reshape(-1, 1)})
    # Lower-casing needs the locale en_US.UTF-8, which not every machine has.
    for model in [TfidfVectorizer(lowercase=False), CountVectorizer(lowercase=False, ngram_range=(1, 2))]:
        yield name_of(model), fit(model, TEXTS, kinds=[("X", StringTensorType([None, 1]))]), sentences
    labels = np.array(["warm", "cold"] * 15)
    yield "sklearn-text-classifier", fit(
        pipeline.make_pipeline(TfidfVectorizer(lowercase=False), linear_model.LogisticRegression()), TEXTS, labels,
        [("X", StringTensorType([None, 1]))], options={"zipmap": False}), sentences
    columns = compose.ColumnTransformer([
        ("n", pipeline.make_pipeline(impute.SimpleImputer(strategy="median"), preprocessing.StandardScaler()), ["n1", "n2"]),
        ("t", preprocessing.OneHotEncoder(handle_unknown="ignore"), ["t"])])
    frame = pandas.DataFrame({"n1": X[:30, 0], "n2": X[:30, 1], "t": ["a", "b", "c"] * 10})
    kinds = [("n1", FloatTensorType([None, 1])), ("n2", FloatTensorType([None, 1])), ("t", StringTensorType([None, 1]))]
    yield "sklearn-ColumnTransformer-forest", fit(
        pipeline.make_pipeline(columns, ensemble.RandomForestClassifier(5, random_state=0)), frame, labels, kinds,
        options={"zipmap": False}), Source(texts=("a", "b", "c", "d"))
    yield "sklearn-zipmap-integers", fit(linear_model.LogisticRegression(max_iter=500), X, Y, [
        ("X", FloatTensorType([None, 4]))]), Source(rows={"X": X})
    yield "sklearn-zipmap-texts", fit(linear_model.LogisticRegression(max_iter=500), X, np.array(["é", "b", "c"])[Y], [
        ("X", FloatTensorType([None, 4]))]), Source(rows={"X": X})
    yield "sklearn-pca-svc", fit(pipeline.make_pipeline(
        preprocessing.StandardScaler(), decomposition.PCA(2), svm.SVC(probability=True, random_state=0)), X, Y, [
        ("X", FloatTensorType([None, 4]))], options={"zipmap": False}), Source(rows={"X": X})
    yield "sklearn-union", fit(pipeline.make_pipeline(pipeline.make_union(
        preprocessing.StandardScaler(), decomposition.PCA(2)), linear_model.Ridge()), X, Y.astype(np.float32), [
        ("X", FloatTensorType([None, 4]))]), Source(rows={"X": X})


def of_trees():
    kinds = [("X", OtherFloats([None, 4]))]
    rows = Source(rows={"X": X})
    quiet = {"n_estimators": 20, "random_state": 0}
    two = (Y == 1).astype(int)

    def light(model, y, **more):
        return lambda: convert_lightgbm(model(**quiet, verbose=-1).fit(X, y), initial_types=kinds, target_opset=15, **more)

    def extreme(model, y, **more):
        return lambda: convert_xgboost(model(**quiet, **more).fit(X, y), initial_types=kinds, target_opset=15)

    yield "lightgbm-classifier", light(lightgbm.LGBMClassifier, two, zipmap=False), rows
    yield "lightgbm-classifier-three", light(lightgbm.LGBMClassifier, Y, zipmap=False), rows
    yield "lightgbm-classifier-zipmap", light(lightgbm.LGBMClassifier, two), rows
    yield "lightgbm-regressor", light(lightgbm.LGBMRegressor, X[:, 0] + Y), rows
    yield "xgboost-classifier", extreme(xgboost.XGBClassifier, two), rows
    yield "xgboost-classifier-three", extreme(xgboost.XGBClassifier, Y), rows
    yield "xgboost-regressor", extreme(xgboost.XGBRegressor, X[:, 0] + Y), rows
    yield "xgboost-forest", extreme(xgboost.XGBRFClassifier, two), rows
    yield "xgboost-poisson", extreme(xgboost.XGBRegressor, Y.astype(float), objective="count:poisson"), rows


def all_models() -> list[Model]:
    found = []
    for family in (of_sklearn, of_pipelines, of_trees):
        for name, build, source in family():
            found.append(given(build().SerializeToString(), name, source))
    return found


if __name__ == "__main__":
    # Which of them the installed versions can write.
    for family in (of_sklearn, of_pipelines, of_trees):
        for name, build, source in family():
            try:
                given(build().SerializeToString(), name, source)
            except Exception as error:  # noqa: BLE001
                print(name, repr(error)[:150])
