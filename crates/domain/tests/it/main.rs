//! Tests of rules that span the workspace.

mod circles;
mod tidy;
