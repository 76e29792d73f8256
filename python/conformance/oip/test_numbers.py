"""Numbers that JSON has no words for, and values that do not fit, as Python and the Triton client write them."""

from __future__ import annotations

import json
import math
import os
import subprocess
import urllib.error
import urllib.request
import uuid

import numpy as np
import onnx
import pytest
import tritonclient.http as triton
from onnx import TensorProto, helper

URL = os.environ["OIP_URL"].removeprefix("http://")
TYPES = {
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "FP16": TensorProto.FLOAT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "UINT8": TensorProto.UINT8,
}


def headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {os.environ['OIP_TOKEN']}"}


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    """Endpoints that answer what they are sent, by type, made when they are asked for."""
    made = {}

    def of(datatype: str) -> str:
        if datatype not in made:
            info = lambda name: helper.make_tensor_value_info(name, TYPES[datatype], ["n"])  # noqa: E731
            graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "echo", [info("x")], [info("y")])
            path = tmp_path_factory.mktemp("echo") / "model.onnx"
            onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
            name = f"echo-{datatype.lower()}-{uuid.uuid4().hex[:8]}"
            for arguments in [("models", "register", name, str(path)), ("endpoints", "create", name, "--model", f"{name}@1", "--engine", "onnxruntime")]:
                subprocess.run([os.environ["KAOGONG_PROGRAM"], *arguments], check=True, capture_output=True)
            made[datatype] = name
        return made[datatype]

    return of


def call(endpoint: str, datatype: str, data: str) -> tuple[int, dict]:
    """The data as text, so that nothing here makes other words of it."""
    count = len(json.loads(data))
    body = f'{{"inputs":[{{"name":"x","shape":[{count}],"datatype":"{datatype}","data":{data}}}]}}'
    request = urllib.request.Request(f"http://{URL}/v2/models/{endpoint}/infer", data=body.encode(), headers=headers())
    strict = lambda text: json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))  # noqa: E731
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, strict(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, strict(error.read())


@pytest.mark.parametrize("datatype", ["FP32", "FP64", "FP16"])
def test_missing_and_infinite_numbers_go_in_and_out(echo, datatype):
    data = '[1.5, null, NaN, Infinity, -Infinity, "NaN", "Infinity", "-Infinity"]'
    status, answer = call(echo(datatype), datatype, data)
    assert status == 200, answer
    assert answer["outputs"][0]["data"] == [1.5, None, None, "Infinity", "-Infinity", None, "Infinity", "-Infinity"]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("datatype", ["FP32", "FP64", "FP16"])
def test_the_triton_client_gets_back_what_it_sent(echo, datatype, binary_in, binary_out):
    x = np.array([0.5, math.nan, math.inf, -math.inf, -0.0], dtype={"FP32": "f4", "FP64": "f8", "FP16": "f2"}[datatype])
    tensor = triton.InferInput("x", [5], datatype)
    tensor.set_data_from_numpy(x, binary_data=binary_in)
    wanted = [triton.InferRequestedOutput("y", binary_data=binary_out)]
    with triton.InferenceServerClient(URL) as client:
        answer = client.infer(echo(datatype), [tensor], outputs=wanted, headers=headers())
    np.testing.assert_array_equal(answer.as_numpy("y"), x)


@pytest.mark.parametrize(
    ("datatype", "data", "said"),
    [
        ("FP32", "[1.0, 1e39]", "inputs[0].data[1] of input `x`: 1e39 does not fit FP32"),
        ("UINT8", "[300]", "inputs[0].data[0] of input `x`: 300 does not fit UINT8"),
        ("UINT8", "[1, -1]", "inputs[0].data[1] of input `x`: -1 does not fit UINT8"),
        ("INT32", "[1.0, 1.5]", "inputs[0].data[1] of input `x`: 1.5 does not fit INT32"),
        ("INT64", "[9223372036854775808]", "9223372036854775808 does not fit INT64"),
        ("INT64", "[null]", "null does not fit INT64"),
        ("INT64", "[1, NaN]", "inputs[0].data[1] of input `x`: NaN does not fit INT64"),
    ],
)
def test_what_does_not_fit_is_named(echo, datatype, data, said):
    status, answer = call(echo(datatype), datatype, data)
    assert status == 400 and said in answer["error"], answer


def test_whole_numbers_may_be_written_as_floats(echo):
    assert call(echo("INT64"), "INT64", "[1.0, 2e2, 9007199254740993.0]")[1]["outputs"][0]["data"] == [1, 200, 9007199254740993]
