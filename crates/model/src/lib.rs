//! The words of Hythe: ids and desired-state types. Pure: no IO, no clock, no tokio.
