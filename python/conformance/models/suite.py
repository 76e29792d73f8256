"""Runs every model on both engines of a server and compares each answer with the Python package of ONNX Runtime.

As a program, against a server that is up: prints a table, writes it into the page that is named, and ends with 1 when an
answer was wrong. `scripts/conformance` does that.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

sys.path.insert(0, str(Path(__file__).parent))
import learned  # noqa: E402
import networks  # noqa: E402
import operators  # noqa: E402
from zoo_kit import Model, variants  # noqa: E402

ENGINES = ["onnxruntime", "tract"]
#: How far numbers may be from the reference, relative to the largest of their tensor and at least 1.
TOLERANCE = 1e-4
HALF_TOLERANCE = 2e-3
#: What a refusal by a verified engine says; any other error where the reference answers is a failure.
REFUSALS = ("tract is not verified", "has no elements", "character NUL")
#: What a user must never read.
INSIDE = re.compile(r"onnxruntime::|Status Message|/onnxruntime_src|\.cc:\d|/blobs/")
URL, TOKEN = os.environ.get("OIP_URL", ""), os.environ.get("OIP_TOKEN", "")


@dataclass
class Result:
    model: str
    engine: str
    #: `equal`, `refused` or `wrong`.
    outcome: str
    said: str = ""
    compared: int = 0
    worst_abs: float = 0.0
    worst_rel: float = 0.0


def all_models() -> list[Model]:
    return [*operators.all_models(), *networks.all_models(), *learned.all_models()]


def plain(output) -> np.ndarray:
    """A list of maps as a matrix, in the order of its keys."""
    if isinstance(output, list):
        return np.array([list(it.values()) for it in output], dtype=np.float32)
    return np.asarray(output)


def is_recurrent(model: Model) -> bool:
    return any(f"{it}".encode() in model.content for it in ("GRU", "LSTM", "RNN"))


def reference(model: Model) -> list[tuple[str, dict, list[np.ndarray] | None]]:
    """What is sent, and what the Python package answers; None where it refuses."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(model.content, options, providers=["CPUExecutionProvider"])
    names, found = [it.name for it in session.get_outputs()], []
    for name, inputs in variants(model):
        if name == "empty" and is_recurrent(model) and any(it.size == 0 for it in inputs.values()):
            # The package does not refuse it: it aborts the process.
            found.append((name, inputs, None))
            continue
        try:
            found.append((name, inputs, dict(zip(names, map(plain, session.run(None, inputs)), strict=True))))
        except Exception:  # noqa: BLE001 - any refusal of the reference is one
            found.append((name, inputs, None))
    return found


