// A form from the columns that the model was trained on.
import { useMutation } from "@tanstack/react-query";
import { Button, Form, InputNumber, Select } from "antd";
import { useState } from "react";
import { read } from "../../api/client";
import type { EndpointView, ItemView, PredictionView, TaskColumn } from "../../api/types";
import { useMay, useProject } from "../../components/states";
import { useWords } from "../../i18n";
import { api } from "../../paths";
import { Fault, Why } from "../../ui/basics";
import { Answer } from "./Answer";
import { randomItem } from "./sample";

type Row = Record<string, string | number | null>;

/** Values of an item as the form takes them; what the model does not ask for is left out. */
export function rowOf(item: ItemView, columns: TaskColumn[]): Row {
  return Object.fromEntries(
    columns.map((it) => {
      const value = item.values?.[it.name];
      if (value === null || value === undefined) return [it.name, null];
      return [it.name, it.kind === "number" ? Number(value) : String(value)];
    }),
  );
}

/** A number of 32 bits with as few digits as say which it is: 15.904999732971191 is 15.905. */
export function shortest(value: number): number {
  const found = [6, 7, 8, 9].map((digits) => Number(value.toPrecision(digits))).find((it) => Math.fround(it) === Math.fround(value));
  return found ?? value;
}

export function TryRow({ endpoint, task, dataset }: { endpoint: EndpointView; task: { columns: TaskColumn[] }; dataset: string | null }) {
  const project = useProject();
  const { t } = useWords();
  const not = useMay().why("annotator");
  const [form] = Form.useForm<{ row: Row[] }>();
  const [truth, setTruth] = useState<string | null>(null);
  const predict = useMutation({
    mutationFn: (row: Row) => read<PredictionView>(api.predict(project, endpoint.name), { method: "POST", json: { row } }),
  });
  const send = (row: Row) => predict.mutate(Object.fromEntries(Object.entries(row).filter(([, it]) => it !== null && it !== undefined)));
  // Names of columns are free text, so the fields are numbered: a dot in a name would be taken for a path.
  const named = (values: (string | number | null)[]): Row => Object.fromEntries(task.columns.map((it, at) => [it.name, values[at] ?? null]));
  const sample = useMutation({
    mutationFn: async () => {
      const item = dataset ? await randomItem(project, dataset) : null;
      if (!item) return;
      const row = rowOf(item, task.columns);
      task.columns.forEach((it, at) => form.setFieldValue(["row", at], row[it.name]));
      setTruth(item.label);
      send(row);
    },
  });
  return (
    <div className="grid-2">
      <Form form={form} layout="vertical" size="small" onValuesChange={() => setTruth(null)} onFinish={(it) => send(named(it.row as unknown as (string | number | null)[]))} initialValues={{ row: task.columns.map((it) => (it.kind === "number" ? shortest(it.fill) : (it.values[0] ?? null))) }}>
        <div style={{ display: "grid", gridTemplateColumns: "repeat(auto-fill, minmax(160px, 1fr))", columnGap: 12, maxHeight: 480, overflowY: "auto" }}>
          {task.columns.map((it, at) => (
            <Form.Item key={it.name} name={["row", at]} label={it.name} style={{ marginBottom: 8 }}>
              {it.kind === "number" ? <InputNumber style={{ width: "100%" }} /> : <Select allowClear options={it.values.map((one) => ({ value: one, label: one }))} />}
            </Form.Item>
          ))}
        </div>
        <div className="row" style={{ marginTop: 12 }}>
          <Why not={not}>
            <Button size="middle" type="primary" htmlType="submit" loading={predict.isPending} disabled={not !== null}>
              {t("try.predict")}
            </Button>
          </Why>
          {dataset ? (
            <Why not={not}>
              <Button size="middle" loading={sample.isPending} disabled={not !== null} onClick={() => sample.mutate()}>
                {t("try.randomRow", { dataset })}
              </Button>
            </Why>
          ) : null}
        </div>
        {sample.error ? <Fault error={sample.error} /> : null}
      </Form>
      <div className="panel" style={{ minHeight: 220 }}>
        {predict.error ? <Fault error={predict.error} /> : predict.data ? <Answer answer={predict.data} truth={truth} /> : <span className="muted">{t("try.beforeRow")}</span>}
      </div>
    </div>
  );
}
