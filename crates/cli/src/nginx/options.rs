//! nginx's own command line: single letters, values behind them with or without a space.

use std::ffi::OsString;

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// `-?`, `-h`
    pub(crate) help: bool,
    /// `-v`, `-V`
    pub(crate) version: bool,
    /// `-t`, `-T`
    pub(crate) test: bool,
    /// `-T`: also show the files.
    pub(crate) dump: bool,
    /// `-q`: only mistakes are told.
    pub(crate) quiet: bool,
    /// `-c`
    pub(crate) file: Option<String>,
    /// `-p`
    pub(crate) prefix: Option<String>,
    /// `-g`
    pub(crate) directives: String,
    /// `-s`
    pub(crate) signal: Option<Signal>,
    /// `--detached`, ours: leave the terminal's session, as the process in the background does.
    pub(crate) detached: bool,
}

/// What a running server is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Stop,
    Quit,
    Reopen,
    Reload,
}

/// What the process in the background is started with.
pub(crate) const DETACHED: &str = "--detached";

/// What `-h` says.
pub(crate) const HELP: &str = "\
Usage: nginx [-?hvVtTq] [-s signal] [-p prefix]
             [-e filename] [-c filename] [-g directives]

Options:
  -?,-h         : this help
  -v            : show version and exit
  -V            : show version and what is translated, then exit
  -t            : test configuration and exit
  -T            : test configuration, dump it and exit
  -q            : suppress non-error messages during configuration testing
  -s signal     : send signal to a running server: stop, quit, reopen, reload
  -p prefix     : set prefix path (default: /usr/share/nginx/)
  -e filename   : accepted; the server writes its own log
  -c filename   : set configuration file (default: /etc/nginx/nginx.conf)
  -g directives : set global directives out of configuration file
";

impl Options {
    /// Reads the words behind the program's name.
    ///
    /// # Errors
    /// nginx's words for what cannot be read.
    pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut words = words.into_iter().map(|word| word.to_string_lossy().into_owned());
        while let Some(word) = words.next() {
            if word == DETACHED {
                options.detached = true;
                continue;
            }
            let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
                return Err(format!("invalid option: \"{word}\""));
            };
            let mut rest = letters.chars();
            while let Some(letter) = rest.next() {
                if !"pecgs".contains(letter) {
                    options.flag(letter)?;
                    continue;
                }
                let behind = rest.as_str();
                let value = if behind.is_empty() {
                    words.next()
                } else {
                    Some(behind.to_owned())
                };
                options.value(letter, value)?;
                break;
            }
        }
        Ok(options)
    }

    fn flag(&mut self, letter: char) -> Result<(), String> {
        match letter {
            '?' | 'h' => self.help = true,
            'v' | 'V' => self.version = true,
            't' => self.test = true,
            'T' => (self.test, self.dump) = (true, true),
            'q' => self.quiet = true,
            _ => return Err(format!("invalid option: \"{letter}\"")),
        }
        Ok(())
    }

    fn value(&mut self, letter: char, value: Option<String>) -> Result<(), String> {
        let needs = |what| format!("option \"-{letter}\" requires {what}");
        match letter {
            'p' => self.prefix = Some(value.ok_or_else(|| needs("directory name"))?),
            'e' => drop(value.ok_or_else(|| needs("file name"))?),
            'c' => self.file = Some(value.ok_or_else(|| needs("file name"))?),
            'g' => self.directives = value.ok_or_else(|| needs("parameter"))?,
            _ => self.signal = Some(signal(&value.ok_or_else(|| needs("parameter"))?)?),
        }
        Ok(())
    }
}

fn signal(word: &str) -> Result<Signal, String> {
    Ok(match word {
        "stop" => Signal::Stop,
        "quit" => Signal::Quit,
        "reopen" => Signal::Reopen,
        "reload" => Signal::Reload,
        _ => return Err(format!("invalid option: \"-s {word}\"")),
    })
}

#[cfg(test)]
mod tests {
    use super::{Options, Signal};

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(Into::into))
    }

    #[test]
    fn letters_with_and_without_a_space() {
        let expected = Options {
            test: true,
            quiet: true,
            file: Some("/a.conf".to_owned()),
            prefix: Some("/p".to_owned()),
            ..Options::default()
        };
        for line in [
            "-t -q -c /a.conf -p /p",
            "-tq -c/a.conf -p/p",
            "-tqc /a.conf -p /p",
        ] {
            assert_eq!(parse(line).unwrap(), expected, "{line}");
        }
        assert_eq!(parse("-sreload").unwrap().signal, Some(Signal::Reload));
    }

    #[test]
    fn mistakes_are_told_as_nginx_tells_them() {
        for (line, expected) in [
            ("test", "invalid option: \"test\""),
            ("-x", "invalid option: \"x\""),
            ("-s now", "invalid option: \"-s now\""),
            ("-c", "option \"-c\" requires file name"),
            ("-g", "option \"-g\" requires parameter"),
        ] {
            assert_eq!(parse(line).unwrap_err(), expected, "{line}");
        }
    }
}
