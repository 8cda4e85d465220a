//! YAML to the common tree: the core schema, anchors, aliases and merge keys.
//!
//! What could make a small file large or the reader run deep has a bound. Tags other than YAML's own are
//! refused, as nothing gives them a meaning.

use std::collections::HashMap;

use hythe_stdx::Lines;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput, Tag};

use crate::node::{Entry, Node, Value};
use crate::problem::{Place, Problem};

/// How deep lists and maps may nest.
const DEEPEST: usize = 64;
/// How many nodes all aliases together may stand for.
const MOST_ALIASED: usize = 100_000;
const MERGE: &str = "<<";

type Spanned<'t> = (Event<'t>, saphyr_parser::Span);
/// Boxed, as it would make every small result large.
type Built<T> = Result<T, Box<Problem>>;

/// The tree.
///
/// # Errors
/// The first thing that cannot be read.
pub(crate) fn parse(text: &str) -> Result<Node, Box<Problem>> {
    let lines = Lines::of(text);
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        lines: &lines,
        anchors: HashMap::new(),
        aliased: 0,
    };
    builder.document()
}

struct Builder<'t> {
    parser: Parser<'t, StrInput<'t>>,
    lines: &'t Lines<'t>,
    /// Each with the number of nodes it stands for.
    anchors: HashMap<usize, (Node, usize)>,
    aliased: usize,
}

impl<'t> Builder<'t> {
    fn document(&mut self) -> Built<Node> {
        let mut root = None;
        loop {
            let spanned = self.next()?;
            match spanned.0 {
                Event::StreamEnd => break,
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                _ if root.is_some() => {
                    return Err(self.error(
                        &spanned.1,
                        "an ecosystem file is one YAML document, this is a second",
                    ));
                }
                _ => root = Some(self.node(spanned, 0)?),
            }
        }
        root.ok_or_else(|| Box::new(Problem::error(None, "the file is empty")))
    }

    fn next(&mut self) -> Built<Spanned<'t>> {
        match self.parser.next_event() {
            Some(Ok(spanned)) => Ok(spanned),
            Some(Err(error)) => {
                let at = self.byte(error.marker());
                let place = Some(Place::of(self.lines, at..at));
                Err(Box::new(Problem::error(
                    place,
                    format!("not YAML: {}", error.info()),
                )))
            }
            None => Ok((Event::StreamEnd, saphyr_parser::Span::default())),
        }
    }

    fn node(&mut self, (event, span): Spanned<'t>, depth: usize) -> Built<Node> {
        if depth > DEEPEST {
            return Err(self.error(&span, format!("nested deeper than {DEEPEST} levels")));
        }
        let (anchor, tag, value) = match event {
            Event::Alias(id) => return self.alias(id, &span),
            Event::Scalar(text, style, anchor, tag) => {
                let as_text = style != ScalarStyle::Plain || tag.as_deref().is_some_and(makes_text);
                let value = if as_text {
                    Value::Text(text.into_owned())
                } else {
                    plain(&text)
                };
                (anchor, tag, value)
            }
            Event::SequenceStart(anchor, tag) => (anchor, tag, self.list(depth)?),
            Event::MappingStart(anchor, tag) => (anchor, tag, self.map(depth)?),
            _ => return Err(self.error(&span, "not YAML: a value is missing")),
        };
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema() && !makes_text(tag)) {
            return Err(self.error(&span, format!("the tag `{tag}` has no meaning here")));
        }
        let node = Node {
            value,
            place: Some(self.place(&span)),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size(&node)));
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, span: &saphyr_parser::Span) -> Built<Node> {
        let Some((node, size)) = self.anchors.get(&id) else {
            return Err(self.error(span, "an alias inside the value that it stands for"));
        };
        self.aliased = self.aliased.saturating_add(*size);
        if self.aliased > MOST_ALIASED {
            return Err(self.error(
                span,
                format!("the aliases stand for more than {MOST_ALIASED} values"),
            ));
        }
        Ok(node.clone())
    }

    fn list(&mut self, depth: usize) -> Built<Value> {
        let mut items = Vec::new();
        loop {
            let spanned = self.next()?;
            if matches!(spanned.0, Event::SequenceEnd) {
                return Ok(Value::List(items));
            }
            items.push(self.node(spanned, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Built<Value> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let spanned = self.next()?;
            if matches!(spanned.0, Event::MappingEnd) {
                break;
            }
            let is_merge = matches!(&spanned.0, Event::Scalar(text, ScalarStyle::Plain, ..) if text == MERGE);
            let span = spanned.1;
            let key = self.node(spanned, depth + 1)?;
            let next = self.next()?;
            let value = self.node(next, depth + 1)?;
            if is_merge {
                merged.extend(self.merged(&span, &value)?);
            } else {
                self.add(&mut entries, &span, &key, value)?;
            }
        }
        // Own keys win over merged ones, and earlier merged ones over later ones.
        for entry in merged {
            if !entries.iter().any(|own| own.key == entry.key) {
                entries.push(entry);
            }
        }
        Ok(Value::Map(entries))
    }

    fn add(
        &self,
        entries: &mut Vec<Entry>,
        span: &saphyr_parser::Span,
        key: &Node,
        value: Node,
    ) -> Built<()> {
        if matches!(key.value, Value::List(_) | Value::Map(_)) {
            return Err(self.error(span, format!("a key must be a text, not {}", key.shown())));
        }
        let entry = Entry {
            key: key.variable(),
            place: key.place.clone(),
            value,
        };
        if entries.iter().any(|before| before.key == entry.key) {
            return Err(self.error(span, format!("the key `{}` is given twice", entry.key)));
        }
        entries.push(entry);
        Ok(())
    }

    fn merged(&self, span: &saphyr_parser::Span, value: &Node) -> Built<Vec<Entry>> {
        let sources = value.list().unwrap_or(std::slice::from_ref(value));
        let maps: Option<Vec<&[Entry]>> = sources.iter().map(Node::map).collect();
        maps.map(|maps| maps.concat())
            .ok_or_else(|| self.error(span, "only maps can be merged"))
    }

    fn error(&self, span: &saphyr_parser::Span, message: impl Into<String>) -> Box<Problem> {
        Box::new(Problem::error(Some(self.place(span)), message))
    }

    fn place(&self, span: &saphyr_parser::Span) -> Place {
        let start = self.byte(&span.start);
        Place::of(self.lines, start..self.byte(&span.end).max(start))
    }

    fn byte(&self, marker: &Marker) -> usize {
        self.lines.byte(marker.line().saturating_sub(1), marker.col())
    }
}

fn size(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|entry| size(&entry.value)).sum::<usize>(),
        _ => 1,
    }
}

