//! The gate, the layers and the mounts, tried with a protocol of two routes and no plane.

mod toy;
