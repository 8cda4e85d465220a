//! Names for what a manifest leaves unnamed: made from what the thing is, so that they stay the same when
//! the file is applied again or its lists are reordered.

use hythe_model::Name;
use hythe_stdx::StableHash;

const LONGEST: usize = 128;

/// `base-part-part`; a long base is cut. `None` if that is no name.
pub(crate) fn derived(base: &str, parts: &[&str]) -> Option<Name> {
    let tail: String = parts.iter().flat_map(|part| ["-", part]).collect();
    let most = LONGEST.saturating_sub(tail.len()).min(base.len());
    format!("{}{tail}", base.get(..most)?).parse().ok()
}

/// Eight hexadecimal digits of what `text` says.
pub(crate) fn hash8(text: &str) -> String {
    let hash = StableHash::default().with(text.as_bytes()).finish();
    format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff))
}

/// A consumer's name: the user name itself if it can be one.
pub(crate) fn of_consumer(user: &str) -> Option<Name> {
    user.parse().ok().or_else(|| derived("consumer", &[&hash8(user)]))
}
