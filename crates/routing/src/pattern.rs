//! Regexes of routes: linear-time, bounded in size, over bytes.

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use regex_syntax::hir::{Hir, HirKind};
use regex_syntax::{ParserBuilder, ast};

/// Largest compiled size of one regex, bytes.
const ONE_LIMIT: usize = 1 << 20;
/// Largest compiled size of the regexes of one stop together, bytes.
const SET_LIMIT: usize = 64 << 20;
/// Largest cache of a lazily built automaton, bytes for each thread that uses it.
const CACHE_LIMIT: usize = 1 << 20;

/// Compiles `pattern`. Classes such as `\d` are ASCII, as in PCRE, which keeps automata small; a pattern
/// that speaks of Unicode is compiled with it.
pub(crate) fn compile(pattern: &str, case_insensitive: bool) -> Result<Regex, regex::Error> {
    let build = |unicode| {
        RegexBuilder::new(pattern)
            .unicode(unicode)
            .case_insensitive(case_insensitive)
            .size_limit(ONE_LIMIT)
            .dfa_size_limit(CACHE_LIMIT)
            .build()
    };
    build(false).or_else(|_| build(true))
}

/// Compiles `pattern` so that it matches only at the start of a text.
pub(crate) fn compile_anchored(pattern: &str) -> Result<Regex, regex::Error> {
    // Alone first: `a)|(b` would become valid between the parentheses of the anchor.
    ast::parse::Parser::new()
        .parse(pattern)
        .map_err(|error| regex::Error::Syntax(error.to_string()))?;
    compile(&format!("^(?:{pattern})"), false)
}

/// Compiles patterns to be asked all at once. `None` if they are too large together, or if one of them needs
/// Unicode: a set has one mode for all and would then disagree with its members.
pub(crate) fn compile_set<'a>(patterns: impl Iterator<Item = &'a str>) -> Option<RegexSet> {
    let mut builder = RegexSetBuilder::new(patterns);
    builder
        .unicode(false)
        .size_limit(SET_LIMIT)
        .dfa_size_limit(8 * CACHE_LIMIT)
        .build()
        .ok()
}

/// The text with which every match at the start must begin.
pub(crate) fn literal_prefix(pattern: &str) -> Vec<u8> {
    let parse = |unicode| {
        ParserBuilder::new()
            .unicode(unicode)
            .utf8(false)
            .build()
            .parse(pattern)
            .ok()
    };
    parse(false)
        .or_else(|| parse(true))
        .map(|hir| leading_literal(&hir))
        .unwrap_or_default()
}

fn leading_literal(hir: &Hir) -> Vec<u8> {
    match hir.kind() {
        HirKind::Literal(literal) => literal.0.to_vec(),
        HirKind::Concat(parts) => parts.first().map(leading_literal).unwrap_or_default(),
        HirKind::Capture(capture) => leading_literal(&capture.sub),
        HirKind::Alternation(branches) => branches
            .iter()
            .map(leading_literal)
            .reduce(|left, right| common(&left, &right))
            .unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn common(left: &[u8], right: &[u8]) -> Vec<u8> {
    let pairs = left.iter().zip(right).take_while(|(left, right)| left == right);
    pairs.map(|(byte, _)| *byte).collect()
}

#[cfg(test)]
mod tests {
    use super::{compile, literal_prefix};

    #[test]
    fn literal_prefixes() {
        for (pattern, prefix) in [
            ("/users/\\d+", "/users/"),
            ("/a?", "/"),
            ("/ab+", "/a"),
            ("/a|/b", "/"),
            ("/a|b", ""),
            ("/v1\\.0/(?<id>x)$", "/v1.0/"),
            ("/(a|b)", "/"),
            ("(/a)b", "/a"),
            ("(?i)/a", "/"),
            ("/a(?i)b", "/a"),
            ("/caf\u{e9}", "/caf\u{e9}"),
        ] {
            assert_eq!(
                String::from_utf8(literal_prefix(pattern)).unwrap(),
                prefix,
                "{pattern}"
            );
        }
    }

    #[test]
    fn what_is_not_linear_is_refused() {
        for pattern in [
            "/(?=a)",
            "/(a)\\1",
            "/(?<!a)b",
            "/(?>a)",
            "/(",
            "/\\p{Nonsense}",
            "/(a{1000}){1000}",
        ] {
            assert!(compile(pattern, false).is_err(), "{pattern}");
        }
        for pattern in [
            "/\\p{Greek}",
            "/\u{3b1}",
            "/[^/]+",
            "/(?<name>a)",
            "/(?P<name>a)",
            "\\/a",
        ] {
            assert!(compile(pattern, false).is_ok(), "{pattern}");
        }
    }
}
