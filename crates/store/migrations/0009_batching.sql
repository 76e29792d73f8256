-- Whether rows of several callers share a run: auto, on or off. Portable like 0001.

ALTER TABLE endpoints ADD COLUMN batching TEXT NOT NULL DEFAULT 'auto';
