// ECharts, with only the parts that are used; pages with charts load this file, the first page does not.
import { DownloadOutlined, ExpandOutlined, FileTextOutlined } from "@ant-design/icons";
import { Button, Modal, Tooltip } from "antd";
import { BarChart, LineChart } from "echarts/charts";
import { DataZoomComponent, GridComponent, LegendComponent, TooltipComponent } from "echarts/components";
import * as echarts from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";
import { useEffect, useRef, useState } from "react";
import { useWords } from "../i18n";
import { csv, fileName, save, saveText } from "../lib/csv";
import { metric } from "../lib/format";
import { type Line, sameLines } from "../lib/lines";
import { smooth } from "../lib/smooth";
import { SERIES, useTheme } from "../theme";

echarts.use([LineChart, BarChart, GridComponent, TooltipComponent, LegendComponent, DataZoomComponent, CanvasRenderer]);

type Props = {
  title: string;
  lines: Line[];
  xName: string;
  yName?: string;
  time?: boolean;
  log?: boolean;
  smoothing?: number;
  group?: string;
  bars?: boolean;
  format?: (value: number | null) => string;
};

function options(props: Props, dark: boolean, large: boolean): Parameters<echarts.ECharts["setOption"]>[0] {
  const colours = SERIES[dark ? "dark" : "light"];
  const ink = dark ? "#a9b2ae" : "#56605c";
  const grid = dark ? "#2a3130" : "#e6e2d8";
  const format = props.format ?? metric;
  const smoothing = props.smoothing ?? 0;
  const few = props.lines.length > 1;
  const axis = { axisLabel: { color: ink, hideOverlap: true }, nameTextStyle: { color: ink }, axisLine: { lineStyle: { color: grid } }, splitLine: { lineStyle: { color: grid } } };
  const series = props.lines.flatMap((line, at) => {
    const colour = colours[at % colours.length] ?? ink;
    const zip = (values: (number | null)[]) => line.x.map((x, i) => [x, props.log && (values[i] ?? 0) <= 0 ? null : (values[i] ?? null)]);
    const base = { id: `line-${at}`, type: "line" as const, name: line.name, showSymbol: line.x.length < 2, symbolSize: 5, animation: false, itemStyle: { color: colour } };
    const main = { ...base, data: zip(smooth(line.y, smoothing)), lineStyle: { color: colour, width: 1.8 }, sampling: "lttb" as const };
    if (smoothing <= 0) return [main];
    return [{ ...base, id: `raw-${at}`, name: `${line.name} `, data: zip(line.y), lineStyle: { color: colour, width: 1, opacity: 0.28 }, silent: true, tooltip: { show: false }, showSymbol: false }, main];
  });
  return {
    animation: false,
    backgroundColor: "transparent",
    grid: { left: 12, right: 20, top: few ? (props.yName ? 56 : 36) : props.yName ? 32 : 12, bottom: large ? 56 : props.xName ? 28 : 8, containLabel: true },
    legend: few ? { show: true, top: 0, type: "scroll", icon: "roundRect", itemWidth: 14, itemHeight: 4, textStyle: { color: ink }, data: props.lines.map((it) => it.name) } : { show: false },
    tooltip: {
      trigger: "axis",
      confine: true,
      axisPointer: { type: "line", lineStyle: { color: ink } },
      backgroundColor: dark ? "#1f2524" : "#fff",
      borderColor: grid,
      textStyle: { color: dark ? "#e6e9e6" : "#1d2422", fontSize: 12 },
      valueFormatter: (value: unknown) => format(typeof value === "number" ? value : null),
    },
    ...(large ? { dataZoom: [{ type: "slider", bottom: 8, height: 20 }, { type: "inside" }] } : {}),
    xAxis: { type: props.time ? "time" : "value", name: props.xName, nameLocation: "middle", nameGap: 26, scale: true, ...axis, splitLine: { show: false }, ...(props.time ? {} : { axisPointer: { label: { precision: 0 } } }) },
    yAxis: { type: props.log ? "log" : "value", name: props.yName ?? "", scale: !props.log, ...axis, nameTextStyle: { color: ink, align: "left" as const }, axisLabel: { color: ink, formatter: (it: number) => format(it) } },
    series,
  } as Parameters<echarts.ECharts["setOption"]>[0];
}

