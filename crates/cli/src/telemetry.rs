//! Keeps libraries from reporting to their makers.
#![allow(unsafe_code, reason = "std has no safe way to set a variable of this process")]

/// Newer libraries of ONNX Runtime keep a database of what they did in the user's home folder, start a thread, and send it to
/// Microsoft, from the moment that they are opened; only this variable keeps them from it.
const VARIABLE: &str = "ORT_DISABLE_TELEMETRY";

/// Switches it off, for this process and those that it starts. To be called first in `main`.
pub fn switch_off() {
    // SAFETY: the program has one thread when `main` begins, so nobody reads the variables meanwhile.
    unsafe { std::env::set_var(VARIABLE, "1") };
}
