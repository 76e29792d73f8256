//! The client against real sockets and the system's `tar`.

mod restarts;
mod server;
mod tar;
