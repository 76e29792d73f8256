// Every address of the console and of the API, so that a link is never spelt twice.

type Query = Record<string, string | number | boolean | string[] | null | undefined>;

export function query(values: Query): string {
  const out = new URLSearchParams();
  for (const [key, value] of Object.entries(values)) {
    if (value === undefined || value === null || value === "" || value === false) continue;
    for (const it of Array.isArray(value) ? value : [value]) out.append(key, String(it));
  }
  const text = out.toString();
  return text ? `?${text}` : "";
}

const e = encodeURIComponent;

/** The path under which a server lies, as its page says in `<base>`: empty at the root of a host, else `/kaogong`. */
export function basePathOf(baseUri: string): string {
  return new URL(baseUri, "http://localhost/").pathname.replace(/\/+$/, "");
}
export const basePath = typeof document === "undefined" ? "" : basePathOf(document.baseURI);
/** The address of the server, as other programs are told it. */
export const serverAddress = () => `${location.origin}${basePath}`;

/** Where a page that was asked for without the base path lies; `null` where it was asked for with it. */
export function underBasePath(base: string, here: { pathname: string; search: string; hash: string }): string | null {
  if (here.pathname === base || here.pathname.startsWith(`${base}/`)) return null;
  return `${base}${here.pathname}${here.search}${here.hash}`;
}

/** The console's own picture. */
export const icon = `${basePath}/favicon.svg`;

const parts = (path: string) => path.split("/").map(e).join("/");

export const pages = {
  signIn: (next?: string) => `/sign-in${query({ next })}`,
  home: (project: string) => `/p/${e(project)}`,
  datasets: (project: string) => `/p/${e(project)}/datasets`,
  dataset: (project: string, name: string, q: Query = {}) => `/p/${e(project)}/datasets/${e(name)}${query(q)}`,
  item: (project: string, name: string, item: string, q: Query = {}) => `/p/${e(project)}/datasets/${e(name)}/items/${e(item)}${query(q)}`,
  jobs: (project: string, q: Query = {}) => `/p/${e(project)}/jobs${query(q)}`,
  job: (project: string, id: string, q: Query = {}) => `/p/${e(project)}/jobs/${e(id)}${query(q)}`,
  runs: (project: string, q: Query = {}) => `/p/${e(project)}/runs${query(q)}`,
  run: (project: string, id: string, q: Query = {}) => `/p/${e(project)}/runs/${e(id)}${query(q)}`,
  compare: (project: string, ids: string[]) => `/p/${e(project)}/runs/compare${query({ run: ids })}`,
  models: (project: string) => `/p/${e(project)}/models`,
  model: (project: string, name: string, q: Query = {}) => `/p/${e(project)}/models/${e(name)}${query(q)}`,
  endpoints: (project: string) => `/p/${e(project)}/endpoints`,
  endpoint: (project: string, name: string, q: Query = {}) => `/p/${e(project)}/endpoints/${e(name)}${query(q)}`,
  access: (project: string, q: Query = {}) => `/p/${e(project)}/access${query(q)}`,
};

/** The page of a thing that an event or the home page names. */
export function pageOf(project: string, noun: string, id: string, name: string | null): string | null {
  switch (noun) {
    case "datasets":
      return name ? pages.dataset(project, name) : null;
    case "jobs":
      return pages.job(project, id);
    case "runs":
      return id.startsWith("run_") ? pages.run(project, id) : pages.runs(project);
    case "models":
      return name ? pages.model(project, name.split("@")[0] ?? name) : null;
    case "endpoints":
      return name ? pages.endpoint(project, name) : null;
    case "access":
      return pages.access(project);
    default:
      return null;
  }
}

const root = `${basePath}/api/v1`;
const of = (project: string) => `${root}/projects/${e(project)}`;

