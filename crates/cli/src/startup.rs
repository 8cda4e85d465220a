//! `startup` and `unstartup`: have the machine's service manager run the server at every boot.
//!
//! Only systemd is written for. What a unit says is decided in [`unit`] and can be shown without any right (`--print`);
//! here it is put in its place, and `unstartup` removes what was put there: one file that names its maker, and what
//! `systemctl enable` has made of it.

mod manager;
mod unit;

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use hythe_config::ServerArgs;
use rustix::process::{geteuid, getuid};

use self::manager::Manager;
use self::unit::{MADE_BY, SUBGROUPS_SINCE, Unit};
use crate::Context;
use crate::arguments::{StartupOptions, UnstartupOptions};
use crate::client::Presence;
use crate::failure::{Exit, Failure, Outcome};
use crate::server;

pub(crate) fn run(context: &mut Context, options: &StartupOptions) -> Outcome {
    let name = checked(&options.unit.name)?;
    let arguments = ServerArgs {
        home: std::path::absolute(&context.home)?,
        ..options.server.clone()
    };
    server::check(&arguments)?;
    let place = Place::of(options.unit.user, name)?;
    let unit = Unit {
        program: std::env::current_exe()?,
        home: arguments.home.clone(),
        settings: arguments.settings(),
        path: std::env::var("PATH").ok(),
        run_as: run_as(options),
        of_user: options.unit.user,
        has_subgroups: has_subgroups(),
    };
    let text = unit
        .text()
        .map_err(|mistake| Failure::new(Exit::Usage, mistake))?;
    if options.print {
        return context.out.raw(&text);
    }
    require_systemd(&unit)?;
    if !options.unit.user && !geteuid().is_root() {
        return Err(as_root(&unit, context, options));
    }
    place.refuse_others()?;
    context.out.line(format!("writing {}", place.file.display()))?;
    hythe_stdx::write_atomically_with_mode(&place.file, text.as_bytes(), 0o644)
        .map_err(|error| Failure::new(Exit::Failed, format!("write {}: {error}", place.file.display())))?;
    place.systemctl(context, &["daemon-reload"])?;
    place.systemctl(context, &["enable", name])?;
    if context.client.presence() == Presence::Absent {
        place.systemctl(context, &["start", name])?;
        context.out.line("the server runs, now and after every boot")?;
    } else {
        context.out.line(
            "the server runs already and goes on; systemd starts it at the next boot, or now with\n  \
             kill the server's process (`hythe status` names it; services run on), then start the unit",
        )?;
    }
    if options.unit.user {
        context
            .out
            .line("it ends with your last session, unless: loginctl enable-linger")?;
    }
    Ok(())
}

pub(crate) fn undo(context: &mut Context, options: &UnstartupOptions) -> Outcome {
    let name = checked(&options.unit.name)?;
    let place = Place::of(options.unit.user, name)?;
    if !place.file.exists() {
        let message = format!("there is no {}", place.file.display());
        return Err(Failure::new(Exit::NotFound, message));
    }
    place.refuse_others()?;
    if !options.unit.user && !geteuid().is_root() {
        let words = ["unstartup", "--name", name];
        return Err(needs_root(&sudo(
            &std::env::current_exe()?,
            &words.map(OsString::from),
        )));
    }
    place.systemctl(context, &["disable", name])?;
    context.out.line(format!("removing {}", place.file.display()))?;
    fs::remove_file(&place.file)?;
    place.systemctl(context, &["daemon-reload"])?;
    context
        .out
        .line("no server is started at boot; one that runs goes on")
}

/// Where a unit lies, and whose it is.
struct Place {
    file: PathBuf,
    of_user: bool,
}

impl Place {
    fn of(of_user: bool, name: &str) -> Outcome<Self> {
        let folder = if of_user {
            config_folder()?.join("systemd/user")
        } else {
            PathBuf::from("/etc/systemd/system")
        };
        if of_user {
            fs::create_dir_all(&folder)?;
        }
        Ok(Self {
            file: folder.join(format!("{name}.service")),
            of_user,
        })
    }

    /// A unit of somebody else stays as it is.
    fn refuse_others(&self) -> Outcome {
        match fs::read_to_string(&self.file) {
            Ok(text) if text.starts_with(MADE_BY) => Ok(()),
            Ok(_) => {
                let message = format!("{} is not made by `hythe startup`", self.file.display());
                Err(Failure::new(Exit::Failed, message).hint("choose another `--name`, or remove it"))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Failure::new(
                Exit::Failed,
                format!("read {}: {error}", self.file.display()),
            )),
        }
    }

