"""A model made here with onnx alone, served on each engine: what the tests of both transports call."""

from __future__ import annotations

import os
import subprocess
import uuid

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


def kaogong(*arguments: str) -> None:
    subprocess.run([os.environ["KAOGONG_PROGRAM"], *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module", params=["tract", "onnxruntime"])
def served(request, tmp_path_factory):
    """An endpoint that answers y = softmax(x · w + b) on one engine; and the same in numpy."""
    random = np.random.default_rng(7)
    weights, bias = random.normal(size=(4, 3)).astype(np.float32), random.normal(size=3).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["s"]),
        helper.make_node("Softmax", ["s"], ["y"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "softmax",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    onnx.save(model, path)
    name = f"softmax-{uuid.uuid4().hex[:8]}"
    kaogong("models", "register", name, str(path))
    kaogong("endpoints", "create", name, "--model", f"{name}@1", "--engine", request.param)

    def reference(x):
        e = np.exp(x @ weights + bias)
        return e / e.sum(axis=1, keepdims=True)

    return name, reference
