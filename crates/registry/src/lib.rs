//! Observed state: endpoints and their health.
