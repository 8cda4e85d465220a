//! An app as a text that is kept with what runs of it, so that a later `restart` with other flags knows what was
//! said before.

use super::App;

impl App {
    /// This app as JSON, without its environments.
    pub fn remembered(&self) -> String {
        // Texts, numbers and lists always have a form in JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The app that was remembered as `text`; `None` if it is none.
    pub fn recalled(text: &str) -> Option<Self> {
        let mut app: Self = serde_json::from_str(text).ok()?;
        if app.script.is_empty() {
            return None;
        }
        app.settle();
        Some(app)
    }
}

/// What a text that says nothing means.
pub(super) fn nothing() -> App {
    App::bare(String::new())
}

/// What follows from a script's extension is left out: it follows again.
pub(super) mod interpreter {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::app::Interpreter;

    const SHELL: &str = "bash -c";

    pub(crate) fn serialize<S: Serializer>(
        interpreter: &Option<Interpreter>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = match interpreter {
            None | Some(Interpreter::FirstOf(_)) => None,
            Some(Interpreter::Direct) => Some("none".to_owned()),
            Some(Interpreter::Shell) => Some(SHELL.to_owned()),
            Some(Interpreter::Program(program)) => Some(program.clone()),
            Some(Interpreter::Node(version)) => Some(format!("node@{version}")),
        };
        text.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Interpreter>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        Ok(text.map(|text| match text.as_str() {
            SHELL => Interpreter::Shell,
            text => Interpreter::named(text),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Interpreter, Watch};
    use crate::file::parse_json;

    #[test]
    fn an_app_comes_back_without_its_environment() {
        let file = parse_json(
            r#"[{script: 'a.py', instances: 'max', env: {SECRET: 'x'}, env_prod: {SECRET: 'y'}, watch: ['src'],
                uid: 'www', max_memory_restart: '200M', ignore_watch: [{$re: 'a/b'}], error_file: 'NULL'},
               {script: './work.sh', interpreter: 'none'}, {script: 'npm start'}, {script: 'x', interpreter: 'deno'}]"#,
        );
        let apps = file.ecosystem.expect("a good file").apps;
        for app in apps {
            let text = app.remembered();
            assert!(!text.contains("SECRET"), "{text}");
            let expected = App {
                env: Default::default(),
                environments: Default::default(),
                ..app
            };
            assert_eq!(App::recalled(&text), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_text_of_another_version_is_read_as_far_as_it_goes() {
        let app = App::recalled(r#"{"script": "a.js", "unheard_of": 1}"#).expect("an app");
        assert_eq!((app.name.as_str(), app.max_restarts), ("a", 16));
        assert_eq!(app.watch, Watch::Off);
        assert!(matches!(app.interpreter, Some(Interpreter::FirstOf(_))));
        for text in ["", "{}", "[]", "{\"script\": 1}"] {
            assert_eq!(App::recalled(text), None, "{text}");
        }
    }
}
