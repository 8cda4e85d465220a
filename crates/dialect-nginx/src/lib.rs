//! nginx's configuration language, read into our model.
//!
//! ```text
//! bytes -> lexer -> tree      words and blocks, included files in their place      (lexer, tree, files)
//!       -> check              nginx's own verdict, in its words                    (check, table)
//!       -> translate          the text of a manifest, and notes on what is lost    (translate, report)
//! ```
//!
//! Reading and checking follow nginx 1.22 to the letter, as people go by its messages; the translation says in our
//! words what the everyday directives say, and tells of everything else that it does nothing here.

mod check;
mod disk;
mod files;
mod lexer;
mod report;
mod table;
mod translate;
mod tree;
mod value;
mod yaml;

#[cfg(test)]
mod tests;

pub use check::{Verdict, World, check};
pub use disk::Disk;
pub use files::{Configuration, Files, load, parse};
pub use report::{Effect, Note};
pub use translate::{NodeSettings, PluginCheck, Translation, translate};
pub use tree::{Block, Directive, Mistake, Place};
