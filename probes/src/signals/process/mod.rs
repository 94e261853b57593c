//! Processes: their forks, execs and exits, and the walk over all of them. The decoding is in
//! [`crate::records`], because identity is shared; who descends from whom is the daemon's matter.

use super::Signal;
use crate::verdict::{Hook, Need, SocketState, Target};

/// The signal on which every attribution rests.
pub const SIGNAL: Signal = Signal {
    name: "process",
    description: "which processes there are, what they run, who started them and where they belong",
    essential: true,
    hooks: &[
        Hook {
            program: "process_forked",
            target: Target::Tracepoint("sched_process_fork"),
            need: Need::Optional("processes that never exec are known from the next sweep on"),
            sockets: SocketState::Unused,
        },
        Hook {
            program: "process_executed",
            target: Target::Tracepoint("sched_process_exec"),
            need: Need::Required,
            sockets: SocketState::Unused,
        },
        Hook {
            program: "process_exited",
            target: Target::Tracepoint("sched_process_exit"),
            need: Need::Optional("ended processes are forgotten late"),
            sockets: SocketState::Unused,
        },
        Hook {
            program: "process_moved",
            target: Target::Tracepoint("cgroup_attach_task"),
            need: Need::Optional(
                "units and containers of processes that were moved are known from the next sweep on",
            ),
            sockets: SocketState::Unused,
        },
        Hook {
            program: "cgroup_made",
            target: Target::Tracepoint("cgroup_mkdir"),
            need: Need::Optional("units and containers that come and go between two sweeps have no name"),
            sockets: SocketState::Unused,
        },
        Hook {
            program: "cgroup_removed",
            target: Target::Tracepoint("cgroup_rmdir"),
            need: Need::Optional("control groups that are gone are forgotten late"),
            sockets: SocketState::Unused,
        },
        Hook {
            program: "process_walk",
            target: Target::Iterator("task"),
            need: Need::Required,
            sockets: SocketState::Unused,
        },
        Hook {
            program: "socket_holders",
            target: Target::Iterator("task_file"),
            need: Need::Optional(
                "sockets older than netsonde and those of pre-forked workers have no owner, and those that are handed on keep the old one",
            ),
            sockets: SocketState::WithSocketOrByAddress,
        },
    ],
    metrics: &[],
    events: &[],
};
