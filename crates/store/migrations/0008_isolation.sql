-- Where an endpoint's model runs: in a process of its own, or in the server's. Portable like 0001.

ALTER TABLE endpoints ADD COLUMN isolation TEXT NOT NULL DEFAULT 'process';
