//! Settings as they hold somewhere: a block's own, or those of the block around it.

use std::collections::BTreeMap;

use crate::tree::Directive;

/// A block and those around it, outermost first.
#[derive(Clone)]
pub(super) struct Scope<'a> {
    blocks: Vec<&'a Directive>,
    /// Variables that are the same for every request.
    values: BTreeMap<String, String>,
}

impl<'a> Scope<'a> {
    pub(super) fn of(outermost: &'a Directive) -> Self {
        Self {
            blocks: vec![outermost],
            values: BTreeMap::new(),
        }
    }

    /// The same with a block inside.
    pub(super) fn inside(&self, block: &'a Directive) -> Self {
        let mut inside = self.clone();
        inside.blocks.push(block);
        inside
    }

    /// The innermost block.
    pub(super) fn own(&self) -> Option<&'a Directive> {
        self.blocks.last().copied()
    }

    /// The setting that holds here.
    pub(super) fn get(&self, name: &str) -> Option<&'a Directive> {
        self.blocks.iter().rev().find_map(|block| block.last(name))
    }

    /// The settings that hold here, of those that add up within a block. nginx: a block with one of them has none of
    /// those around it.
    pub(super) fn all(&self, name: &'a str) -> Vec<&'a Directive> {
        let blocks = self.blocks.iter().rev();
        let own = blocks.map(|block| block.all(name).collect::<Vec<_>>());
        own.into_iter().find(|all| !all.is_empty()).unwrap_or_default()
    }

    /// The same for settings that count together, in their order.
    pub(super) fn any_of(&self, names: &[&str]) -> Vec<&'a Directive> {
        let of = |block: &&'a Directive| {
            let inside = block.inside().into_iter();
            inside
                .filter(|directive| names.contains(&directive.name.as_str()))
                .collect::<Vec<_>>()
        };
        self.blocks
            .iter()
            .rev()
            .map(of)
            .find(|all| !all.is_empty())
            .unwrap_or_default()
    }

    /// From here on a variable has this value; `None`: it depends on the request.
    pub(super) fn set(&mut self, variable: &str, value: Option<String>) {
        let name = variable.trim_start_matches('$').to_owned();
        match value {
            Some(value) => self.values.insert(name, value),
            None => self.values.remove(&name),
        };
    }

    /// The same place where the variables of `other` hold.
    pub(super) fn with_values_of(mut self, other: &Self) -> Self {
        self.values.clone_from(&other.values);
        self
    }

    /// The same where the named groups of a regex stand for their numbers.
    pub(super) fn with_groups_of(&self, regex: &str) -> Self {
        let mut scope = self.clone();
        if let Ok(regex) = regex::Regex::new(regex) {
            for (number, name) in regex.capture_names().enumerate().take(10) {
                if let Some(name) = name {
                    scope.set(name, Some(format!("${number}")));
                }
            }
        }
        scope
    }

    /// A text with the values of variables that are the same for every request.
    pub(super) fn text(&self, text: &str) -> String {
        replaced(text, |name| self.values.get(name).cloned())
    }
}

/// A text in which variables are replaced by what `value` says; the others stay.
pub(super) fn replaced(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let name = name_at(from);
        let length = match from.get(1..) {
            Some(after) if after.starts_with('{') => name.len() + 3,
            _ => name.len() + 1,
        };
        let Some((variable, behind)) = from.split_at_checked(length) else {
            return out + from;
        };
        match value(name) {
            Some(value) => out.push_str(&value),
            None => out.push_str(variable),
        }
        rest = behind;
    }
    out + rest
}

/// The name of the variable at the start of a text.
fn name_at(text: &str) -> &str {
    let name = text.strip_prefix('$').unwrap_or(text);
    let name = name.strip_prefix('{').unwrap_or(name);
    let length = name
        .bytes()
        .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        .count();
    name.get(..length).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn variables_are_replaced() {
        let value = |name: &str| (name == "a").then(|| "1".to_owned());
        for (text, expected) in [
            ("$a", "1"),
            ("x${a}y$ab$a.", "x1y$ab1."),
            ("$", "$"),
            ("$1$a", "$11"),
            ("${a", "${a"),
            ("$$a", "$1"),
            ("ü$aü", "ü1ü"),
        ] {
            assert_eq!(replaced(text, value), expected, "{text}");
        }
    }
}
