use netsonde_probes::records::BinaryPath;

use super::process::LONGEST_CHAIN;
use super::*;

/// Beyond every pid that there is, so that `/proc` knows none of them.
const NEVER: u32 = 0x7fff_0000;

fn id(n: u32) -> ProcessId {
    ProcessId { pid: NEVER + n, start_ns: u64::from(n) }
}

fn event(kind: ProcessEventKind, process: u32, parent: u32, command: &str) -> ProcessEvent {
    ProcessEvent {
        kind,
        time_ns: 1_000 + u64::from(process),
        process: id(process),
        image: 0,
        parent: id(parent),
        uid: 0,
        network_namespace: 1,
        cgroup: 0,
        namespace_pid: None,
        kernel_thread: false,
        command: command.to_owned(),
    }
}

fn image(image: u32, event: ProcessEvent) -> ProcessEvent {
    ProcessEvent { image, ..event }
}

fn exec(path: &str) -> ProcessEventKind {
    let binary = BinaryPath { path: path.to_owned(), ..BinaryPath::default() };
    ProcessEventKind::Exec(Box::new(Execution { binary, ..Execution::default() }))
}

const EXIT: ProcessEventKind = ProcessEventKind::Exit { owned_sockets: true };
const IDLE_EXIT: ProcessEventKind = ProcessEventKind::Exit { owned_sockets: false };

fn owner(process: u32, image: u32) -> Owner {
    Owner { process: id(process), image, uid: 0 }
}

fn path(table: &mut ProcessTable, owner: Owner) -> Option<String> {
    table.resolve(owner).map(|p| p.path().to_owned())
}

fn names(process: &Process) -> Vec<String> {
    process.ancestors().map(|p| p.name().to_owned()).collect()
}

fn table(limit: usize, keep_ended_ns: u64) -> ProcessTable {
    let mut table = ProcessTable::new(limit, keep_ended_ns, None);
    // Whatever this host has.
    table.legacy_hierarchy = None;
    table
}

#[test]
fn a_chain_stays_as_it_was_at_the_fork() {
    let mut table = table(100, 0);
    table.apply(&event(exec("/sbin/init"), 1, 0, "init"));
    table.apply(&event(ProcessEventKind::Fork, 2, 1, "init"));
    table.apply(&image(1, event(exec("/bin/sh"), 2, 1, "sh")));
    table.apply(&image(1, event(ProcessEventKind::Fork, 3, 2, "sh")));
    table.apply(&image(2, event(exec("/usr/bin/curl"), 3, 2, "curl")));
    // The shell becomes something else and ends; its child is re-parented.
    table.apply(&image(2, event(exec("/bin/other"), 2, 1, "other")));
    table.apply(&event(IDLE_EXIT, 2, 1, "other"));
    let seen =
        [event(ProcessEventKind::Seen, 1, 0, "init"), image(2, event(ProcessEventKind::Seen, 3, 1, "curl"))];
    table.take_walk(&seen, 9_000);
    table.take_walk(&seen, 9_000);
    assert!(!table.entries.contains_key(&id(2)), "it was let go");
    let curl = table.resolve(owner(3, 2)).expect("known");
    assert_eq!(curl.path(), "/usr/bin/curl");
    assert_eq!(names(&curl), ["sh", "init"]);
}

#[test]
fn a_fork_runs_its_parents_binary() {
    let mut table = table(100, 0);
    table.apply(&event(exec("/usr/sbin/nginx"), 5, 1, "nginx"));
    table.apply(&event(ProcessEventKind::Fork, 6, 5, "nginx"));
    assert_eq!(path(&mut table, owner(6, 0)).expect("known"), "/usr/sbin/nginx");
}

#[test]
fn a_fork_runs_the_binary_that_its_parent_ran_then() {
    let mut table = table(100, 0);
    table.apply(&image(1, event(exec("/bin/first"), 5, 1, "first")));
    table.apply(&image(2, event(exec("/bin/second"), 5, 1, "second")));
    // Told of late.
    table.apply(&image(1, event(ProcessEventKind::Fork, 6, 5, "first")));
    assert_eq!(path(&mut table, owner(6, 1)).expect("known"), "/bin/first");
}

