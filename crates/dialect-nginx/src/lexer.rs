//! Words of nginx's language: what stands between spaces, `;`, `{` and `}`.
//!
//! nginx splits by a few rules that are older than its documentation, and a file that it takes must not be refused
//! here (nor the other way round), so they are followed to the letter:
//!
//! - Quotes count only where a word begins; behind a closing one a space, `;`, `{` or `)` must follow.
//! - A backslash keeps the next byte from meaning anything. It goes away before a quote or a backslash, becomes a
//!   control character in `\t`, `\r` and `\n`, and stays where it is before everything else, as regexes need it.
//! - `${` opens no block, `#` starts a comment only where a word could begin.
//! - A word, or a comment, of 4096 bytes is too long: nginx's buffer is as large.

/// Longest word or comment, bytes (nginx: `NGX_CONF_BUFFER`).
const LONGEST: usize = 4096;

/// The bytes of one file and how far they were read.
pub(crate) struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u32,
    line_start: usize,
}

/// What ended a row of words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// `;`
    Semicolon,
    /// `{`
    BlockStart,
    /// `}`, without any word before it.
    BlockEnd,
    /// Nothing is left.
    EndOfFile,
}

/// The words up to the next `;`, `{` or `}`.
pub(crate) struct Row {
    pub(crate) words: Vec<String>,
    pub(crate) ending: Ending,
    /// Line and column (from 1) of the first word, or of what ended the row.
    pub(crate) start: (u32, u32),
    /// The line on which it ended: the one that nginx tells.
    pub(crate) line: u32,
}

/// Why a text cannot be split, in nginx's words, and the line it tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LexerError {
    pub(crate) message: String,
    pub(crate) line: u32,
}

/// Where the lexer is inside a row.
#[derive(Default)]
struct Word {
    start: usize,
    start_line: u32,
    inside: bool,
    quote: Option<u8>,
    /// Behind a backslash.
    escaped: bool,
    /// Behind a `$`.
    variable: bool,
    /// Behind a closing quote.
    closed: bool,
    comment: bool,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            line: 1,
            line_start: 0,
        }
    }

    /// Reads the next row.
    pub(crate) fn row(&mut self) -> Result<Row, LexerError> {
        let mut words = Vec::new();
        let mut first = None;
        let mut word = Word {
            start: self.at,
            start_line: self.line,
            ..Word::default()
        };
        loop {
            let Some(&byte) = self.bytes.get(self.at) else {
                return self.end_of_file(words, &word);
            };
            if self.at - word.start >= LONGEST {
                return Err(self.too_long(&word));
            }
            let place = (self.line, column(self.at - self.line_start));
            self.at += 1;
            if byte == b'\n' {
                self.line += 1;
                self.line_start = self.at;
                word.comment = false;
            }
            if word.comment {
                continue;
            }
            if std::mem::take(&mut word.escaped) {
                continue;
            }
            if word.closed {
                word.closed = false;
                match byte {
                    b' ' | b'\t' | b'\r' | b'\n' => continue,
                    b';' => return Ok(self.finish(words, Ending::Semicolon, first.unwrap_or(place))),
                    b'{' => return Ok(self.finish(words, Ending::BlockStart, first.unwrap_or(place))),
                    b')' => {}
                    _ => return Err(self.unexpected(byte)),
                }
            }
            if word.inside {
                if self.inside(byte, &mut word) {
                    words.push(self.text(word.start));
                    match byte {
                        b';' => return Ok(self.finish(words, Ending::Semicolon, first.unwrap_or(place))),
                        b'{' => return Ok(self.finish(words, Ending::BlockStart, first.unwrap_or(place))),
                        _ => {}
                    }
                }
                continue;
            }
            word.start = self.at - 1;
            word.start_line = self.line;
            let ending = match byte {
                b' ' | b'\t' | b'\r' | b'\n' => continue,
                b';' => Ending::Semicolon,
                b'{' => Ending::BlockStart,
                b'}' => Ending::BlockEnd,
                b'#' => {
                    word.comment = true;
                    continue;
                }
                _ => {
                    begin(byte, &mut word);
                    first.get_or_insert(place);
                    continue;
                }
            };
            if words.is_empty() != (ending == Ending::BlockEnd) {
                return Err(self.unexpected(byte));
            }
            return Ok(self.finish(words, ending, first.unwrap_or(place)));
        }
    }

    /// Takes a byte of a word; `true` when the word is over.
    fn inside(&self, byte: u8, word: &mut Word) -> bool {
        if byte == b'{' && word.variable {
            return false;
        }
        word.variable = false;
        match byte {
            b'\\' => word.escaped = true,
            b'$' => word.variable = true,
            _ if word.quote == Some(byte) => {
                word.quote = None;
                word.inside = false;
                word.closed = true;
                return true;
            }
            _ if word.quote.is_some() => {}
            b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{' => {
                word.inside = false;
                return true;
            }
            _ => {}
        }
        false
    }

    /// The word from `start` to before the byte that ended it, without its escapes.
    fn text(&self, start: usize) -> String {
        let mut rest = self.bytes.get(start..self.at - 1).unwrap_or_default();
        let mut text = Vec::with_capacity(rest.len());
        loop {
            let (byte, taken) = match rest {
                [] => break,
                [b'\\', kept @ (b'"' | b'\'' | b'\\'), ..] => (*kept, 2),
                [b'\\', b't', ..] => (b'\t', 2),
                [b'\\', b'r', ..] => (b'\r', 2),
                [b'\\', b'n', ..] => (b'\n', 2),
                [byte, ..] => (*byte, 1),
            };
            text.push(byte);
            rest = rest.get(taken..).unwrap_or_default();
        }
        String::from_utf8(text).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    fn finish(&self, words: Vec<String>, ending: Ending, start: (u32, u32)) -> Row {
        Row {
            words,
            ending,
            start,
            line: self.line,
        }
    }

    fn end_of_file(&self, words: Vec<String>, word: &Word) -> Result<Row, LexerError> {
        if !words.is_empty() || word.inside {
            return Err(self.error("unexpected end of file, expecting \";\" or \"}\"".to_owned()));
        }
        let place = (self.line, column(self.at - self.line_start));
        Ok(self.finish(words, Ending::EndOfFile, place))
    }

    fn unexpected(&self, byte: u8) -> LexerError {
        self.error(format!("unexpected \"{}\"", char::from(byte)))
    }

    fn too_long(&self, word: &Word) -> LexerError {
        let message = match word.quote {
            Some(quote) => format!(
                "too long parameter, probably missing terminating \"{}\" character",
                char::from(quote)
            ),
            None => {
                let beginning = self
                    .bytes
                    .iter()
                    .skip(word.start)
                    .take(10)
                    .copied()
                    .collect::<Vec<_>>();
                format!(
                    "too long parameter \"{}...\" started",
                    String::from_utf8_lossy(&beginning)
                )
            }
        };
        LexerError {
            message,
            line: word.start_line,
        }
    }

    fn error(&self, message: String) -> LexerError {
        LexerError {
            message,
            line: self.line,
        }
    }
}

