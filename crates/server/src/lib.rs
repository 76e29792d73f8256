//! HTTP and gRPC, access control, foreign protocols and reconciling loops.
