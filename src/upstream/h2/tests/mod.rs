//! HTTP/2 over real sockets: the test plays the backend as well as the caller.

mod connections;
mod stage;
mod streams;
mod versions;
mod waiting;
