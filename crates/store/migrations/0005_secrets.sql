-- Secrets of projects, encrypted with a key that is not in the database. A job's token remembers, encrypted too, the
-- secrets that its attempt was given. Portable like 0001.

CREATE TABLE secrets (
  project_id TEXT NOT NULL REFERENCES projects (id), name TEXT NOT NULL, sealed TEXT NOT NULL,
  updated_at BIGINT NOT NULL, updated_by TEXT, PRIMARY KEY (project_id, name));
ALTER TABLE tokens ADD COLUMN sealed_secrets TEXT;
