//! One text into arguments.

/// Splits at whitespace that is not inside single or double quotes; the quotes go, and what touches them
/// stays one argument (`--name="a b"` is `--name=a b`).
///
/// Nothing is expanded and a backslash is an ordinary character. A quote that is never closed is one too, so
/// every text has a reading.
///
/// ```
/// assert_eq!(hythe_dialect_pm2::split("--port 80 --name='a b'"), ["--port", "80", "--name=a b"]);
/// ```
pub fn split(text: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut current: Option<String> = None;
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        rest = &rest[next.len_utf8()..];
        let quoted = matches!(next, '"' | '\'')
            .then(|| rest.split_once(next))
            .flatten();
        if let Some((inside, after)) = quoted {
            current.get_or_insert_default().push_str(inside);
            rest = after;
        } else if next.is_whitespace() {
            arguments.extend(current.take());
        } else {
            current.get_or_insert_default().push(next);
        }
    }
    arguments.extend(current);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_hold_words_together() {
        let rows: [(&str, &[&str]); 9] = [
            ("", &[]),
            ("  a\t b \n", &["a", "b"]),
            (r#"-a "b c" d"#, &["-a", "b c", "d"]),
            (r#"--x="a b" --y='c "d" e'"#, &["--x=a b", "--y=c \"d\" e"]),
            (r#""" ''"#, &["", ""]),
            (r"C:\dir \d+", &[r"C:\dir", r"\d+"]),
            ("it's fine", &["it's", "fine"]),
            (r#"a" b"#, &["a\"", "b"]),
            (r#"{"a":"b"}"#, &["{a:b}"]),
        ];
        for (text, expected) in rows {
            assert_eq!(split(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn quoted_words_come_back(words in proptest::collection::vec("[^\"]{0,12}", 0..6)) {
            let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            prop_assert_eq!(split(&quoted.join(" ")), words);
        }

        #[test]
        fn every_text_has_a_reading(text in "[ a'\"\\\\é]{0,40}") {
            let without = |text: &str| text.replace([' ', '"', '\''], "");
            prop_assert_eq!(without(&split(&text).concat()), without(&text));
        }
    }
}
