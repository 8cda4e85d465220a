/// FNV-1a, 64 bits: the same on every machine and in every release, which `std`'s hashers do not promise.
/// For change detection, not for secrets and not for maps filled by strangers.
#[derive(Debug, Clone, Copy)]
pub struct StableHash(u64);

impl Default for StableHash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl StableHash {
    /// Feeds `bytes`.
    #[must_use]
    pub fn with(self, bytes: &[u8]) -> Self {
        bytes.iter().fold(self, |Self(hash), byte| {
            Self((hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
        })
    }

    /// The hash of all that was fed.
    pub fn finish(self) -> u64 {
        self.0
    }
}
