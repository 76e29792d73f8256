// Drop a picture, or take one of the test split, and see what the model says.
import { useMutation } from "@tanstack/react-query";
import { Button } from "antd";
import { useEffect, useState } from "react";
import { read } from "../../api/client";
import type { EndpointView, PredictionView } from "../../api/types";
import { useMay, useProject } from "../../components/states";
import { useWords } from "../../i18n";
import { api } from "../../paths";
import { Fault, Why } from "../../ui/basics";
import { Answer } from "./Answer";
import { contentOf, randomItem } from "./sample";

export function TryImage({ endpoint, dataset }: { endpoint: EndpointView; dataset: string | null }) {
  const project = useProject();
  const { t } = useWords();
  const not = useMay().why("annotator");
  const [over, setOver] = useState(false);
  const [shown, setShown] = useState<{ url: string; name: string; truth: string | null; tiny: boolean } | null>(null);
  const url = shown?.url;
  useEffect(() => () => void (url && URL.revokeObjectURL(url)), [url]);
  const predict = useMutation({
    mutationFn: (blob: Blob) => read<PredictionView>(api.predict(project, endpoint.name), { method: "POST", body: blob, type: blob.type || "image/png" }),
  });
  const show = (blob: Blob, name: string, truth: string | null) => {
    const made = URL.createObjectURL(blob);
    setShown({ url: made, name, truth, tiny: false });
    predict.mutate(blob);
  };
  const sample = useMutation({
    mutationFn: async () => {
      const item = dataset ? await randomItem(project, dataset) : null;
      if (item && dataset) show(await contentOf(project, dataset, item.id), item.name, item.label);
    },
  });
  const take = (files: FileList | null | undefined) => {
    const file = files?.[0];
    if (file && not === null) show(file, file.name, null);
  };
  return (
    <div className="try">
      <div className="stack">
        <label
          className={`drop ${not !== null ? "off" : over ? "over" : ""}`}
          onDragOver={(event) => {
            event.preventDefault();
            setOver(true);
          }}
          onDragLeave={() => setOver(false)}
          onDrop={(event) => {
            event.preventDefault();
            setOver(false);
            take(event.dataTransfer.files);
          }}
        >
          <input className="visually-hidden" type="file" accept="image/*" disabled={not !== null} aria-label={t("try.choose")} onChange={(it) => take(it.target.files)} />
          {shown ? (
            <div>
              <img className={shown.tiny ? "pixel" : ""} src={shown.url} alt={shown.name} onLoad={(it) => it.currentTarget.naturalWidth <= 64 && !shown.tiny && setShown({ ...shown, tiny: true })} />
              <div style={{ fontSize: 12.5 }}>{shown.name}</div>
              <div style={{ fontSize: 12.5, marginTop: 8 }}>{t("try.another")}</div>
            </div>
          ) : (
            <span>{not ?? t("try.drop")}</span>
          )}
        </label>
        {dataset ? (
          <Why not={not}>
            <Button loading={sample.isPending} disabled={not !== null} onClick={() => sample.mutate()}>
              {t("try.random", { dataset })}
            </Button>
          </Why>
        ) : null}
        {sample.error ? <Fault error={sample.error} /> : null}
      </div>
      <div className="panel" style={{ minHeight: 220 }}>
        {predict.error ? <Fault error={predict.error} /> : predict.data ? <Answer answer={predict.data} truth={shown?.truth ?? null} /> : <span className="muted">{predict.isPending ? t("loading") : t("try.before")}</span>}
      </div>
    </div>
  );
}
