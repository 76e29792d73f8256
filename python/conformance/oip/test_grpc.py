"""The Open Inference Protocol over gRPC, seen through the unmodified Triton client.

The port is the one of everything else. A call names its project in the `kaogong-project` metadata, or the token does.
"""

from __future__ import annotations

import json
import os
import urllib.request

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype, triton_to_np_dtype

HOST = os.environ["KAOGONG_URL"].removeprefix("http://").split("/")[0]


def headers(**more: str) -> dict[str, str]:
    return {"authorization": f"Bearer {os.environ['OIP_TOKEN']}"} | {k.replace("_", "-"): v for k, v in more.items()}


@pytest.fixture(scope="module")
def client():
    with triton.InferenceServerClient(HOST) as it:
        yield it


@pytest.fixture(scope="module")
def stub():
    with grpc.insecure_channel(HOST) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def row(values: np.ndarray) -> triton.InferInput:
    tensor = triton.InferInput("x", list(values.shape), np_to_triton_dtype(values.dtype))
    tensor.set_data_from_numpy(values)
    return tensor


def test_health_and_metadata(client, served):
    name, _ = served
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready(name, headers=headers())
    assert not client.is_model_ready("no-such-model", headers=headers())
    metadata = client.get_model_metadata(name, headers=headers())
    assert [(it.name, it.datatype, list(it.shape)) for it in metadata.inputs] == [("x", "FP32", [-1, 4])]
    assert list(metadata.versions) == ["1"]
    assert client.get_server_metadata(headers=headers()).name == "kaogong"


@pytest.mark.parametrize("rows", [1, 5])
def test_answers_are_the_models(client, served, rows):
    name, reference = served
    x = np.random.default_rng(rows).normal(size=(rows, 4)).astype(np.float32)
    wanted = triton.InferRequestedOutput("y")
    answer = client.infer(name, [row(x)], outputs=[wanted], headers=headers(), request_id="seven")
    np.testing.assert_allclose(answer.as_numpy("y"), reference(x), atol=1e-5)
    assert answer.get_response().id == "seven"


def test_typed_contents_answer_alike(stub, served):
    name, reference = served
    x = np.random.default_rng(3).normal(size=(2, 4)).astype(np.float32)
    tensor = service_pb2.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[2, 4])
    tensor.contents.fp32_contents.extend(x.ravel().tolist())
    request = service_pb2.ModelInferRequest(model_name=name, inputs=[tensor])
    answer = stub.ModelInfer(request, metadata=tuple(headers().items()))
    y = np.frombuffer(answer.raw_output_contents[0], dtype=np.float32).reshape(2, 3)
    np.testing.assert_allclose(y, reference(x), atol=1e-5)


def test_classification(client, served):
    name, reference = served
    x = np.ones((2, 4), dtype=np.float32)
    answer = client.infer(name, [row(x)], outputs=[triton.InferRequestedOutput("y", class_count=2)], headers=headers())
    first = answer.as_numpy("y")[0][0].decode()
    assert int(first.split(":")[1]) == int(reference(x)[0].argmax())


@pytest.mark.parametrize(
    ("name", "shape", "datatype", "said"),
    [("z", [1, 4], "FP32", "no input"), ("x", [1, 5], "FP32", "shape"), ("x", [1, 4], "INT64", "takes FP32")],
)
def test_mistakes_are_named(client, served, name, shape, datatype, said):
    tensor = triton.InferInput(name, shape, datatype)
    tensor.set_data_from_numpy(np.zeros(shape, dtype=triton_to_np_dtype(datatype)))
    with pytest.raises(InferenceServerException, match=said) as failed:
        client.infer(served[0], [tensor], headers=headers())
    assert failed.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(InferenceServerException, match="unknown model") as failed:
        client.infer("no-such-model", [row(np.zeros((1, 4), dtype=np.float32))], headers=headers())
    assert failed.value.status() == "StatusCode.NOT_FOUND"


def test_a_call_that_is_not_spoken_is_unimplemented(client):
    with pytest.raises(InferenceServerException) as failed:
        client.get_trace_settings(headers=headers())
    assert failed.value.status() == "StatusCode.UNIMPLEMENTED"


def test_strangers_are_refused(client, served):
    x = row(np.zeros((1, 4), dtype=np.float32))
    for wrong in ({}, {"authorization": "Bearer kgt_not-a-token"}):
        with pytest.raises(InferenceServerException) as failed:
            client.infer(served[0], [x], headers=wrong)
        assert failed.value.status() == "StatusCode.UNAUTHENTICATED"


def test_another_project_has_no_such_model(client, served):
    body = json.dumps({"name": "elsewhere"}).encode()
    request = urllib.request.Request(
        f"{os.environ['KAOGONG_URL']}/api/v1/projects", body, {"content-type": "application/json"} | headers()
    )
    try:
        urllib.request.urlopen(request).close()
    except urllib.error.HTTPError as failed:
        assert failed.code == 409, "the other engine's turn made it already"
    x = row(np.zeros((1, 4), dtype=np.float32))
    with pytest.raises(InferenceServerException) as failed:
        client.infer(served[0], [x], headers=headers(kaogong_project="elsewhere"))
    assert failed.value.status() == "StatusCode.NOT_FOUND"
    assert not client.is_model_ready(served[0], headers=headers(kaogong_project="elsewhere"))


def test_a_message_of_a_million_empty_inputs_is_refused(stub, served):
    # Two bytes each on the wire, hundreds of bytes each in memory.
    flood = [service_pb2.ModelInferRequest.InferInputTensor()] * 1_000_000
    request = service_pb2.ModelInferRequest(model_name=served[0], inputs=flood)
    with pytest.raises(grpc.RpcError, match="inputs") as failed:
        stub.ModelInfer(request, metadata=tuple(headers().items()))
    assert failed.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_large_tensors_arrive_whole(client, served):
    name, reference = served
    x = np.random.default_rng(9).normal(size=(500_000, 4)).astype(np.float32)
    answer = client.infer(name, [row(x)], headers=headers())
    np.testing.assert_allclose(answer.as_numpy("y"), reference(x), atol=1e-5)
