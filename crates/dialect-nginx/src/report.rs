//! What becomes of each directive: a line for everything that does not do here what it does in nginx.
//!
//! A directive is translated, needs no translation, or is told as not applied. The last is what happens to
//! every name that is not in the lists below, so that nothing is ever left out silently.

use std::fmt;

use crate::table::Context;
use crate::tree::{Block, Directive, Place};

/// A directive that does not do what it does in nginx, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// Where it stands.
    pub place: Place,
    /// Its name.
    pub directive: String,
    /// What becomes of it.
    pub effect: Effect,
    /// Why, and what to do.
    pub reason: String,
}

/// What becomes of a directive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// It has no effect here.
    NotApplied,
    /// It is translated, and does something else in some cases.
    Differs,
    /// There is nothing it could change here.
    NotNeeded,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotApplied => "is not applied",
            Self::Differs => "differs",
            Self::NotNeeded => "is not needed",
        })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            directive,
            effect,
            reason,
        } = self;
        write!(f, "{place}: \"{directive}\" {effect}: {reason}")
    }
}

/// Directives that are translated; what cannot be said of them there is told by who translates them.
const TRANSLATED: [&str; 76] = [
    "add_header",
    "alias",
    "allow",
    "auth_basic",
    "auth_basic_user_file",
    "break",
    "client_max_body_size",
    "default_type",
    "deny",
    "events",
    "gzip",
    "gzip_min_length",
    "gzip_types",
    "hash",
    "health_check",
    "http",
    "if",
    "index",
    "internal",
    "ip_hash",
    "keepalive",
    "least_conn",
    "limit_conn",
    "limit_conn_status",
    "limit_conn_zone",
    "limit_except",
    "listen",
    "location",
    "map",
    "match",
    "proxy_connect_timeout",
    "proxy_hide_header",
    "proxy_http_version",
    "proxy_next_upstream",
    "proxy_next_upstream_timeout",
    "proxy_next_upstream_tries",
    "proxy_pass",
    "proxy_protocol",
    "proxy_read_timeout",
    "proxy_redirect",
    "proxy_responses",
    "proxy_send_timeout",
    "proxy_set_header",
    "proxy_ssl",
    "proxy_ssl_certificate",
    "proxy_ssl_certificate_key",
    "proxy_ssl_name",
    "proxy_ssl_trusted_certificate",
    "proxy_ssl_verify",
    "proxy_timeout",
    "random",
    "real_ip_header",
    "real_ip_recursive",
    "return",
    "rewrite",
    "root",
    "server",
    "server_name",
    "set",
    "set_real_ip_from",
    "split_clients",
    "ssl",
    "ssl_certificate",
    "ssl_certificate_key",
    "ssl_client_certificate",
    "ssl_protocols",
    "ssl_trusted_certificate",
    "ssl_verify_client",
    "ssl_verify_depth",
    "sticky",
    "stream",
    "stub_status",
    "try_files",
    "upstream",
    "worker_processes",
    "zone",
];

/// Directives that have nothing to change here, by the reason.
const NOT_NEEDED: [(&str, &[&str]); 12] = [
    (
        "the kernel is used as well as it can be without being told",
        &[
            "sendfile",
            "sendfile_max_chunk",
            "tcp_nopush",
            "tcp_nodelay",
            "aio",
            "aio_write",
            "directio",
            "accept_mutex",
            "accept_mutex_delay",
            "multi_accept",
            "use",
            "worker_aio_requests",
            "thread_pool",
            "output_buffers",
            "postpone_output",
            "read_ahead",
            "reset_timedout_connection",
            "lingering_close",
            "lingering_time",
            "lingering_timeout",
            "timer_resolution",
            "worker_cpu_affinity",
            "worker_priority",
            "pcre_jit",
        ],
    ),
    (
        "tables and buffers have the size they need",
        &[
            "types_hash_max_size",
            "types_hash_bucket_size",
            "server_names_hash_max_size",
            "server_names_hash_bucket_size",
            "variables_hash_max_size",
            "variables_hash_bucket_size",
            "map_hash_max_size",
            "map_hash_bucket_size",
            "proxy_headers_hash_max_size",
            "proxy_headers_hash_bucket_size",
            "proxy_buffer_size",
            "proxy_buffers",
            "proxy_busy_buffers_size",
            "client_body_buffer_size",
            "client_header_buffer_size",
            "connection_pool_size",
            "request_pool_size",
            "proxy_max_temp_file_size",
            "proxy_temp_file_write_size",
            "proxy_temp_path",
            "client_body_temp_path",
            "gzip_buffers",
            "gzip_comp_level",
            "gzip_proxied",
            "gzip_vary",
            "gzip_http_version",
            "gzip_disable",
            "open_file_cache",
            "open_file_cache_valid",
            "open_file_cache_min_uses",
            "open_file_cache_errors",
            "fastcgi_temp_path",
            "scgi_temp_path",
            "uwsgi_temp_path",
        ],
    ),
    (
        "answers and bodies stream as they come",
        &[
            "proxy_pass_header",
            "proxy_buffering",
            "proxy_request_buffering",
            "proxy_ignore_client_abort",
        ],
    ),
    (
        "the server has one process, whose limits are those of the node",
        &[
            "worker_connections",
            "worker_rlimit_nofile",
            "worker_rlimit_core",
            "master_process",
            "lock_file",
            "working_directory",
            "env",
            "debug_points",
            "debug_connection",
            "load_module",
            "epoll_events",
        ],
    ),
    (
        "the command line acts on it",
        &["daemon", "pid", "worker_shutdown_timeout"],
    ),
    (
        "a redirect to a path is sent as a path, which callers resolve themselves",
        &["absolute_redirect", "port_in_redirect", "server_name_in_redirect"],
    ),
    (
        "the server writes a log and an access log in its data directory",
        &[
            "access_log",
            "error_log",
            "log_format",
            "log_not_found",
            "open_log_file_cache",
            "rewrite_log",
            "log_subrequest",
        ],
    ),
    (
        "no version is told, and no header that would need merging is sent",
        &[
            "server_tokens",
            "merge_slashes",
            "ignore_invalid_headers",
            "underscores_in_headers",
        ],
    ),
    (
        "the node's own settings (`hythe server run --help`) bound connections and heads",
        &[
            "keepalive_timeout",
            "keepalive_requests",
            "keepalive_time",
            "keepalive_disable",
            "client_header_timeout",
            "client_body_timeout",
            "send_timeout",
            "large_client_header_buffers",
            "keepalive_min_timeout",
        ],
    ),
    (
        "TLS has the sound values of its library, sessions are resumed, and the name is always sent",
        &[
            "ssl_buffer_size",
            "ssl_ciphers",
            "ssl_conf_command",
            "ssl_dhparam",
            "ssl_ecdh_curve",
            "ssl_prefer_server_ciphers",
            "ssl_session_cache",
            "ssl_session_ticket_key",
            "ssl_session_tickets",
            "ssl_session_timeout",
            "proxy_ssl_ciphers",
            "proxy_ssl_protocols",
            "proxy_ssl_server_name",
            "proxy_ssl_session_reuse",
        ],
    ),
    (
        "it counts and serves by itself what these ask for",
        &["gzip_static", "http2", "status_zone"],
    ),
    (
        "members' names are looked up again when their time to live is over",
        &["resolver", "resolver_timeout"],
    ),
];

