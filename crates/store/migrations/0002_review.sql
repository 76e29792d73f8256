-- What a review of the first shape found. Portable like 0001.

-- Values of up to a megabyte do not fit into a B-tree of PostgreSQL, which takes rows of 2,700 bytes. The primary
-- keys (run_id, key) serve every lookup.
DROP INDEX params_key;
DROP INDEX tags_key;

-- Counting wrong passwords of an address, whatever names it tried.
CREATE INDEX wrong_passwords_address ON wrong_passwords (address, at);

-- Points of a run that were measured on one of its logged models, perhaps on a dataset.
CREATE TABLE logged_model_metrics (
  model_id TEXT NOT NULL REFERENCES logged_models (id), run_id TEXT NOT NULL REFERENCES runs (id), key TEXT NOT NULL,
  at BIGINT NOT NULL, step BIGINT NOT NULL, value DOUBLE PRECISION NOT NULL, is_nan BIGINT NOT NULL, dataset_name TEXT,
  dataset_digest TEXT, PRIMARY KEY (model_id, key, at, step, run_id));
