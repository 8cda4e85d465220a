//! `response-transformer`: other fields for the client (Kong 3.9), in this order: remove, rename, replace (what
//! is there), add (what is not there), append. It sees the gateway's own answers too.
//!
//! Left out: JSON bodies, which are passed on while they come. Fields that frame the message are not to be
//! changed.

use serde_json::{Map, Value};

use super::answer::AnswerView;
use super::request_transformer::{changeable, pair};
use super::settings::Settings;
use super::{Plugin, PluginKind, SettingProblem};

/// Its entry in the list.
pub const KIND: PluginKind = PluginKind {
    name: "response-transformer",
    priority: 800,
    summary: "changes fields of answers",
    parse,
};

struct ResponseTransformer {
    remove: Vec<String>,
    rename: Vec<(String, String)>,
    replace: Vec<(String, String)>,
    add: Vec<(String, String)>,
    append: Vec<(String, String)>,
}

fn parse(config: &Map<String, Value>) -> Result<Box<dyn Plugin>, Vec<SettingProblem>> {
    let mut settings = Settings::of(config);
    let remove = settings.record("remove", |part| {
        no_json(part, false);
        part.texts("headers", |name| changeable(name).map(str::to_owned))
    });
    let rename = settings.record("rename", |part| {
        no_json(part, false);
        part.texts("headers", |text| {
            pair(text, |old, new| {
                changeable(old)?;
                changeable(new).map(str::to_owned)
            })
        })
    });
    let replace = settings.record("replace", fields);
    let add = settings.record("add", fields);
    let append = settings.record("append", fields);
    settings.finish()?;
    Ok(Box::new(ResponseTransformer {
        remove,
        rename,
        replace,
        add,
        append,
    }))
}

fn fields(part: &mut Settings<'_>) -> Vec<(String, String)> {
    no_json(part, true);
    part.texts("headers", |text| {
        pair(text, |name, value| {
            changeable(name)?;
            Ok(value.to_owned())
        })
    })
}

fn no_json(part: &mut Settings<'_>, typed: bool) {
    let keys: &[_] = if typed { &["json", "json_types"] } else { &["json"] };
    for key in keys {
        if !part.texts(key, |text| Ok(text.to_owned())).is_empty() {
            part.problem(key, "bodies are passed on as they come and cannot be changed");
        }
    }
}

impl Plugin for ResponseTransformer {
    fn sees_answers(&self) -> bool {
        true
    }

    fn after(&self, answer: &mut AnswerView<'_>) {
        for name in &self.remove {
            answer.edits.remove(name.clone());
        }
        for (old, new) in &self.rename {
            rename(answer, old, new);
        }
        for (name, value) in &self.replace {
            if is_there(answer, name) {
                answer.edits.set(name.clone(), value.as_bytes());
            }
        }
        for (name, value) in &self.add {
            if !is_there(answer, name) {
                answer.edits.set(name.clone(), value.as_bytes());
            }
        }
        for (name, value) in &self.append {
            answer.edits.append(name.clone(), value.as_bytes());
        }
    }
}

/// Whether the client would get such a field as things stand.
fn is_there(answer: &AnswerView<'_>, name: &str) -> bool {
    let sent = answer.header(name).is_some() && !answer.edits.drops(name.as_bytes());
    sent || answer
        .edits
        .added()
        .any(|(added, _)| added.eq_ignore_ascii_case(name))
}

fn rename(answer: &mut AnswerView<'_>, old: &str, new: &str) {
    let values = answer.headers(old);
    if values.is_empty() || answer.edits.drops(old.as_bytes()) {
        return;
    }
    answer.edits.remove(old.to_owned());
    answer.edits.remove(new.to_owned());
    for value in values {
        answer.edits.append(new.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugin::fixture::{AnswerFixture, lines, settings};

    #[test]
    fn fields_are_changed() {
        let rows = [
            (json!({"remove": {"headers": ["x-own"]}}), "", true),
            (
                json!({"rename": {"headers": ["x-own:X-New"]}}),
                "X-New: 1\nX-New: 2\n",
                true,
            ),
            (
                json!({"replace": {"headers": ["X-Own:3", "X-None:4"]}}),
                "X-Own: 3\n",
                true,
            ),
            (
                json!({"add": {"headers": ["X-Own:3", "X-None:4:5"]}}),
                "X-None: 4:5\n",
                false,
            ),
            (json!({"append": {"headers": ["X-Own:3"]}}), "X-Own: 3\n", false),
        ];
        for (config, added, dropped) in rows {
            let plugin = parse(&settings(config.clone())).unwrap();
            let mut fixture = AnswerFixture::new(
                "HTTP/1.1 200 OK\r\nX-Own: 1\r\nX-Own: 2\r\nContent-Length: 2\r\n\r\n",
                "",
            );
            plugin.after(&mut fixture.view());
            assert_eq!(lines(&fixture.edits), added, "{config}");
            assert_eq!(fixture.edits.drops(b"X-Own"), dropped, "{config}");
        }
    }

    #[test]
    fn mistakes_are_placed() {
        let rows = [
            (
                json!({"add": {"headers": ["Content-Length:1"]}}),
                "config.add.headers.0: 'Content-Length' is not the name of a header that may be set",
            ),
            (
                json!({"add": {"json": ["a:1"]}}),
                "config.add.json: bodies are passed on as they come and cannot be changed",
            ),
            (
                json!({"rename": {"headers": ["a"]}}),
                "config.rename.headers.0: invalid value: a; expected `name:value`",
            ),
        ];
        for (config, message) in rows {
            let problems = parse(&settings(config.clone())).err().unwrap();
            assert_eq!(problems[0].to_string(), message, "{config}");
        }
    }
}
