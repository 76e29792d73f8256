import { DownloadOutlined, PauseOutlined, VerticalAlignBottomOutlined } from "@ant-design/icons";
import { Button, Input } from "antd";
import { useMemo, useState } from "react";
import type { JobView } from "../../api/types";
import { useProject } from "../../components/states";
import { useWords } from "../../i18n";
import { count } from "../../lib/format";
import { api } from "../../paths";
import { Empty } from "../../ui/basics";
import { LogView } from "../../ui/LogView";
import { useLog } from "./useLog";

export function LogTab({ job, attempt, live }: { job: JobView; attempt: number | undefined; live: boolean }) {
  const project = useProject();
  const { t, language } = useWords();
  const log = useLog(project, job.id, attempt);
  const [follow, setFollow] = useState(true);
  const [find, setFind] = useState("");
  const [hit, setHit] = useState(-1);
  // A log that ends with a line break has no line after it.
  const shown = useMemo(() => (log.lines.at(-1) === "" ? log.lines.slice(0, -1) : log.lines), [log.lines]);
  const hits = useMemo(() => {
    const wanted = find.toLowerCase();
    return wanted ? log.lines.flatMap((line, at) => (line.toLowerCase().includes(wanted) ? [at] : [])) : [];
  }, [find, log.lines]);
  if (attempt === undefined) return <Empty title={t("log.notStarted")} />;
  const toggle = () => {
    // The place of a search holds the log still, so following leaves it.
    setHit(-1);
    setFollow(!follow);
  };
  const toEnd = () => {
    setHit(-1);
    setFollow(true);
  };
  const step = () => {
    setFollow(false);
    setHit(hits.find((it) => it > hit) ?? hits[0] ?? -1);
  };
  const status = log.ended ? t("log.ended") : !log.connected ? t("log.connecting") : live ? t("log.live") : "";
  return (
    <>
      <div className="row" style={{ marginBottom: 8 }}>
        {log.ended ? (
          <Button icon={<VerticalAlignBottomOutlined />} disabled={follow && hit < 0} onClick={toEnd}>
            {t("log.toEnd")}
          </Button>
        ) : (
          <Button icon={follow ? <PauseOutlined /> : <VerticalAlignBottomOutlined />} aria-pressed={follow} onClick={toggle}>
            {follow ? t("log.pause") : t("log.follow")}
          </Button>
        )}
        <Input.Search
          allowClear
          style={{ width: 280 }}
          aria-label={t("log.find")}
          placeholder={t("log.find")}
          value={find}
          onChange={(it) => {
            setFind(it.target.value);
            setHit(-1);
          }}
          onSearch={step}
        />
        {find ? <span className="muted">{t("log.hits", { n: count(hits.length, language) })}</span> : null}
        <span className="grow" />
        <span className="muted" role="status">
          {status} {t("log.lines", { n: count(log.dropped + shown.length, language) })}
        </span>
        <Button icon={<DownloadOutlined />} href={api.jobLog(project, job.id, { attempt })} download={`${job.name}-${attempt}.log`}>
          {t("download")}
        </Button>
      </div>
      {log.problem ? (
        <p className="note" role="alert">
          {t("log.problem")} {log.problem}
        </p>
      ) : null}
      {log.dropped > 0 ? <p className="muted">{t("log.dropped", { n: count(log.dropped, language) })}</p> : null}
      <LogView lines={shown} firstLine={log.dropped} follow={follow && hit < 0} onLeaveEnd={() => setFollow(false)} find={find} hit={hit} label={t("tab.log")} />
    </>
  );
}
