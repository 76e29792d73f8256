"""Fits scikit-learn models epoch by epoch and logs them through the MLflow client."""

import sys
import time

import mlflow
import mlflow.onnx
import numpy as np
from sklearn.linear_model import SGDRegressor
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

import graph

#: Share of the training split that models are compared on.
VALIDATION_SHARE = 0.2
EPOCHS = {"logistic": 60, "linear": 60, "mlp": 60}
#: A column spreads at least this share of its mean; what is less is rounding of 32-bit numbers.
SPREAD_MIN = 1e-6
#: The longest value of a parameter, in characters.
PARAM_CHARS_MAX = 2000
#: Epochs without a better validation loss that end the training.
STALE_EPOCHS_MAX = 10


def say(text):
    print(text, flush=True)


def divide(x, y, seed, *, by_class):
    """A training part and a validation part, both of the training split alone."""
    counts = np.unique(y, return_counts=True)[1] if by_class else np.array([2])
    size = max(int(len(y) * VALIDATION_SHARE), len(counts) if by_class else 1)
    stratify = y if by_class and counts.min() >= 2 and len(y) - size >= len(counts) else None
    return train_test_split(x, y, test_size=size, random_state=seed, stratify=stratify)


class Logistic:
    """Multinomial logistic regression by Adam in small batches, so that it has a loss curve."""

    def __init__(self, classes, seed):
        # Without hidden layers scikit-learn's perceptron is exactly softmax regression.
        self.model = MLPClassifier(hidden_layer_sizes=(), alpha=1e-3, learning_rate_init=5e-3, random_state=seed)
        self.classes = classes

    def epoch(self, x, y):
        self.model.partial_fit(x, y, classes=self.classes)
        return float(self.model.loss_)


class Mlp(Logistic):
    """A perceptron with one hidden layer."""

    def __init__(self, classes, seed):
        self.model = MLPClassifier(hidden_layer_sizes=(64,), alpha=1e-4, learning_rate_init=2e-3, random_state=seed)
        self.classes = classes


class Linear:
    """Linear regression by stochastic gradient descent with a little ridge."""

    def __init__(self, seed):
        self.model = SGDRegressor(alpha=1e-4, random_state=seed)

    def epoch(self, x, y):
        self.model.partial_fit(x, y)
        return float(np.mean((self.model.predict(x) - y) ** 2) / 2)


class MlpNumbers:
    """A perceptron with one hidden layer that says a number."""

    def __init__(self, seed):
        self.model = MLPRegressor(hidden_layer_sizes=(64,), alpha=1e-4, learning_rate_init=2e-3, random_state=seed)

    def epoch(self, x, y):
        self.model.partial_fit(x, y)
        return float(self.model.loss_)


def train_epochs(learner, x, y, loss_of, epochs):
    """Fits until the validation loss is stale; logs both losses by epoch. Gives the epochs used."""
    best, stale, epoch = np.inf, 0, 0
    for epoch in range(1, epochs + 1):
        loss = learner.epoch(x, y)
        validation = loss_of(learner.model)
        mlflow.log_metrics({"train_loss": loss, "validation_loss": validation}, step=epoch)
        say(f"epoch {epoch}/{epochs} train_loss {loss:.4f} validation_loss {validation:.4f}")
        if not np.isfinite(loss):
            raise RuntimeError(f"the training diverged in epoch {epoch}")
        stale = 0 if validation < best - 1e-4 else stale + 1
        best = min(best, validation)
        if stale >= STALE_EPOCHS_MAX:
            break
    return epoch


def begin(experiment, name, params):
    """Starts a run of the experiment."""
    # When another job makes the experiment at the same moment, `set_experiment` finds it and does not set it.
    found = mlflow.set_experiment(experiment)
    run = mlflow.start_run(run_name=name, experiment_id=found.experiment_id)
    mlflow.log_params(params)
    return run


