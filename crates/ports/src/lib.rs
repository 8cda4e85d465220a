//! The traits subsystems offer one another; no implementation.