/// Takes the first byte of a word.
fn begin(byte: u8, word: &mut Word) {
    word.inside = true;
    word.variable = false;
    match byte {
        b'\\' => word.escaped = true,
        b'"' | b'\'' => {
            word.start += 1;
            word.quote = Some(byte);
        }
        b'$' => word.variable = true,
        _ => {}
    }
}

fn column(offset: usize) -> u32 {
    u32::try_from(offset + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Ending, Lexer};

    fn rows(text: &str) -> String {
        let mut lexer = Lexer::new(text.as_bytes());
        let mut shown = String::new();
        loop {
            match lexer.row() {
                Ok(row) if row.ending == Ending::EndOfFile => return shown,
                Ok(row) => shown.push_str(&format!(
                    "{:?}{}",
                    row.words,
                    match row.ending {
                        Ending::Semicolon => ";",
                        Ending::BlockStart => "{",
                        _ => "}",
                    }
                )),
                Err(error) => return format!("{shown}{}:{}", error.message, error.line),
            }
        }
    }

    #[test]
    fn words_are_split_as_nginx_splits_them() {
        for (text, expected) in [
            ("a b;c{}", r#"["a", "b"];["c"]{[]}"#),
            ("a 'b c' \"d;\";", r#"["a", "b c", "d;"];"#),
            ("a b'c d';", r#"["a", "b'c", "d'"];"#),
            (
                r"a \.php$ 'it\'s' \n \d;",
                "[\"a\", \"\\\\.php$\", \"it's\", \"\\n\", \"\\\\d\"];",
            ),
            ("a ${b}c d{", r#"["a", "${b}c", "d"]{"#),
            ("a b#c; # d {\n e;", r#"["a", "b#c"];["e"];"#),
            ("a ('b');", r#"["a", "('b')"];"#),
            ("a 'b');", r#"["a", "b", ")"];"#),
            ("a ''", "unexpected end of file, expecting \";\" or \"}\":1"),
            ("a\n;\n}\n;", "[\"a\"];[]}unexpected \";\":4"),
            ("a 'b'c;", "unexpected \"c\":1"),
            ("a }", "unexpected \"}\":1"),
        ] {
            assert_eq!(rows(text), expected, "{text}");
        }
    }

    #[test]
    fn a_word_must_fit_nginx_s_buffer() {
        assert!(rows(&format!("a {};", "x".repeat(4095))).ends_with("];"));
        assert_eq!(
            rows(&format!("a\n {};", "0123456789".repeat(410))),
            "too long parameter \"0123456789...\" started:2"
        );
        assert_eq!(
            rows(&format!("a '{}", "x".repeat(5000))),
            "too long parameter, probably missing terminating \"'\" character:1"
        );
    }
}
