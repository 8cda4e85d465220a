//! nginx's configuration language, read into our model.
//!
//! ```text
//! bytes -> lexer -> tree      words and blocks, included files in their place      (lexer, tree, files)
//!       -> check              nginx's own verdict, in its words                    (check, table)
//! ```

mod check;
mod disk;
mod files;
mod lexer;
mod table;
mod tree;
mod value;

#[cfg(test)]
mod tests;

pub use check::{Verdict, World, check};
pub use disk::Disk;
pub use files::{Configuration, Files, load, parse};
pub use tree::{Block, Directive, Mistake, Place};
