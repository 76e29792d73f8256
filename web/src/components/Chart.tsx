// The door to the chart library: nothing of it is loaded before a page shows a chart.
import { Skeleton } from "antd";
import { type ComponentProps, lazy, Suspense } from "react";
import type Loaded from "./charts";

const Lazy = lazy(() => import("./charts"));

export function Chart(props: ComponentProps<typeof Loaded>) {
  return (
    <Suspense
      fallback={
        <div className="panel" style={{ height: 330 }}>
          <Skeleton active />
        </div>
      }
    >
      <Lazy {...props} />
    </Suspense>
  );
}
