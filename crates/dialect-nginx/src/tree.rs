//! Directives as a tree, from the text of one file.
//!
//! Reading ends at the first mistake, as nginx's does; what was read before it stays, so that a mistake of meaning
//! further up is told first.

use std::sync::Arc;

use crate::lexer::{Ending, Lexer};

/// Deepest nesting of blocks and included files; nginx has no bound and no use for as many.
pub(crate) const DEEPEST: usize = 64;

/// One directive with its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// Its first word.
    pub name: String,
    /// The words behind it.
    pub args: Vec<String>,
    /// Where it begins.
    pub place: Place,
    /// The line of its `;` or `{`, which nginx tells in messages.
    pub line: u32,
    /// What stands between its braces, or in the files that an `include` names.
    pub block: Option<Block>,
}

/// Directives up to a `}` or the end of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// In the order of the file.
    pub directives: Vec<Directive>,
    /// The line of what ended it, or the mistake behind which nothing was read.
    pub end: Result<u32, Mistake>,
}

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file as it was named.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column in bytes, from 1.
    pub column: u32,
}

/// Something that nginx would not start with, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Mistake {
    /// What is wrong.
    pub message: String,
    /// File and line, where nginx tells them.
    pub place: Option<(Arc<str>, u32)>,
}

impl Mistake {
    pub(crate) fn at(message: impl Into<String>, file: &Arc<str>, line: u32) -> Self {
        Self {
            message: message.into(),
            place: Some((Arc::clone(file), line)),
        }
    }

    /// About the file as a whole.
    pub(crate) fn anywhere(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            place: None,
        }
    }
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Some((file, line)) => write!(f, "{} in {file}:{line}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl Directive {
    /// A mistake at the line that nginx tells for this directive.
    pub(crate) fn mistake(&self, message: impl Into<String>) -> Mistake {
        Mistake::at(message, &self.place.file, self.line)
    }

    /// Its argument at `index`, from 0; empty if there is none.
    pub(crate) fn arg(&self, index: usize) -> &str {
        self.args.get(index).map_or("", String::as_str)
    }

    /// Whether it has this word behind its first argument.
    pub(crate) fn says(&self, word: &str) -> bool {
        self.args.iter().skip(1).any(|given| given == word)
    }

    /// The directives inside, with those of included files in the place of their `include`.
    pub fn inside(&self) -> Vec<&Directive> {
        self.block.as_ref().map(Block::flat).unwrap_or_default()
    }

    /// The directives inside that are called `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Directive> + 'a {
        self.inside().into_iter().filter(move |inner| inner.name == name)
    }

    /// The last directive inside that is called `name`.
    pub(crate) fn last(&self, name: &str) -> Option<&Directive> {
        self.inside().into_iter().rfind(|inner| inner.name == name)
    }

    /// Whether it only stands for the files it names.
    pub(crate) fn is_include(&self) -> bool {
        self.name == "include" && self.block.is_some()
    }
}

impl Block {
    /// The directives, with those of included files in the place of their `include`.
    pub fn flat(&self) -> Vec<&Directive> {
        let mut flat = Vec::with_capacity(self.directives.len());
        for directive in &self.directives {
            match &directive.block {
                Some(included) if directive.is_include() => flat.extend(included.flat()),
                _ => flat.push(directive),
            }
        }
        flat
    }
}

/// What an `include` stands for: the block of the files it names. Told the directive and how deep it stands.
pub(crate) type Include<'a> = dyn FnMut(&Directive, usize) -> Block + 'a;

/// Reads the text of the file called `file`, which stands `depth` blocks and files deep.
pub(crate) fn read(bytes: &[u8], file: &Arc<str>, depth: usize, include: &mut Include<'_>) -> Block {
    let mut reader = Reader {
        lexer: Lexer::new(bytes),
        file,
        include,
    };
    reader.block(true, depth)
}

struct Reader<'a, 'b> {
    lexer: Lexer<'a>,
    file: &'a Arc<str>,
    include: &'a mut Include<'b>,
}

impl Reader<'_, '_> {
    fn block(&mut self, whole_file: bool, depth: usize) -> Block {
        let mut directives = Vec::new();
        let end = loop {
            match self.directive(whole_file, depth) {
                Ok(Step::Read(directive)) => {
                    let broken = directive.block.as_ref().and_then(|block| block.end.clone().err());
                    directives.push(directive);
                    if let Some(mistake) = broken {
                        break Err(mistake);
                    }
                }
                Ok(Step::End(line)) => break Ok(line),
                Err(mistake) => break Err(mistake),
            }
        };
        Block { directives, end }
    }

    fn directive(&mut self, whole_file: bool, depth: usize) -> Result<Step, Mistake> {
        let row = self
            .lexer
            .row()
            .map_err(|error| Mistake::at(error.message, self.file, error.line))?;
        let mistake = |message: &str| Err(Mistake::at(message, self.file, row.line));
        match (row.ending, whole_file) {
            (Ending::BlockEnd, true) => return mistake("unexpected \"}\""),
            (Ending::EndOfFile, false) => return mistake("unexpected end of file, expecting \"}\""),
            (Ending::BlockEnd, false) | (Ending::EndOfFile, true) => return Ok(Step::End(row.line)),
            _ => {}
        }
        let mut words = row.words.into_iter();
        let mut directive = Directive {
            name: words.next().unwrap_or_default(),
            args: words.collect(),
            place: Place {
                file: Arc::clone(self.file),
                line: row.start.0,
                column: row.start.1,
            },
            line: row.line,
            block: None,
        };
        if row.ending == Ending::BlockStart {
            directive.block = Some(self.nested(&directive, depth + 1));
        } else if directive.name == "include" && directive.args.len() == 1 {
            directive.block = Some((self.include)(&directive, depth + 1));
        }
        Ok(Step::Read(directive))
    }

    fn nested(&mut self, directive: &Directive, depth: usize) -> Block {
        if depth < DEEPEST {
            return self.block(false, depth);
        }
        Block {
            directives: Vec::new(),
            end: Err(directive.mistake(format!("blocks are nested more than {DEEPEST} deep"))),
        }
    }
}

enum Step {
    Read(Directive),
    End(u32),
}