#[test]
fn a_socket_belongs_to_the_program_that_had_it() {
    let mut table = table(100, 5_000);
    table.apply(&image(1, event(exec("/usr/bin/fetch-secrets"), 5, 1, "fetch")));
    table.apply(&image(2, event(exec("/usr/bin/service"), 5, 1, "service")));
    assert_eq!(path(&mut table, owner(5, 1)).expect("known"), "/usr/bin/fetch-secrets");
    assert_eq!(path(&mut table, owner(5, 2)).expect("known"), "/usr/bin/service");
    assert_eq!(path(&mut table, owner(5, 0)).expect("known"), "/usr/bin/fetch-secrets", "the earliest known");
    assert_eq!(path(&mut table, owner(5, 3)), None, "an exec that nobody told of, of a process that is gone");
    assert_eq!(table.statistics().unknown, 1);
    table.take_walk(&[image(2, event(ProcessEventKind::Seen, 5, 1, "service"))], 60_000);
    assert_eq!(path(&mut table, owner(5, 1)).expect("known"), "/usr/bin/service", "long ago");
}

#[test]
fn programs_that_nobody_runs_are_looked_for_only_when_there_may_be_as_many_again() {
    let mut table = table(1024, 0);
    let run = |table: &mut ProcessTable, process, n: u32| {
        table.apply(&image(n, event(exec(&format!("/bin/{process}-{n}")), process, 0, "a")));
    };
    // All but the last few of these are nobody's.
    for n in 1..5_000 {
        run(&mut table, 1, n);
        assert!(table.programs.len() <= 2 * 1024);
    }
    // Each of these is remembered.
    let mut prunings = 0;
    for (process, n) in (2..1_000).flat_map(|process| (1..=8).map(move |n| (process, n))) {
        let before = table.programs_before_pruning;
        run(&mut table, process, n);
        prunings += u32::from(table.programs_before_pruning != before);
    }
    assert!(table.programs.len() > 7 * 998);
    // Each time at least half of what there is must have come since.
    assert!((1..=3).contains(&prunings), "{prunings}");
}

#[test]
fn only_the_last_programs_of_a_process_are_remembered() {
    let mut table = table(100, u64::MAX);
    for n in 1..=100 {
        table.apply(&image(n, event(exec(&format!("/bin/{n}")), 5, 1, "x")));
    }
    assert_eq!(table.entries[&id(5)].earlier.len(), EARLIER);
    assert_eq!(path(&mut table, owner(5, 99)).expect("known"), "/bin/99");
    assert_eq!(path(&mut table, owner(5, 1)).expect("known"), "/bin/92");
}

#[test]
fn an_ended_process_is_kept_for_a_while() {
    let mut table = table(100, 5_000);
    for (n, exit) in [(7, EXIT), (8, IDLE_EXIT), (9, IDLE_EXIT)] {
        table.apply(&event(exec("/bin/true"), n, 1, "true"));
        table.apply(&event(exit, n, 1, "true"));
    }
    table.apply(&event(ProcessEventKind::Owned, 9, 1, "true"));
    let known = |table: &ProcessTable| [7, 8, 9].map(|n| table.entries.contains_key(&id(n)));
    table.take_walk(&[], 3_000);
    assert_eq!(known(&table), [true, true, true], "its last flows are on their way");
    table.take_walk(&[], 3_000);
    assert_eq!(known(&table), [true, false, true], "it had none");
    table.take_walk(&[], 60_000);
    assert_eq!(known(&table), [false, false, false]);
    assert_eq!(path(&mut table, owner(7, 0)), None);
    assert_eq!(table.statistics().unknown, 1);
}

