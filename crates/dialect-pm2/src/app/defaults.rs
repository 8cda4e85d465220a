//! What holds where nothing was said.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Map;

use super::{App, FilterEnv, LogFile, LogType, Watch};

/// PM2's defaults, with an empty name.
pub(super) fn app(script: String) -> App {
    App {
        script,
        name: String::new(),
        name_prefix: None,
        namespace: "default".to_owned(),
        cwd: None,
        args: Vec::new(),
        interpreter: None,
        node_args: Vec::new(),
        wanted_mode: None,
        instances: None,
        increment_var: None,
        instance_var: "NODE_APP_INSTANCE".to_owned(),
        port: None,
        env: BTreeMap::new(),
        environments: BTreeMap::new(),
        filter_env: FilterEnv::Nothing,
        append_env_to_name: false,
        watch: Watch::Off,
        ignore_watch: None,
        ext: Vec::new(),
        watch_delay_ms: 0,
        watch_options: Map::new(),
        autorestart: true,
        autostart: true,
        stop_exit_codes: Vec::new(),
        min_uptime_ms: 1_000,
        max_restarts: 16,
        restart_delay_ms: 0,
        exp_backoff_restart_delay_ms: None,
        max_memory_restart_bytes: None,
        cron_restart: None,
        kill_timeout_ms: 1_600,
        kill_retry_time_ms: 100,
        shutdown_with_message: false,
        treekill: true,
        wait_ready: false,
        listen_timeout_ms: 3_000,
        out_file: LogFile::Default,
        error_file: LogFile::Default,
        log_file: LogFile::Disabled,
        merge_logs: None,
        disable_logs: false,
        time: false,
        log_date_format: None,
        log_type: LogType::Plain,
        pid_file: None,
        uid: None,
        gid: None,
        force: false,
    }
}

/// The file name of a script without its extension.
pub(super) fn name(script: &str) -> String {
    let stem = Path::new(script).file_stem().and_then(|stem| stem.to_str());
    stem.unwrap_or(script).to_owned()
}
