//! One host and its steps.

use hythe_dialect_pm2::deploy::{Source, Target};

use crate::connection::Connection;
use crate::history::{History, Release};
use crate::plan::{Hook, Step};
use crate::process::{Ran, Trust, end};
use crate::run::{Job, OfHost, Report};
use crate::script::Values;
use crate::trouble::Trouble;
use crate::upload::archive;

/// What asks a URL.
const PROBE: &str = include_str!("probe.sh");

/// A connected host, and what is known of it.
pub(crate) struct Worker<'j> {
    pub(crate) host: String,
    pub(crate) history: History,
    job: &'j Job,
    report: &'j dyn Report,
    connection: Connection,
    /// The release that is being made or gone back to.
    release: Option<Release>,
    /// What `current` was before it was switched.
    before: Option<Before>,
}

struct Before {
    link: Option<String>,
    /// Whether its post-deploy hook had once succeeded.
    was_live: bool,
}

/// A hook, and how it runs.
struct Call<'c> {
    name: &'c str,
    text: &'c str,
    /// Where, from the target's folder, or `home` or `here`.
    place: &'c str,
    tries: u32,
    interval_s: u64,
}

impl OfHost for Worker<'_> {
    fn host(&self) -> String {
        self.host.clone()
    }
}

impl<'j> Worker<'j> {
    pub(crate) fn new(job: &'j Job, report: &'j dyn Report, host: String, connection: Connection) -> Self {
        Self {
            host,
            history: History::default(),
            job,
            report,
            connection,
            release: None,
            before: None,
        }
    }

    /// Does steps until one fails or the user wants no more.
    pub(crate) fn perform(&mut self, steps: &[Step]) -> Result<(), Trouble> {
        steps
            .iter()
            .try_for_each(|step| match self.report.is_interrupted() {
                true => Err(Trouble::Interrupted),
                false => self.do_step(*step),
            })
    }

    /// Does steps, whatever the user wants by now: the release is live.
    pub(crate) fn finish(&mut self, steps: &[Step]) -> Result<(), Trouble> {
        steps.iter().try_for_each(|step| self.do_step(*step))
    }

    /// Reads what the host has.
    pub(crate) fn look(&mut self) -> Result<(), Trouble> {
        let script = self.values().call("state");
        self.history = History::of(&self.ask("a look at the releases", &script)?.answers);
        Ok(())
    }

    /// Runs a user's command in the current release.
    pub(crate) fn execute(&mut self, command: &str) -> Result<(), Trouble> {
        self.look()?;
        let Some(link) = self.history.link.clone() else {
            let root = &self.history.root;
            return Err(Trouble::Refused(format!("{root} has no current release yet")));
        };
        self.call(&Call::once("command", command, &link))
    }

    /// Runs a hook on this machine.
    pub(crate) fn run_local(&mut self, text: &str) -> Result<(), Trouble> {
        self.report.step(&self.host, "pre-deploy-local");
        self.call(&Call::once("pre-deploy-local", text, "here"))
    }

    /// Whether `current` is another than before.
    pub(crate) fn has_switched(&self) -> bool {
        self.before.is_some()
    }

    /// Makes current what was so before, and has it take over again.
    pub(crate) fn undo(&mut self) -> Result<(), Trouble> {
        let Some(before) = self.before.take() else {
            return Ok(());
        };
        self.report.step(&self.host, "switch `current` back");
        self.switch_to(before.link.as_deref())?;
        match before.link {
            Some(link) if before.was_live => {
                self.report.step(&self.host, "post-deploy in the release before");
                let text = Hook::PostDeploy.text(self.target());
                self.call(&Call::once("post-deploy", text, &link))
            }
            _ => Ok(()),
        }
    }

    fn do_step(&mut self, step: Step) -> Result<(), Trouble> {
        self.report.step(&self.host, &step.words(self.target()));
        match step {
            Step::LayOut => self.tell("making the folders", "lay_out"),
            Step::Lock => {
                let script = self.values().set("holder", &self.job.holder).call("lock");
                self.connection.lock(&script)
            }
            Step::Look => self.look(),
            Step::Fetch => self.tell("git fetch", "fetch"),
            Step::CheckOut => self.check_out_new(),
            Step::Upload => self.upload(),
            Step::Share => self.share(),
            Step::Begin => self.begin(),
            Step::Find(steps) => self.find(steps),
            Step::Switch => self.switch(),
            Step::Hook(hook) => self.hook(hook),
            Step::Check => self.check(),
            Step::Record => self.record(),
            Step::Prune => self.prune(),
        }
    }