#[test]
fn a_full_table_lets_ended_processes_without_sockets_go_first() {
    let mut table = table(8, u64::MAX);
    for n in 1..=8 {
        table.apply(&event(exec("/bin/x"), n, 0, "x"));
    }
    table.apply(&event(EXIT, 4, 0, "x"));
    table.apply(&event(IDLE_EXIT, 5, 0, "x"));
    table.apply(&event(exec("/bin/x"), 9, 0, "x"));
    let seen = |without: &[u32]| -> Vec<ProcessEvent> {
        let living = (1..=9).filter(|n| !without.contains(n));
        living.map(|n| event(ProcessEventKind::Seen, n, 0, "x")).collect()
    };
    table.take_walk(&seen(&[4, 5]), 2_000);
    let statistics = table.statistics();
    assert_eq!((statistics.tracked, statistics.evicted), (8, 1));
    assert!(!table.entries.contains_key(&id(5)) && table.entries.contains_key(&id(4)));
}

#[test]
fn a_storm_of_forks_neither_fills_the_table_nor_loses_an_owner() {
    let mut table = table(1_000, u64::MAX);
    table.apply(&event(exec("/bin/shell"), 1, 0, "shell"));
    table.apply(&event(exec("/bin/client"), 2, 1, "client"));
    table.apply(&event(EXIT, 2, 1, "client"));
    for n in 10..50_010 {
        table.apply(&event(ProcessEventKind::Fork, n, 1, "shell"));
        table.apply(&event(IDLE_EXIT, n, 1, "shell"));
        assert!(table.entries.len() <= 1_125);
    }
    assert_eq!(path(&mut table, owner(2, 0)).expect("kept"), "/bin/client");
    assert_eq!(path(&mut table, owner(1, 0)).expect("it lives"), "/bin/shell");
}

#[test]
fn a_chain_that_forks_itself_for_ever_is_cut() {
    let mut table = table(100, 0);
    for n in 1..10_000 {
        table.apply(&event(ProcessEventKind::Fork, n, n - 1, "hydra"));
        table.apply(&event(IDLE_EXIT, n - 1, n, "hydra"));
    }
    let last = table.resolve(owner(9_999, 0)).expect("known");
    let length = std::iter::successors(last.parent.as_ref(), |p| p.parent.as_ref()).count();
    assert!(length >= GENERATIONS && length <= LONGEST_CHAIN as usize + 1, "{length}");
    assert_eq!(last.ancestors().count(), GENERATIONS);
    assert_eq!(last.parent.as_ref().expect("a parent").id, id(9_998));
}

#[test]
fn a_walk_learns_parents_before_children_whatever_their_order() {
    let mut table = table(100, 0);
    let seen = [
        event(ProcessEventKind::Seen, 4, 9, "child"),
        event(ProcessEventKind::Seen, 9, 1, "parent"),
        event(ProcessEventKind::Seen, 1, 0, "init"),
    ];
    table.take_walk(&seen, 2_000);
    let child = table.resolve(owner(4, 0)).expect("known");
    assert_eq!(names(&child), ["parent", "init"]);
}

#[test]
fn a_lost_exec_is_noticed_by_the_next_walk_and_an_old_walk_changes_nothing() {
    let mut table = table(100, 0);
    table.apply(&image(1, event(exec("/bin/first"), 5, 1, "first")));
    table.take_walk(&[image(1, event(ProcessEventKind::Seen, 5, 1, "renamed"))], 2_000);
    assert_eq!(path(&mut table, owner(5, 1)).expect("known"), "/bin/first", "prctl() is no exec");
    table.apply(&image(2, event(exec("/bin/second"), 5, 1, "second")));
    table.take_walk(&[image(1, event(ProcessEventKind::Seen, 5, 1, "first"))], 2_000);
    assert_eq!(path(&mut table, owner(5, 2)).expect("known"), "/bin/second");
    table.take_walk(&[image(3, event(ProcessEventKind::Seen, 5, 1, "third"))], 2_000);
    assert_eq!(table.statistics().repaired, 1);
    assert_eq!(path(&mut table, owner(5, 3)).expect("asked for in vain"), "");
}