/** The value of an earlier render for as long as the new ones are the same as it. */
function useUnchanged<T>(value: T, same: (a: T, b: T) => boolean): T {
  const [kept, keep] = useState(value);
  if (same(kept, value)) return kept;
  keep(value);
  return value;
}

/** Shows the tooltip anew where the pointer is: by itself ECharts keeps the place in lines that have moved under it. */
function tipKeeper(chart: echarts.ECharts): () => void {
  let at: { x: number; y: number } | null = null;
  chart.getZr().on("mousemove", (it) => {
    at = { x: it.offsetX, y: it.offsetY };
  });
  chart.getZr().on("globalout", () => {
    at = null;
  });
  const show = () =>
    void setTimeout(() => {
      if (at && !chart.isDisposed()) chart.dispatchAction({ type: "showTip", ...at });
    });
  chart.on("datazoom", show);
  return show;
}

function Canvas({ props, large, onReady }: { props: Props; large: boolean; onReady: (chart: echarts.ECharts) => void }) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<echarts.ECharts | null>(null);
  const showTip = useRef(() => undefined as void);
  const { dark } = useTheme();
  useEffect(() => {
    if (!box.current) return;
    const made = echarts.init(box.current);
    chart.current = made;
    showTip.current = tipKeeper(made);
    onReady(made);
    // A large chart stands alone: the charts behind it would show their tooltips over it.
    if (props.group && !large) {
      made.group = props.group;
      echarts.connect(props.group);
    }
    const seen = new ResizeObserver(() => made.resize());
    seen.observe(box.current);
    return () => {
      seen.disconnect();
      made.dispose();
    };
    // One chart for the life of the box; its options follow below.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, []);
  const lines = useUnchanged(props.lines, sameLines);
  const { xName, yName, time, log, smoothing } = props;
  useEffect(() => {
    // Only the lines are put in anew: zoom, hidden lines and the tooltip stay as somebody left them.
    chart.current?.setOption(options({ ...props, lines }, dark, large), { replaceMerge: ["series"] });
    showTip.current();
    // A formatting function is made anew at every render, and always does the same.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [lines, dark, large, xName, yName, time, log, smoothing]);
  return <div className="chart" ref={box} role="img" aria-label={props.title} style={large ? { height: "62vh" } : {}} />;
}

/** Lines over steps or time, with PNG, CSV and a large view. */
export default function Chart(props: Props) {
  const { t } = useWords();
  const { dark } = useTheme();
  const [large, setLarge] = useState(false);
  const chart = useRef<echarts.ECharts | null>(null);
  const file = fileName(props.title);
  const png = () => {
    const url = chart.current?.getDataURL({ type: "png", pixelRatio: 2, backgroundColor: dark ? "#181d1c" : "#ffffff" });
    if (url) save(`${file}.png`, url);
  };
  const rows = () => {
    const head = ["series", props.xName, props.yName ?? "value"];
    saveText(`${file}.csv`, csv([head, ...props.lines.flatMap((line) => line.x.map((x, i) => [line.name, x, line.y[i] ?? null]))]));
  };
  const button = (label: string, icon: React.ReactNode, act: () => void) => (
    <Tooltip title={label}>
      <Button size="small" type="text" aria-label={`${label}: ${props.title}`} icon={icon} onClick={act} />
    </Tooltip>
  );
  return (
    <section className="panel" aria-label={props.title}>
      <div className="chart-head">
        <h2>{props.title}</h2>
        {button("PNG", <DownloadOutlined />, png)}
        {button("CSV", <FileTextOutlined />, rows)}
        {button(t("chart.large"), <ExpandOutlined />, () => setLarge(true))}
      </div>
      <Canvas props={props} large={false} onReady={(it) => (chart.current = it)} />
      <Modal open={large} onCancel={() => setLarge(false)} footer={null} width="88vw" title={props.title} destroyOnHidden centered>
        <Canvas props={props} large onReady={() => undefined} />
      </Modal>
    </section>
  );
}
