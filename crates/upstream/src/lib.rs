//! Connections to upstreams: keep-alive pools, liveness, deadlines.
