// Rows of a table that lead somewhere, with links and controls of their own inside.
import type { MouseEvent } from "react";

const OWN = "a, button, input, label, select, textarea, .ant-select, .ant-table-selection-column";

/** Whether a click on a row is meant for the row: not for something in it, and not for another tab or window. */
export function isForRow(event: Pick<MouseEvent, "button" | "ctrlKey" | "metaKey" | "shiftKey" | "altKey"> & { target: EventTarget }): boolean {
  if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return false;
  return !(event.target as Element).closest(OWN);
}

/** `onRow` of a table whose rows do something when clicked. */
export const onRow =
  <T>(act: (row: T) => void) =>
  (row: T) => ({ onClick: (event: MouseEvent) => void (isForRow(event) && act(row)) });
