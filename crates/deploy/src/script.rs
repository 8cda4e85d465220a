//! The text that a host's shell reads: values, the functions of `remote.sh`, one call.

const FUNCTIONS: &str = include_str!("remote.sh");

/// Values for a shell. They may be secret, so they cannot be shown.
#[derive(Clone, Default)]
pub(crate) struct Values(String);

impl Values {
    /// With `name` set to `value`, which has no null character.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.0.push_str(&format!("{name}={}\n", quoted(value)));
        self
    }

    /// With a function `variables` that puts `variables` into the environment.
    pub(crate) fn variables<'v>(
        mut self,
        variables: impl IntoIterator<Item = (&'v String, &'v String)>,
    ) -> Self {
        self.0.push_str("variables() {\n:\n");
        for (name, value) in variables {
            self.0.push_str(&format!("export {name}={}\n", quoted(value)));
        }
        self.0.push_str("}\n");
        self
    }

    /// The script that calls a function.
    pub(crate) fn call(&self, function: &str) -> String {
        format!("{}{FUNCTIONS}{function}\n", self.0)
    }

    /// The script that calls a function which reads `text`.
    pub(crate) fn feed(&self, function: &str, text: &str) -> String {
        format!("{}{FUNCTIONS}{}", self.0, fed(function, text))
    }
}

/// `function` reading `text`, to which a line end is added if it has none.
fn fed(function: &str, text: &str) -> String {
    let mut end = "END".to_owned();
    while text.lines().any(|line| line == end) {
        end.push('_');
    }
    let newline = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    format!("{function} <<'{end}'\n{text}{newline}{end}\n")
}

/// One word of a shell that stands for `text`.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    fn said_by(shell: &str, script: &str) -> Vec<u8> {
        let mut child = Command::new(shell)
            .arg("-s")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut stdin = child.stdin.take().expect("its input");
        stdin.write_all(script.as_bytes()).expect("it reads");
        drop(stdin);
        child.wait_with_output().expect("it ends").stdout
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn shells_read_what_was_written(text in "(?s)([^\0\r]|['\"$\n\\\\`!]|END\n){0,40}") {
            for shell in ["sh", "bash"] {
                let said = said_by(shell, &format!("printf %s {}", quoted(&text)));
                prop_assert_eq!(String::from_utf8_lossy(&said), text.as_str());
                let mut line = said_by(shell, &fed("cat", &text));
                if !text.is_empty() && !text.ends_with('\n') {
                    prop_assert_eq!(line.pop(), Some(b'\n'));
                }
                prop_assert_eq!(String::from_utf8_lossy(&line), text.as_str());
            }
        }
    }

    #[test]
    fn a_text_cannot_end_its_document() {
        assert_eq!(fed("f", "END\nEND_"), "f <<'END__'\nEND\nEND_\nEND__\n");
        assert_eq!(fed("f", ""), "f <<'END'\nEND\n");
    }
}
