-- The first shape of the store. Portable: TEXT, BIGINT and DOUBLE PRECISION only; times are milliseconds
-- since 1970, truths are 0 and 1, structured values are JSON as text.

CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);

-- One row: the end of the event chain. Taking it orders all writers.
CREATE TABLE chain (id BIGINT PRIMARY KEY, seq BIGINT NOT NULL, hash TEXT NOT NULL);
INSERT INTO chain (id, seq, hash) VALUES (1, 0, '');

CREATE TABLE events (
  seq BIGINT PRIMARY KEY, id TEXT NOT NULL, at BIGINT NOT NULL, project_id TEXT, actor_kind TEXT NOT NULL,
  user_id TEXT, token_id TEXT, address TEXT, action TEXT NOT NULL, noun TEXT NOT NULL, object_id TEXT NOT NULL,
  object_name TEXT, detail TEXT NOT NULL, prev_hash TEXT NOT NULL, hash TEXT NOT NULL);
CREATE INDEX events_project ON events (project_id, seq);

CREATE TABLE organisations (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, title TEXT NOT NULL, created_at BIGINT NOT NULL);
CREATE TABLE projects (
  id TEXT PRIMARY KEY, org_id TEXT NOT NULL REFERENCES organisations (id), name TEXT NOT NULL UNIQUE,
  title TEXT NOT NULL, created_at BIGINT NOT NULL, deleted_at BIGINT);
CREATE TABLE users (
  id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, display_name TEXT NOT NULL, password_hash TEXT,
  is_admin BIGINT NOT NULL, disabled_at BIGINT, created_at BIGINT NOT NULL);
CREATE TABLE members (
  project_id TEXT NOT NULL REFERENCES projects (id), user_id TEXT NOT NULL REFERENCES users (id), role TEXT NOT NULL,
  since BIGINT NOT NULL, PRIMARY KEY (project_id, user_id));
CREATE INDEX members_user ON members (user_id);
CREATE TABLE tokens (
  id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users (id), project_id TEXT, name TEXT NOT NULL,
  scopes TEXT NOT NULL, hash TEXT NOT NULL UNIQUE, job_id TEXT, attempt_id TEXT, expires_at BIGINT,
  created_at BIGINT NOT NULL, last_used_at BIGINT, revoked_at BIGINT);
CREATE INDEX tokens_user ON tokens (user_id, created_at);
CREATE INDEX tokens_attempt ON tokens (attempt_id);
CREATE TABLE sessions (
  id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users (id), hash TEXT NOT NULL UNIQUE, csrf TEXT NOT NULL,
  created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, address TEXT NOT NULL, user_agent TEXT NOT NULL);
CREATE TABLE sign_in_links (
  hash TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users (id), expires_at BIGINT NOT NULL, used_at BIGINT);
CREATE TABLE wrong_passwords (name TEXT NOT NULL, address TEXT NOT NULL, at BIGINT NOT NULL);
CREATE INDEX wrong_passwords_at ON wrong_passwords (at);

CREATE TABLE blobs (project_id TEXT NOT NULL, hash TEXT NOT NULL, size BIGINT NOT NULL, created_at BIGINT NOT NULL,
  PRIMARY KEY (project_id, hash));
CREATE TABLE artifacts (
  project_id TEXT NOT NULL, owner TEXT NOT NULL, path TEXT NOT NULL, hash TEXT NOT NULL, size BIGINT NOT NULL,
  media_type TEXT, created_at BIGINT NOT NULL, PRIMARY KEY (project_id, owner, path));

CREATE TABLE datasets (
  id TEXT PRIMARY KEY, project_id TEXT NOT NULL REFERENCES projects (id), name TEXT NOT NULL, kind TEXT NOT NULL,
  description TEXT NOT NULL, created_at BIGINT NOT NULL, created_by TEXT, deleted_at BIGINT);
CREATE UNIQUE INDEX datasets_name ON datasets (project_id, name) WHERE deleted_at IS NULL;
CREATE TABLE dataset_versions (
  id TEXT PRIMARY KEY, dataset_id TEXT NOT NULL REFERENCES datasets (id), number BIGINT NOT NULL, pins TEXT NOT NULL,
  summary TEXT NOT NULL, message TEXT NOT NULL, source TEXT NOT NULL, items BIGINT NOT NULL, bytes BIGINT NOT NULL,
  split_seed TEXT, request_key TEXT, created_at BIGINT NOT NULL, created_by TEXT,
  UNIQUE (dataset_id, number), UNIQUE (dataset_id, request_key));

CREATE TABLE jobs (
  id TEXT PRIMARY KEY, project_id TEXT NOT NULL REFERENCES projects (id), name TEXT NOT NULL, spec TEXT NOT NULL,
  request_key TEXT, state TEXT NOT NULL, retries_left BIGINT NOT NULL, attempt_id TEXT, cancel_asked BIGINT NOT NULL,
  reason TEXT, exit_code BIGINT, created_at BIGINT NOT NULL, created_by TEXT, started_at BIGINT, ended_at BIGINT,
  UNIQUE (project_id, request_key));
