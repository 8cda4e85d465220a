//! Who set which field: the owners of a body's leaves, carried from one version to the next.

use std::collections::BTreeMap;

use serde_json::Value;

/// The owners of `new`'s leaves: what is as it was in `old` keeps its owner, the rest is now `owner`'s.
pub(crate) fn carry(
    old: Option<(&Value, &BTreeMap<String, String>)>,
    new: &Value,
    owner: &str,
) -> BTreeMap<String, String> {
    let mut owners = BTreeMap::new();
    let (body, known) = old.unzip();
    each_leaf(new, body, &mut String::new(), &mut |pointer, is_kept| {
        let kept = known.filter(|_| is_kept).and_then(|known| known.get(pointer));
        owners.insert(pointer.to_owned(), kept.map_or(owner, String::as_str).to_owned());
    });
    owners
}

/// Calls `visit` with the JSON pointer of every leaf and whether it is as in `old`, the value in the same place. An
/// array is a leaf: its elements have no identity of their own.
fn each_leaf(value: &Value, old: Option<&Value>, pointer: &mut String, visit: &mut impl FnMut(&str, bool)) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let old = old.and_then(Value::as_object);
            for (name, value) in fields {
                let parent = pointer.len();
                pointer.push('/');
                push_escaped(pointer, name);
                each_leaf(value, old.and_then(|old| old.get(name)), pointer, visit);
                pointer.truncate(parent);
            }
        }
        leaf => visit(pointer, old == Some(leaf)),
    }
}

fn push_escaped(pointer: &mut String, name: &str) {
    for character in name.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_changed_changes_hands() {
        let rows = [
            (json!({"a": 1, "b": 2}), json!({"a": 1, "b": 3}), "/a=old /b=new"),
            (json!({"a": 1}), json!({"a": 1, "c": {"d": 2}}), "/a=old /c/d=new"),
            (json!({"a": 1, "b": 2}), json!({"b": 2}), "/b=old"),
            (json!({"a": [1, 2]}), json!({"a": [1, 2, 3]}), "/a=new"),
            (json!({"a": {}}), json!({"a": {}}), "/a=old"),
            (
                json!({"a": {"b": 1}}),
                json!({"a": {"b": 1, "c": 1}}),
                "/a/b=old /a/c=new",
            ),
            (json!({"a": 1}), json!({"a": {"b": 1}}), "/a/b=new"),
            (json!({"a": {"b": 1}}), json!({"a": 1}), "/a=new"),
            (
                json!({"x/y": 1, "m~n": 2}),
                json!({"x/y": 1, "m~n": 3}),
                "/m~0n=new /x~1y=old",
            ),
            (json!("text"), json!("text"), "=old"),
            (json!("text"), json!({}), "=new"),
            (json!({"": 1}), json!({"": 1}), "/=old"),
        ];
        for (old, new, expected) in rows {
            let before = carry(None, &old, "old");
            let after = carry(Some((&old, &before)), &new, "new");
            let shown: Vec<_> = after
                .iter()
                .map(|(pointer, owner)| format!("{pointer}={owner}"))
                .collect();
            assert_eq!(shown.join(" "), expected, "{old} to {new}");
        }
    }
}
