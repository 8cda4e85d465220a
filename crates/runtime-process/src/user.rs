//! Who an instance runs as: looked up on this machine each time it is started, by whatever the system asks for users.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::{self, ErrorKind};

use hythe_model::workload::RunAs;
use hythe_supervisor::runtime::{RuntimeError, StartSpec};
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// All groups it is in.
    pub(crate) groups: Vec<u32>,
    /// Name and home folder, if it has an account.
    account: Option<(String, String)>,
}

/// Who an instance is to be; `None`: who this server is.
pub(crate) async fn resolve_for(spec: &StartSpec) -> Result<Option<Identity>, RuntimeError> {
    resolve(spec.user.clone())
        .await
        .map_err(|source| RuntimeError::Start {
            program: spec.command.first().cloned().unwrap_or_default(),
            folder: spec.working_dir.clone(),
            source,
        })
}

/// Asks the system, which may ask others: not on a task's thread.
pub(crate) async fn resolve(wanted: Option<RunAs>) -> io::Result<Option<Identity>> {
    let Some(wanted) = wanted else {
        return Ok(None);
    };
    let found =
        tokio::task::spawn_blocking(move || look_up(&wanted).and_then(|found| permitted(&wanted, found)));
    found.await.map_err(io::Error::other)?
}

/// An environment with what tells a program whose account it has, unless it says something else.
pub(crate) fn complete(
    mut environment: BTreeMap<String, String>,
    identity: Option<&Identity>,
) -> BTreeMap<String, String> {
    if let Some((name, home)) = identity.and_then(|identity| identity.account.as_ref()) {
        for (variable, value) in [("HOME", home), ("USER", name), ("LOGNAME", name)] {
            environment
                .entry(variable.to_owned())
                .or_insert_with(|| value.clone());
        }
    }
    environment
}

fn look_up(wanted: &RunAs) -> io::Result<Identity> {
    let user = user(&wanted.user)?;
    let group = wanted.group.as_deref().map(group).transpose()?;
    let uid = match (&user, wanted.user.parse()) {
        (Some(user), _) => user.uid.as_raw(),
        (None, Ok(uid)) => uid,
        (None, Err(_)) => return Err(not_found(format!("there is no user `{}`", wanted.user))),
    };
    let (gid, groups) = match (group, &user) {
        (Some(gid), _) => (gid, vec![gid]),
        (None, Some(user)) => (user.gid.as_raw(), groups_of(user)?),
        (None, None) => {
            let message = format!("user {uid} has no account, so its group has to be said: `{uid}:GROUP`");
            return Err(not_found(message));
        }
    };
    let account = user.map(|user| (user.name, user.dir.to_string_lossy().into_owned()));
    Ok(Identity {
        uid,
        gid,
        groups,
        account,
    })
}

/// Only root can be somebody else; `None` for who it is anyway.
fn permitted(wanted: &RunAs, found: Identity) -> io::Result<Option<Identity>> {
    let (uid, gid) = (Uid::effective(), Gid::effective());
    if uid.is_root() {
        return Ok(Some(found));
    }
    if (found.uid, found.gid) == (uid.as_raw(), gid.as_raw()) {
        return Ok(None);
    }
    let message = format!("it cannot run as `{wanted}`: only a Hythe that runs as root can do that");
    Err(io::Error::new(ErrorKind::PermissionDenied, message))
}

/// By name, then by number: a name may be one.
fn user(name: &str) -> io::Result<Option<User>> {
    let by_name = User::from_name(name)?;
    match name.parse() {
        Ok(uid) if by_name.is_none() => Ok(User::from_uid(Uid::from_raw(uid))?),
        _ => Ok(by_name),
    }
}

fn group(name: &str) -> io::Result<u32> {
    match (Group::from_name(name)?, name.parse()) {
        (Some(group), _) => Ok(group.gid.as_raw()),
        (None, Ok(gid)) => Ok(gid),
        (None, Err(_)) => Err(not_found(format!("there is no group `{name}`"))),
    }
}

fn groups_of(user: &User) -> io::Result<Vec<u32>> {
    let name = CString::new(user.name.as_str())?;
    let groups = getgrouplist(&name, user.gid)?;
    Ok(groups.into_iter().map(Gid::as_raw).collect())
}

fn not_found(message: String) -> io::Error {
    io::Error::new(ErrorKind::NotFound, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(user: &str, group: Option<&str>) -> RunAs {
        RunAs {
            user: user.to_owned(),
            group: group.map(str::to_owned),
        }
    }

    #[test]
    fn users_and_groups_by_name_and_by_number() {
        let root = |groups: &[u32]| (0, groups.to_vec());
        for (user, group, expected) in [
            ("root", None, Ok(root(&[0]))),
            ("0", None, Ok(root(&[0]))),
            ("root", Some("7"), Ok((7, vec![7]))),
            ("root", Some("root"), Ok((0, vec![0]))),
            ("4000000", Some("4000001"), Ok((4_000_001, vec![4_000_001]))),
            (
                "4000000",
                None,
                Err("user 4000000 has no account, so its group has to be said: `4000000:GROUP`"),
            ),
            ("no-such-user", None, Err("there is no user `no-such-user`")),
            (
                "root",
                Some("no-such-group"),
                Err("there is no group `no-such-group`"),
            ),
        ] {
            let found = look_up(&wanted(user, group));
            let found = found.map(|identity| (identity.gid, identity.groups));
            assert_eq!(
                found.map_err(|error| error.to_string()),
                expected.map_err(str::to_owned),
                "{user}"
            );
        }
    }

    #[test]
    fn a_program_is_told_whose_account_it_has() {
        let root = look_up(&wanted("root", None)).unwrap();
        let own = [("HOME".to_owned(), "/elsewhere".to_owned())].into();
        let environment = complete(own, Some(&root));
        assert_eq!(environment["HOME"], "/elsewhere");
        assert_eq!(
            (environment["USER"].as_str(), environment["LOGNAME"].as_str()),
            ("root", "root")
        );
        assert!(complete(BTreeMap::new(), None).is_empty());
    }
}
