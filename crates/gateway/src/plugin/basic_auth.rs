//! `basic-auth`: callers with a name and a password (Kong 3.9's settings and answers).
//!
//! The users stand in the settings (`users`, name to hash) or in a file as `htpasswd` writes it (`users_file`),
//! as nginx's `auth_basic` has them. A user who bears the username of a consumer is that consumer. The file is
//! looked at again when a second has passed; one that cannot be read then leaves the users as they were.
//!
//! Slow hashes are checked off the workers, a few at a time, and a password that was right is remembered (as a
//! hash with a key of this process), one for each user. An unknown name is checked like a known one, so that
//! the time tells nothing.
//!
//! Left out: credentials as documents of their own (Kong's `basicauth_credentials`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hythe_http1::Known;
use serde_json::{Map, Value};
use sha1::{Digest, Sha1};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::password::Password;
use super::settings::Settings;
use super::{Plugin, PluginKind, Resume, SettingProblem, Verdict};
use crate::directory::Proof;
use crate::exchange::Exchange;

/// Its entry in the list.
pub const KIND: PluginKind = PluginKind {
    name: "basic-auth",
    priority: 1100,
    summary: "lets in callers with a name and a password",
    parse,
};

/// Slow checks at once.
const AT_ONCE: usize = 4;
/// How long a look at the file holds.
const FRESH: Duration = Duration::from_secs(1);

struct BasicAuth {
    shared: Arc<Shared>,
    hide_credentials: bool,
    anonymous: Option<String>,
    /// For `WWW-Authenticate`.
    challenge: String,
}

struct Shared {
    users: Mutex<Arc<Users>>,
    file: Option<Mutex<Watched>>,
    /// Key of what is remembered.
    key: [u8; 32],
    room: Semaphore,
}

/// The users, and the passwords that were right.
#[derive(Default)]
struct Users {
    passwords: HashMap<String, Password>,
    /// Stands for users that are not there.
    nobody: Option<Password>,
    right: Mutex<HashMap<String, [u8; 20]>>,
}

struct Watched {
    path: PathBuf,
    looked: Instant,
    changed: Option<SystemTime>,
}

/// What a caller says about itself.
struct Claim {
    user: String,
    password: Vec<u8>,
}

fn parse(config: &Map<String, Value>) -> Result<Box<dyn Plugin>, Vec<SettingProblem>> {
    let mut settings = Settings::of(config);
    let hide_credentials = settings.truth("hide_credentials", false);
    let anonymous = settings.text("anonymous").map(str::to_owned);
    let realm = settings.text("realm").unwrap_or("service");
    if realm
        .bytes()
        .any(|byte| byte.is_ascii_control() || b"\"\\".contains(&byte))
    {
        settings.problem("realm", "a realm is one line without quotes");
    }
    let mut passwords = HashMap::new();
    for (user, hash) in settings.map("users") {
        match Password::parse(hash) {
            Ok(password) => drop(passwords.insert(user.to_owned(), password)),
            Err(message) => settings.problem_in("users", &[user.to_owned()], message),
        }
    }
    let path = settings.text("users_file").map(PathBuf::from);
    match (&path, settings.has("users")) {
        (Some(_), true) => settings.problem("users_file", "users_file cannot be used with users"),
        (None, false) => settings.problem(
            "users",
            "at least one of these fields must be non-empty: 'users', 'users_file'",
        ),
        (Some(path), false) => match read_file(path) {
            Ok(found) => passwords = found,
            Err(message) => settings.problem("users_file", &message),
        },
        (None, true) => {}
    }
    settings.finish()?;
    let file = path.map(|path| {
        Mutex::new(Watched {
            changed: modified(&path),
            path,
            looked: Instant::now(),
        })
    });
    let shared = Shared {
        users: Mutex::new(Arc::new(Users::of(passwords))),
        file,
        key: std::array::from_fn(|_| fastrand::u8(..)),
        room: Semaphore::new(AT_ONCE),
    };
    Ok(Box::new(BasicAuth {
        shared: Arc::new(shared),
        hide_credentials,
        anonymous,
        challenge: format!("Basic realm=\"{realm}\""),
    }))
}

