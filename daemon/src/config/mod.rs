//! The configuration: what was written (raw) becomes what is meant (validated).

pub mod export;
