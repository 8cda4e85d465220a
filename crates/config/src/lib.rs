//! Flags, environment and node file to a NodeConfig.