/// `user:hash` lines; empty ones and comments are passed over.
fn read_file(path: &Path) -> Result<HashMap<String, Password>, String> {
    if !path.is_absolute() {
        return Err("expected an absolute path".to_owned());
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut passwords = HashMap::new();
    let lines = text
        .lines()
        .zip(1..)
        .filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    for (line, number) in lines {
        let (user, rest) = line
            .split_once(':')
            .ok_or_else(|| format!("line {number}: expected `user:hash`"))?;
        let hash = rest.split(':').next().unwrap_or_default();
        let password = Password::parse(hash).map_err(|message| format!("line {number}: {message}"))?;
        passwords.insert(user.to_owned(), password);
    }
    Ok(passwords)
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|data| data.modified()).ok()
}

impl Users {
    fn of(passwords: HashMap<String, Password>) -> Self {
        let slow = passwords.values().find(|password| password.is_slow());
        Self {
            nobody: slow.or(passwords.values().next()).cloned(),
            passwords,
            right: Mutex::default(),
        }
    }

    /// What the claim is checked against, and whether it may hold at all.
    fn find(&self, user: &str) -> Option<(&Password, bool)> {
        match self.passwords.get(user) {
            Some(password) => Some((password, true)),
            None => self.nobody.as_ref().map(|password| (password, false)),
        }
    }

    fn check(&self, claim: &Claim) -> bool {
        self.find(&claim.user)
            .is_some_and(|(password, known)| password.fits(&claim.password) && known)
    }
}

