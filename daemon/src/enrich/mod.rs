//! Who is behind a record: processes with their programs and parents, where they belong, and users by name.
//! What is measured and where it goes is not known here.

mod clock;
mod command_line;
mod context;
mod processes;
mod procfs;
mod users;

pub use clock::Clock;
pub use command_line::Masker;
pub use context::{Context, Runtime};
pub use processes::{Process, ProcessTable};
pub use procfs::legacy_hierarchy;
pub use users::{Users, id_of_user};
