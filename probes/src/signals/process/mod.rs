//! Processes: their forks, execs and exits, and the walk over all of them. The decoding is in
//! [`crate::records`], because identity is shared; who descends from whom is the daemon's matter.

use super::Signal;
use crate::verdict::{Hook, Need, Shape, Target};

/// The signal on which every attribution rests.
pub const SIGNAL: Signal = Signal {
    name: "process",
    description: "which processes there are, what they run, who started them and where they belong",
    essential: true,
    hooks: &[
        Hook {
            program: "process_forked",
            target: Target::TracepointWhere("sched_process_fork", Shape::KeepsMarks),
            need: Need::Optional("processes that never exec are known from the next sweep on"),
            uses_socket_storage: false,
        },
        Hook {
            program: "process_forked_unmarked",
            target: Target::TracepointWhere("sched_process_fork", Shape::KeepsNoMarks),
            need: Need::Optional("processes that never exec are known from the next sweep on"),
            uses_socket_storage: false,
        },
        Hook {
            program: "process_executed",
            target: Target::TracepointWhere("sched_process_exec", Shape::KeepsMarks),
            need: Need::Required,
            uses_socket_storage: false,
        },
        Hook {
            program: "process_executed_unmarked",
            target: Target::TracepointWhere("sched_process_exec", Shape::KeepsNoMarks),
            need: Need::Required,
            uses_socket_storage: false,
        },
        Hook {
            program: "process_exited",
            target: Target::TracepointWhere("sched_process_exit", Shape::KeepsMarks),
            need: Need::Optional("ended processes are forgotten late"),
            uses_socket_storage: false,
        },
        Hook {
            program: "process_exited_unmarked",
            target: Target::TracepointWhere("sched_process_exit", Shape::KeepsNoMarks),
            need: Need::Optional("ended processes are forgotten late"),
            uses_socket_storage: false,
        },
        Hook {
            program: "process_moved",
            target: Target::Tracepoint("cgroup_attach_task"),
            need: Need::Optional(
                "units and containers of processes that were moved are known from the next sweep on",
            ),
            uses_socket_storage: false,
        },
        Hook {
            program: "cgroup_made",
            target: Target::Tracepoint("cgroup_mkdir"),
            need: Need::Optional("units and containers that come and go between two sweeps have no name"),
            uses_socket_storage: false,
        },
        Hook {
            program: "cgroup_removed",
            target: Target::Tracepoint("cgroup_rmdir"),
            need: Need::Optional("control groups that are gone are forgotten late"),
            uses_socket_storage: false,
        },
        Hook {
            program: "process_walk",
            target: Target::Iterator("task"),
            need: Need::Required,
            uses_socket_storage: false,
        },
        Hook {
            program: "socket_holders",
            target: Target::Iterator("task_file"),
            need: Need::Optional(
                "sockets older than netsonde and those of pre-forked workers have no owner, and those that are handed on keep the old one",
            ),
            uses_socket_storage: true,
        },
    ],
    metrics: &[],
    events: &[],
};
