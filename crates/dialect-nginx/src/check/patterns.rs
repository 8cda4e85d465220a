//! Regexes: whether PCRE would compile them, and which variables they fill.

use regex_syntax::ast::{self, ErrorKind};

use crate::tree::{Directive, Mistake};

/// Names of the groups of `pattern`.
///
/// # Errors
/// A mistake that PCRE finds too. What only our own engine does not know is none.
pub(super) fn groups(pattern: &str, directive: &Directive) -> Result<Vec<String>, Mistake> {
    let refused = ast::parse::Parser::new().parse(pattern).err();
    if let Some(message) = refused.and_then(|error| in_the_words_of_pcre(pattern, &error)) {
        return Err(directive.mistake(format!("pcre2_compile() failed: {message}")));
    }
    let starts = pattern
        .match_indices("(?<")
        .chain(pattern.match_indices("(?P<"))
        .chain(pattern.match_indices("(?'"));
    let name = |(start, opening): (usize, &str)| {
        let rest = pattern.get(start + opening.len()..)?;
        let name = rest.split(['>', '\'']).next()?;
        let word = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        (word && !name.is_empty()).then(|| name.to_owned())
    };
    Ok(starts.filter_map(name).collect())
}

fn in_the_words_of_pcre(pattern: &str, error: &ast::Error) -> Option<String> {
    let rest = pattern.get(error.span().start.offset..).unwrap_or_default();
    Some(match error.kind() {
        ErrorKind::GroupUnclosed => format!("missing closing parenthesis in \"{pattern}\""),
        ErrorKind::GroupUnopened => format!("unmatched closing parenthesis in \"{pattern}\" at \"{rest}\""),
        ErrorKind::ClassUnclosed => format!("missing terminating ] for character class in \"{pattern}\""),
        ErrorKind::RepetitionMissing => {
            format!("quantifier does not follow a repeatable item in \"{pattern}\" at \"{rest}\"")
        }
        _ => return None,
    })
}
