//! The main file with everything it includes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::tree::{self, Block, DEEPEST, Directive, Mistake};

/// Where files are read from.
pub trait Files {
    /// The bytes of a file.
    ///
    /// # Errors
    /// As the system tells them.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The files that match a shell pattern, in order. None is no error.
    fn matching(&self, pattern: &str) -> Vec<PathBuf>;
}

/// A configuration as it was read.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The main file's directives.
    pub main: Block,
    /// Every file that was read, in order, with its text: what `nginx -T` shows.
    pub files: Vec<(Arc<str>, Vec<u8>)>,
    /// The folder that relative paths of `include` and certificates start at.
    pub folder: PathBuf,
}

/// Most bytes that all files together may have.
const LARGEST: usize = 64 << 20;

/// Reads the text of one file, and none that it includes.
pub fn parse(text: &[u8]) -> Block {
    let nothing = |_: &Directive, _| Block {
        directives: Vec::new(),
        end: Ok(0),
    };
    tree::read(text, &Arc::from("nginx.conf"), 0, &mut { nothing })
}

/// Reads the file at `path` and what it includes, behind the directives of `globals` (nginx: `-g`). What cannot be
/// read is the mistake at the end of its block.
pub fn load(files: &dyn Files, path: &Path, globals: &str) -> Configuration {
    let mut loader = Loader {
        files,
        folder: path.parent().unwrap_or(Path::new("/")).to_owned(),
        read: Vec::new(),
        size: 0,
    };
    let main = match loader.globals(globals) {
        given if given.end.is_err() => given,
        given => {
            let mut main = loader.file(path, None, 0);
            main.directives.splice(0..0, given.directives);
            main
        }
    };
    Configuration {
        main,
        files: loader.read,
        folder: loader.folder,
    }
}

struct Loader<'a> {
    files: &'a dyn Files,
    folder: PathBuf,
    read: Vec<(Arc<str>, Vec<u8>)>,
    size: usize,
}

impl Configuration {
    /// The first word behind a directive outside of all blocks; the last one counts.
    pub fn setting(&self, name: &str) -> Option<&str> {
        let directives = self.main.flat();
        let found = directives.into_iter().rfind(|directive| directive.name == name)?;
        found.args.first().map(String::as_str)
    }
}

impl Loader<'_> {
    /// Directives of the command line.
    fn globals(&mut self, text: &str) -> Block {
        let name = Arc::from("command line");
        tree::read(text.as_bytes(), &name, 0, &mut |include, depth| {
            self.include(include, depth)
        })
    }

    fn file(&mut self, path: &Path, from: Option<&Directive>, depth: usize) -> Block {
        let name: Arc<str> = path.to_string_lossy().into();
        let bytes = match self.files.read(path) {
            Ok(bytes) => bytes,
            Err(error) => return broken(from, format!("open() \"{name}\" failed {}", system(&error))),
        };
        self.size = self.size.saturating_add(bytes.len());
        if self.size > LARGEST {
            return broken(from, format!("all files together have more than {LARGEST} bytes"));
        }
        self.read.push((Arc::clone(&name), bytes.clone()));
        tree::read(&bytes, &name, depth, &mut |include, depth| {
            self.include(include, depth)
        })
    }

    /// The files that an `include` names, one behind the other.
    fn include(&mut self, include: &Directive, depth: usize) -> Block {
        if depth >= DEEPEST {
            let message = format!("files include one another more than {DEEPEST} deep");
            return broken(Some(include), message);
        }
        let path = self.folder.join(include.arg(0));
        let pattern = path.to_string_lossy();
        let paths = if pattern.contains(['*', '?', '[']) {
            self.files.matching(&pattern)
        } else {
            vec![path]
        };
        let mut all = Block {
            directives: Vec::new(),
            end: Ok(include.line),
        };
        for path in paths {
            let block = self.file(&path, Some(include), depth);
            all.directives.extend(block.directives);
            if block.end.is_err() {
                all.end = block.end;
                break;
            }
        }
        all
    }
}

fn broken(from: Option<&Directive>, message: String) -> Block {
    let mistake = match from {
        Some(include) => include.mistake(message),
        None => Mistake::anywhere(message),
    };
    Block {
        directives: Vec::new(),
        end: Err(mistake),
    }
}

/// A system's error as nginx shows it: `(2: No such file or directory)`.
pub(crate) fn system(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(number) => {
            let words = text.split(" (os error").next().unwrap_or_default();
            format!("({number}: {words})")
        }
        None => format!("({text})"),
    }
}