export const api = {
  session: `${root}/session`,
  sessionCode: `${root}/session/code`,
  system: `${root}/system`,
  users: `${root}/users`,
  user: (user: string) => `${root}/users/${e(user)}`,
  password: (user: string) => `${root}/users/${e(user)}/password`,
  organisations: `${root}/organisations`,
  projects: `${root}/projects`,
  members: (p: string) => `${of(p)}/members`,
  member: (p: string, user: string) => `${of(p)}/members/${e(user)}`,
  secrets: (p: string) => `${of(p)}/secrets`,
  secret: (p: string, name: string) => `${of(p)}/secrets/${e(name)}`,
  tokens: `${root}/tokens`,
  token: (id: string) => `${root}/tokens/${e(id)}`,
  audit: (q: Query) => `${root}/audit${query(q)}`,
  overview: (p: string) => `${of(p)}/overview`,
  events: (p: string, q: Query) => `${of(p)}/events${query(q)}`,
  eventStream: (p: string) => `${of(p)}/events/stream`,
  datasets: (p: string, q: Query = {}) => `${of(p)}/datasets${query(q)}`,
  dataset: (p: string, name: string) => `${of(p)}/datasets/${e(name)}`,
  versions: (p: string, name: string, q: Query = {}) => `${of(p)}/datasets/${e(name)}/versions${query(q)}`,
  version: (p: string, name: string, number: string | number) => `${of(p)}/datasets/${e(name)}/versions/${number}`,
  items: (p: string, name: string, number: number, q: Query) => `${of(p)}/datasets/${e(name)}/versions/${number}/items${query(q)}`,
  item: (p: string, name: string, number: number, item: string) => `${of(p)}/datasets/${e(name)}/versions/${number}/items/${e(item)}`,
  content: (p: string, name: string, number: number, item: string) => `${api.item(p, name, number, item)}/content`,
  thumbnail: (p: string, name: string, number: number, item: string, side: number) =>
    `${api.item(p, name, number, item)}/thumbnail${query({ side })}`,
  exported: (p: string, name: string, number: number, q: Query) => `${of(p)}/datasets/${e(name)}/versions/${number}/export${query(q)}`,
  jobs: (p: string, q: Query = {}) => `${of(p)}/jobs${query(q)}`,
  job: (p: string, id: string) => `${of(p)}/jobs/${e(id)}`,
  jobCancel: (p: string, id: string) => `${of(p)}/jobs/${e(id)}/cancel`,
  jobLog: (p: string, id: string, q: Query = {}) => `${of(p)}/jobs/${e(id)}/log${query(q)}`,
  jobLogStream: (p: string, id: string, q: Query = {}) => `${of(p)}/jobs/${e(id)}/log/stream${query(q)}`,
  jobUsage: (p: string, id: string, q: Query = {}) => `${of(p)}/jobs/${e(id)}/usage${query(q)}`,
  jobArtifacts: (p: string, id: string) => `${of(p)}/jobs/${e(id)}/artifacts`,
  jobArtifact: (p: string, id: string, path: string) => `${of(p)}/jobs/${e(id)}/artifacts/${parts(path)}`,
  experiments: (p: string) => `${of(p)}/experiments`,
  runs: (p: string, q: Query = {}) => `${of(p)}/runs${query(q)}`,
  run: (p: string, id: string) => `${of(p)}/runs/${e(id)}`,
  runMetrics: (p: string, id: string, keys: string[] = []) => `${of(p)}/runs/${e(id)}/metrics${query({ key: keys })}`,
  runArtifacts: (p: string, id: string) => `${of(p)}/runs/${e(id)}/artifacts`,
  runArtifact: (p: string, id: string, path: string) => `${of(p)}/runs/${e(id)}/artifacts/${parts(path)}`,
  models: (p: string) => `${of(p)}/models`,
  model: (p: string, name: string) => `${of(p)}/models/${e(name)}`,
  alias: (p: string, name: string, alias: string) => `${of(p)}/models/${e(name)}/aliases/${e(alias)}`,
  modelFile: (p: string, name: string, number: number) => `${of(p)}/models/${e(name)}/versions/${number}/file`,
  endpoints: (p: string) => `${of(p)}/endpoints`,
  endpoint: (p: string, name: string) => `${of(p)}/endpoints/${e(name)}`,
  predict: (p: string, name: string) => `${of(p)}/endpoints/${e(name)}/predict`,
};
