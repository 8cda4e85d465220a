//! The keys of an app: every name that PM2 knows a field by.

/// A field's main name and its other ones. The camelCase form of each is one more.
type Field = (&'static str, &'static [&'static str]);

/// What is read.
pub(crate) const FIELDS: &[Field] = &[
    ("script", &["exec", "cmd", "command"]),
    ("name", &[]),
    ("name_prefix", &[]),
    ("namespace", &[]),
    ("cwd", &[]),
    ("args", &[]),
    ("exec_interpreter", &["interpreter"]),
    ("node_args", &["interpreter_args"]),
    ("exec_mode", &[]),
    ("execute_command", &[]),
    ("instances", &[]),
    ("increment_var", &[]),
    ("instance_var", &[]),
    ("port", &[]),
    ("env", &[]),
    ("filter_env", &[]),
    ("append_env_to_name", &[]),
    ("watch", &[]),
    ("ignore_watch", &[]),
    ("watch_delay", &[]),
    ("watch_options", &[]),
    ("autorestart", &[]),
    ("autostart", &[]),
    ("stop_exit_codes", &[]),
    ("min_uptime", &[]),
    ("max_restarts", &[]),
    ("restart_delay", &[]),
    ("exp_backoff_restart_delay", &[]),
    ("max_memory_restart", &[]),
    ("cron_restart", &["cron"]),
    ("kill_timeout", &[]),
    ("kill_retry_time", &[]),
    ("shutdown_with_message", &[]),
    ("treekill", &[]),
    ("wait_ready", &[]),
    ("listen_timeout", &[]),
    ("out_file", &["out", "output", "out_log"]),
    ("error_file", &["error", "err", "err_file", "err_log"]),
    ("log_file", &["log"]),
    ("merge_logs", &["combine_logs"]),
    ("disable_logs", &[]),
    ("time", &[]),
    ("log_date_format", &[]),
    ("log_type", &[]),
    ("pid_file", &["pid"]),
    ("uid", &["user"]),
    ("gid", &[]),
    ("force", &[]),
];

/// What is accepted and has no effect: PM2's paid services, its modules, and workings that we do not have.
pub(crate) const IGNORED: &[&str] = &[
    "source_map_support",
    "disable_source_map_support",
    "vizion",
    "pmx",
    "automation",
    "trace",
    "disable_trace",
    "v8",
    "event_loop_inspector",
    "deep_monitoring",
    "io",
    "install_url",
    "post_update",
    "windowsHide",
    "write",
    "username",
];

/// What a key of an app is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key<'k> {
    /// A field, by its main name.
    Field(&'static str),
    /// `env_<name>`.
    Environment(&'k str),
    Ignored,
    Unknown,
}

impl<'k> Key<'k> {
    pub(crate) fn of(key: &'k str) -> Self {
        let field = FIELDS
            .iter()
            .find(|(name, others)| is(key, name) || others.iter().any(|other| is(key, other)));
        if let Some((name, _)) = field {
            return Self::Field(name);
        }
        match key.strip_prefix("env_") {
            Some(name) if !name.is_empty() && !name.contains(char::is_whitespace) => Self::Environment(name),
            _ if IGNORED.iter().any(|name| is(key, name)) => Self::Ignored,
            _ => Self::Unknown,
        }
    }
}

/// The known key that somebody probably meant.
pub(crate) fn nearest(key: &str) -> Option<&'static str> {
    let most = (key.chars().count() / 3).min(3);
    FIELDS
        .iter()
        .flat_map(|(name, others)| others.iter().chain(std::iter::once(name)))
        .map(|name| (strsim::osa_distance(key, name), *name))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, name)| name)
}

fn is(key: &str, name: &str) -> bool {
    key == name || key == camel_case(name)
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_many_names() {
        let rows = [
            ("script", Key::Field("script")),
            ("cmd", Key::Field("script")),
            ("interpreterArgs", Key::Field("node_args")),
            ("interpreter_args", Key::Field("node_args")),
            ("maxMemoryRestart", Key::Field("max_memory_restart")),
            ("expBackoffRestartDelay", Key::Field("exp_backoff_restart_delay")),
            ("errLog", Key::Field("error_file")),
            ("env", Key::Field("env")),
            ("env_production", Key::Environment("production")),
            ("env_", Key::Unknown),
            ("windowsHide", Key::Ignored),
            ("deepMonitoring", Key::Ignored),
            ("Script", Key::Unknown),
        ];
        for (key, expected) in rows {
            assert_eq!(Key::of(key), expected, "{key}");
        }
        assert_eq!(nearest("instnaces"), Some("instances"));
        assert_eq!(nearest("replicas"), None);
    }
}
