"""One small model for each operator that PyTorch's exporter commonly emits, with the attributes it gives them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from zoo_kit import F16, F32, F64, I32, I64, B, Model, Source, make, weights

# name, operator, attributes. The model is y = operator(x) with x FP32 [n, 3, 4].
UNARY = [
    ("Abs", {}), ("Neg", {}), ("Exp", {}), ("Log", {}), ("Sqrt", {}), ("Reciprocal", {}), ("Floor", {}), ("Ceil", {}),
    ("Round", {}), ("Sign", {}), ("Sin", {}), ("Cos", {}), ("Tan", {}), ("Asin", {}), ("Acos", {}), ("Atan", {}),
    ("Sinh", {}), ("Cosh", {}), ("Asinh", {}), ("Acosh", {}), ("Atanh", {}), ("Erf", {}), ("Sigmoid", {}), ("Tanh", {}),
    ("Relu", {}), ("LeakyRelu", {"alpha": 0.1}), ("Elu", {"alpha": 0.7}), ("Selu", {}), ("Celu", {"alpha": 0.5}),
    ("Softplus", {}), ("Softsign", {}), ("HardSigmoid", {}), ("HardSwish", {}), ("Mish", {}),
    ("ThresholdedRelu", {"alpha": 0.5}), ("Identity", {}), ("IsNaN", {}), ("IsInf", {}), ("Shrink", {"lambd": 0.3}),
    ("Softmax", {"axis": -1}), ("Softmax", {"axis": 1}), ("LogSoftmax", {"axis": -1}), ("Hardmax", {"axis": -1}),
    ("Transpose", {"perm": [0, 2, 1]}), ("Flatten", {"axis": 1}), ("GlobalAveragePool", {}), ("GlobalMaxPool", {}),
    ("ArgMax", {"axis": 1, "keepdims": 0}), ("ArgMin", {"axis": -1, "keepdims": 1}), ("Shape", {}), ("Size", {}),
    ("LpNormalization", {"axis": -1}), ("Trilu", {}), ("Gelu", {}), ("Dropout", {}),
    ("MeanVarianceNormalization", {"axes": [0, 2]}),
]

BINARY = ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "PRelu"]
COMPARE = ["Greater", "Less", "Equal", "GreaterOrEqual", "LessOrEqual"]
LOGICAL = ["And", "Or", "Xor"]
REDUCE = ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSumExp",
          "ReduceSumSquare", "ReduceLogSum"]


def const(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def node(operator, inputs, outputs=("y",), **attributes):
    return helper.make_node(operator, list(inputs), list(outputs), **attributes)


def one(name, nodes, constants=(), inputs=None, outputs=None, opset=18, source=None):
    """A model of a few nodes; x is FP32 [n, 3, 4] when nothing else is said."""
    inputs = inputs or [("x", F32, ["n", 3, 4])]
    return make(name, nodes, inputs, outputs or [("y", F32)], constants, opset=opset, source=source)


def unary():
    for operator, attributes in UNARY:
        kind = {"IsNaN": B, "IsInf": B, "ArgMax": I64, "ArgMin": I64, "Shape": I64, "Size": I64}.get(operator, F32)
        inputs = [("x", F32, ["n", 3, 4, 5])] if operator.startswith("Global") else None
        suffix = f"-axis{attributes['axis']}" if "axis" in attributes else ""
        opset = 20 if operator == "Gelu" else 18
        yield one(f"{operator}{suffix}", [node(operator, ["x"], **attributes)], inputs=inputs, outputs=[("y", kind)],
                  opset=opset)
    yield one("Softmax-11", [node("Softmax", ["x"], axis=1)], opset=11)
    yield one("Not", [node("Not", ["x"])], inputs=[("x", B, ["n", 4])], outputs=[("y", B)])


def binary():
    two = [("x", F32, ["n", 3, 4]), ("z", F32, ["n", 3, 4])]
    for operator in BINARY:
        yield one(f"{operator}-const", [node(operator, ["x", "w"])], [weights("w", 4)])
        if operator != "PRelu":
            yield one(f"{operator}-two", [node(operator, ["x", "z"])], inputs=two)
    for operator in ["Add", "Sub", "Mul", "Max", "Min"]:
        for kind, dtype in [(I64, np.int64), (I32, np.int32)]:
            yield one(f"{operator}-{dtype.__name__}", [node(operator, ["x", "w"])], [const("w", dtype([3, -2, 7, 1]))],
                      inputs=[("x", kind, ["n", 4])], outputs=[("y", kind)])
    for operator in ["Div", "Mod"]:
        yield one(f"{operator}-int64", [node(operator, ["x", "w"])], [const("w", np.int64([3, 2, 7, 5]))],
                  inputs=[("x", I64, ["n", 4])], outputs=[("y", I64)])
    yield one("Mod-fmod", [node("Mod", ["x", "w"], fmod=1)], [weights("w", 4)])
    yield one("Add-float16", [node("Add", ["x", "w"])], [const("w", np.float16([1, 2, 3, 4]))],
              inputs=[("x", F16, ["n", 4])], outputs=[("y", F16)])
    yield one("Add-float64", [node("Add", ["x", "w"])], [const("w", np.float64([1, 2, 3, 4]))],
              inputs=[("x", F64, ["n", 4])], outputs=[("y", F64)])
    for operator in COMPARE:
        yield one(operator, [node(operator, ["x", "w"])], [weights("w", 4)], outputs=[("y", B)])
    yield one("Equal-int64", [node("Equal", ["x", "w"])], [const("w", np.int64([0, 1, 2, 3]))],
              inputs=[("x", I64, ["n", 4])], outputs=[("y", B)])
    for operator in LOGICAL:
        yield one(operator, [node(operator, ["x", "z"])], inputs=[("x", B, ["n", 4]), ("z", B, ["n", 4])],
                  outputs=[("y", B)])
    yield one("Where", [node("Greater", ["x", "w"], ["c"]), node("Where", ["c", "x", "w"])], [weights("w", 4)])
    yield one("Clip", [node("Clip", ["x", "lo", "hi"])], [const("lo", np.float32(-0.5)), const("hi", np.float32(0.5))])
    yield one("Clip-min", [node("Clip", ["x", "lo"])], [const("lo", np.float32(0))])
    yield one("Clip-6", [node("Clip", ["x"], min=0.0, max=6.0)], opset=10)
    yield one("Sum", [node("Sum", ["x", "z", "x"])], inputs=two)
    yield one("Mean", [node("Mean", ["x", "z"])], inputs=two)
    yield one("Max-three", [node("Max", ["x", "z", "w"])], [weights("w", 4)], inputs=two)


def reduce():
    for operator in REDUCE:
        yield one(f"{operator}-13", [node(operator, ["x"], axes=[1], keepdims=0)]
                  if operator != "ReduceSum" else [node(operator, ["x", "a"], keepdims=0)],
                  [] if operator != "ReduceSum" else [const("a", np.int64([1]))], opset=13)
        yield one(f"{operator}-18", [node(operator, ["x", "a"], keepdims=1)], [const("a", np.int64([-1]))], opset=18)
    yield one("CumSum", [node("CumSum", ["x", "a"])], [const("a", np.int64(1))])
    yield one("TopK", [node("TopK", ["x", "k"], ["y", "i"], axis=-1)], [const("k", np.int64([2]))],
              outputs=[("y", F32), ("i", I64)])


def shapes():
    yield one("Reshape", [node("Reshape", ["x", "s"])], [const("s", np.int64([-1, 12]))])
    yield one("Reshape-zero", [node("Reshape", ["x", "s"])], [const("s", np.int64([0, -1]))])
    yield one("Unsqueeze", [node("Unsqueeze", ["x", "a"])], [const("a", np.int64([1]))])
    yield one("Squeeze", [node("Squeeze", ["x", "a"])], [const("a", np.int64([1]))], inputs=[("x", F32, ["n", 1, 4])])
    yield one("Concat", [node("Concat", ["x", "x"], axis=1)])
    yield one("Split", [node("Split", ["x", "s"], ["y", "z"], axis=2)], [const("s", np.int64([1, 3]))],
              outputs=[("y", F32), ("z", F32)])
    yield one("Slice", [node("Slice", ["x", "b", "e", "a", "s"])],
              [const("b", np.int64([0])), const("e", np.int64([4])), const("a", np.int64([2])), const("s", np.int64([2]))])
    yield one("Slice-negative", [node("Slice", ["x", "b", "e", "a", "s"])],
              [const("b", np.int64([-1])), const("e", np.int64([-9])), const("a", np.int64([2])),
               const("s", np.int64([-1]))])
    yield one("Gather", [node("Gather", ["x", "i"], axis=2)], [const("i", np.int64([0, 2, -1]))])
    yield one("Gather-embedding", [node("Gather", ["w", "x"])], [weights("w", 7, 3)],
              inputs=[("x", I64, ["n", 2])], source=Source(high=7))
    yield one("GatherElements", [node("GatherElements", ["x", "i"], axis=1)], inputs=[
        ("x", F32, ["n", 4]), ("i", I64, ["n", 2])], source=Source(high=4))
    yield one("GatherND", [node("GatherND", ["w", "x"])], [weights("w", 5, 6)], inputs=[("x", I64, ["n", 2])],
              source=Source(high=5))
    yield one("ScatterElements", [node("ScatterElements", ["x", "i", "u"], axis=1)], inputs=[
        ("x", F32, ["n", 4]), ("i", I64, ["n", 1]), ("u", F32, ["n", 1])], source=Source(high=4))
    yield one("ScatterND", [node("ScatterND", ["w", "x", "u"])], [weights("w", 5, 3)],
              inputs=[("x", I64, [2, 1]), ("u", F32, [2, 3])], source=Source(distinct=5))
    yield one("Expand", [node("Expand", ["x", "s"])], [const("s", np.int64([1, 3, 4]))], inputs=[("x", F32, ["n", 1, 4])])
    yield one("Tile", [node("Tile", ["x", "r"])], [const("r", np.int64([1, 2, 1]))])
    for mode in ["constant", "reflect", "edge"]:
        constants = [const("p", np.int64([0, 1, 1, 0, 0, 2]))]
        yield one(f"Pad-{mode}", [node("Pad", ["x", "p"], mode=mode)], constants)
    yield one("ConstantOfShape", [node("Shape", ["x"], ["s"]), node("ConstantOfShape", ["s"], ["o"], value=
              helper.make_tensor("v", TensorProto.FLOAT, [1], [2.5])), node("Add", ["x", "o"])])
    yield one("OneHot", [node("OneHot", ["x", "d", "v"])], [const("d", np.int64([4])), const("v", np.float32([0, 1]))],
              inputs=[("x", I64, ["n"])], source=Source(high=4))
    yield one("NonZero", [node("NonZero", ["x"])], inputs=[("x", F32, ["n", 3])], outputs=[("y", I64)])
    yield one("Range", [node("Shape", ["x"], ["s"]), node("Gather", ["s", "z"], ["l"]),
                        node("Range", ["z", "l", "o"], ["r"]), node("Cast", ["r"], to=F32)],
              [const("z", np.int64(0)), const("o", np.int64(1))])
    for mode in ["DCR", "CRD"]:
        yield one(f"DepthToSpace-{mode}", [node("DepthToSpace", ["x"], blocksize=2, mode=mode)],
                  inputs=[("x", F32, ["n", 8, 2, 3])])
    yield one("SpaceToDepth", [node("SpaceToDepth", ["x"], blocksize=2)], inputs=[("x", F32, ["n", 2, 4, 6])])
    yield one("EyeLike", [node("EyeLike", ["x"], dtype=F32)], inputs=[("x", F32, ["n", 4])])
    yield one("Einsum", [node("Einsum", ["x", "w"], equation="nij,jk->nik")], [weights("w", 4, 2)])


def whole_numbers():
    """Where whole numbers end: the smallest has no positive twin, and not every float has a whole number. The divisor -1
    is left out: ONNX Runtime ends its process over the smallest number, and the table is made with its Python package."""
    for kind, dtype in [(I32, np.int32), (I64, np.int64)]:
        least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
        pool = dtype([[33, -85, 7, -1], [0, -3, 100, 5], [least, most, least, least], [-7, 7, least + 1, most]])
        whole = {"inputs": [("x", kind, ["n", 4])], "outputs": [("y", kind)], "source": Source(rows={"x": pool})}
        for operator in ["Abs", "Neg", "Sign"]:
            yield one(f"{operator}-{dtype.__name__}", [node(operator, ["x"])], **whole)
        for operator in ["Div", "Mod"]:
            yield one(f"{operator}-{dtype.__name__}-signs", [node(operator, ["x", "w"])], [const("w", dtype([3, -2, -7, 1]))], **whole)
        yield one(f"Mod-{dtype.__name__}-fmod", [node("Mod", ["x", "w"], fmod=1)], [const("w", dtype([3, -2, -7, 1]))], **whole)
        yield one(f"Pow-{dtype.__name__}", [node("Pow", ["x", "w"])], [const("w", dtype([0, 1, 2, 3]))], **whole)
        floats = np.float32([[1e20, -1e20, 3e9, -3e9], [2.0**31, -(2.0**31), 2.0**63, -(2.0**63)], [0.9, -0.9, 1.5, -1.5]])
        yield one(f"Cast-{dtype.__name__}-far", [node("Cast", ["x"], to=kind)], inputs=[("x", F32, ["n", 4])], outputs=[("y", kind)],
                  source=Source(rows={"x": floats}))
    for kind, dtype in [(TensorProto.UINT32, np.uint32), (TensorProto.UINT64, np.uint64), (TensorProto.UINT8, np.uint8)]:
        for way in ["LEFT", "RIGHT"]:
            yield one(f"BitShift-{dtype.__name__}-{way.lower()}", [node("BitShift", ["x", "w"], direction=way)], [const("w", dtype([0, 1, 7, 6]))],
                      inputs=[("x", kind, ["n", 4])], outputs=[("y", kind)])


def casts():
    for name, to, dtype in [("float16", F16, F16), ("float64", F64, F64), ("bool", B, B)]:
        yield one(f"Cast-{name}", [node("Cast", ["x"], to=to)], outputs=[("y", dtype)])
    yield one("Cast-int64", [node("Cast", ["x"], to=I64)], outputs=[("y", I64)])
    yield one("Cast-from-int64", [node("Cast", ["x"], to=F32)], inputs=[("x", I64, ["n", 4])])
    yield one("Cast-from-bool", [node("Cast", ["x"], to=F32)], inputs=[("x", B, ["n", 4])])
    yield one("Cast-int32", [node("Cast", ["x"], to=I32)], inputs=[("x", I64, ["n", 4])], outputs=[("y", I32)])


def networks():
    image = [("x", F32, ["n", 3, 8, 8])]
    kernel = [weights("w", 4, 3, 3, 3), weights("b", 4)]
    yield one("Gemm", [node("Gemm", ["x", "w", "b"], transB=1)], [weights("w", 5, 4), weights("b", 5)],
              inputs=[("x", F32, ["n", 4])])
    yield one("Gemm-alpha", [node("Gemm", ["x", "w", "b"], alpha=0.5, beta=2.0)], [weights("w", 4, 5), weights("b", 5)],
              inputs=[("x", F32, ["n", 4])])
    yield one("MatMul", [node("MatMul", ["x", "w"])], [weights("w", 4, 5)])
    yield one("MatMul-two", [node("MatMul", ["x", "z"])], inputs=[("x", F32, ["n", 3, 4]), ("z", F32, ["n", 4, 2])])
    yield one("Conv", [node("Conv", ["x", "w", "b"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])], kernel, inputs=image)
    yield one("Conv-stride", [node("Conv", ["x", "w"], kernel_shape=[3, 3], strides=[2, 2], dilations=[2, 1])],
              kernel[:1], inputs=image)
    yield one("Conv-depthwise", [node("Conv", ["x", "w"], kernel_shape=[3, 3], group=3, pads=[1, 1, 1, 1])],
              [weights("w", 3, 1, 3, 3)], inputs=image)
    yield one("Conv-same", [node("Conv", ["x", "w"], auto_pad="SAME_UPPER", strides=[2, 2])], kernel[:1], inputs=image)
    yield one("Conv-1d", [node("Conv", ["x", "w"], kernel_shape=[3])], [weights("w", 4, 3, 3)],
              inputs=[("x", F32, ["n", 3, 9])])
    yield one("ConvTranspose", [node("ConvTranspose", ["x", "w"], strides=[2, 2], output_padding=[1, 1], pads=[1] * 4)],
              [weights("w", 3, 4, 3, 3)], inputs=image)
    for operator in ["MaxPool", "AveragePool"]:
        yield one(operator, [node(operator, ["x"], kernel_shape=[2, 2], strides=[2, 2])], inputs=image)
        yield one(f"{operator}-pads", [node(operator, ["x"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])],
                  inputs=image)
        yield one(f"{operator}-ceil", [node(operator, ["x"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)],
                  inputs=image)
    yield one("AveragePool-include", [node("AveragePool", ["x"], kernel_shape=[3, 3], pads=[1] * 4,
                                           count_include_pad=1)], inputs=image)
    positive = const("v", np.float32([0.5, 1, 2]))
    norm = [weights("s", 3), weights("b", 3), weights("m", 3), positive]
    yield one("BatchNormalization", [node("BatchNormalization", ["x", "s", "b", "m", "v"])], norm, inputs=image)
    yield one("InstanceNormalization", [node("InstanceNormalization", ["x", "s", "b"])], norm[:2], inputs=image)
    yield one("GroupNormalization", [node("GroupNormalization", ["x", "s", "b"], num_groups=2)],
              [weights("s", 4), weights("b", 4)], inputs=[("x", F32, ["n", 4, 3, 3])], opset=21)
    yield one("LayerNormalization", [node("LayerNormalization", ["x", "s", "b"], axis=-1)],
              [weights("s", 4), weights("b", 4)])
    yield one("LRN", [node("LRN", ["x"], size=3)], inputs=image)
    for mode in ["nearest", "linear"]:
        for how in ["asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel"]:
            near = {"nearest_mode": "floor"} if mode == "nearest" else {}
            yield one(f"Resize-{mode}-{how}", [node("Resize", ["x", "", "s"], mode=mode,
                      coordinate_transformation_mode=how, **near)], [const("s", np.float32([1, 1, 2, 2]))], inputs=image)
    yield one("Resize-cubic", [node("Resize", ["x", "", "s"], mode="cubic", cubic_coeff_a=-0.75)],
              [const("s", np.float32([1, 1, 2, 2]))], inputs=image)
    yield one("Resize-sizes", [node("Resize", ["x", "", "", "s"], mode="linear",
              coordinate_transformation_mode="half_pixel")], [const("s", np.int64([1, 3, 5, 12]))],
              inputs=[("x", F32, [1, 3, 8, 8])])


def recurrent():
    sizes = {"GRU": 3, "LSTM": 4, "RNN": 1}
    for operator, gates in sizes.items():
        for direction, count in [("forward", 1), ("reverse", 1), ("bidirectional", 2)]:
            constants = [weights("w", count, gates * 3, 4), weights("r", count, gates * 3, 3),
                         weights("b", count, 2 * gates * 3)]
            extra = {"linear_before_reset": 1} if operator == "GRU" else {}
            outputs = [("y", F32), ("h", F32)] + ([("c", F32)] if operator == "LSTM" else [])
            yield one(f"{operator}-{direction}", [node(operator, ["x", "w", "r", "b"], [it[0] for it in outputs],
                      hidden_size=3, direction=direction, **extra)], constants,
                      inputs=[("x", F32, [5, "n", 4])], outputs=outputs, source=Source(axis=1))
        fixed = [weights("w", 1, gates * 3, 4), weights("r", 1, gates * 3, 3)]
        yield one(f"{operator}-fixed", [node(operator, ["x", "w", "r"], hidden_size=3)], fixed,
                  inputs=[("x", F32, [5, 2, 4])])
    yield one("GRU-time", [node("GRU", ["x", "w", "r"], hidden_size=3)],
              [weights("w", 1, 9, 4), weights("r", 1, 9, 3)], inputs=[("x", F32, ["t", 2, 4])])
    body = helper.make_graph(
        [node("Add", ["s", "e"], ["t"]), node("Identity", ["t"], ["o"])], "body",
        [helper.make_tensor_value_info(it, F32, [4]) for it in ("s", "e")],
        [helper.make_tensor_value_info(it, F32, [4]) for it in ("t", "o")])
    yield one("Scan", [node("Scan", ["z", "x"], ["f", "y"], body=body, num_scan_inputs=1)],
              [const("z", np.zeros(4, np.float32))], inputs=[("x", F32, ["n", 4])], outputs=[("f", F32), ("y", F32)])
    body = helper.make_graph(
        [node("Add", ["s", "w"], ["t"]), node("Identity", ["c"], ["d"])], "body",
        [helper.make_tensor_value_info("i", I64, []), helper.make_tensor_value_info("c", B, []),
         helper.make_tensor_value_info("s", F32, ["n", 4])],
        [helper.make_tensor_value_info("d", B, []), helper.make_tensor_value_info("t", F32, ["n", 4])],
        [weights("w", 4)])
    yield one("Loop", [node("Loop", ["k", "c", "x"], body=body)], [const("k", np.int64(3)), const("c", np.bool_(True))],
              inputs=[("x", F32, ["n", 4])])
    branch = [helper.make_graph([node(op, ["x"], ["o"])], op, [], [helper.make_tensor_value_info("o", F32, ["n", 4])])
              for op in ("Relu", "Neg")]
    yield one("If", [node("ReduceSum", ["x"], ["s"], keepdims=0), node("Greater", ["s", "z"], ["c"]),
                     node("If", ["c"], then_branch=branch[0], else_branch=branch[1])], [const("z", np.float32(0))],
              inputs=[("x", F32, ["n", 4])])


def quantized():
    scale, zero = const("s", np.float32(0.05)), const("z", np.uint8(128))
    yield one("QuantizeLinear", [node("QuantizeLinear", ["x", "s", "z"])], [scale, zero], outputs=[("y", TensorProto.UINT8)])
    yield one("QuantizeDequantize", [node("QuantizeLinear", ["x", "s", "z"], ["q"]),
                                     node("DequantizeLinear", ["q", "s", "z"])], [scale, zero])
    yield one("DynamicQuantizeLinear", [node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])],
              outputs=[("y", TensorProto.UINT8), ("s", F32), ("z", TensorProto.UINT8)])
    random = np.random.default_rng(3)
    yield one("MatMulInteger", [node("MatMulInteger", ["x", "w", "", ""])],
              [const("w", random.integers(-100, 100, (4, 3)).astype(np.int8))],
              inputs=[("x", TensorProto.UINT8, ["n", 4])], outputs=[("y", I32)])
    yield one("QLinearMatMul", [node("QLinearMatMul", ["x", "s", "z", "w", "s", "zw", "s2", "z"])],
              [scale, zero, const("s2", np.float32(0.3)), const("zw", np.int8(0)),
               const("w", random.integers(-100, 100, (4, 3)).astype(np.int8))],
              inputs=[("x", TensorProto.UINT8, ["n", 4])], outputs=[("y", TensorProto.UINT8)])
    yield one("QLinearConv", [node("QLinearConv", ["x", "s", "z", "w", "s", "zw", "s2", "z"], kernel_shape=[3, 3])],
              [scale, zero, const("s2", np.float32(0.3)), const("zw", np.int8(0)),
               const("w", random.integers(-100, 100, (4, 3, 3, 3)).astype(np.int8))],
              inputs=[("x", TensorProto.UINT8, ["n", 3, 6, 6])], outputs=[("y", TensorProto.UINT8)])


def attributes():
    """Other attributes of the same operators."""
    image, rows4 = [("x", F32, ["n", 4, 9, 9])], [("x", F32, ["n", 4])]
    yield one("Conv-group", [node("Conv", ["x", "w"], group=2, kernel_shape=[3, 3])], [weights("w", 4, 2, 3, 3)], inputs=image)
    for pad in ["SAME_LOWER", "SAME_UPPER", "VALID"]:
        yield one(f"Conv-{pad}", [node("Conv", ["x", "w"], auto_pad=pad, strides=[2, 2])], [weights("w", 3, 4, 2, 2)], inputs=image)
        for pool in ["MaxPool", "AveragePool"]:
            yield one(f"{pool}-{pad}", [node(pool, ["x"], auto_pad=pad, kernel_shape=[2, 2], strides=[2, 2])], inputs=image)
    yield one("Conv-uneven", [node("Conv", ["x", "w"], kernel_shape=[3, 3], pads=[0, 1, 2, 1])], [weights("w", 2, 4, 3, 3)], inputs=image)
    yield one("Conv-3d", [node("Conv", ["x", "w"], kernel_shape=[2, 2, 2])], [weights("w", 2, 3, 2, 2, 2)],
              inputs=[("x", F32, ["n", 3, 4, 4, 4])])
    yield one("Conv-sent", [node("Conv", ["x", "w"], kernel_shape=[3, 3])], inputs=[*image, ("w", F32, [2, 4, 3, 3])])
    yield one("MaxPool-dilated", [node("MaxPool", ["x"], kernel_shape=[2, 2], dilations=[2, 2])], inputs=image)
    yield one("MaxPool-1d", [node("MaxPool", ["x"], kernel_shape=[3], strides=[2])], inputs=[("x", F32, ["n", 3, 9])])
    yield one("AveragePool-ceil-pads", [node("AveragePool", ["x"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1],
                                             ceil_mode=1)], inputs=image)
    yield one("AveragePool-ceil-include", [node("AveragePool", ["x"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1,
                                                count_include_pad=1)], inputs=image)
    yield one("AveragePool-dilated", [node("AveragePool", ["x"], kernel_shape=[2, 2], dilations=[2, 2])], inputs=image, opset=19)
    for name, more in [("group", {"group": 2}), ("dilated", {"dilations": [2, 2]}), ("same", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
                       ("shape", {"output_shape": [19, 19], "strides": [2, 2]})]:
        shape = (4, 2, 3, 3)
        yield one(f"ConvTranspose-{name}", [node("ConvTranspose", ["x", "w"], **more)], [weights("w", *shape)], inputs=image)
    yield one("Gemm-transA", [node("Gemm", ["w", "x"], transA=1, transB=1)], [weights("w", 4, 3)], inputs=rows4)
    yield one("Gemm-scalar", [node("Gemm", ["x", "w", "c"])], [weights("w", 4, 3), const("c", np.float32(2))], inputs=rows4)
    yield one("MatMul-vector", [node("MatMul", ["x", "w"])], [weights("w", 4)])
    yield one("MatMul-stack", [node("MatMul", ["x", "w"])], [weights("w", 2, 1, 4, 5)])
    yield one("Softmax-default", [node("Softmax", ["x"])])
    yield one("Softmax-11-default", [node("Softmax", ["x"])], opset=11)
    yield one("Softmax-11-last", [node("Softmax", ["x"], axis=2)], opset=11)
    for operator in ["ReduceMean", "ReduceSum", "ReduceL2"]:
        yield one(f"{operator}-all", [node(operator, ["x"], keepdims=0)], opset=13)
        yield one(f"{operator}-two", [node(operator, ["x", "a"], keepdims=0)], [const("a", np.int64([1, -1]))])
        yield one(f"{operator}-noop", [node(operator, ["x"], noop_with_empty_axes=1)])
    yield one("ReduceSum-int64", [node("ReduceSum", ["x", "a"])], [const("a", np.int64([1]))], inputs=[("x", I64, ["n", 4])],
              outputs=[("y", I64)])
    for mode in ["constant", "reflect", "edge", "wrap"]:
        yield one(f"Pad-{mode}-image", [node("Pad", ["x", "p"], mode=mode)], [const("p", np.int64([0, 0, 1, 2, 0, 0, 2, 1]))],
                  inputs=image, opset=19)
    yield one("Pad-value", [node("Pad", ["x", "p", "v"])], [const("p", np.int64([0, 1, 0, 0, 0, 2])), const("v", np.float32(7))])
    yield one("Pad-negative", [node("Pad", ["x", "p"])], [const("p", np.int64([0, -1, 0, 0, 0, 1]))])
    yield one("Pad-axes", [node("Pad", ["x", "p", "", "a"])], [const("p", np.int64([1, 2])), const("a", np.int64([2]))])
    yield one("Flatten-0", [node("Flatten", ["x"], axis=0)])
    yield one("Flatten-2", [node("Flatten", ["x"], axis=2)])
    yield one("Flatten-negative", [node("Flatten", ["x"], axis=-1)])
    yield one("Transpose-default", [node("Transpose", ["x"])])
    yield one("Concat-negative", [node("Concat", ["x", "x"], axis=-1)])
    yield one("Concat-const", [node("Concat", ["x", "w"], axis=0)], [weights("w", 2, 3, 4)])
    yield one("Squeeze-none", [node("Squeeze", ["x"])], inputs=[("x", F32, [3, 1, 4])])
    yield one("Unsqueeze-two", [node("Unsqueeze", ["x", "a"])], [const("a", np.int64([0, -1]))])
    yield one("Split-even", [node("Split", ["x"], ["y", "z"], axis=2, num_outputs=2)], outputs=[("y", F32), ("z", F32)])
    yield one("Split-uneven", [node("Split", ["x"], ["y", "z"], axis=1, num_outputs=2)], outputs=[("y", F32), ("z", F32)])
    yield one("Split-13", [node("Split", ["x"], ["y", "z"], axis=2)], outputs=[("y", F32), ("z", F32)], opset=13)
    yield one("Slice-rows", [node("Slice", ["x", "b", "e"])], [const("b", np.int64([1])), const("e", np.int64([9]))])
    yield one("Shape-part", [node("Shape", ["x"], start=1, end=3)], outputs=[("y", I64)])
    yield one("Trilu-lower", [node("Trilu", ["x", "k"], upper=0)], [const("k", np.int64(1))])
    yield one("LayerNormalization-two", [node("LayerNormalization", ["x", "s", "b"], axis=1, epsilon=1e-3)],
              [weights("s", 3, 4), weights("b", 3, 4)])
    yield one("LayerNormalization-plain", [node("LayerNormalization", ["x", "s"])], [weights("s", 4)])
    yield one("BatchNormalization-rows", [node("BatchNormalization", ["x", "s", "b", "m", "v"], epsilon=1e-2)],
              [weights("s", 4), weights("b", 4), weights("m", 4), const("v", np.float32([1, 2, 3, 4]))], inputs=rows4)
    yield one("InstanceNormalization-1d", [node("InstanceNormalization", ["x", "s", "b"])], [weights("s", 3), weights("b", 3)])
    yield one("GroupNormalization-18", [node("GroupNormalization", ["x", "s", "b"], num_groups=2)],
              [weights("s", 2), weights("b", 2)], inputs=[("x", F32, ["n", 4, 3, 3])], opset=18)
    for operator, more in [("Elu", {"alpha": 2.0}), ("Selu", {"alpha": 1.2, "gamma": 0.8}), ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
                           ("LeakyRelu", {"alpha": -0.5}), ("Shrink", {"lambd": 0.2, "bias": 0.1}), ("ThresholdedRelu", {"alpha": -1.0}),
                           ("IsInf", {"detect_negative": 0}), ("Gelu", {"approximate": "tanh"})]:
        yield one(f"{operator}-other", [node(operator, ["x"], **more)], outputs=[("y", B if operator == "IsInf" else F32)],
                  opset=20 if operator == "Gelu" else 18)
    yield one("PRelu-channels", [node("PRelu", ["x", "w"])], [weights("w", 4, 1, 1)], inputs=image)
    yield one("Pow-integers", [node("Pow", ["x", "w"])], [const("w", np.int64([2, 3, 0, -1]))])
    yield one("Pow-scalar", [node("Pow", ["x", "w"])], [const("w", np.float32(2))])
    yield one("Where-broadcast", [node("IsNaN", ["x"], ["c"]), node("Where", ["c", "w", "x"])], [weights("w", 1)])
    yield one("Mean-broadcast", [node("Mean", ["x", "w"])], [weights("w", 3, 1)])
    yield one("Expand-rows", [node("Expand", ["x", "s"])], [const("s", np.int64([2, 1, 3, 4]))])
    yield one("Range-floats", [node("Range", ["a", "b", "c"], ["r"]), node("Add", ["x", "r"])],
              [const("a", np.float32(0)), const("b", np.float32(2)), const("c", np.float32(0.5))])
    yield one("ConstantOfShape-int64", [node("Shape", ["x"], ["s"]), node("ConstantOfShape", ["s"], value=
              helper.make_tensor("v", TensorProto.INT64, [1], [3]))], outputs=[("y", I64)])
    yield one("Tile-all", [node("Tile", ["x", "r"])], [const("r", np.int64([2, 1, 3]))])
    yield one("CumSum-reverse", [node("CumSum", ["x", "a"], reverse=1)], [const("a", np.int64(-1))])
    yield one("ArgMax-last", [node("ArgMax", ["x"], axis=-1, select_last_index=1)], outputs=[("y", I64)])
    yield one("Round-halves", [node("Mul", ["x", "h"], ["m"]), node("Floor", ["m"], ["f"]), node("Div", ["f", "h"], ["d"]),
                               node("Round", ["d"])], [const("h", np.float32(2))])
    yield one("Resize-nearest-sizes", [node("Resize", ["x", "", "", "s"], mode="nearest", nearest_mode="floor",
              coordinate_transformation_mode="asymmetric")], [const("s", np.int64([1, 4, 5, 20]))], inputs=[("x", F32, [1, 4, 9, 9])])
    yield one("Resize-nearest-smaller", [node("Resize", ["x", "", "s"], mode="nearest", nearest_mode="floor",
              coordinate_transformation_mode="asymmetric")], [const("s", np.float32([1, 1, 0.4, 0.7]))], inputs=image)
    yield one("Upsample-9", [node("Upsample", ["x", "s"], mode="nearest")], [const("s", np.float32([1, 1, 2, 2]))], inputs=image,
              opset=9)
    for operator, gates in [("GRU", 3), ("LSTM", 4), ("RNN", 1)]:
        for direction, count in [("reverse", 1), ("bidirectional", 2)]:
            yield one(f"{operator}-fixed-{direction}", [node(operator, ["x", "w", "r", "b"], hidden_size=3, direction=direction)],
                      [weights("w", count, gates * 3, 4), weights("r", count, gates * 3, 3), weights("b", count, 2 * gates * 3)],
                      inputs=[("x", F32, [5, 2, 4])])
    yield one("GRU-fixed-before-reset", [node("GRU", ["x", "w", "r", "b"], hidden_size=3, linear_before_reset=1)],
              [weights("w", 1, 9, 4), weights("r", 1, 9, 3), weights("b", 1, 18)], inputs=[("x", F32, [5, 2, 4])])


def all_models() -> list[Model]:
    return [it for family in (unary, binary, reduce, shapes, whole_numbers, casts, networks, recurrent, quantized, attributes) for it in family()]
