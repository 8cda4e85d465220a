//! Tables of messages in `testdata`, each read whole and byte by byte, and properties of arbitrary ones.

mod cases;
mod chunks;
mod differential;
mod properties;
mod requests;
mod responses;
