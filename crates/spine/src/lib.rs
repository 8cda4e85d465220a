//! Task tree, shutdown, and Latest: a watchable Arc.
