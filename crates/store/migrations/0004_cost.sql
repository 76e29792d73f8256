-- Cost that follows what is asked and not what is stored. Portable like 0001; a statement that only one database
-- takes begins with its name in a comment.

-- Totals, kept with what is counted. The owner is a project, an experiment, or empty for all projects together.
CREATE TABLE counters (owner TEXT NOT NULL, what TEXT NOT NULL, count BIGINT NOT NULL, PRIMARY KEY (owner, what));
INSERT INTO counters SELECT project_id, 'datasets', COUNT(*) FROM datasets WHERE deleted_at IS NULL
  AND EXISTS (SELECT 1 FROM dataset_versions v WHERE v.dataset_id = datasets.id) GROUP BY project_id;
INSERT INTO counters SELECT project_id, 'jobs', COUNT(*) FROM jobs GROUP BY project_id;
INSERT INTO counters SELECT project_id, 'jobs.' || state, COUNT(*) FROM jobs GROUP BY project_id, state;
INSERT INTO counters SELECT project_id, 'experiments', COUNT(*) FROM experiments GROUP BY project_id;
INSERT INTO counters SELECT project_id, 'runs.' || lifecycle, COUNT(*) FROM runs GROUP BY project_id, lifecycle;
INSERT INTO counters SELECT experiment_id, 'runs.' || lifecycle, COUNT(*) FROM runs GROUP BY experiment_id, lifecycle;
INSERT INTO counters SELECT project_id, 'models', COUNT(*) FROM models GROUP BY project_id;
INSERT INTO counters SELECT project_id, 'endpoints', COUNT(*) FROM endpoints WHERE deleted_at IS NULL GROUP BY project_id;
INSERT INTO counters SELECT project_id, 'events', COUNT(*) FROM events WHERE project_id IS NOT NULL GROUP BY project_id;
INSERT INTO counters SELECT project_id, 'events.' || noun, COUNT(*) FROM events WHERE project_id IS NOT NULL
  GROUP BY project_id, noun;
INSERT INTO counters SELECT '', 'events.' || noun, COUNT(*) FROM events GROUP BY noun;

-- Pages of runs and jobs by everything that is the same in them, then by their order.
CREATE INDEX runs_page ON runs (experiment_id, project_id, lifecycle, started_at, id);
DROP INDEX runs_experiment;
CREATE INDEX jobs_page ON jobs (project_id, state, created_at, id);
DROP INDEX jobs_state;

-- The run that an equal request began.
CREATE INDEX runs_same ON runs (project_id, request_key, created_at) WHERE request_key IS NOT NULL;
DROP INDEX runs_request;
CREATE INDEX runs_of_job ON runs (job_id, created_at);
DROP INDEX runs_job;

-- The runs of an experiment by the newest value of a metric.
ALTER TABLE latest_metrics ADD COLUMN experiment_id TEXT;
UPDATE latest_metrics SET experiment_id = (SELECT r.experiment_id FROM runs r WHERE r.id = latest_metrics.run_id);
CREATE INDEX latest_metrics_value ON latest_metrics (experiment_id, key, value, run_id) WHERE is_nan = 0;
CREATE INDEX latest_metrics_nan ON latest_metrics (experiment_id, key, run_id) WHERE is_nan = 1;
DROP INDEX latest_metrics_key;

CREATE INDEX experiments_default ON experiments (project_id) WHERE is_default = 1;
CREATE INDEX experiments_newest ON experiments (project_id, created_at, id);
CREATE INDEX experiments_newest_alike ON experiments (project_id, lifecycle, created_at, id);
CREATE INDEX logged_models_living ON logged_models (experiment_id, created_at, id) WHERE deleted_at IS NULL;
DROP INDEX logged_models_newest;
-- Items by class and split, as JSON: what a list of datasets shows, without a look into their tables.
ALTER TABLE dataset_versions ADD COLUMN histogram TEXT;

CREATE INDEX logged_model_metrics_newest ON logged_model_metrics (model_id, at);
CREATE INDEX datasets_newest ON datasets (project_id, created_at, id) WHERE deleted_at IS NULL;

CREATE INDEX model_versions_stage ON model_versions (model_id, stage, number);
CREATE INDEX model_versions_newest ON model_versions (model_id, created_at);
CREATE INDEX endpoints_version ON endpoints (model_version_id) WHERE deleted_at IS NULL;
CREATE INDEX endpoints_living ON endpoints (id) WHERE deleted_at IS NULL;

CREATE INDEX users_admins ON users (created_at) WHERE is_admin = 1 AND disabled_at IS NULL;
CREATE INDEX members_role ON members (project_id, role);
CREATE INDEX tokens_own ON tokens (user_id, created_at) WHERE job_id IS NULL AND revoked_at IS NULL;
CREATE INDEX tokens_living ON tokens (user_id) WHERE revoked_at IS NULL;
CREATE INDEX sessions_expiry ON sessions (expires_at);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sign_in_links_expiry ON sign_in_links (expires_at);
CREATE INDEX sign_in_links_user ON sign_in_links (user_id);
CREATE INDEX wrong_passwords_name ON wrong_passwords (address, name, at);

-- Folders are walked by bytes; what order the primary key has depends on the server's language.
/* postgres */ CREATE INDEX artifacts_bytes ON artifacts (project_id, owner, path COLLATE "C");