#[test]
fn a_process_belongs_where_its_control_group_is() {
    let mut table = table(100, 0);
    let cgroup = |cgroup, event: ProcessEvent| ProcessEvent { cgroup, ..event };
    let made = |id, path: &str| CgroupEvent { id, path: path.to_owned(), removed: false };
    table.apply_cgroup(&made(7, "/system.slice/ssh.service"));
    table.apply_cgroup(&made(8, "/user.slice/user-1000.slice/session-3.scope"));
    table.apply(&cgroup(7, event(exec("/usr/sbin/sshd"), 5, 1, "sshd")));
    table.apply(&cgroup(7, event(ProcessEventKind::Fork, 6, 5, "sshd")));
    let unit = |table: &mut ProcessTable, n| {
        let process = table.resolve(owner(n, 0)).expect("known");
        process.context.as_ref().and_then(|c| c.unit.as_deref().map(str::to_owned))
    };
    assert_eq!(unit(&mut table, 6).as_deref(), Some("ssh.service"));
    let kind = ProcessEventKind::Moved {
        hierarchy: 0,
        path: "/user.slice/user-1000.slice/session-3.scope".to_owned(),
    };
    table.apply(&cgroup(8, event(kind, 6, 5, "sshd")));
    assert_eq!(unit(&mut table, 6).as_deref(), Some("session-3.scope"));
    assert_eq!(unit(&mut table, 5).as_deref(), Some("ssh.service"));
    // A move that no event told of.
    let later = ProcessEvent { time_ns: 9_000, ..event(ProcessEventKind::Seen, 5, 1, "sshd") };
    table.take_walk(&[cgroup(8, later)], 9_000);
    assert_eq!(unit(&mut table, 5).as_deref(), Some("session-3.scope"));
}

#[test]
fn on_a_hybrid_host_either_hierarchy_may_name_unit_and_container() {
    let mut table = table(100, 0);
    table.legacy_hierarchy = Some(4);
    let container = "a".repeat(64);
    table.apply_cgroup(&CgroupEvent {
        id: 7,
        path: "/system.slice/containerd.service".into(),
        removed: false,
    });
    table.apply(&ProcessEvent { cgroup: 7, ..event(exec("/usr/bin/app"), 5, 1, "app") });
    let kind = ProcessEventKind::Moved { hierarchy: 4, path: format!("/docker/{container}") };
    table.apply(&ProcessEvent { cgroup: 7, ..event(kind, 5, 1, "app") });
    let app = table.resolve(owner(5, 0)).expect("known");
    let context = app.context.as_deref().expect("a context");
    assert_eq!(context.unit.as_deref(), Some("containerd.service"));
    assert_eq!(context.container.as_ref().map(|c| &*c.id), Some(container.as_str()));
    assert_eq!(app.path(), "/usr/bin/app");
}

#[test]
fn the_kernel_owns_its_sockets_by_name() {
    let mut table = table(100, 0);
    let kernel = Owner { process: ProcessId { pid: u32::MAX, start_ns: 0 }, image: 0, uid: 0 };
    let process = table.resolve(kernel).expect("known");
    assert_eq!((process.path(), process.is_kernel()), ("[kernel]", true));
    assert_eq!(table.statistics().unknown, 0);
}

#[test]
fn a_program_is_kept_once_and_let_go_with_its_last_process() {
    let mut table = table(100, 0);
    for n in 1..=50 {
        table.apply(&event(exec("/usr/bin/worker"), n, 0, "worker"));
    }
    assert_eq!(table.programs.len(), 1);
    table.apply(&event(exec("/usr/bin/other"), 60, 0, "other"));
    table.apply(&event(IDLE_EXIT, 60, 0, "other"));
    let seen: Vec<_> = (1..=50).map(|n| event(ProcessEventKind::Seen, n, 0, "worker")).collect();
    table.take_walk(&seen, 2_000);
    table.take_walk(&seen, 2_000);
    assert_eq!(table.programs.len(), 1);
}
