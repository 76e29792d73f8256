// A log of any length: only the lines in sight are in the page.
import { useEffect, useLayoutEffect, useRef, useState } from "react";

const HEIGHT = 20;

type Props = { lines: string[]; firstLine: number; follow: boolean; onLeaveEnd: () => void; find: string; hit: number; label: string };

export function LogView({ lines, firstLine, follow, onLeaveEnd, find, hit, label }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  const jumping = useRef(false);

  useLayoutEffect(() => {
    const it = box.current;
    if (it && follow) {
      jumping.current = true;
      it.scrollTop = it.scrollHeight;
      // The scroll event comes a frame later; without this the end would be blank until then.
      setView({ top: it.scrollTop, height: it.clientHeight });
    }
  }, [lines.length, follow]);

  useEffect(() => {
    const it = box.current;
    if (it && hit >= 0) it.scrollTop = Math.max(0, hit * HEIGHT - it.clientHeight / 2);
  }, [hit]);

  const scrolled = () => {
    const it = box.current;
    if (!it) return;
    setView({ top: it.scrollTop, height: it.clientHeight });
    const atEnd = it.scrollHeight - it.scrollTop - it.clientHeight < HEIGHT * 2;
    if (jumping.current) jumping.current = false;
    else if (follow && !atEnd) onLeaveEnd();
  };

  const from = Math.max(0, Math.floor(view.top / HEIGHT) - 20);
  const to = Math.min(lines.length, Math.ceil((view.top + view.height) / HEIGHT) + 20);
  return (
    <div className="log" ref={box} onScroll={scrolled} role="log" aria-label={label} tabIndex={0}>
      <div style={{ height: lines.length * HEIGHT + 8, position: "relative" }}>
        {lines.slice(from, to).map((line, at) => (
          <div className="line" key={firstLine + from + at} style={{ top: (from + at) * HEIGHT + 4 }}>
            <span className="n">{firstLine + from + at + 1}</span>
            <Marked text={line} find={find} />
          </div>
        ))}
      </div>
    </div>
  );
}

function Marked({ text, find }: { text: string; find: string }) {
  const at = find ? text.toLowerCase().indexOf(find.toLowerCase()) : -1;
  if (at < 0) return <>{text}</>;
  return (
    <>
      {text.slice(0, at)}
      <mark>{text.slice(at, at + find.length)}</mark>
      {text.slice(at + find.length)}
    </>
  );
}
