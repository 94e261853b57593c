//! Processes: their forks, execs and exits, and the walk over all of them. The decoding is in
//! [`crate::records`], because identity is shared; who descends from whom is the daemon's matter.

use super::Signal;
use crate::verdict::{Hook, Need, Target};

/// The signal on which every attribution rests.
pub const SIGNAL: Signal = Signal {
    name: "process",
    description: "which processes there are, what they run and who started them",
    essential: true,
    hooks: &[
        Hook {
            program: "process_forked",
            target: Target::Tracepoint("sched_process_fork"),
            need: Need::Optional("processes that never exec are known from the next sweep on"),
            uses_socket_storage: false,
        },
        Hook {
            program: "process_executed",
            target: Target::Tracepoint("sched_process_exec"),
            need: Need::Required,
            uses_socket_storage: false,
        },
        Hook {
            program: "process_exited",
            target: Target::Tracepoint("sched_process_exit"),
            need: Need::Optional("ended processes are forgotten late"),
            uses_socket_storage: false,
        },
        Hook {
            program: "process_walk",
            target: Target::Iterator("task"),
            need: Need::Required,
            uses_socket_storage: false,
        },
    ],
    metrics: &[],
    events: &[],
};