    fn check_out_new(&mut self) -> Result<(), Trouble> {
        let resolved = self.ask("finding the commit", &self.git_values().call("resolve"))?;
        let commit = resolved
            .answers
            .iter()
            .find_map(|answer| answer.strip_prefix("commit "));
        let release = commit.and_then(|commit| Release::of(commit, &self.job.time));
        let release = release.ok_or_else(|| untold("the commit"))?;
        self.check_out(&release)?;
        self.release = Some(release);
        Ok(())
    }

    fn check_out(&mut self, release: &Release) -> Result<(), Trouble> {
        let commit = release
            .commit()
            .ok_or_else(|| Trouble::Gone(release.to_string()))?;
        let values = self.values().set("commit", commit);
        let script = values.set("release", &release.to_string()).call("check_out");
        self.ask("git worktree add", &script).map(drop)
    }

    fn upload(&mut self) -> Result<(), Trouble> {
        let release = Release::uploaded(&self.job.time).ok_or_else(|| untold("a time"))?;
        let folder = format!("{}/{}", self.history.root, release.link());
        let mut sent = Ok(());
        let (host, report, job) = (&self.host, self.report, self.job);
        let write = |to: &mut dyn std::io::Write| {
            sent = archive(&job.folder, to);
            Ok(())
        };
        let ran = self
            .connection
            .unpack(&folder, write, &|line| report.output(host, line))?;
        let ran = succeeded("unpacking", ran);
        sent.map_err(Trouble::Upload).and(ran)?;
        self.release = Some(release);
        Ok(())
    }

    fn share(&mut self) -> Result<(), Trouble> {
        if self.target().shared.is_empty() {
            return Ok(());
        }
        let release = self.chosen()?.to_string();
        let values = self.values().set("release", &release);
        let script = values.feed("share", &self.target().shared.join("\n"));
        self.ask("sharing", &script).map(drop)
    }

    fn begin(&mut self) -> Result<(), Trouble> {
        if self.history.link.is_some() {
            return Ok(());
        }
        self.check_out_new()?;
        self.share()?;
        let link = self.chosen()?.link();
        self.switch_to(Some(&link))?;
        self.history.link = Some(link);
        Ok(())
    }

    fn find(&mut self, steps: usize) -> Result<(), Trouble> {
        let release = self
            .history
            .back(steps)
            .cloned()
            .ok_or(Trouble::NoRelease(steps))?;
        if !self.history.folders.contains(&release) {
            self.report
                .output(&self.host, &format!("{release} is made again"));
            self.check_out(&release)?;
        }
        self.release = Some(release);
        self.share()
    }

    fn switch(&mut self) -> Result<(), Trouble> {
        let link = self.chosen()?.link();
        self.before = Some(Before {
            link: self.history.link.clone(),
            was_live: self.history.is_live(),
        });
        self.report.output(&self.host, &link);
        self.switch_to(Some(&link))
    }

    fn switch_to(&mut self, link: Option<&str>) -> Result<(), Trouble> {
        let script = self.values().set("link", link.unwrap_or_default()).call("switch");
        self.ask("the switch", &script).map(drop)
    }

    fn hook(&mut self, hook: Hook) -> Result<(), Trouble> {
        let text = hook.text(self.target());
        let place = match hook {
            Hook::PreSetup => "home".to_owned(),
            Hook::PostSetup | Hook::PreDeploy => "current".to_owned(),
            Hook::PostDeploy => self.chosen()?.link(),
        };
        self.call(&Call::once(hook.name(), text, &place))
    }

    fn check(&mut self) -> Result<(), Trouble> {
        let Some(health) = &self.target().health_check else {
            return Ok(());
        };
        let is_url = health.check.starts_with("http://") || health.check.starts_with("https://");
        self.call(&Call {
            name: "health-check",
            text: if is_url { PROBE } else { &health.check },
            place: &self.chosen()?.link(),
            tries: health.tries,
            interval_s: health.interval_s,
        })
    }