def classification(x, y, labels, task, options):
    """Trains, checks and logs a classifier. `y` holds indices into `labels`."""
    x_train, x_held, y_train, y_held = divide(x, y, options.seed, by_class=True)
    scaler = _scaler(x_train)
    x_train, x_held_scaled = scaler.transform(x_train), scaler.transform(x_held)
    classes = np.arange(len(labels))
    learner = {"logistic": Logistic, "mlp": Mlp}[options.algorithm](classes, options.seed)
    params = _params(options, x_train, len(x_held)) | {"classes": len(labels)}
    with begin(options.experiment, f"{options.experiment}-{options.algorithm}", params):
        began = time.monotonic()

        def loss_of(model):
            return float(log_loss(y_held, model.predict_proba(x_held_scaled), labels=classes))

        epochs = train_epochs(learner, x_train, y_train, loss_of, options.epochs or EPOCHS[options.algorithm])
        probabilities = learner.model.predict_proba(x_held_scaled)
        measures = measures_of(y_held, np.argmax(probabilities, axis=1))
        train_accuracy = float(learner.model.score(x_train, y_train))
        model = graph.classifier(learner.model, scaler, x.shape[1], task)
        difference = graph.check(model, x_held[:512], probabilities[:512])
        _log(model, measures | {"train_accuracy": train_accuracy}, epochs, began, difference)
        say(" ".join(f"{name} {value:.4f}" for name, value in measures.items()))


def measures_of(truth, answers):
    """How good the answers are. Where one class is rare, accuracy alone says little: the other two count each class
    alike, the mean of the shares found of each class and the mean of their F1."""
    return {
        "validation_accuracy": float(np.mean(answers == truth)),
        "validation_balanced_accuracy": float(balanced_accuracy_score(truth, answers)),
        "validation_macro_f1": float(f1_score(truth, answers, average="macro", zero_division=0)),
    }


def regression(x, y, task, options):
    """Trains, checks and logs a regressor."""
    x_train, x_held, y_train, y_held = divide(x, y, options.seed, by_class=False)
    scaler = _scaler(x_train)
    x_train, x_held_scaled = scaler.transform(x_train), scaler.transform(x_held)
    mean, scale = float(y_train.mean()), float(y_train.std()) or 1.0
    learner = {"linear": Linear, "mlp": MlpNumbers}[options.algorithm](options.seed)
    with begin(options.experiment, f"{options.experiment}-{options.algorithm}", _params(options, x_train, len(x_held))):
        began = time.monotonic()
        y_scaled = (y_held - mean) / scale

        def loss_of(model):
            return float(np.mean((model.predict(x_held_scaled) - y_scaled) ** 2) / 2)

        epochs = train_epochs(learner, x_train, (y_train - mean) / scale, loss_of, options.epochs or EPOCHS[options.algorithm])
        answers = learner.model.predict(x_held_scaled) * scale + mean
        rest, total = float(np.sum((y_held - answers) ** 2)), float(np.sum((y_held - y_held.mean()) ** 2))
        r2 = 1 - rest / total if total else 0.0
        mae = float(np.mean(np.abs(y_held - answers)))
        model = graph.regressor(learner.model, scaler, (mean, scale), x.shape[1], task)
        difference = graph.check(model, x_held[:512], answers[:512], spread=scale)
        _log(model, {"validation_r2": r2, "validation_mae": mae}, epochs, began, difference)
        say(f"validation_r2 {r2:.4f}")


def _scaler(x):
    scaler = StandardScaler().fit(x)
    # A column of almost one value would be blown up into noise. What is almost one value depends on the unit: farads
    # are as good as picofarads.
    least = np.maximum(SPREAD_MIN * np.abs(scaler.mean_), np.finfo(np.float32).tiny)
    scaler.scale_ = np.where(scaler.scale_ < least, 1.0, scaler.scale_)
    return scaler


def _params(options, x_train, held):
    left_out = "; ".join(getattr(options, "left_out", []))
    return {
        "algorithm": options.algorithm,
        "seed": options.seed,
        "features": x_train.shape[1],
        "train_items": len(x_train),
        "validation_items": held,
        "python": sys.version.split()[0],
    } | ({"left_out_columns": left_out[:PARAM_CHARS_MAX]} if left_out else {})


def _log(model, measures, epochs, began, difference):
    mlflow.log_metrics(measures | {"epochs": epochs, "train_seconds": time.monotonic() - began, "onnx_difference": difference})
    # One file: a model that leans on a second one cannot be served by its hash.
    mlflow.onnx.log_model(model, name="model", save_as_external_data=False)
