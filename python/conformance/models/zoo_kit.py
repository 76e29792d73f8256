"""What the models of the conformance suite are made of: a model in bytes, and what to send to it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

F16, F32, F64 = TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.DOUBLE
I32, I64, B, TEXT = TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING


@dataclass(frozen=True)
class Source:
    """What numbers make sense for a model: integers are below `high`, or different numbers below `distinct`."""

    high: int = 100
    distinct: int = 0
    #: Texts that the model knows.
    texts: tuple[str, ...] = ("a", "b")
    #: The axis of the rows.
    axis: int = 0
    #: Texts for each input; overrides `texts`.
    by_input: dict = field(default_factory=dict)
    #: Sent in place of made-up numbers: for each input an array of rows to draw from.
    rows: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    name: str
    content: bytes
    #: Name, element type (ONNX) and shape of each input; text dimensions are free.
    inputs: list[tuple[str, int, list]]
    source: Source


def weights(name, *shape):
    """Numbers that depend on the name and the shape alone."""
    random = np.random.default_rng(zlib.crc32(f"{name}{shape}".encode()))
    return numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name)


def make(name, nodes, inputs, outputs, constants=(), opset=18, source=None) -> Model:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, name, [value(*it) for it in inputs], [value(it[0], it[1], None) for it in outputs],
                              list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    model = onnx.shape_inference.infer_shapes(model)
    for it in model.graph.output:
        if not it.type.tensor_type.HasField("shape"):
            it.type.tensor_type.shape.dim.add().dim_param = "unknown"
            it.type.tensor_type.ClearField("shape")
    return Model(name, model.SerializeToString(deterministic=True), list(inputs), source or Source())


def given(content: bytes, name: str, source: Source | None = None) -> Model:
    """A model that another tool has made."""
    inputs = []
    for it in onnx.load_from_string(content).graph.input:
        kind = it.type.tensor_type
        inputs.append((it.name, kind.elem_type, [d.dim_value if d.HasField("dim_value") else "n" for d in kind.shape.dim]))
    return Model(name, content, inputs, source or Source())


def rows(model: Model, count: int, seed: int) -> dict[str, np.ndarray]:
    """Inputs of so many rows."""
    made = {}
    for name, kind, shape in model.inputs:
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        full = [it if isinstance(it, int) and it > 0 else count for it in shape]
        source = model.source
        if name in source.rows:
            pool = source.rows[name]
            made[name] = pool[random.integers(0, len(pool), count)]
            continue
        dtype = helper.tensor_dtype_to_np_dtype(kind)
        if kind == TEXT:
            made[name] = random.choice(np.array(source.by_input.get(name, source.texts), dtype=object), full)
        elif kind == B:
            made[name] = random.integers(0, 2, full).astype(bool)
        elif np.issubdtype(dtype, np.integer):
            if source.distinct:
                made[name] = random.permutation(source.distinct)[: full[0]].reshape(full).astype(dtype)
            else:
                made[name] = random.integers(0, source.high, full).astype(dtype)
        else:
            made[name] = random.normal(size=full).astype(dtype)
    return made


def spoiled(inputs: dict[str, np.ndarray], value, seed: int, integers=False) -> dict[str, np.ndarray] | None:
    """The same with some numbers replaced by `value`; None where there is nothing to replace."""
    random, changed, any_changed = np.random.default_rng(seed), {}, False
    for name, array in inputs.items():
        is_right = np.issubdtype(array.dtype, np.integer) if integers else np.issubdtype(array.dtype, np.floating)
        if is_right and array.size:
            array = array.copy()
            which = random.random(array.shape) < 0.3
            which.flat[0] = True
            array[which] = value(array.dtype) if callable(value) else value
            any_changed = True
        changed[name] = array
    return changed if any_changed else None


def variants(model: Model) -> list[tuple[str, dict[str, np.ndarray]]]:
    """What is sent to a model, by name."""
    ordinary = rows(model, 3, 1)
    found = [("rows", ordinary), ("one", rows(model, 1, 2)), ("many", rows(model, 33, 3)), ("again", ordinary)]
    for name, value in [("nan", np.nan), ("inf", np.inf), ("-inf", -np.inf), ("large", 1e4),
                        ("zero", 0.0), ("-zero", -0.0), ("tiny", lambda it: np.finfo(it).smallest_subnormal * 1000)]:
        found.append((name, spoiled(ordinary, value, 4)))
    for name, value in [("int-max", lambda it: np.iinfo(it).max), ("int-min", lambda it: np.iinfo(it).min)]:
        found.append((name, spoiled(ordinary, value, 5, integers=True)))
    if any(it.dtype == object for it in ordinary.values()):
        for name, odd in [("texts", ["", "zzz-unknown", "é考", "a" * 300, " a ", "A"]), ("nul", ["a\u0000b"])]:
            found.append((name, {k: np.resize(np.array(odd, dtype=object), v.shape) if v.dtype == object else v
                                 for k, v in rows(model, 6, 6).items()}))
    found += [("empty", rows(model, 0, 7)), ("after", ordinary)]
    return [it for it in found if it[1] is not None]