    fn record(&mut self) -> Result<(), Trouble> {
        let log = self.history.with(self.chosen()?);
        let script = self.values().feed("record", &in_lines(&log));
        self.ask("noting the release", &script).map(drop)
    }

    fn prune(&mut self) -> Result<(), Trouble> {
        let log = self.history.with(self.chosen()?);
        let free = self.history.superfluous(&log, self.target().keep_releases);
        let script = self.values().feed("prune", &in_lines(&free));
        self.ask("removing old releases", &script).map(drop)
    }

    /// Runs a text of the user's.
    fn call(&mut self, call: &Call<'_>) -> Result<(), Trouble> {
        let check = self.target().health_check.as_ref();
        let values = self
            .values()
            .set("name", call.name)
            .set("place", call.place)
            .set("tries", &call.tries.to_string())
            .set("interval", &call.interval_s.to_string())
            .set("url", check.map_or("", |health| &health.check))
            .variables(&self.target().env);
        let script = values.feed("hook", call.text);
        let file = match self.target().needs_tty {
            true => Some(self.leave(&script)?),
            false => None,
        };
        let (host, report) = (&self.host, self.report);
        let tell = |line: &str| report.output(host, line);
        let ran = match file {
            Some(file) => self.connection.run_in_terminal(&file, &tell),
            None => self.connection.run(Trust::Theirs, &script, &tell),
        };
        succeeded(call.name, ran?).map(drop)
    }

    /// Leaves a script on the host that removes itself when it runs.
    fn leave(&mut self, script: &str) -> Result<String, Trouble> {
        let text = format!("rm -rf -- \"${{0%/*}}\"\n{script}");
        let kept = self.ask("leaving a script", &self.values().feed("keep", &text))?;
        let file = kept
            .answers
            .iter()
            .find_map(|answer| answer.strip_prefix("file "));
        file.map(str::to_owned).ok_or_else(|| untold("the file"))
    }

    /// Runs a function of ours and says nothing unless it says something.
    fn tell(&mut self, what: &str, function: &str) -> Result<(), Trouble> {
        let script = self.git_values().call(function);
        self.ask(what, &script).map(drop)
    }

    fn ask(&mut self, what: &str, script: &str) -> Result<Ran, Trouble> {
        let (host, report) = (&self.host, self.report);
        let ran = self
            .connection
            .run(Trust::Ours, script, &|line| report.output(host, line))?;
        match ran
            .tail
            .last()
            .filter(|line| line.ends_with("is not set up on this host"))
        {
            Some(reason) => Err(Trouble::Refused(reason.clone())),
            None => succeeded(what, ran),
        }
    }

    fn values(&self) -> Values {
        Values::default()
            .set("path", &self.job.target.path)
            .set("environment", &self.job.environment)
            .set("file", &self.job.file)
    }

    fn git_values(&self) -> Values {
        match &self.job.target.source {
            Source::Git {
                repo,
                reference,
                shallow,
            } => self
                .values()
                .set("repo", repo)
                .set("ref", reference)
                .set("depth", if *shallow { "--depth=5" } else { "" }),
            Source::Upload => self.values(),
        }
    }

    fn target(&self) -> &'j Target {
        &self.job.target
    }

    /// Plans choose a release before they do something with it.
    fn chosen(&self) -> Result<&Release, Trouble> {
        self.release.as_ref().ok_or_else(|| untold("the release"))
    }
}

impl<'c> Call<'c> {
    fn once(name: &'c str, text: &'c str, place: &'c str) -> Self {
        Self {
            name,
            text,
            place,
            tries: 1,
            interval_s: 0,
        }
    }
}

/// A step lacks what one before it was to find out.
fn untold(what: &str) -> Trouble {
    Trouble::Refused(format!("{what} is not known"))
}

fn in_lines(releases: &[Release]) -> String {
    releases.iter().map(|release| format!("{release}\n")).collect()
}

fn succeeded(what: &str, ran: Ran) -> Result<Ran, Trouble> {
    match ran.status.success() {
        true => Ok(ran),
        false => Err(Trouble::Step {
            step: what.to_owned(),
            end: end(ran.status),
            tail: ran.tail,
        }),
    }
}
