// How to call an endpoint from elsewhere, with its own tensors filled in.
import type { EndpointView } from "../../api/types";
import { inProject } from "../../lib/command";
import { api } from "../../paths";

const NUMPY: Record<string, string> = { FP32: "float32", FP64: "float64", FP16: "float16", INT64: "int64", INT32: "int32", INT8: "int8", UINT8: "uint8", BOOL: "bool" };

export function snippets(endpoint: EndpointView, project: string, origin: string): [string, string][] {
  const input = endpoint.inputs[0];
  const shape = (input?.shape ?? []).map((it) => (it < 0 ? 1 : it));
  const host = origin.replace(/^https?:\/\//, "");
  const predict = `${new URL(origin).origin}${api.predict(project, endpoint.name)}`;
  const row = endpoint.task && "columns" in endpoint.task ? Object.fromEntries(endpoint.task.columns.map((it) => [it.name, it.kind === "number" ? it.fill : (it.values[0] ?? "")])) : null;
  const out: [string, string][] = [];
  if (row)
    out.push(["curl", `curl -fH "authorization: Bearer $KAOGONG_TOKEN" -H "content-type: application/json" \\\n  -d '${JSON.stringify({ row }).replaceAll("'", "'\\''")}' "${predict}"`]);
  else if (endpoint.task) out.push(["curl", `curl -fH "authorization: Bearer $KAOGONG_TOKEN" -H "content-type: image/png" \\\n  --data-binary @picture.png "${predict}"`]);
  out.push(["CLI", `kaogong endpoints predict ${endpoint.name} ${row ? "row.json" : "picture.png"}${inProject(project)}`]);
  if (input)
    out.push([
      "tritonclient",
      [
        "import os",
        "import numpy as np",
        "import tritonclient.http as triton",
        "",
        `client = triton.InferenceServerClient("${host}/p/${project}"${origin.startsWith("https") ? ", ssl=True" : ""})`,
        `x = np.zeros([${shape.join(", ")}], dtype=np.${NUMPY[input.datatype] ?? "float32"})`,
        `given = triton.InferInput("${input.name}", list(x.shape), "${input.datatype}")`,
        "given.set_data_from_numpy(x)",
        `answer = client.infer("${endpoint.name}", [given], headers={"authorization": "Bearer " + os.environ["KAOGONG_TOKEN"]})`,
        ...endpoint.outputs.map((it) => `print(answer.as_numpy("${it.name}"))`),
      ].join("\n"),
    ]);
  return out;
}
