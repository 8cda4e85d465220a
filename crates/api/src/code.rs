//! Every code that a problem can have.

use axum::http::StatusCode;

/// What is wrong, for programs. Codes are added, never changed or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) name: &'static str,
    pub(crate) status: StatusCode,
    /// For the documentation.
    pub(crate) meaning: &'static str,
}

macro_rules! codes {
    ($($code:ident, $name:literal, $status:ident, $meaning:literal;)*) => {
        #[expect(non_upper_case_globals, reason = "they read like the variants of an enum")]
        impl Code {
            $(pub(crate) const $code: Self =
                Self { name: $name, status: StatusCode::$status, meaning: $meaning };)*

            /// All of them, by status.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$code),*];
        }
    };
}

codes! {
    HostMissing, "host_missing", BAD_REQUEST, "the request has no usable `Host` header";
    InvalidBody, "invalid_body", BAD_REQUEST, "the body is not what is expected; `detail` says where";
    InvalidQuery, "invalid_query", BAD_REQUEST, "the query is not what is expected";
    InvalidName, "invalid_name", BAD_REQUEST, "a name has characters that names do not have";
    OtherProject, "other_project", BAD_REQUEST, "the manifest in the body is of another project than the path says";
    TokenRequired, "token_required", UNAUTHORIZED, "a change over TCP, or a read from off this machine, without the token";
    TokenWrong, "token_wrong", UNAUTHORIZED, "this is not the token";
    HostNotAllowed, "host_not_allowed", FORBIDDEN, "`Host` does not name this listener";
    SocketOnly, "socket_only", FORBIDDEN, "the answer has secrets in it: only the Unix socket gives it";
    OriginNotAllowed, "origin_not_allowed", FORBIDDEN, "a change from a page of another origin";
    NoSuchPath, "no_such_path", NOT_FOUND, "there is nothing at this path";
    NoSuchService, "no_such_service", NOT_FOUND, "there is no service of this name; `hint` may have a guess";
    NoSuchProject, "no_such_project", NOT_FOUND, "there is no project of this name";
    MethodNotAllowed, "method_not_allowed", METHOD_NOT_ALLOWED, "the path does not take this method";
    Conflict, "conflict", CONFLICT, "somebody else kept changing the same thing; ask again";
    NotUnique, "not_unique", CONFLICT, "a value that only one thing may have is taken";
    StillReferenced, "still_referenced", CONFLICT, "something that is not of the project needs what would go";
    ProjectElsewhere, "project_elsewhere", CONFLICT, "the default project was applied from another file that is still there";
    OfManifest, "of_manifest", CONFLICT, "the service is described by a manifest, so it is changed there";
    ServicesRunning, "services_running", CONFLICT, "the server does not stop while services run; `errors` names them";
    TooLarge, "too_large", PAYLOAD_TOO_LARGE, "the body, or a document, is larger than allowed";
    Invalid, "invalid", UNPROCESSABLE_ENTITY, "it can be read and makes no sense; `errors` has every mistake";
    NotAProcess, "not_a_process", UNPROCESSABLE_ENTITY, "the service does not run here: it is only balanced";
    LogsFailed, "logs_failed", INTERNAL_SERVER_ERROR, "the logs cannot be read";
    RuntimeFailed, "runtime_failed", INTERNAL_SERVER_ERROR, "the minder did not do it";
    UpgradeFailed, "upgrade_failed", INTERNAL_SERVER_ERROR, "the other binary does not take over; everything is as before";
    StoreFailed, "store_failed", INTERNAL_SERVER_ERROR, "the store cannot be read or written";
    Unreadable, "unreadable", INTERNAL_SERVER_ERROR, "a stored document is not one that this version knows";
    StoreClosed, "store_closed", SERVICE_UNAVAILABLE, "the server is stopping";
    Timeout, "timeout", GATEWAY_TIMEOUT, "the server did not answer in time";
    StoreFull, "store_full", INSUFFICIENT_STORAGE, "no space is left for the change; nothing of it happened";
}
