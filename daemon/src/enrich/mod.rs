//! Who is behind a record: processes with their programs and parents, where they belong, users and addresses by name.
//! What is measured and where it goes is not known here.

mod clock;
mod command_line;
mod context;
mod names;
mod processes;
mod procfs;
mod search;
mod users;

pub use clock::Clock;
pub use command_line::Masker;
pub use context::{Context, Runtime};
pub use names::{Names, NamesConfig, Peering};
pub use processes::{Process, ProcessTable};
pub use procfs::{OwnProcess, legacy_hierarchy};
pub use search::{SearchSuffix, SearchSuffixes};
pub use users::{Users, id_of_user};
