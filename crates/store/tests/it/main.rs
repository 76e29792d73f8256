//! The store's stories, each told to SQLite and to a real PostgreSQL server.

mod access;
mod artifacts;
mod audit;
mod broken;
mod cost;
mod cost_seed;
mod cost_walk;
mod counters;
mod curves;
mod datasets;
mod endpoints;
mod events;
mod foreign;
mod jobs;
mod logged_metrics;
mod migrations;
mod models;
mod portable;
mod runs;
mod search;
mod secrets;
mod sessions;
mod snapshots;
mod support;
