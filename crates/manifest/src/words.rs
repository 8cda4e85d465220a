//! A command line to words, as a shell would split it; nothing is expanded.

/// Why a text cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WordsError {
    #[error("the quote {0} is never closed")]
    OpenQuote(char),
    #[error("a backslash at the end stands before nothing")]
    LooseBackslash,
}

/// A word, and whether any part of it was quoted or escaped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) quoted: bool,
}

pub(crate) fn split(line: &str) -> Result<Vec<Word>, WordsError> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                word.quoted = true;
                quoted(character, &mut characters, &mut word.text)?;
            }
            '\\' => {
                let word = word.get_or_insert_default();
                word.quoted = true;
                word.text
                    .push(characters.next().ok_or(WordsError::LooseBackslash)?);
            }
            _ => word.get_or_insert_default().text.push(character),
        }
    }
    words.extend(word);
    Ok(words)
}

fn quoted(quote: char, characters: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), WordsError> {
    loop {
        match characters.next().ok_or(WordsError::OpenQuote(quote))? {
            end if end == quote => return Ok(()),
            '\\' if quote == '"' => match characters.next().ok_or(WordsError::OpenQuote(quote))? {
                escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                other => word.extend(['\\', other]),
            },
            other => word.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_split_as_in_a_shell() {
        let rows: [(&str, &[&str]); 8] = [
            ("node server.js", &["node", "server.js"]),
            ("  a\t b\n", &["a", "b"]),
            (r#"sh -c 'echo "hi"'"#, &["sh", "-c", r#"echo "hi""#]),
            (r#"a"b c"d"#, &["ab cd"]),
            (r"a\ b", &["a b"]),
            (r#""\"\\\n""#, &[r#""\\n"#]),
            ("''", &[""]),
            ("", &[]),
        ];
        for (line, expected) in rows {
            let words: Vec<_> = split(line).unwrap().into_iter().map(|word| word.text).collect();
            assert_eq!(words, expected, "{line}");
        }
    }

    #[test]
    fn open_quotes_are_refused() {
        assert_eq!(split("a 'b"), Err(WordsError::OpenQuote('\'')));
        assert_eq!(split("a \"b\\\""), Err(WordsError::OpenQuote('"')));
        assert_eq!(split("a\\"), Err(WordsError::LooseBackslash));
    }
}
