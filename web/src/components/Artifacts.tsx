// Files kept for a job or a run, each to download.
import { Empty } from "../ui/basics";
import type { ArtifactView } from "../api/types";
import { useWords } from "../i18n";
import { bytes } from "../lib/format";

export function Artifacts({ items, href, empty }: { items: ArtifactView[]; href: (path: string) => string; empty: string }) {
  const { t } = useWords();
  if (items.length === 0) return <Empty title={empty} />;
  return (
    <table className="kv">
      <thead>
        <tr>
          <th>{t("path")}</th>
          <th className="num">{t("size")}</th>
          <th>BLAKE3</th>
        </tr>
      </thead>
      <tbody>
        {items.map((it) => (
          <tr key={it.path}>
            <td>
              <a href={href(it.path)} download={it.path.split("/").pop()}>
                {it.path}
              </a>
            </td>
            <td className="num">{bytes(it.size)}</td>
            <td className="mono muted" title={it.hash}>
              {it.hash.slice(0, 12)}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
