//! Desired state: durable, watchable documents in SQLite.
