//! How much memory netsonde may take, how much it takes, and what it lets go of before it would take too much.
//!
//! The facts are [`meter`]'s, the decision is [`shed`]'s; carrying it out is the matter of whoever owns what is let go.

mod meter;
mod shed;

pub use meter::{Meter, Reading};
pub use shed::{Measures, Moment, STAGES, Shedding};
