//! The built program end to end: real server, real store, real engines, real clients.

mod access;
mod backup;
mod cost;
mod faults;
mod full_disk;
mod job_tokens;
mod jobs;
mod kill_storm;
mod kit;
mod life;
mod main_loop;
mod postgres;
mod strangers;
mod wire;
mod workers;
