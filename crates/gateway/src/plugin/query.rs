//! A query as a list of arguments that can be changed. What is not changed stays as it was sent.

use super::template::{push_escaped, unescape};

/// The arguments of a query, in their order.
#[derive(Debug, Default)]
pub(super) struct Query {
    arguments: Vec<Argument>,
}

#[derive(Debug)]
struct Argument {
    /// Without escapes.
    name: Vec<u8>,
    /// As it is written.
    text: Vec<u8>,
}

impl Query {
    pub(super) fn parse(query: &[u8]) -> Self {
        let arguments = query
            .split(|byte| *byte == b'&')
            .filter(|text| !text.is_empty())
            .map(|text| {
                let name = text.split(|byte| *byte == b'=').next().unwrap_or_default();
                Argument {
                    name: unescape(name),
                    text: text.to_vec(),
                }
            });
        Self {
            arguments: arguments.collect(),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.arguments
            .iter()
            .any(|argument| argument.name == name.as_bytes())
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.arguments.retain(|argument| argument.name != name.as_bytes());
    }

    pub(super) fn append(&mut self, name: &str, value: &[u8]) {
        self.arguments.push(Argument::new(name, value));
    }

    /// Gives the first of this name another value, and takes the others away.
    pub(super) fn set(&mut self, name: &str, value: &[u8]) {
        let mut new = Some(Argument::new(name, value));
        self.arguments.retain_mut(|argument| {
            if argument.name != name.as_bytes() {
                return true;
            }
            let first = new.take();
            let keep = first.is_some();
            if let Some(first) = first {
                *argument = first;
            }
            keep
        });
    }

    /// Gives all of this name another name; those that had that one already go.
    pub(super) fn rename(&mut self, old: &str, new: &str) {
        if !self.has(old) {
            return;
        }
        self.remove(new);
        for argument in self
            .arguments
            .iter_mut()
            .filter(|argument| argument.name == old.as_bytes())
        {
            let value = argument.text.iter().position(|byte| *byte == b'=');
            let mut text = Vec::new();
            push_escaped(&mut text, new.as_bytes());
            text.extend_from_slice(value.and_then(|at| argument.text.get(at..)).unwrap_or_default());
            *argument = Argument {
                name: new.as_bytes().to_vec(),
                text,
            };
        }
    }

    pub(super) fn written(&self) -> Vec<u8> {
        let texts: Vec<&[u8]> = self.arguments.iter().map(|argument| &*argument.text).collect();
        texts.join(&b'&')
    }
}

impl Argument {
    fn new(name: &str, value: &[u8]) -> Self {
        let mut text = Vec::new();
        push_escaped(&mut text, name.as_bytes());
        text.push(b'=');
        push_escaped(&mut text, value);
        Self {
            name: name.as_bytes().to_vec(),
            text,
        }
    }
}
