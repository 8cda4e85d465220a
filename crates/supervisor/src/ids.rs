//! Numbers of instances.

use std::io;

use hythe_model::FullName;

/// Remembers which instance numbers were used, so that none is used twice in the life of a data directory.
///
/// Both methods are called on the supervisor's own task and must not block it for long: a small file
/// that is read once and written without waiting for the disk is what is meant. After a loss of power a
/// few numbers may come again; their instances are gone then.
pub trait IdSource: Send + Sync {
    /// The highest number that was used for `service`; 0 if none was.
    fn last(&self, service: &FullName) -> u64;

    /// Remembers that these numbers are used. Those of a service come in rising order.
    ///
    /// # Errors
    /// When that cannot be remembered. They are used all the same: running instances matter more.
    fn used(&self, numbers: &[(FullName, u64)]) -> io::Result<()>;
}

/// Remembers nothing: numbers start above those of the instances that are still there.
#[derive(Debug, Clone, Copy, Default)]
pub struct VolatileIds;

impl IdSource for VolatileIds {
    fn last(&self, _: &FullName) -> u64 {
        0
    }

    fn used(&self, _: &[(FullName, u64)]) -> io::Result<()> {
        Ok(())
    }
}
