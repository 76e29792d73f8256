"""The Open Inference Protocol over REST, seen through the unmodified Triton client.

Run against a server that is up, with KAOGONG_PROGRAM naming the program and OIP_URL, OIP_TOKEN the address:
`make test` does that.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

URL = os.environ["OIP_URL"]


def headers() -> dict[str, str]:
    """A new dictionary each time: the client writes its own headers into the one it is given."""
    return {"Authorization": f"Bearer {os.environ['OIP_TOKEN']}"}


@pytest.fixture(scope="module")
def client():
    with triton.InferenceServerClient(URL.removeprefix("http://")) as it:
        yield it


def test_health_and_metadata(client, served):
    name, _ = served
    assert client.is_server_live(headers=headers()) and client.is_server_ready(headers=headers())
    assert client.is_model_ready(name, headers=headers())
    assert not client.is_model_ready("no-such-model", headers=headers())
    metadata = client.get_model_metadata(name, headers=headers())
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert metadata["versions"] == ["1"]
    assert "binary_tensor_data" in client.get_server_metadata(headers=headers())["extensions"]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("rows", [1, 5])
def test_answers_are_the_models(client, served, rows, binary_in, binary_out):
    name, reference = served
    x = np.random.default_rng(rows).normal(size=(rows, 4)).astype(np.float32)
    tensor = triton.InferInput("x", [rows, 4], "FP32")
    tensor.set_data_from_numpy(x, binary_data=binary_in)
    wanted = triton.InferRequestedOutput("y", binary_data=binary_out)
    answer = client.infer(name, [tensor], outputs=[wanted], headers=headers(), request_id="seven")
    np.testing.assert_allclose(answer.as_numpy("y"), reference(x), atol=1e-5)
    assert answer.get_response()["id"] == "seven"


def test_classification(client, served):
    name, reference = served
    x = np.ones((2, 4), dtype=np.float32)
    tensor = triton.InferInput("x", [2, 4], "FP32")
    tensor.set_data_from_numpy(x)
    answer = client.infer(name, [tensor], outputs=[triton.InferRequestedOutput("y", class_count=2)], headers=headers())
    first = answer.as_numpy("y")[0][0].decode()
    assert int(first.split(":")[1]) == int(reference(x)[0].argmax())


@pytest.mark.parametrize(
    ("name", "shape", "datatype", "said"),
    [("z", [1, 4], "FP32", "no input"), ("x", [1, 5], "FP32", "shape"), ("x", [1, 4], "INT64", "takes FP32")],
)
def test_mistakes_are_named(client, served, name, shape, datatype, said):
    tensor = triton.InferInput(name, shape, datatype)
    tensor.set_data_from_numpy(np.zeros(shape, dtype=triton_to_np_dtype(datatype)))
    with pytest.raises(InferenceServerException, match=said):
        client.infer(served[0], [tensor], headers=headers())


def test_strangers_are_refused(client, served):
    tensor = triton.InferInput("x", [1, 4], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 4), dtype=np.float32))
    with pytest.raises(InferenceServerException):
        client.infer(served[0], [tensor])


def test_statistics_count(client, served):
    before = client.get_inference_statistics(served[0], headers=headers())["model_stats"][0]["inference_count"]
    tensor = triton.InferInput("x", [1, 4], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 4), dtype=np.float32))
    client.infer(served[0], [tensor], headers=headers())
    after = client.get_inference_statistics(served[0], headers=headers())["model_stats"][0]["inference_count"]
    assert after == before + 1
