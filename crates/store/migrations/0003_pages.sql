-- Pages of a project that has a million of something. Portable like 0001.

CREATE INDEX jobs_newest ON jobs (project_id, created_at, id);
CREATE INDEX runs_newest ON runs (project_id, lifecycle, started_at, id);
CREATE INDEX events_noun ON events (project_id, noun, seq);
CREATE INDEX events_all_nouns ON events (noun, seq);
CREATE INDEX logged_models_newest ON logged_models (experiment_id, created_at, id);
DROP INDEX logged_models_experiment;
