//! YAML text to [`Node`]s: events of the parser, anchors, aliases and merge keys.
//!
//! What could make a small file large or a reader run deep has a bound: nesting, and the number of nodes
//! that aliases stand for. Tags other than YAML's own are refused, as nothing here gives them a meaning.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput, Tag};

use crate::node::{Entry, Node, Value};
use crate::position::{Lines, Span};
use crate::problem::Finding;

/// How deep lists and maps may nest.
const DEEPEST: usize = 64;
/// How many nodes all aliases together may stand for.
const MOST_ALIASED: usize = 100_000;
const MERGE: &str = "<<";

/// The tree (`None` if it cannot be read) and what is wrong with it.
pub(crate) fn build(lines: &Lines<'_>) -> (Option<Node>, Vec<Finding>) {
    let mut builder = Builder {
        parser: Parser::new_from_str(lines.text()),
        lines,
        anchors: HashMap::new(),
        aliased: 0,
        findings: Vec::new(),
    };
    match builder.document() {
        Ok(root) => (Some(root), builder.findings),
        Err(fatal) => {
            builder.findings.push(*fatal);
            (None, builder.findings)
        }
    }
}

struct Builder<'t> {
    parser: Parser<'t, StrInput<'t>>,
    lines: &'t Lines<'t>,
    anchors: HashMap<usize, Counted>,
    aliased: usize,
    findings: Vec<Finding>,
}

/// A node and how many nodes it stands for, itself included.
#[derive(Clone)]
struct Counted {
    node: Node,
    size: usize,
}

impl Counted {
    fn unusable(span: Span) -> Self {
        Self {
            node: Node {
                value: Value::Unusable,
                span,
            },
            size: 1,
        }
    }
}

/// Boxed, as it would make every small result large.
type Fatal = Box<Finding>;
type Spanned<'t> = (Event<'t>, saphyr_parser::Span);

