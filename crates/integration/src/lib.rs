//! Whole walkthroughs against the built binary.