impl Shared {
    fn users(&self) -> Arc<Users> {
        Arc::clone(&self.users.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn print(&self, claim: &Claim) -> [u8; 20] {
        Sha1::new()
            .chain_update(self.key)
            .chain_update(&claim.password)
            .finalize()
            .into()
    }

    /// The outcome, if it is known without work that takes long.
    fn known(&self, users: &Users, claim: &Claim) -> Option<bool> {
        let (password, _) = match users.find(&claim.user) {
            Some(found) => found,
            None => return Some(false),
        };
        if !password.is_slow() {
            return Some(users.check(claim));
        }
        let right = users.right.lock().unwrap_or_else(PoisonError::into_inner);
        (right.get(&claim.user) == Some(&self.print(claim))).then_some(true)
    }

    fn is_stale(&self) -> bool {
        self.file.as_ref().is_some_and(|file| {
            let watched = file.lock().unwrap_or_else(PoisonError::into_inner);
            watched.looked.elapsed() >= FRESH
        })
    }

    /// Reads the file again if it has changed. It waits for the disk.
    fn look_again(&self) {
        let Some(file) = &self.file else { return };
        let mut watched = file.lock().unwrap_or_else(PoisonError::into_inner);
        watched.looked = Instant::now();
        let changed = modified(&watched.path);
        if changed == watched.changed {
            return;
        }
        match read_file(&watched.path) {
            Ok(passwords) => {
                watched.changed = changed;
                let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
                *users = Arc::new(Users::of(passwords));
            }
            Err(message) => {
                tracing::error!(file = %watched.path.display(), message, "users stay as they were");
            }
        }
    }

    /// The outcome, whatever that takes.
    async fn decide(self: Arc<Self>, claim: Claim) -> (bool, Claim) {
        // The semaphore is never closed.
        let _room = self.room.acquire().await;
        let shared = Arc::clone(&self);
        let work = tokio::task::spawn_blocking(move || {
            if shared.is_stale() {
                shared.look_again();
            }
            let users = shared.users();
            let right = shared
                .known(&users, &claim)
                .unwrap_or_else(|| users.check(&claim));
            if right
                && users
                    .find(&claim.user)
                    .is_some_and(|(password, _)| password.is_slow())
            {
                let print = shared.print(&claim);
                let mut known = users.right.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(claim.user.clone(), print);
            }
            (right, claim)
        });
        work.await.unwrap_or_else(|_| {
            let nobody = Claim {
                user: String::new(),
                password: Vec::new(),
            };
            (false, nobody)
        })
    }
}

impl Plugin for BasicAuth {
    fn before(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let Some(claim) = claim(exchange) else {
            return self.refuse_or_anonymous(exchange);
        };
        let users = self.shared.users();
        if !self.shared.is_stale()
            && let Some(right) = self.shared.known(&users, &claim)
        {
            return self.settle(exchange, right, &claim.user);
        }
        let deciding = Arc::clone(&self.shared).decide(claim);
        let this = self.light();
        Verdict::Await(Box::pin(async move {
            let (right, claim) = deciding.await;
            Box::new(move |exchange: &mut Exchange<'_>| this.settle(exchange, right, &claim.user)) as Resume
        }))
    }
}

impl BasicAuth {
    /// Another handle to the same.
    fn light(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            hide_credentials: self.hide_credentials,
            anonymous: self.anonymous.clone(),
            challenge: self.challenge.clone(),
        }
    }

    fn settle(&self, exchange: &mut Exchange<'_>, right: bool, user: &str) -> Verdict {
        if !right {
            return self.refuse_or_anonymous(exchange);
        }
        if self.hide_credentials {
            exchange.request_edits.remove("Authorization");
        }
        match exchange.directory.caller(exchange.project, user) {
            Some(caller) => exchange.identify(caller, Proof::Credential(user)),
            None => exchange
                .request_edits
                .set("X-Credential-Identifier", user.as_bytes()),
        }
        Verdict::Continue
    }

    /// Kong 3.9: with `anonymous` those whom nobody knows pass as that consumer.
    fn refuse_or_anonymous(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let already = exchange
            .decisions()
            .is_some_and(|decisions| decisions.caller.is_some());
        if let Some(anonymous) = &self.anonymous {
            if already {
                return Verdict::Continue;
            }
            return match exchange.directory.caller(exchange.project, anonymous) {
                Some(caller) => {
                    exchange.identify(caller, Proof::Anonymous);
                    Verdict::Continue
                }
                None => Verdict::Respond(exchange.page(500, "An unexpected error occurred")),
            };
        }
        let page = exchange.page(401, "Unauthorized");
        Verdict::Respond(page.with("WWW-Authenticate", &*self.challenge))
    }
}

/// Name and password of `Proxy-Authorization` (Kong: tried first) or `Authorization`.
fn claim(exchange: &Exchange<'_>) -> Option<Claim> {
    [Known::ProxyAuthorization, Known::Authorization]
        .into_iter()
        .find_map(|field| read_claim(exchange.known(field)?))
}

fn read_claim(value: &[u8]) -> Option<Claim> {
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = memchr::memchr(b':', &decoded)?;
    let (user, password) = decoded.split_at(colon);
    Some(Claim {
        user: String::from_utf8(user.to_vec()).ok()?,
        password: password.get(1..)?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugin::fixture::{Fixture, lines, settings};
    use crate::respond::Reply;

    const BCRYPT: &str = "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

    fn plugin(config: Value) -> Box<dyn Plugin> {
        parse(&settings(config)).unwrap()
    }

    fn request(line: &str) -> Fixture {
        Fixture::get("/", &[line, "Accept: text/plain"])
    }

    fn basic(user: &str, password: &str) -> String {
        format!(
            "Authorization: Basic {}",
            STANDARD.encode(format!("{user}:{password}"))
        )
    }

    /// Runs it, waiting for what it waits for; the answer, and whether it had to wait.
    async fn run(plugin: &dyn Plugin, fixture: &mut Fixture) -> (Option<Reply>, bool) {
        let mut waited = false;
        let mut verdict = plugin.before(&mut fixture.exchange());
        loop {
            match verdict {
                Verdict::Continue => return (None, waited),
                Verdict::Respond(reply) => return (Some(reply), waited),
                Verdict::Await(work) => {
                    waited = true;
                    verdict = work.await(&mut fixture.exchange());
                }
            }
        }
    }

    #[tokio::test]
    async fn only_users_with_their_password_pass() {
        let plugin = plugin(json!({"users": {"ann": BCRYPT, "bob": "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="}}));
        let rows = [
            (basic("ann", "secret"), true),
            (basic("bob", "secret"), true),
            (basic("ann", "wrong"), false),
            (basic("bob", ""), false),
            (basic("eve", "secret"), false),
            (basic("", ""), false),
            ("Authorization: bAsIc YW5uOnNlY3JldA==".to_owned(), true),
            ("Proxy-Authorization: Basic YW5uOnNlY3JldA==".to_owned(), true),
            ("Authorization: Bearer YW5uOnNlY3JldA==".to_owned(), false),
            ("Authorization: Basic not base64".to_owned(), false),
            ("Authorization: Basic YW5u".to_owned(), false),
            ("Authorization: Basic".to_owned(), false),
            ("X-Nothing: 1".to_owned(), false),
        ];
        for (line, passes) in rows {
            let reply = run(&*plugin, &mut request(&line)).await.0;
            let told = reply.map(|reply| (reply.status, reply.fields));
            let challenge = (
                "WWW-Authenticate".to_owned(),
                "Basic realm=\"service\"".to_owned(),
            );
            assert_eq!(told, (!passes).then(|| (401, vec![challenge])), "{line}");
        }
    }

    #[tokio::test]
    async fn a_right_password_is_checked_slowly_once() {
        let plugin = plugin(json!({"users": {"ann": BCRYPT}}));
        let right = basic("ann", "secret");
        let mut waits = Vec::new();
        for line in [
            &right,
            &right,
            &basic("ann", "wrong"),
            &basic("eve", "secret"),
            &right,
        ] {
            waits.push(run(&*plugin, &mut request(line)).await.1);
        }
        // An unknown name waits like a known one.
        assert_eq!(waits, [true, false, true, true, false]);
    }

    #[tokio::test]
    async fn the_upstream_learns_who_it_is_and_not_the_password() {
        let plugin = plugin(json!({"users": {"ann": "{PLAIN}secret"}, "hide_credentials": true}));
        let mut fixture = request(&basic("ann", "secret"));
        assert_eq!(run(&*plugin, &mut fixture).await.0, None);
        assert_eq!(lines(&fixture.request), "X-Credential-Identifier: ann\n");
        assert!(fixture.request.drops(b"authorization"));
    }

    #[tokio::test]
    async fn a_user_with_a_consumers_name_is_that_consumer() {
        let plugin = plugin(json!({"users": {"ann": "{PLAIN}secret"}, "anonymous": "guest"}));
        let rows = [
            (basic("ann", "secret"), "ann", "X-Credential-Identifier: ann\n"),
            ("X-Nothing: 1".to_owned(), "guest", "X-Anonymous-Consumer: true\n"),
            (basic("ann", "wrong"), "guest", "X-Anonymous-Consumer: true\n"),
        ];
        for (line, name, last) in rows {
            let mut fixture = request(&line).knowing(&["ann", "guest"]);
            assert_eq!(run(&*plugin, &mut fixture).await.0, None, "{line}");
            let expected = format!("X-Consumer-ID: id-of-{name}\nX-Consumer-Username: {name}\n{last}");
            assert_eq!(lines(&fixture.request), expected, "{line}");
            let caller = fixture.decisions.unwrap().caller.unwrap();
            assert_eq!(caller.name.to_string(), name);
        }
    }

    #[tokio::test]
    async fn a_file_is_read_again_when_it_has_changed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "# users\nann:{PLAIN}secret\n\nbob:{PLAIN}x:comment\n",
        )
        .unwrap();
        let plugin = plugin(json!({"users_file": file.path()}));
        let ann = basic("ann", "secret");
        assert_eq!(run(&*plugin, &mut request(&ann)).await.0, None);
        assert_eq!(run(&*plugin, &mut request(&basic("bob", "x"))).await.0, None);

        std::fs::write(file.path(), "bob:{PLAIN}x\n").unwrap();
        let later = SystemTime::now() + Duration::from_secs(5);
        file.as_file().set_modified(later).unwrap();
        tokio::time::pause();
        tokio::time::advance(FRESH).await;
        tokio::time::resume();
        assert_eq!(run(&*plugin, &mut request(&ann)).await.0.unwrap().status, 401);
    }

    #[test]
    fn mistakes_are_placed() {
        let rows = [
            (
                json!({}),
                "config.users: at least one of these fields must be non-empty: 'users', 'users_file'",
            ),
            (
                json!({"users": {"ann": "{SHA}x"}}),
                "config.users.ann: not base64 of a SHA-1 hash",
            ),
            (
                json!({"users_file": "htpasswd"}),
                "config.users_file: expected an absolute path",
            ),
            (
                json!({"users": {}, "users_file": "/dev/null"}),
                "config.users_file: users_file cannot be used with users",
            ),
            (
                json!({"users": {}, "realm": "a\"b"}),
                "config.realm: a realm is one line without quotes",
            ),
        ];
        for (config, message) in rows {
            let problems = parse(&settings(config.clone())).err().unwrap();
            assert_eq!(problems[0].to_string(), message, "{config}");
        }
    }
}
