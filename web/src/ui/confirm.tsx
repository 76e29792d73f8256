// A question before something that cannot be undone; what goes wrong is said where it was asked.
import { App } from "antd";
import { type ReactNode, useCallback } from "react";
import { Fault } from "./basics";

type Ask = { title: string; text?: ReactNode; ok: string; cancel?: string; act: () => Promise<unknown> };

/** Asks; stays open with the error when `act` fails, so that it can be tried again. */
export function useConfirm(): (ask: Ask) => void {
  const { modal } = App.useApp();
  return useCallback(
    ({ title, text, ok, cancel, act }: Ask) => {
      const asked = modal.confirm({
        title,
        content: text,
        okText: ok,
        okButtonProps: { danger: true },
        ...(cancel ? { cancelText: cancel } : {}),
        onOk: async () => {
          try {
            await act();
          } catch (error) {
            asked.update({ content: <Failed text={text} error={error} /> });
            throw error;
          }
        },
      });
      // Waited for, so that the dialog keeps its failure to itself instead of leaving it to the window.
      void asked.then(
        () => undefined,
        () => undefined,
      );
    },
    [modal],
  );
}

function Failed({ text, error }: { text: ReactNode; error: unknown }) {
  return (
    <div className="stack">
      {text ? <div>{text}</div> : null}
      <Fault error={error} />
    </div>
  );
}
