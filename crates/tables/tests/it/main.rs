//! The table engine through its trait: pictures, tables, versions, damage, sweeping.

mod crash;
mod csv_files;
mod damage;
mod fidelity;
mod images;
mod kit;
mod parquet_files;
mod parquet_folders;
mod sweeping;
mod versions;
