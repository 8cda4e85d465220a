//! What is done, as data: from the target and the operation, without asking any host.

use hythe_dialect_pm2::deploy::{Source, Target};

/// What somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Make the folders, fetch, and run the hooks of setup. Safe to repeat.
    Setup,
    /// Make a new release and switch to it.
    Deploy,
    /// Switch to the release so many before the current one.
    Revert(usize),
}

/// What one host does, phase by phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What no running service sees.
    pub(crate) prepare: Vec<Step>,
    /// From the switch until the release is known to work.
    pub(crate) activate: Vec<Step>,
    /// What follows when it works everywhere.
    pub(crate) finish: Vec<Step>,
}

/// One thing that a host does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    LayOut,
    Lock,
    /// See what is there.
    Look,
    Fetch,
    CheckOut,
    Upload,
    Share,
    /// Make the first release current, if nothing is.
    Begin,
    /// Find the release so many before, and make its folder again if it is gone.
    Find(usize),
    Switch,
    Hook(Hook),
    Check,
    Record,
    Prune,
}

/// A hook that runs on hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    PreSetup,
    PostSetup,
    PreDeploy,
    PostDeploy,
}

/// What runs where a target has no `post-deploy`.
const START: &str = include_str!("start.sh");

/// What `operation` comes to.
pub fn plan(operation: Operation, target: &Target) -> Plan {
    let is_git = matches!(target.source, Source::Git { .. });
    let is_needed = |step: &Step| match step {
        Step::Hook(hook) => !hook.text(target).is_empty(),
        Step::Fetch | Step::CheckOut | Step::Begin => is_git,
        Step::Upload => !is_git,
        Step::Share => !target.shared.is_empty(),
        Step::Check => target.health_check.is_some(),
        _ => true,
    };
    let needed = |steps: &[Step]| steps.iter().copied().filter(is_needed).collect::<Vec<_>>();
    let activate = needed(&[Step::Switch, Step::Hook(Hook::PostDeploy), Step::Check]);
    match operation {
        Operation::Setup => Plan {
            prepare: needed(&[
                Step::Hook(Hook::PreSetup),
                Step::LayOut,
                Step::Lock,
                Step::Look,
                Step::Fetch,
                Step::Begin,
                Step::Hook(Hook::PostSetup),
            ]),
            activate: Vec::new(),
            finish: Vec::new(),
        },
        Operation::Deploy => Plan {
            prepare: needed(&[
                Step::Lock,
                Step::Look,
                Step::Hook(Hook::PreDeploy),
                Step::Fetch,
                Step::CheckOut,
                Step::Upload,
                Step::Share,
            ]),
            activate,
            finish: vec![Step::Record, Step::Prune],
        },
        Operation::Revert(steps) => Plan {
            prepare: vec![Step::Lock, Step::Look, Step::Find(steps)],
            activate,
            finish: Vec::new(),
        },
    }
}

impl Plan {
    /// The plan in words, for people: what hooks run is quoted, variables are only named.
    pub fn told(&self, target: &Target) -> String {
        let mut text = format!("on {}:\n", hosts(target));
        let phases = [&self.prepare, &self.activate, &self.finish];
        for (index, steps) in phases.into_iter().filter(|steps| !steps.is_empty()).enumerate() {
            if index > 0 && target.hosts.len() > 1 {
                text.push_str("when all hosts are that far:\n");
            }
            steps.iter().for_each(|step| push_step(&mut text, *step, target));
        }
        if !self.activate.is_empty() {
            text.push_str("if a host fails after its switch, on all that have switched:\n");
            text.push_str("  switch `current` back, and run post-deploy in the release before\n");
        }
        if !target.env.is_empty() {
            let names: Vec<_> = target.env.keys().map(String::as_str).collect();
            text.push_str(&format!("variables of hooks: {}\n", names.join(", ")));
        }
        text
    }
}

fn hosts(target: &Target) -> String {
    let hosts: Vec<_> = target.hosts.iter().map(ToString::to_string).collect();
    let at_once = match target.max_parallel {
        limit if limit < hosts.len() => format!(" ({limit} at once)"),
        _ => String::new(),
    };
    format!("{}{at_once}", hosts.join(", "))
}

fn push_step(text: &mut String, step: Step, target: &Target) {
    text.push_str(&format!("  {}\n", step.words(target)));
    if let Step::Hook(hook) = step {
        match hook.written(target) {
            Some(hook) => hook
                .lines()
                .for_each(|line| text.push_str(&format!("    | {line}\n"))),
            None => text.push_str("    start the apps of the file\n"),
        }
    }
}

impl Step {
    /// What it does, in one line.
    pub(crate) fn words(self, target: &Target) -> String {
        let (repo, reference) = match &target.source {
            Source::Git { repo, reference, .. } => (repo.as_str(), reference.as_str()),
            Source::Upload => ("", ""),
        };
        let path = &target.path;
        match self {
            Self::LayOut => format!("make {path} with its folders"),
            Self::Lock => format!("lock {path}"),
            Self::Look => "look what is there".to_owned(),
            Self::Fetch => format!("fetch {}", without_password(repo)),
            Self::CheckOut => format!("make a release of {reference}"),
            Self::Upload => "upload this folder as a release".to_owned(),
            Self::Share => format!("share {}", target.shared.join(", ")),
            Self::Begin => format!("make {reference} current, if nothing is"),
            Self::Find(steps) => format!("find the release {steps} before the current one"),
            Self::Switch => "switch `current` to the release".to_owned(),
            Self::Hook(hook) => format!("{} in {}", hook.name(), hook.folder()),
            Self::Check => check(target),
            Self::Record => "note the release".to_owned(),
            Self::Prune => format!("remove all but the last {}", target.keep_releases),
        }
    }
}

fn check(target: &Target) -> String {
    target.health_check.as_ref().map_or_else(String::new, |health| {
        let (tries, interval) = (health.tries, health.interval_s);
        format!(
            "health check, {tries} times at most, {interval} s apart: {}",
            health.check
        )
    })
}

/// `https://user:password@host/` is a form that some write.
fn without_password(repo: &str) -> String {
    let parts = repo.split_once("://").and_then(|(scheme, rest)| {
        let (login, host) = rest.split_once('@')?;
        (!login.contains('/')).then_some((scheme, host))
    });
    parts.map_or_else(|| repo.to_owned(), |(scheme, host)| format!("{scheme}://{host}"))
}

impl Hook {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PreSetup => "pre-setup",
            Self::PostSetup => "post-setup",
            Self::PreDeploy => "pre-deploy",
            Self::PostDeploy => "post-deploy",
        }
    }

    /// What the target says.
    fn written(self, target: &Target) -> Option<&str> {
        let hooks = &target.hooks;
        let text = match self {
            Self::PreSetup => &hooks.pre_setup,
            Self::PostSetup => &hooks.post_setup,
            Self::PreDeploy => &hooks.pre_deploy,
            Self::PostDeploy => &hooks.post_deploy,
        };
        text.as_deref()
    }

    /// What runs: a target without `post-deploy` has its apps started, one without others has nothing to run.
    pub(crate) fn text(self, target: &Target) -> &str {
        self.written(target).unwrap_or(match self {
            Self::PostDeploy => START,
            _ => "",
        })
    }

    fn folder(self) -> &'static str {
        match self {
            Self::PreSetup => "the home",
            Self::PostSetup | Self::PreDeploy => "`current`",
            Self::PostDeploy => "the release",
        }
    }
}