    /// Says what it does and does it.
    fn systemctl(&self, context: &mut Context, words: &[&str]) -> Outcome {
        let mut command = Command::new("systemctl");
        if self.of_user {
            command.arg("--user");
        }
        command.args(words);
        let user = if self.of_user { "--user " } else { "" };
        let said = format!("systemctl {user}{}", words.join(" "));
        context.out.line(&said)?;
        let failed = |why: String| Failure::new(Exit::Failed, format!("{said}: {why}"));
        let status = command.status().map_err(|error| failed(error.to_string()))?;
        if status.success() {
            Ok(())
        } else {
            Err(failed(status.to_string()))
        }
    }
}

/// Whether the systemd that is installed knows `DelegateSubgroup`.
fn has_subgroups() -> bool {
    let said = Command::new("systemctl").arg("--version").output();
    let version = said
        .ok()
        .and_then(|said| version_in(&String::from_utf8_lossy(&said.stdout)));
    version.is_some_and(|version| version >= SUBGROUPS_SINCE)
}

/// Its first line is `systemd 252 (252.39-1~deb12u1)`; between releases, 257~rc1.
fn version_in(said: &str) -> Option<u32> {
    let version = said.strip_prefix("systemd ")?;
    let digits = version
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(version.len());
    version[..digits].parse().ok()
}

fn config_folder() -> Outcome<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    set("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&set("HOME")?).join(".config")))
        .ok_or_else(|| Failure::new(Exit::Usage, "neither XDG_CONFIG_HOME nor HOME is set"))
}

fn require_systemd(unit: &Unit) -> Outcome {
    match Manager::of(Path::new("/")) {
        Manager::Systemd => Ok(()),
        other => {
            let message = format!("units are written for systemd, and this machine runs {other}");
            Err(Failure::new(Exit::Failed, message).hint(format!(
                "have it run, and restart if it fails: {}",
                unit.command()
            )))
        }
    }
}

/// As the user who asks, unless somebody else is named.
fn run_as(options: &StartupOptions) -> Option<String> {
    let asked = options.run_as.clone();
    let own = || std::env::var("USER").ok().filter(|user| !user.is_empty());
    let root = getuid().is_root();
    asked.or_else(|| if root { None } else { own() })
}

fn as_root(unit: &Unit, context: &Context, options: &StartupOptions) -> Failure {
    let mut words: Vec<OsString> = vec!["startup".into(), "--home".into(), (&context.home).into()];
    words.extend(["--name".into(), OsString::from(&options.unit.name)]);
    if let Some(user) = &unit.run_as {
        words.extend(["--run-as".into(), user.into()]);
    }
    words.extend(unit.flags().map(OsString::from));
    needs_root(&sudo(&unit.program, &words))
}

fn needs_root(command: &str) -> Failure {
    Failure::new(Exit::Failed, "units of the machine are root's to write").hint(format!("run\n  {command}"))
}

/// With the folders in which programs are looked for here: services find theirs by them.
fn sudo(program: &Path, words: &[OsString]) -> String {
    let path = format!("PATH={}", std::env::var("PATH").unwrap_or_default());
    let all = [path.into(), program.as_os_str().to_owned()];
    let quoted = all.iter().chain(words).map(|word| quote(&word.to_string_lossy()));
    format!("sudo env {}", quoted.collect::<Vec<_>>().join(" "))
}

/// As a shell reads it back.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// A name that is a file's and a unit's.
fn checked(name: &str) -> Outcome<&str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.is_empty() && name.len() <= 100 && !name.starts_with(['-', '.']) && name.chars().all(fits) {
        return Ok(name);
    }
    let message = format!("`{name}` is no name for a unit");
    Err(Failure::new(Exit::Usage, message).hint("letters, digits, `-`, `_` and `.`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_systemd() {
        for (said, version) in [
            ("systemd 252 (252.39-1~deb12u1)\n+PAM +AUDIT\n", Some(252)),
            ("systemd 257~rc1-2\n", Some(257)),
            ("systemd 260", Some(260)),
            ("systemd", None),
            ("", None),
        ] {
            assert_eq!(version_in(said), version, "{said}");
        }
    }

    #[test]
    fn names_and_words() {
        for name in ["", "-x", ".x", "a/b", "a b", "a@b"] {
            assert!(checked(name).is_err(), "{name}");
        }
        assert!(checked("hythe-2.test").is_ok());
        for (word, quoted) in [
            ("a/b", "a/b"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", "'it'\\''s'"),
            ("$x", "'$x'"),
        ] {
            assert_eq!(quote(word), quoted);
        }
        let line = sudo(
            Path::new("/opt/hythe"),
            &["startup".into(), "--run-as".into(), "o p".into()],
        );
        assert!(line.starts_with("sudo env PATH="), "{line}");
        assert!(line.ends_with(" /opt/hythe startup --run-as 'o p'"), "{line}");
    }
}
