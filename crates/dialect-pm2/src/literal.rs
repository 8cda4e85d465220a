//! JavaScript that is nothing but data: `module.exports = {…}` and `export default {…}`.
//!
//! Most ecosystem files are that. Read as JSON5, which is a part of JavaScript, they need no interpreter, and what is wrong
//! in them has a place. Whatever else there is (a name, a call, an operator, a template) makes a file code.

use std::ops::Range;

use crate::json5;
use crate::node::Node;
use crate::problem::Problem;

/// What the module `text` exports, with warnings, as of [`json5::parse`]; `None` if it has to be evaluated.
pub(crate) fn parse(text: &str) -> Option<(Node, Vec<Problem>)> {
    // Setting this one sets no key.
    if text.contains("__proto__") {
        return None;
    }
    json5::parse_part(text, exported(text)?).ok()
}

/// Where the value stands, if one statement exports it and there is no other.
fn exported(text: &str) -> Option<Range<usize>> {
    let mut scan = Scan { text, at: 0 };
    scan.skip_space();
    for quoted in ["'use strict'", "\"use strict\""] {
        if scan.take(quoted) {
            scan.take_space_and(";");
        }
    }
    if scan.take("export") {
        scan.needs_space()?;
        scan.take_space_and("default").then_some(())?;
    } else {
        for part in ["module", ".", "exports", "="] {
            scan.take_space_and(part).then_some(())?;
        }
    }
    scan.skip_space();
    let start = scan.at;
    scan.skip_value()?;
    let value = start..scan.at;
    while scan.take_space_and(";") {}
    scan.skip_space();
    (scan.at == text.len()).then_some(value)
}

/// A place in a text of JavaScript.
struct Scan<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Scan<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn take(&mut self, expected: &str) -> bool {
        let taken = self.rest().starts_with(expected);
        if taken {
            self.at += expected.len();
        }
        taken
    }

    fn take_space_and(&mut self, expected: &str) -> bool {
        self.skip_space();
        self.take(expected)
    }

    fn needs_space(&mut self) -> Option<()> {
        let before = self.at;
        self.skip_space();
        (self.at > before).then_some(())
    }

    /// Space and comments; one that does not end reaches to the end of the text.
    fn skip_space(&mut self) {
        loop {
            let rest = self.rest();
            let space = rest.len()
                - rest
                    .trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
                    .len();
            let comment = match rest.get(space..space + 2) {
                Some("//") => rest[space..].find(['\n', '\r']).unwrap_or(rest.len() - space),
                Some("/*") => rest[space + 2..]
                    .find("*/")
                    .map_or(rest.len() - space, |end| end + 4),
                _ => 0,
            };
            self.at += space + comment;
            if comment == 0 {
                return;
            }
        }
    }

    /// An object or a list, to its last bracket. `None` also if it holds a number that JavaScript reads otherwise than
    /// JSON5 would: `010` is eight.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        let mut before = ' ';
        loop {
            self.skip_space();
            let letter = self.rest().chars().next()?;
            match letter {
                '{' | '[' => depth += 1,
                '}' | ']' => depth = depth.checked_sub(1)?,
                '\'' | '"' => self.skip_string(letter)?,
                '0'..='9' if before == '0' => return None,
                _ => {}
            }
            if depth == 0 && !matches!(letter, '}' | ']') {
                return None;
            }
            // Only one that nothing precedes leads.
            let leads = letter == '0' && !(before.is_alphanumeric() || "._$".contains(before));
            before = if leads || letter != '0' { letter } else { '1' };
            self.at += letter.len_utf8();
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// To the quote that ends it.
    fn skip_string(&mut self, quote: char) -> Option<()> {
        let mut escaped = true;
        let end = self.rest().char_indices().find(|(_, letter)| {
            let ends = *letter == quote && !escaped;
            escaped = *letter == '\\' && !escaped;
            ends
        });
        self.at += end?.0;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_read() {
        for (text, expected) in [
            (
                "module.exports = {apps: [{script: 'a.js', args: ['-n', \"it's\"]}]};\n",
                r#"{"apps":[{"script":"a.js","args":["-n","it's"]}]}"#,
            ),
            (
                "\u{feff}// what runs\n'use strict';\nmodule . exports\n=\n[{script: 'a}.js' /* ] */},] // end;",
                r#"[{"script":"a}.js"}]"#,
            ),
            (
                "\"use strict\"\nmodule.exports={a: 100, b: 0.05, c: 0x10, d: 1e3, e: 0, 'f\\'{': -.5}",
                r#"{"a":100,"b":0.05,"c":16,"d":1000,"e":0,"f'{":-0.5}"#,
            ),
            ("/* a\n b */ export default {name: 'ü'}\n;;", r#"{"name":"ü"}"#),
        ] {
            let (node, _) = parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(node.json_text(), expected, "{text}");
        }
    }

    #[test]
    fn code_is_left_to_an_interpreter() {
        for text in [
            "",
            "module.exports = ",
            "module.exports = {",
            "module.exports = 'a.js'",
            "module.exports = {} + {}",
            "module.exports = {apps: []}.apps",
            "module.exports = {a: 010}",
            "module.exports = {a: 1_000}",
            "module.exports = {a: process.env.A}",
            "module.exports = {a: `x`}",
            "module.exports = {a: /x/}",
            "module.exports = {a: 60 * 1000}",
            "module.exports = {a() {}}",
            "module.exports = {['a']: 1}",
            "module.exports = {...b}",
            "module.exports = {a: [1,,2]}",
            "module.exports = {a: undefined}",
            "module.exports = {\"__proto__\": {}}",
            "module.exports = {}; module.exports.apps = []",
            "const a = 1; module.exports = {}",
            "module.exports = () => ({})",
            "exports = {}",
            "exportdefault {}",
            "export default{} /* open",
            "export const apps = []",
        ] {
            let read = parse(text).map(|(node, _)| node.json_text());
            let ends_in_space = text.ends_with("open");
            assert_eq!(read.is_some(), ends_in_space, "{text}");
        }
    }

    #[test]
    fn places_are_those_of_the_file() {
        let text = "// what runs\nmodule.exports = {\n  apps: [{ script: 'a.js', 'exec-mode': 1 }],\n};";
        let (node, _) = parse(text).expect("data");
        let apps = node.get("apps").expect("apps").place.clone().expect("a place");
        assert_eq!((apps.line, apps.column), (3, 9));
    }
}
