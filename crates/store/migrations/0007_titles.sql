-- Datasets are called what people call them; the name stands for that in addresses. Portable like 0001.

ALTER TABLE datasets ADD COLUMN title TEXT NOT NULL DEFAULT '';
