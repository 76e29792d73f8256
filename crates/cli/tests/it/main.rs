//! The built program end to end: real server, real store, real engines, real clients.

mod access;
mod backup;
mod cost;
mod faults;
mod full_disk;
mod full_disk_commit;
mod job_tokens;
mod jobs;
mod kill_storm;
mod kit;
mod life;
mod lists;
mod main_loop;
mod postgres;
mod postgres_restart;
mod strangers;
mod wire;
mod workers;
