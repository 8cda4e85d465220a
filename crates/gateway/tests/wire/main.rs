//! The gateway from outside, on real sockets.
//!
//! [`conversations`] plays the text files of this folder, each whole and byte by byte. What a text cannot
//! say (amounts, proportions, what is counted) has a module of its own.

#![expect(clippy::unwrap_used, reason = "what is not there is a test that fails")]

mod announced;
mod authority;
mod back_pressure;
mod client_certificates;
mod compressed;
mod conversations;
mod documented;
mod early_answers;
mod files;
mod first_words;
mod grpc;
mod held;
mod http2;
mod http2_refused;
mod large_bodies;
mod lost_worker;
mod member_gone;
mod mirror;
mod observed;
mod panics;
mod proxy;
mod relays;
mod shutdown;
mod slow_client;
mod spread;
mod sticky;
mod swaps;
mod tls;
