//! Who is behind a record: processes with their binaries and parents, and users by name. What is measured
//! and where it goes is not known here.

mod clock;
#[allow(dead_code, reason = "wired by the next commit")]
pub mod command_line;
mod processes;
mod procfs;
mod users;

pub use clock::Clock;
pub use processes::{Process, ProcessTable};
pub use users::{Users, id_of_user};
