"""Small networks of the kinds that PyTorch's exporter writes, and quantized ones."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnxruntime import quantization

from operators import const, node, one
from zoo_kit import F32, I64, Model, Source, given, rows, weights


def perceptron(name="mlp"):
    return one(name, [node("Gemm", ["x", "w1", "b1"], ["h1"], transB=1), node("Relu", ["h1"], ["h2"]),
                      node("Gemm", ["h2", "w2", "b2"], ["h3"], transB=1), node("Softmax", ["h3"], axis=-1)],
               [weights("w1", 16, 8), weights("b1", 16), weights("w2", 3, 16), weights("b2", 3)],
               inputs=[("x", F32, ["n", 8])])


def pictures():
    image = [("x", F32, ["n", 3, 12, 12])]
    conv = dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    yield one("cnn", [node("Conv", ["x", "w1", "b1"], ["c1"], **conv),
                      node("BatchNormalization", ["c1", "s", "b", "m", "v"], ["n1"]), node("Relu", ["n1"], ["r1"]),
                      node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
                      node("Conv", ["p1", "w2"], ["c2"], **conv), node("Relu", ["c2"], ["r2"]),
                      node("GlobalAveragePool", ["r2"], ["g"]), node("Flatten", ["g"], ["f"]),
                      node("Gemm", ["f", "w3", "b3"], transB=1)],
              [weights("w1", 6, 3, 3, 3), weights("b1", 6), weights("s", 6), weights("b", 6), weights("m", 6),
               const("v", np.float32([0.5, 1, 2, 1, 3, 1])), weights("w2", 4, 6, 3, 3), weights("w3", 5, 4), weights("b3", 5)],
              inputs=image)
    yield one("residual", [node("Conv", ["x", "w1"], ["c1"], **conv), node("Relu", ["c1"], ["r1"]),
                           node("Conv", ["r1", "w2"], ["c2"], **conv), node("Add", ["c2", "x"], ["a"]),
                           node("Relu", ["a"], ["r2"]), node("AveragePool", ["r2"], ["p"], kernel_shape=[2, 2],
                           strides=[2, 2]), node("Reshape", ["p", "s"])],
              [weights("w1", 4, 3, 3, 3), weights("w2", 3, 4, 3, 3), const("s", np.int64([-1, 108]))], inputs=image)
    yield one("mobile", [node("Conv", ["x", "w1"], ["c1"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
                         node("HardSwish", ["c1"], ["h1"]), node("Conv", ["h1", "w2"], ["c2"], group=6, **conv),
                         node("Clip", ["c2", "lo", "hi"], ["k"]), node("GlobalAveragePool", ["k"], ["g"]),
                         node("Conv", ["g", "w3"], ["q"], kernel_shape=[1, 1]), node("HardSigmoid", ["q"], ["e"]),
                         node("Mul", ["k", "e"])],
              [weights("w1", 6, 3, 3, 3), weights("w2", 6, 1, 3, 3), weights("w3", 6, 6, 1, 1), const("lo", np.float32(0)),
               const("hi", np.float32(6))], inputs=image)


def attention():
    """One block of a transformer, with the shapes that the exporter takes from its input."""
    size, heads = 8, 2
    nodes = [node("Shape", ["x"], ["shape"]), node("Gather", ["shape", "i0"], ["n"]), node("Gather", ["shape", "i1"], ["t"]),
             node("Unsqueeze", ["n", "zero"], ["n1"]), node("Unsqueeze", ["t", "zero"], ["t1"]),
             node("Concat", ["n1", "t1", "h", "d"], ["split"], axis=0), node("Concat", ["n1", "t1", "e"], ["merge"], axis=0)]
    for which in "qkv":
        nodes += [node("MatMul", ["x", f"w{which}"], [f"{which}0"]), node("Add", [f"{which}0", f"b{which}"], [f"{which}1"]),
                  node("Reshape", [f"{which}1", "split"], [f"{which}2"]),
                  node("Transpose", [f"{which}2"], [which], perm=[0, 2, 3, 1] if which == "k" else [0, 2, 1, 3])]
    nodes += [node("MatMul", ["q", "k"], ["s0"]), node("Div", ["s0", "root"], ["s1"]), node("Softmax", ["s1"], ["s2"], axis=-1),
              node("MatMul", ["s2", "v"], ["a0"]), node("Transpose", ["a0"], ["a1"], perm=[0, 2, 1, 3]),
              node("Reshape", ["a1", "merge"], ["a2"]), node("Add", ["a2", "x"], ["r"]),
              node("LayerNormalization", ["r", "ls", "lb"], ["l"], axis=-1), node("MatMul", ["l", "wf"], ["f0"]),
              node("Div", ["f0", "two"], ["g0"]), node("Erf", ["g0"], ["g1"]), node("Add", ["g1", "one"], ["g2"]),
              node("Mul", ["f0", "g2"], ["g3"]), node("Mul", ["g3", "half"])]
    constants = [const("i0", np.int64(0)), const("i1", np.int64(1)), const("zero", np.int64([0])), const("h", np.int64([heads])),
                 const("d", np.int64([size // heads])), const("e", np.int64([size])), const("root", np.float32(2)),
                 const("two", np.float32(np.sqrt(2))), const("one", np.float32(1)), const("half", np.float32(0.5)),
                 weights("ls", size), weights("lb", size), weights("wf", size, 6)]
    constants += [it for which in "qkv" for it in (weights(f"w{which}", size, size), weights(f"b{which}", size))]
    yield one("transformer", nodes, constants, inputs=[("x", F32, ["n", 5, size])])


def texts():
    yield one("embedding", [node("Gather", ["w", "x"], ["e"]), node("ReduceMean", ["e"], ["m"], axes=[1], keepdims=0),
                            node("Gemm", ["m", "o", "b"], transB=1)],
              [weights("w", 50, 6), weights("o", 2, 6), weights("b", 2)], inputs=[("x", I64, ["n", 7])], opset=17,
              source=Source(high=50))
    yield one("lstm", [node("Transpose", ["x"], ["s"], perm=[1, 0, 2]), node("LSTM", ["s", "w", "r", "b"], ["l"], hidden_size=5),
                       node("Squeeze", ["l", "one"], ["q"]), node("Gather", ["q", "last"], ["h"], axis=0),
                       node("Gemm", ["h", "o"], transB=1)],
              [weights("w", 1, 20, 4), weights("r", 1, 20, 5), weights("b", 1, 40), const("one", np.int64([1])),
               const("last", np.int64(-1)), weights("o", 2, 5)], inputs=[("x", F32, ["n", 6, 4])])


class Calibration(quantization.CalibrationDataReader):
    def __init__(self, model):
        self.left = [rows(model, 16, seed) for seed in range(4)]

    def get_next(self):
        return self.left.pop() if self.left else None


def quantized():
    # Advice about models that are meant to be good.
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source.onnx"), Path(folder, "target.onnx")
        model = perceptron()
        source.write_bytes(model.content)
        quantization.quantize_dynamic(source, target)
        yield given(target.read_bytes(), "mlp-dynamically-quantized")
        for kind in (quantization.QuantFormat.QDQ, quantization.QuantFormat.QOperator):
            quantization.quantize_static(source, target, Calibration(model), quant_format=kind)
            yield given(target.read_bytes(), f"mlp-quantized-{kind.name}")


def all_models() -> list[Model]:
    return [perceptron(), *(it for family in (pictures, attention, texts, quantized) for it in family())]
