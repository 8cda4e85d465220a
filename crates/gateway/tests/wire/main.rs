//! The gateway from outside, on real sockets.
//!
//! [`conversations`] plays the text files of this folder, each whole and byte by byte. What a text cannot
//! say (amounts, proportions, what is counted) has a module of its own.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something it relies on is not there"
)]

mod back_pressure;
mod conversations;
mod large_bodies;
mod observed;
mod panics;
mod proxy;
mod spread;
