//! Version 2 in a folder that looks like it: this says which files are written with what, and nothing about a kernel.
//! What the kernel makes of version 1 is tested where real processes run.

use super::*;

/// A tree of version 2 and a `/proc` that says it is mounted.
struct Fake {
    folder: tempfile::TempDir,
}

impl Fake {
    /// The process's group, and the controllers at the top.
    fn new(group: &str, controllers: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (tree, proc) = (folder.path().join("tree"), folder.path().join("proc"));
        fs::create_dir_all(tree.join(group.trim_start_matches('/'))).unwrap();
        fs::create_dir_all(proc.join("self")).unwrap();
        fs::create_dir_all(proc.join("7")).unwrap();
        fs::write(tree.join("cgroup.controllers"), controllers).unwrap();
        let mount = format!("30 23 0:26 / {} rw - cgroup2 cgroup2 rw\n", tree.display());
        fs::write(proc.join("self/mountinfo"), mount).unwrap();
        fs::write(proc.join("7/cgroup"), format!("0::{group}\n")).unwrap();
        Self { folder }
    }

    fn groups(&self) -> Cgroups {
        Cgroups::discover_in(&self.folder.path().join("proc"), 7, "hythe-1a")
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join("tree").join(file)
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }
}

const ALL: Limits = Limits {
    cpu_millis: Some(500),
    memory_bytes: Some(64 << 20),
    pids: Some(20),
};

#[test]
fn version_2_holds_an_instance_in_one_folder_with_its_limits() {
    let fake = Fake::new("/", "cpuset cpu io memory pids\n");
    let groups = fake.groups();
    assert_eq!(groups.unenforced(&ALL), []);
    let group = groups.create("users-1.1000", &ALL).unwrap();
    assert_eq!(fake.text("cgroup.subtree_control"), "+memory +cpu +pids");
    assert_eq!(fake.text("hythe-1a/cgroup.subtree_control"), "+memory +cpu +pids");
    for (file, value) in [
        ("memory.max", "67108864"),
        ("memory.swap.max", "0"),
        ("cpu.max", "50000 100000"),
        ("pids.max", "20"),
    ] {
        assert_eq!(fake.text(&format!("hythe-1a/users-1.1000/{file}")), value);
    }
    assert_eq!(
        group.birthplace(),
        Some(fake.path("hythe-1a/users-1.1000").as_path())
    );
    assert_eq!(group.joined().count(), 0);
    assert_eq!(groups.find("users-1.1000"), group);
    assert_eq!(groups.instances(), ["users-1.1000"]);
    assert!(groups.find("users-2.1000").is_empty());
}

#[test]
fn an_instance_without_limits_has_a_group_all_the_same() {
    let fake = Fake::new("/", "");
    let groups = fake.groups();
    assert_eq!(groups.unenforced(&ALL), Controller::ALL);
    let group = groups.create("users-1.1000", &Limits::default()).unwrap();
    assert!(
        fs::read_dir(group.birthplace().unwrap())
            .unwrap()
            .next()
            .is_none()
    );
    assert!(group.remove() && group.remove());
    assert!(
        !fake.path("hythe-1a").exists(),
        "the last one takes the folder with it"
    );
}

#[test]
fn everything_is_ended_at_once_where_the_kernel_can() {
    let fake = Fake::new("/", "");
    let group = fake.groups().create("users-1.1000", &Limits::default()).unwrap();
    fs::write(fake.path("hythe-1a/users-1.1000/cgroup.kill"), "").unwrap();
    group.kill();
    assert_eq!(fake.text("hythe-1a/users-1.1000/cgroup.kill"), "1");
}

#[test]
fn what_was_killed_for_memory_is_read_with_its_limit() {
    let fake = Fake::new("/", "memory");
    let group = fake.groups().create("users-1.1000", &ALL).unwrap();
    for (events, limit) in [
        ("low 0\noom 3\noom_kill 0\n", None),
        ("low 0\noom 3\noom_kill 2\noom_group_kill 0\n", Some(64 << 20)),
    ] {
        fs::write(fake.path("hythe-1a/users-1.1000/memory.events"), events).unwrap();
        assert_eq!(group.out_of_memory(), limit, "{events}");
    }
    fs::write(fake.path("hythe-1a/users-1.1000/memory.max"), "max\n").unwrap();
    assert_eq!(
        group.out_of_memory(),
        None,
        "the machine's memory, not its own limit"
    );
}

#[test]
fn use_is_that_of_the_group() {
    let fake = Fake::new("/", "");
    let group = fake.groups().create("users-1.1000", &Limits::default()).unwrap();
    assert_eq!(group.usage(), None);
    for (file, text) in [
        ("cgroup.procs", "12\n34\n"),
        ("cpu.stat", "usage_usec 250000\nuser_usec 1\n"),
    ] {
        fs::write(fake.path("hythe-1a/users-1.1000").join(file), text).unwrap();
    }
    let expected = Use {
        processes: vec![12, 34],
        cpu_us: Some(250_000),
    };
    assert_eq!(group.usage(), Some(expected));
}

#[test]
fn a_group_that_cannot_be_made_is_named_and_leaves_nothing() {
    let fake = Fake::new("/", "");
    let groups = fake.groups();
    fs::write(fake.path("hythe-1a"), "in the way").unwrap();
    let error = groups.create("users-1.1000", &ALL).unwrap_err().to_string();
    let path = fake.path("hythe-1a/users-1.1000").display().to_string();
    assert_eq!(error, format!("control group {path}"));
}

#[test]
fn without_hierarchies_there_are_no_groups() {
    let nowhere = tempfile::tempdir().unwrap();
    let groups = Cgroups::discover_in(nowhere.path(), 7, "hythe-1a");
    assert!(groups.is_empty());
    assert_eq!(groups.unenforced(&ALL), Controller::ALL);
    assert!(groups.create("users-1.1000", &ALL).unwrap().is_empty());
}

#[test]
fn processes_of_a_group_with_limited_children_are_moved_beside_them() {
    let fake = Fake::new("/", "memory");
    fs::write(fake.path("cgroup.procs"), "12\n").unwrap();
    move_processes(&fake.path("")).unwrap();
    assert_eq!(fake.text("hythe-server/cgroup.procs"), "12");
}
