//! Foreign protocols: each under a project's base path `/p/{project}/…`, and at the root for the token's project.

pub mod mlflow;
pub mod oip;
pub mod oip_grpc;

use crate::Mount;

/// All of them.
pub fn mounts() -> Vec<Mount> {
    vec![oip::mount(), oip_grpc::mount(), mlflow::mount()]
}
