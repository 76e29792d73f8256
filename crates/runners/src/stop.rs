//! Why a command is stopped.

/// Why a command was stopped by its supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Cancelled,
    Interrupted,
    TimeLimit,
    MemoryLimit,
}
