//! Values as node's `util.inspect` prints them, which scripts around PM2 look into (`name: 'api'`).
//!
//! Objects and lists stand on one line if they have at most two more levels in them and fit into 72 columns or so, as
//! node has it. Left out: node's columns for long lists, and texts of several lines put together with `+`.

use serde_json::Value;

/// The widest that node makes a line.
const LINE: usize = 80;
/// What node takes away from that for brackets and more.
const MARGIN: usize = 11;
/// So many levels stand on one line at most.
const COMPACT: usize = 3;

/// `value` as node prints it.
pub(crate) fn inspect(value: &Value) -> String {
    print(value, 0).text
}

struct Printed {
    text: String,
    /// Levels of objects and lists that are not empty, this one included; node counts those of the last part only.
    levels: usize,
}

fn print(value: &Value, indentation: usize) -> Printed {
    let leaf = |text: String| Printed { text, levels: 0 };
    match value {
        Value::Null => leaf("null".to_owned()),
        Value::Bool(flag) => leaf(flag.to_string()),
        Value::Number(number) => leaf(number.to_string()),
        Value::String(text) => leaf(quoted(text)),
        Value::Array(items) => {
            let parts: Vec<Printed> = items.iter().map(|item| print(item, indentation + 2)).collect();
            joined(&parts, indentation, ["[", "]"])
        }
        Value::Object(fields) => {
            let part = |(name, value): (&String, &Value)| {
                let Printed { text, levels } = print(value, indentation + 2);
                Printed {
                    text: format!("{}: {text}", key(name)),
                    levels,
                }
            };
            joined(
                &fields.iter().map(part).collect::<Vec<_>>(),
                indentation,
                ["{", "}"],
            )
        }
    }
}

fn joined(parts: &[Printed], indentation: usize, [open, close]: [&str; 2]) -> Printed {
    if parts.is_empty() {
        return Printed {
            text: format!("{open}{close}"),
            levels: 0,
        };
    }
    let levels = parts
        .iter()
        .rfind(|part| part.levels > 0)
        .map_or(0, |part| part.levels)
        + 1;
    let texts: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
    let width: usize = texts.iter().map(|text| text.chars().count() + 2).sum();
    let fits = width + indentation + MARGIN <= LINE && !texts.iter().any(|text| text.contains('\n'));
    let text = if levels <= COMPACT && fits {
        format!("{open} {} {close}", texts.join(", "))
    } else {
        let margin = format!("\n{}", " ".repeat(indentation));
        format!(
            "{open}{margin}  {}{margin}{close}",
            texts.join(&format!(",{margin}  "))
        )
    };
    Printed { text, levels }
}

fn key(name: &str) -> String {
    let mut letters = name.chars();
    let is_word = letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if is_word { name.to_owned() } else { quoted(name) }
}

/// In the first of three kinds of quotes that is not in it.
fn quoted(text: &str) -> String {
    let is_free = |quote: &char| !text.contains(*quote);
    let quote = match ['\'', '"', '`'].into_iter().find(is_free) {
        Some('`') if text.contains("${") => '\'',
        Some(quote) => quote,
        None => '\'',
    };
    let mut quoted = String::from(quote);
    for letter in text.chars() {
        match letter {
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\\' => quoted.push_str("\\\\"),
            letter if letter == quote => quoted.extend(['\\', letter]),
            letter if letter.is_control() => quoted.push_str(&format!("\\x{:02X}", u32::from(letter))),
            letter => quoted.push(letter),
        }
    }
    quoted.push(quote);
    quoted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As node 20 prints the same values.
    #[test]
    fn values_look_as_in_node() {
        let rows = [
            (json!([]), "[]"),
            (json!({}), "{}"),
            (json!([1, true, null, 1.5]), "[ 1, true, null, 1.5 ]"),
            (
                json!({"a": 1, "b-c": "x", "_d": []}),
                "{ _d: [], a: 1, 'b-c': 'x' }",
            ),
            (json!("it's"), "\"it's\""),
            (json!("it's \"so\""), "`it's \"so\"`"),
            (json!("a\nb\\\u{1b}"), "'a\\nb\\\\\\x1B'"),
            (json!({"a": {"b": {"c": 1}}}), "{ a: { b: { c: 1 } } }"),
            (json!({"a": {"b": {"c": {}}}}), "{ a: { b: { c: {} } } }"),
            (
                json!({"a": {"b": {"c": {"d": 1}}}}),
                "{\n  a: { b: { c: { d: 1 } } }\n}",
            ),
        ];
        for (value, expected) in rows {
            assert_eq!(inspect(&value), expected);
        }
    }

    #[test]
    fn what_is_long_gets_a_line_for_each_part() {
        let (b, object) = (
            "b".repeat(20),
            |length: usize| json!({"a": {"x": "a".repeat(length), "y": "b".repeat(20)}}),
        );
        for (length, expected) in [
            (26, "{ a: { x: 'A', y: 'B' } }"),
            (30, "{\n  a: { x: 'A', y: 'B' }\n}"),
            (60, "{\n  a: {\n    x: 'A',\n    y: 'B'\n  }\n}"),
        ] {
            let expected = expected.replace('A', &"a".repeat(length)).replace('B', &b);
            assert_eq!(inspect(&object(length)), expected);
        }
    }
}
