-- The logged models of a run in pages, newest first. Portable like 0001.

CREATE INDEX logged_models_of_run ON logged_models (run_id, created_at, id) WHERE deleted_at IS NULL;
DROP INDEX logged_models_run;
