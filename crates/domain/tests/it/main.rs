//! Tests of rules that span the workspace.

mod circles;
mod events;
mod tidy;
