//! What a process gets as its environment.
//!
//! ```text
//! shell (filtered) < deploy.<X>.env < env < port < env_<X>        X: the chosen environment, `--env X`
//! ```
//!
//! That is PM2's order. Two of its habits are not kept. A restart from a file gives what the file says *now*:
//! PM2 never takes a variable away, so `NODE_ENV` of an environment chosen once would stay for ever;
//! [`restarted_from_file`] keeps the old ones only if asked to. And PM2's own fields are no variables here;
//! what each instance gets besides (`PORT`, its number) is added by who starts it.

use std::collections::BTreeMap;

use crate::app::{App, FilterEnv};
use crate::ecosystem::Ecosystem;

/// Variables by name.
pub type Variables = BTreeMap<String, String>;

/// What an app's environment is made of.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The environment of the command line.
    pub shell: &'a Variables,
    /// The app.
    pub app: &'a App,
    /// Its file; `None` for an app of flags.
    pub file: Option<&'a Ecosystem>,
    /// The chosen environment.
    pub chosen: Option<&'a str>,
}

/// An environment as it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The variables.
    pub variables: Variables,
    /// The chosen environment, if neither the app nor `deploy` knows it: a reason to warn, not to fail.
    pub unknown: Option<String>,
}

/// For a first start.
pub fn started(sources: &Sources<'_>) -> Merged {
    let app = sources.app;
    let mut variables = filtered(sources.shell, &app.filter_env);
    let deploy = sources
        .chosen
        .and_then(|chosen| sources.file?.deploy_env.get(chosen));
    let special = sources.chosen.and_then(|chosen| app.environments.get(chosen));
    let port = app.port.map(|port| ("PORT".to_owned(), port.to_string()));
    variables.extend(deploy.into_iter().flatten().map(owned));
    variables.extend(app.env.iter().map(owned));
    variables.extend(port);
    variables.extend(special.into_iter().flatten().map(owned));
    let is_known =
        |chosen: &str| special.is_some() || sources.file.is_some_and(|file| file.deploy.contains_key(chosen));
    Merged {
        variables,
        unknown: sources
            .chosen
            .filter(|chosen| !is_known(chosen))
            .map(str::to_owned),
    }
}

/// For a restart from a file: the same as a first start. `kept` (`--keep-env`) are the variables that the
/// process has; they stay unless the file or the shell says otherwise.
pub fn restarted_from_file(sources: &Sources<'_>, kept: Option<&Variables>) -> Merged {
    let mut merged = started(sources);
    for (name, value) in kept.into_iter().flatten() {
        merged
            .variables
            .entry(name.clone())
            .or_insert_with(|| value.clone());
    }
    merged
}

/// For a restart by name: what the process has, and over it the shell's (`--update-env`) if it is given.
pub fn restarted_by_name(stored: &Variables, shell: Option<&Variables>, filter: &FilterEnv) -> Variables {
    let mut variables = stored.clone();
    if let Some(shell) = shell {
        variables.extend(filtered(shell, filter));
    }
    variables
}

fn filtered(shell: &Variables, filter: &FilterEnv) -> Variables {
    let stays = |name: &str| match filter {
        FilterEnv::Nothing => true,
        FilterEnv::Everything => false,
        FilterEnv::Containing(parts) => !parts.iter().any(|part| name.contains(part.as_str())),
    };
    let kept = shell.iter().filter(|(name, _)| stays(name));
    kept.map(owned).collect()
}

fn owned((name, value): (&String, &String)) -> (String, String) {
    (name.clone(), value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::parse_json;

    const FILE: &str = r#"{
        apps: [{
            script: 'a.js', port: 3000,
            env: {A: 'app', B: 'app', PORT: 1, O: {z: 1, a: [true, null]}, T: true, N: 1.0, F: .5, X: null},
            env_prod: {B: 'prod', NODE_ENV: 'production'},
            env_port: {PORT: 4000},
        }],
        deploy: {prod: {env: {A: 'deploy', D: 'deploy'}}, bare: {}},
    }"#;

    fn variables(text: &str) -> Variables {
        let pair = |word: &str| {
            let (name, value) = word.split_once('=').expect("name=value");
            (name.to_owned(), value.to_owned())
        };
        text.split_whitespace().map(pair).collect()
    }

    fn ecosystem() -> Ecosystem {
        parse_json(FILE).ecosystem.expect("a good file")
    }

    #[test]
    fn a_start_merges_in_order() {
        let file = ecosystem();
        let shell = variables("A=shell S=shell PORT=9");
        let made = r#"O={"z":1,"a":[true,null]} T=true N=1 F=0.5 X=null S=shell"#;
        let rows = [
            (None, "A=app B=app PORT=3000", None),
            (
                Some("prod"),
                "A=app B=prod PORT=3000 NODE_ENV=production D=deploy",
                None,
            ),
            (Some("port"), "A=app B=app PORT=4000", None),
            (Some("bare"), "A=app B=app PORT=3000", None),
            (Some("nope"), "A=app B=app PORT=3000", Some("nope")),
        ];
        for (chosen, expected, unknown) in rows {
            let merged = started(&Sources {
                shell: &shell,
                app: &file.apps[0],
                file: Some(&file),
                chosen,
            });
            assert_eq!(
                merged.variables,
                variables(&format!("{made} {expected}")),
                "{chosen:?}"
            );
            assert_eq!(merged.unknown.as_deref(), unknown);
        }
    }

    #[test]
    fn the_shell_is_filtered_by_parts_of_names() {
        let shell = variables("AWS_KEY=1 MY_AWS=2 PATH=/bin");
        let parts = |parts: &[&str]| FilterEnv::Containing(parts.iter().map(ToString::to_string).collect());
        let rows = [
            (FilterEnv::Nothing, "AWS_KEY=1 MY_AWS=2 PATH=/bin"),
            (FilterEnv::Everything, ""),
            (parts(&["AWS"]), "PATH=/bin"),
            (parts(&["AWS_", "PATH"]), "MY_AWS=2"),
        ];
        for (filter_env, expected) in rows {
            let app = App {
                filter_env: filter_env.clone(),
                ..App::new("a.js")
            };
            let sources = Sources {
                shell: &shell,
                app: &app,
                file: None,
                chosen: None,
            };
            assert_eq!(started(&sources).variables, variables(expected), "{filter_env:?}");
            let updated = restarted_by_name(&variables("K=1"), Some(&shell), &filter_env);
            assert_eq!(updated, variables(&format!("K=1 {expected}")));
        }
    }

    #[test]
    fn restarts_keep_what_they_should() {
        let file = parse_json("[{script: 'a.js', env: {A: 'new'}}]")
            .ecosystem
            .expect("a good file");
        let shell = variables("S=now");
        let stored = variables("A=old NODE_ENV=production S=then");
        let sources = Sources {
            shell: &shell,
            app: &file.apps[0],
            file: Some(&file),
            chosen: None,
        };
        let none = &FilterEnv::Nothing;
        let rows = [
            (restarted_from_file(&sources, None).variables, "A=new S=now"),
            (
                restarted_from_file(&sources, Some(&stored)).variables,
                "A=new S=now NODE_ENV=production",
            ),
            (
                restarted_by_name(&stored, None, none),
                "A=old NODE_ENV=production S=then",
            ),
            (
                restarted_by_name(&stored, Some(&shell), none),
                "A=old NODE_ENV=production S=now",
            ),
        ];
        for (made, expected) in rows {
            assert_eq!(made, variables(expected));
        }
    }
}