CREATE INDEX jobs_state ON jobs (project_id, state, created_at);
CREATE INDEX jobs_all_states ON jobs (state);
CREATE TABLE attempts (
  id TEXT PRIMARY KEY, job_id TEXT NOT NULL REFERENCES jobs (id), number BIGINT NOT NULL, state TEXT NOT NULL,
  exit_code BIGINT, reason TEXT, created_at BIGINT NOT NULL, started_at BIGINT, ended_at BIGINT, UNIQUE (job_id, number));
CREATE TABLE job_inputs (
  job_id TEXT NOT NULL REFERENCES jobs (id), alias TEXT NOT NULL, version_id TEXT NOT NULL REFERENCES dataset_versions (id),
  PRIMARY KEY (job_id, alias));

CREATE TABLE experiments (
  id TEXT PRIMARY KEY, project_id TEXT NOT NULL REFERENCES projects (id), name TEXT NOT NULL, is_default BIGINT NOT NULL,
  lifecycle TEXT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, UNIQUE (project_id, name));
CREATE TABLE experiment_tags (
  experiment_id TEXT NOT NULL REFERENCES experiments (id), key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (experiment_id, key));
CREATE TABLE runs (
  id TEXT PRIMARY KEY, experiment_id TEXT NOT NULL REFERENCES experiments (id), project_id TEXT NOT NULL, name TEXT NOT NULL,
  status TEXT NOT NULL, user_name TEXT NOT NULL, started_at BIGINT NOT NULL, ended_at BIGINT, lifecycle TEXT NOT NULL,
  job_id TEXT, attempt_id TEXT, dataset_versions TEXT NOT NULL, inputs TEXT NOT NULL, outputs TEXT NOT NULL,
  request_key TEXT, created_at BIGINT NOT NULL);
CREATE INDEX runs_experiment ON runs (experiment_id, lifecycle, started_at, id);
CREATE INDEX runs_job ON runs (job_id);
CREATE INDEX runs_request ON runs (request_key);
CREATE TABLE params (run_id TEXT NOT NULL REFERENCES runs (id), key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (run_id, key));
CREATE TABLE tags (run_id TEXT NOT NULL REFERENCES runs (id), key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (run_id, key));
CREATE INDEX params_key ON params (key, value);
CREATE INDEX tags_key ON tags (key, value);
CREATE TABLE metrics (
  run_id TEXT NOT NULL REFERENCES runs (id), key TEXT NOT NULL, at BIGINT NOT NULL, step BIGINT NOT NULL,
  value DOUBLE PRECISION NOT NULL, is_nan BIGINT NOT NULL, PRIMARY KEY (run_id, key, step, at, value, is_nan));
CREATE TABLE latest_metrics (
  run_id TEXT NOT NULL REFERENCES runs (id), key TEXT NOT NULL, at BIGINT NOT NULL, step BIGINT NOT NULL,
  value DOUBLE PRECISION NOT NULL, is_nan BIGINT NOT NULL, PRIMARY KEY (run_id, key));
CREATE INDEX latest_metrics_key ON latest_metrics (key, value);
CREATE TABLE logged_models (
  id TEXT PRIMARY KEY, experiment_id TEXT NOT NULL REFERENCES experiments (id), project_id TEXT NOT NULL, run_id TEXT,
  name TEXT NOT NULL, model_type TEXT NOT NULL, status TEXT NOT NULL, status_message TEXT NOT NULL, params TEXT NOT NULL,
  tags TEXT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, deleted_at BIGINT);
CREATE INDEX logged_models_experiment ON logged_models (experiment_id, created_at);
CREATE INDEX logged_models_run ON logged_models (run_id);

CREATE TABLE models (
  id TEXT PRIMARY KEY, project_id TEXT NOT NULL REFERENCES projects (id), name TEXT NOT NULL, description TEXT NOT NULL,
  tags TEXT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, last_number BIGINT NOT NULL,
  UNIQUE (project_id, name));
CREATE TABLE model_versions (
  id TEXT PRIMARY KEY, model_id TEXT NOT NULL REFERENCES models (id), number BIGINT NOT NULL, source TEXT NOT NULL,
  run_id TEXT, logged_model_id TEXT, run_link TEXT, status TEXT NOT NULL, stage TEXT NOT NULL, description TEXT NOT NULL,
  tags TEXT NOT NULL, hash TEXT, size BIGINT, request_key TEXT, user_name TEXT NOT NULL, created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL, UNIQUE (model_id, number), UNIQUE (model_id, request_key));
CREATE INDEX model_versions_run ON model_versions (run_id);
CREATE TABLE model_aliases (
  model_id TEXT NOT NULL REFERENCES models (id), alias TEXT NOT NULL, number BIGINT NOT NULL, PRIMARY KEY (model_id, alias));

CREATE TABLE endpoints (
  id TEXT PRIMARY KEY, project_id TEXT NOT NULL REFERENCES projects (id), name TEXT NOT NULL, model_version_id TEXT NOT NULL,
  engine TEXT NOT NULL, generation BIGINT NOT NULL, created_at BIGINT NOT NULL, created_by TEXT, deleted_at BIGINT);
CREATE UNIQUE INDEX endpoints_name ON endpoints (project_id, name) WHERE deleted_at IS NULL;
