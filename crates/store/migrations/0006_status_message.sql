-- Why a model version is not ready, or cannot be served.
ALTER TABLE model_versions ADD COLUMN status_message TEXT;
