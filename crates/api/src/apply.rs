//! What `up` and `down` do to the store, decided purely: last applied file, new file and live documents in,
//! writes and words out.
//!
//! A project's file is compared with the file that was applied last, field by field (the top-level fields
//! of a document's body). What changed in the *file* is written. What did not change in the file is left
//! as it is, whoever set it, and told as a conflict where it differs. So a `scale` by hand stays until the
//! file's own number changes.
//!
//! | last file | new file | live | becomes |
//! | --- | --- | --- | --- |
//! | 2 | 2 | 4 | 4, a conflict is told |
//! | 2 | 3 | 4 | 3 |
//! | nothing known | 3 | 4 | 3 |
//! | 2 | 2 | 2 | no write |
//! | a document | none | the document | deleted |
//! | none | none | a document | left alone |
//!
//! The file's new text is stored with the writes, in the same transaction, as the document `manifest`.
//!
//! Left out: merging inside a field. An environment is one field, so the file's wins whole when it changed.

mod add;
pub(crate) mod differ;
mod health;
mod items;
mod plan;
#[cfg(test)]
mod tests;
mod validate;

pub(crate) use add::{OfFile, add, remove_one};
pub(crate) use items::{ItemKey, ItemKind};
pub(crate) use plan::{Facts, MANIFEST, Plan, plan, remove};
pub(crate) use validate::validate;
