-- Runs by the value of a parameter or a tag. Portable like 0001.

ALTER TABLE params ADD COLUMN experiment_id TEXT;
UPDATE params SET experiment_id = (SELECT r.experiment_id FROM runs r WHERE r.id = params.run_id);
ALTER TABLE tags ADD COLUMN experiment_id TEXT;
UPDATE tags SET experiment_id = (SELECT r.experiment_id FROM runs r WHERE r.id = tags.run_id);

-- Whole values may be too long for an index; how they begin is not.
CREATE INDEX params_value ON params (key, substr(value, 1, 100), experiment_id, run_id);
CREATE INDEX tags_value ON tags (key, substr(value, 1, 100), experiment_id, run_id);