/// Why directives of these families are not applied.
const FAMILIES: [(&str, &str); 25] = [
    (
        "fastcgi_",
        "there is no FastCGI; run the application as a service that speaks HTTP",
    ),
    (
        "uwsgi_",
        "there is no uwsgi; let the application speak HTTP (`uwsgi --http-socket`)",
    ),
    (
        "scgi_",
        "there is no SCGI; run the application as a service that speaks HTTP",
    ),
    ("memcached_", "there is no memcached protocol"),
    ("proxy_cache", "answers are not cached"),
    ("proxy_store", "answers are not stored"),
    (
        "auth_jwt",
        "tokens are not checked by the gateway yet; requests get a 501",
    ),
    ("auth_request", "nobody else is asked; requests get a 501"),
    ("satisfy", "a request has to pass all that guards the location"),
    ("ssi", "pages are not put together from parts"),
    ("dav_", "files are only read"),
    ("http2_", "HTTP/2 has the node's own limits"),
    ("user", "the server runs as the user who starts it"),
    ("http3", "HTTP/3 is not spoken"),
    ("geo", "addresses are not looked up in tables"),
    ("sub_filter", "bodies are passed on as they come"),
    ("autoindex", "folders are not listed"),
    (
        "expires",
        "no such field is sent; write `add_header Cache-Control`",
    ),
    ("error_page", "pages of errors are the gateway's own"),
    ("limit_rate", "answers are sent as fast as they are taken"),
    (
        "limit_",
        "rates are not limited; `limit_conn` limits requests at once",
    ),
    ("types", "the types of files are known by their names"),
    ("ssl_stapling", "certificates are shown without an answer of OCSP"),
    ("ssl_", "TLS is spoken without it"),
    ("proxy_ssl_", "TLS is spoken without it"),
];

/// What becomes of `name` whatever its arguments are; `None`: it is translated.
fn fate(name: &str) -> Option<(Effect, &'static str)> {
    if TRANSLATED.contains(&name) {
        return None;
    }
    let not_needed = NOT_NEEDED.iter().find(|(_, names)| names.contains(&name));
    if let Some((reason, _)) = not_needed {
        return Some((Effect::NotNeeded, reason));
    }
    let family = FAMILIES.iter().find(|(prefix, _)| name.starts_with(prefix));
    let reason = family.map_or("Hythe has nothing like it yet", |(_, reason)| reason);
    Some((Effect::NotApplied, reason))
}

impl Note {
    /// A note on a directive.
    pub(crate) fn on(directive: &Directive, effect: Effect, reason: impl Into<String>) -> Self {
        Self {
            place: directive.place.clone(),
            directive: directive.name.clone(),
            effect,
            reason: reason.into(),
        }
    }
}

/// Notes on every directive that nobody translates.
pub(crate) fn untranslated(main: &Block) -> Vec<Note> {
    let mut notes = Vec::new();
    walk(main, Context::MAIN, &mut notes);
    notes
}

fn walk(block: &Block, context: Context, notes: &mut Vec<Note>) {
    for directive in block.flat() {
        if let Some((effect, reason)) = fate(&directive.name) {
            notes.push(Note::on(directive, effect, reason));
            continue;
        }
        if let (Some(block), Some(context)) = (&directive.block, context.inside(&directive.name)) {
            // Who translates these tells what cannot be said of them as a whole.
            if !["if", "limit_except", "match"].contains(&directive.name.as_str()) {
                walk(block, context, notes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FAMILIES, NOT_NEEDED, TRANSLATED, fate};
    use crate::table::meanings;

    #[test]
    fn the_lists_name_directives_of_nginx_and_each_once() {
        let not_needed = NOT_NEEDED.iter().flat_map(|(_, names)| names.iter());
        let mut all: Vec<_> = TRANSLATED.iter().chain(not_needed).collect();
        for name in &all {
            assert!(!meanings(name).is_empty(), "{name}");
        }
        all.sort();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(
            FAMILIES
                .iter()
                .all(|(prefix, _)| fate(&format!("{prefix}x")).is_some())
        );
    }
}