def call(method: str, path: str, body=None, raw: bytes | None = None) -> tuple[int, dict]:
    """An answer of the server's own API."""
    base, _, project = URL.rpartition("/p/")
    data = raw if raw is not None else json.dumps(body).encode() if body is not None else None
    kind = "application/octet-stream" if raw is not None else "application/json"
    request = urllib.request.Request(f"{base}/api/v1/projects/{project}{path}", data, method=method, headers={
        "Authorization": f"Bearer {TOKEN}", "Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"{}")


def message_of(answer: dict) -> str:
    error = answer.get("error", answer)
    return str(error.get("message") or error.get("text") or error) if isinstance(error, dict) else str(error)


def ask(client, endpoint: str, inputs: dict[str, np.ndarray], outputs) -> dict[str, np.ndarray] | str:
    tensors = []
    for name, array in inputs.items():
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    wanted = [triton.InferRequestedOutput(it) for it in outputs] if outputs else None
    try:
        answer = client.infer(endpoint, tensors, outputs=wanted, headers={"Authorization": f"Bearer {TOKEN}"})
    except InferenceServerException as error:
        return str(error)
    return {it["name"]: answer.as_numpy(it["name"]) for it in answer.get_response()["outputs"]}


def difference(have: np.ndarray | None, want: np.ndarray) -> tuple[float, float] | str:
    """The worst absolute and relative difference, or what is wrong."""
    if want.size == 0:
        return (0.0, 0.0) if have is None or have.size == 0 else "more than nothing"
    if have is None or have.shape != want.shape:
        return f"shape {None if have is None else have.shape} instead of {want.shape}"
    if want.dtype == object or want.dtype.kind in "US":
        texts = [it.decode() if isinstance(it, bytes) else str(it) for it in have.ravel()]
        return (0.0, 0.0) if texts == [str(it) for it in want.ravel()] else "other texts"
    if have.dtype != want.dtype:
        return f"type {have.dtype} instead of {want.dtype}"
    if want.dtype.kind in "iub":
        return (0.0, 0.0) if np.array_equal(have, want) else "other whole numbers"
    a, b = have.astype(np.float64), want.astype(np.float64)
    if (np.isnan(a) != np.isnan(b)).any():
        return "NaN lost or made"
    open_ = np.isfinite(b)
    if not np.array_equal(a[~open_ & ~np.isnan(b)], b[~open_ & ~np.isnan(b)]) or not np.isfinite(a[open_]).all():
        return "infinities differ"
    if not open_.any():
        return 0.0, 0.0
    apart = np.abs(a[open_] - b[open_])
    largest = max(1.0, float(np.abs(b[open_]).max()))
    allowed = HALF_TOLERANCE if want.dtype == np.float16 else TOLERANCE
    relative = float(apart.max()) / largest
    return (float(apart.max()), relative) if relative <= allowed else f"{apart.max():.3g} apart where {largest:.3g} is largest"


def run_one(model: Model, number: int, engine: str, expected) -> Result:
    endpoint = f"conformance-{number}-{engine}"
    status, answer = call("POST", "/endpoints", {"name": endpoint, "model": f"conformance-{number}@1", "engine": engine})
    try:
        if status >= 400 or answer.get("state") != "ready":
            said = answer.get("reason") or message_of(answer)
            return Result(model.name, engine, "wrong" if INSIDE.search(said) else "refused", said)
        client = triton.InferenceServerClient(URL.removeprefix("http://"), network_timeout=120)
        result = Result(model.name, engine, "equal")
        for name, inputs, want in expected:
            have = ask(client, endpoint, inputs, list(want) if want else None)
            if isinstance(have, str):
                is_refusal = want is None or name == "empty" or any(it in have for it in REFUSALS)
                if not is_refusal or INSIDE.search(have):
                    return Result(model.name, engine, "wrong", f"{name}: {have}")
                if want is not None and name not in ("empty", "nul"):
                    result.said = "refuses NaN and infinities"
                continue
            if want is None and name == "empty" and all(it is None or it.size == 0 for it in have.values()):
                continue
            if want is None:
                return Result(model.name, engine, "wrong", f"{name}: an answer where there is none")
            for output, array in want.items():
                worst = difference(have.get(output), array)
                if isinstance(worst, str):
                    return Result(model.name, engine, "wrong", f"{name}, {output}: {worst}")
                result.worst_abs = max(result.worst_abs, worst[0])
                result.worst_rel = max(result.worst_rel, worst[1])
            result.compared += 1
        return result
    finally:
        call("DELETE", f"/endpoints/{endpoint}")


def run_model(numbered: tuple[int, Model]) -> list[Result]:
    number, model = numbered
    expected = reference(model)
    status, answer = call("POST", "/uploads", raw=model.content)
    status, answer = call("POST", f"/models/conformance-{number}/versions", {"upload": answer.get("hash", "")})
    if status >= 400:
        return [Result(model.name, engine, "refused", message_of(answer)) for engine in ENGINES]
    return [run_one(model, number, engine, expected) for engine in ENGINES]


def run_all(models: list[Model]) -> list[Result]:
    with ThreadPoolExecutor(2) as threads:
        return [it for results in threads.map(run_model, enumerate(models)) for it in results]


def cell(results: list[Result]) -> str:
    """What one engine does with the models of one row."""
    equal = [it for it in results if it.outcome == "equal"]
    wrong = [it for it in results if it.outcome == "wrong"]
    parts = []
    if wrong:
        parts.append("**wrong**: " + "; ".join(f"{it.model}: {it.said}" for it in wrong))
    if equal:
        worst = max(equal, key=lambda it: it.worst_rel)
        count = f"{len(equal)} of {len(results)} " if len(equal) != len(results) else ""
        note = "; refuses NaN and infinities" if any(it.said for it in equal) else ""
        parts.append(f"{count}equal, {worst.worst_abs:.0e} / {worst.worst_rel:.0e}{note}")
    refused = [it for it in results if it.outcome == "refused"]
    if refused:
        found = re.search(r"tract is (?:not )?verified for (?:the operator )?(.*)", refused[0].said)
        said = (found[1] if found else refused[0].said).replace("|", "\\|")
        parts.append(f"refused: {said[:90]}")
    return "; ".join(parts)


def table(results: list[Result]) -> str:
    rows: dict[str, dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for it in results:
        row = it.model if it.model[:1].islower() else it.model.split("-")[0]
        rows[row][it.engine].append(it)
    lines = ["| Model | Compared | ONNX Runtime | tract |", "|---|---|---|---|"]
    for name, engines in rows.items():
        one = engines[ENGINES[0]]
        shown = name if len(one) == 1 else f"{name} ({len(one)} models)"
        compared = sum(it.compared for it in one)
        lines.append(f"| {shown} | {compared} | {cell(one)} | {cell(engines[ENGINES[1]])} |")
    return "\n".join(lines)


def write_between(page: Path, text: str) -> None:
    begin, end = "<!-- conformance: begin -->", "<!-- conformance: end -->"
    before, _, rest = page.read_text().partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, help="write the table between the markers of this page")
    parser.add_argument("--only", default="", help="models whose name begins so")
    args = parser.parse_args()
    results = run_all([it for it in all_models() if it.name.startswith(args.only)])
    text = table(results)
    print(text)
    counts = {outcome: {e: sum(it.outcome == outcome and it.engine == e for it in results) for e in ENGINES}
              for outcome in ("equal", "refused", "wrong")}
    print(json.dumps(counts), file=sys.stderr)
    if args.page and not args.only:
        write_between(args.page, text)
    for it in results:
        if it.outcome == "wrong" or (it.outcome == "refused" and it.engine == "onnxruntime"):
            print(f"{it.outcome}: {it.model} on {it.engine}: {it.said}", file=sys.stderr)
    return 1 if any(counts["wrong"].values()) or counts["refused"]["onnxruntime"] else 0


if __name__ == "__main__":
    sys.exit(main())
