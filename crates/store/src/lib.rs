//! The only SQL: SQLite and PostgreSQL from one set of portable queries, migrations and the event log.
//!
//! Invariant: every change of state appends to `events` in the same transaction, chained by hash. This crate
//! knows no HTTP and returns plain rows. The moment and the actor of a change are arguments.

mod access;
mod artifacts;
mod counters;
mod curves;
mod datasets;
mod endpoints;
mod error;
mod events;
mod experiments;
mod job_parts;
mod jobs;
mod logged_metrics;
mod logged_models;
mod metrics;
mod migrate;
mod model_versions;
mod models;
mod open;
mod random_secret;
mod run_pages;
mod runs;
mod search;
mod secrets;
mod sessions;
mod settings;
mod snapshot;
mod sql;
mod watch;

pub use access::{MemberRow, NewUserRow, OrganisationRow, ProjectRow, UserRow};
pub use artifacts::{ArtifactEntry, ArtifactOwner, ArtifactRow, NewArtifact};
pub use counters::Counts;
pub use datasets::{DatasetRow, NewVersion, VersionRow};
pub use endpoints::{EndpointRow, NewEndpointRow};
pub use error::StoreError;
pub use events::{Actor, ActorKind, EventFilter, EventRow};
pub use experiments::ExperimentRow;
pub use job_parts::{AttemptRow, JobInputRow, JobRuns};
pub use jobs::{JOBS_UNFINISHED_MAX, JOBS_UNFINISHED_OF_PROJECT_MAX, JobRow, NewJobInput, NewJobRow, UnfinishedJob};
pub use logged_metrics::{MetricTest, ModelMetric, OnDataset};
pub use logged_models::{LoggedModelRow, LoggedModelSearch, NewLoggedModel};
pub use metrics::RunLog;
pub use model_versions::{ModelVersionRow, NewModelVersionRow, OthersInStage};
pub use models::ModelRow;
pub use open::{Dialect, Store, StoreUrl};
pub use random_secret::{hash_secret, make_secret};
pub use runs::{NewRunRow, RUN_NAME_TAG, RunFull, RunOutcome, RunRow};
pub use search::{Comparator, Direction, Field, Lifecycle, Operand, RunFilter, RunOrder, RunSearch};
pub use secrets::{SECRETS_MAX, SecretRow};
pub use sessions::{NewSessionRow, NewTokenRow, SessionRow, TokenRow};
pub use snapshot::{Named, Snapshot, refuse_if_used, restore_dump};
pub use watch::{Bound, Statement, Watch};
