"""Writes fitted scikit-learn models as ONNX graphs, with operators that every runtime has.

Operators: Sub, Div, Gemm, Relu, Softmax, Mul, Add. The leading dimension is free.
Standardisation is part of the graph, so that callers send what the task's description says and no more.
"""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

OPSET = 17
IR_VERSION = 8
#: The largest difference between scikit-learn's answers and the graph's, for probabilities and for values
#: in units of the target's spread.
TOLERANCE = 1e-4


class Graph:
    """A chain of nodes from `x` on."""

    def __init__(self, features):
        self.features = features
        self.nodes, self.constants, self.at = [], [], "x"

    def constant(self, name, values):
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype=np.float32), name))
        return name

    def step(self, operator, *others, output=None, **attributes):
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [self.at, *others], [output], **attributes))
        self.at = output

    def standardise(self, mean, scale):
        self.step("Sub", self.constant("mean", mean.reshape(1, -1)))
        self.step("Div", self.constant("scale", scale.reshape(1, -1)))

    def dense(self, index, weights, bias):
        """`weights` has one row per input and one column per output."""
        names = self.constant(f"w{index}", weights), self.constant(f"b{index}", bias)
        self.step("Gemm", *names)

    def finish(self, output, width, task):
        """The model. `task` is stored beside it and says how data becomes `x`."""
        graph = helper.make_graph(
            self.nodes,
            "model",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", self.features])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", width])],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="kaogong-train")
        model.ir_version = IR_VERSION
        helper.set_model_props(model, {"kaogong.task": json.dumps(task, ensure_ascii=False)})
        onnx.checker.check_model(model)
        return model


def layers_of(model):
    """The dense layers (weights, bias) of a fitted linear model or multi-layer perceptron."""
    if hasattr(model, "coefs_"):
        return list(zip(model.coefs_, model.intercepts_, strict=True))
    weights = np.atleast_2d(model.coef_).T
    return [(weights, np.atleast_1d(model.intercept_))]


def classifier(model, scaler, features, task):
    """A graph that gives a probability for every class."""
    graph = Graph(features)
    graph.standardise(scaler.mean_, scaler.scale_)
    layers = layers_of(model)
    weights, bias = layers[-1]
    if weights.shape[1] == 1:
        # Two classes come as one logit z of the second: softmax of (0, z) is the same as the sigmoid of z.
        layers[-1] = np.hstack([np.zeros_like(weights), weights]), np.concatenate([np.zeros_like(bias), bias])
    _stack(graph, layers)
    graph.step("Softmax", output="probabilities", axis=-1)
    return graph.finish("probabilities", layers[-1][0].shape[1], task)


def regressor(model, scaler, spread, features, task):
    """A graph that gives one number; `spread` is (mean, scale) of the target that the model learnt without."""
    graph = Graph(features)
    graph.standardise(scaler.mean_, scaler.scale_)
    _stack(graph, layers_of(model))
    graph.step("Mul", graph.constant("target_scale", np.array([[spread[1]]])))
    graph.step("Add", graph.constant("target_mean", np.array([[spread[0]]])), output="value")
    return graph.finish("value", 1, task)


def _stack(graph, layers):
    for index, (weights, bias) in enumerate(layers):
        if index:
            graph.step("Relu")
        graph.dense(index, weights, bias)


def check(model, x, expected, spread=1.0):
    """Raises when the graph answers otherwise than scikit-learn does, beyond TOLERANCE."""
    name = model.graph.output[0].name
    got = ReferenceEvaluator(model).run([name], {"x": x.astype(np.float32)})[0]
    difference = float(np.max(np.abs(got - expected.reshape(got.shape)))) / spread
    if not difference <= TOLERANCE:
        raise RuntimeError(f"the ONNX graph differs from scikit-learn by {difference:.2e}, more than {TOLERANCE}")
    return difference