impl<'t> Builder<'t> {
    fn document(&mut self) -> Result<Node, Fatal> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                _ if root.is_some() => {
                    let span = self.span(&span);
                    return Err(Box::new(Finding::error(
                        span,
                        "a manifest is one YAML document, this is a second",
                    )));
                }
                _ => root = Some(self.node((event, span), 0)?.node),
            }
        }
        root.ok_or_else(|| Box::new(Finding::error(Span::new(0, 0), "the manifest is empty")))
    }

    fn next(&mut self) -> Result<Spanned<'t>, Fatal> {
        match self.parser.next_event() {
            Some(Ok(spanned)) => Ok(spanned),
            Some(Err(error)) => Err(self.syntax_error(&error)),
            None => Ok((Event::StreamEnd, saphyr_parser::Span::default())),
        }
    }

    fn syntax_error(&self, error: &ScanError) -> Fatal {
        let start = self.byte(error.marker());
        let next = self.lines.text()[start..].chars().next();
        let end = start + next.filter(|next| !next.is_control()).map_or(0, char::len_utf8);
        let finding = Finding::error(Span::new(start, end), format!("not YAML: {}", error.info()));
        let line = self.lines.text()[..end]
            .rsplit(['\n', '\r'])
            .next()
            .unwrap_or_default();
        let indented_by_tab = line.trim_start_matches(' ').starts_with('\t');
        Box::new(if indented_by_tab {
            finding.help("indent with spaces, not with tabs")
        } else {
            finding
        })
    }

    fn node(&mut self, (event, span): Spanned<'t>, depth: usize) -> Result<Counted, Fatal> {
        let start = self.span(&span);
        if depth > DEEPEST {
            return Err(Box::new(Finding::error(
                start,
                format!("nested deeper than {DEEPEST} levels"),
            )));
        }
        let (anchor, tag, built) = match event {
            Event::Alias(id) => return self.alias(id, start),
            Event::Scalar(text, style, anchor, tag) => {
                let by_tag = tag
                    .as_deref()
                    .is_some_and(|tag| is_core(tag) && tag.suffix == "str" || is_plain_text(tag));
                let plain = style == ScalarStyle::Plain && !by_tag;
                let value = Value::Scalar {
                    text: text.as_ref().into(),
                    plain,
                };
                let node = Node { value, span: start };
                (anchor, tag, Counted { node, size: 1 })
            }
            Event::SequenceStart(anchor, tag) => (anchor, tag, self.list(start, depth)?),
            Event::MappingStart(anchor, tag) => (anchor, tag, self.map(start, depth)?),
            _ => return Err(Box::new(Finding::error(start, "not YAML: a value is missing"))),
        };
        let built = match tag {
            Some(tag) if !is_core(&tag) && !is_plain_text(&tag) => {
                let message = format!("the tag `{tag}` has no meaning here");
                self.findings.push(Finding::error(built.node.span, message));
                Counted::unusable(built.node.span)
            }
            _ => built,
        };
        Ok(self.remember(anchor, built))
    }

    fn remember(&mut self, anchor: usize, built: Counted) -> Counted {
        if anchor > 0 {
            self.anchors.insert(anchor, built.clone());
        }
        built
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<Counted, Fatal> {
        let Some(built) = self.anchors.get(&id) else {
            self.findings.push(Finding::error(
                span,
                "an alias inside the value that it stands for",
            ));
            return Ok(Counted::unusable(span));
        };
        self.aliased = self.aliased.saturating_add(built.size);
        if self.aliased > MOST_ALIASED {
            let message = format!("the aliases stand for more than {MOST_ALIASED} values");
            return Err(Box::new(Finding::error(span, message)));
        }
        Ok(built.clone())
    }

    fn list(&mut self, start: Span, depth: usize) -> Result<Counted, Fatal> {
        let mut items = Vec::new();
        let mut size = 1_usize;
        loop {
            let spanned = self.next()?;
            if let (Event::SequenceEnd, end) = &spanned {
                let span = self.whole(start, end);
                return Ok(Counted {
                    node: Node {
                        value: Value::List(items.into()),
                        span,
                    },
                    size,
                });
            }
            let item = self.node(spanned, depth + 1)?;
            size = size.saturating_add(item.size);
            items.push(item.node);
        }
    }

    fn map(&mut self, start: Span, depth: usize) -> Result<Counted, Fatal> {
        let mut entries = Entries::default();
        let mut merged = Vec::new();
        let mut size = 1_usize;
        loop {
            let spanned = self.next()?;
            if let (Event::MappingEnd, end) = &spanned {
                let span = self.whole(start, end);
                entries.merge(merged);
                return Ok(Counted {
                    node: Node {
                        value: Value::Map(entries.list.into()),
                        span,
                    },
                    size,
                });
            }
            let key = self.node(spanned, depth + 1)?.node;
            let spanned = self.next()?;
            let value = self.node(spanned, depth + 1)?;
            size = size.saturating_add(value.size).saturating_add(1);
            self.add(&mut entries, &mut merged, &key, value.node);
        }
    }

    fn add(&mut self, entries: &mut Entries, merged: &mut Vec<Entry>, key: &Node, value: Node) {
        match &key.value {
            Value::Scalar { text, plain: true } if &**text == MERGE => self.collect_merged(&value, merged),
            Value::Scalar { text, .. } if !key.is_null() => {
                let entry = Entry {
                    key: text.clone(),
                    key_span: key.span,
                    value,
                };
                if let Some(first) = entries.add(entry) {
                    let (line, _) = self.lines.position(first.start);
                    let finding = key.error(format!("the key `{text}` is given twice"));
                    self.findings.push(finding.label(format!("first on line {line}")));
                }
            }
            _ if key.is_unusable() => {}
            _ => self
                .findings
                .push(key.error(format!("a key must be a text, not {}", key.shown()))),
        }
    }

    fn collect_merged(&mut self, value: &Node, merged: &mut Vec<Entry>) {
        let sources = value.list().unwrap_or(std::slice::from_ref(value));
        for source in sources {
            match source.map() {
                None if source.is_unusable() => {}

                Some(entries) => merged.extend_from_slice(entries),
                None => self
                    .findings
                    .push(source.error(format!("only maps can be merged, not {}", source.shown()))),
            }
        }
    }

    fn whole(&self, start: Span, end: &saphyr_parser::Span) -> Span {
        Span::new(start.start, self.byte(&end.end))
    }

    fn span(&self, span: &saphyr_parser::Span) -> Span {
        let start = self.byte(&span.start);
        Span::new(start, self.byte(&span.end))
    }

    /// By line and column, which start anew on every line, so that a miscount cannot add up.
    fn byte(&self, marker: &Marker) -> usize {
        self.lines.byte(marker.line().saturating_sub(1), marker.col())
    }
}

/// Tags of the core schema only say what a value is anyway, apart from `!!str`.
fn is_core(tag: &Tag) -> bool {
    tag.is_yaml_core_schema()
}

/// A lone `!` makes a text of a scalar.
fn is_plain_text(tag: &Tag) -> bool {
    tag.handle.is_empty() && tag.suffix == "!"
}

/// The entries of a map, in the order of the file, with an index of the keys.
#[derive(Default)]
struct Entries {
    list: Vec<Entry>,
    seen: HashMap<Rc<str>, Span>,
}

impl Entries {
    /// Where the key stands already, if it does; the first one stays.
    fn add(&mut self, entry: Entry) -> Option<Span> {
        if let Some(first) = self.seen.get(&entry.key) {
            return Some(*first);
        }
        self.seen.insert(entry.key.clone(), entry.key_span);
        self.list.push(entry);
        None
    }

    /// Own keys win over merged ones, and earlier merged ones over later ones.
    fn merge(&mut self, merged: Vec<Entry>) {
        for entry in merged {
            self.add(entry);
        }
    }
}
