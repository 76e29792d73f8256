//! Tests of rules that span the workspace.

mod tidy;
