//! Texts for people.

/// An error with its causes, `what: why: why`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// A text as it can be quoted in a message: its first line, of 60 characters at most, and three points for the rest.
pub fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= 60 && line.len() == text.len() {
        return line.to_owned();
    }
    line.chars().take(57).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_one_line_and_short() {
        let (fits, long) = ("x".repeat(60), "x".repeat(61));
        let cut = format!("{}...", "x".repeat(57));
        for (text, expected) in [
            ("", ""),
            ("a b", "a b"),
            ("a\nb", "a..."),
            (&fits, &fits),
            (&long, &cut),
        ] {
            assert_eq!(shortened(text), expected);
        }
    }

    #[test]
    fn causes_follow_what_they_caused() {
        #[derive(Debug, PartialEq)]
        struct Layer(&'static str, Option<Box<Layer>>);
        impl std::fmt::Display for Layer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.0)
            }
        }
        impl std::error::Error for Layer {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                self.1.as_deref().map(|cause| cause as _)
            }
        }
        let error = Layer(
            "start",
            Some(Box::new(Layer(
                "read",
                Some(Box::new(Layer("no such file", None))),
            ))),
        );
        assert_eq!(chain(&error), "start: read: no such file");
    }
}