fn makes_text(tag: &Tag) -> bool {
    (tag.is_yaml_core_schema() && tag.suffix == "str") || (tag.handle.is_empty() && tag.suffix == "!")
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Flag(true),
        "false" | "False" | "FALSE" => Value::Flag(false),
        _ => number(text).unwrap_or_else(|| Value::Text(text.to_owned())),
    }
}

fn number(text: &str) -> Option<Value> {
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            let all = digits.bytes().all(|byte| char::from(byte).is_digit(radix));
            let number = u64::from_str_radix(digits, radix).ok().filter(|_| all)?;
            return Some(Value::Number(number.into()));
        }
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let whole = text.strip_prefix('+').unwrap_or(text).parse::<i64>();
        return Some(whole.map_or_else(
            |_| Value::Text(text.to_owned()),
            |number| Value::Number(number.into()),
        ));
    }
    let starts = digits.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    let numeric = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse().ok().filter(|_| starts && numeric).map(Value::number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_is_read() {
        let rows = [
            (
                "apps:\n  - script: a.js\n    instances: 2",
                r#"{"apps":[{"script":"a.js","instances":2}]}"#,
            ),
            (
                "[true, yes, ~, '1', 0x1F, 1.0, 1.2.3, -3]",
                r#"[true,"yes",null,"1",31,1,"1.2.3",-3]"#,
            ),
            (
                "a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}",
                r#"{"a":{"b":1,"c":2},"d":{"c":3,"b":1}}"#,
            ),
            ("1: !!str 2", r#"{"1":"2"}"#),
            (
                "a: 0123\nb: 99999999999999999999",
                r#"{"a":123,"b":"99999999999999999999"}"#,
            ),
        ];
        for (text, expected) in rows {
            let node = parse(text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
            assert_eq!(node.json_text(), expected, "{text}");
        }
    }

    #[test]
    fn mistakes_have_places() {
        let rows = [
            ("a: 1\na: 2", "line 2, column 1: the key `a` is given twice"),
            ("a: !x 1", "line 1, column 4: the tag `!x` has no meaning here"),
            (
                "---\na\n---\nb",
                "line 4, column 1: an ecosystem file is one YAML document, this is a second",
            ),
            ("a: {<<: 1}", "line 1, column 5: only maps can be merged"),
            ("", "the file is empty"),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text).expect_err(text).to_string(), expected);
        }
        let broken = parse("a: [1").expect_err("not closed").to_string();
        assert!(broken.contains("not YAML"), "{broken}");
    }

    #[test]
    fn size_and_depth_are_bounded() {
        let mut bomb = "a0: &a0 [x, x]\n".to_owned();
        for level in 1..30 {
            let below = level - 1;
            bomb.push_str(&format!("a{level}: &a{level} [*a{below}, *a{below}]\n"));
        }
        for text in [bomb, "[".repeat(80)] {
            let problem = parse(&text).expect_err("too large");
            assert!(problem.message.contains("than"), "{problem}");
        }
    }
}
