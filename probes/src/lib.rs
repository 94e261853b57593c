//! Everything of netsonde that touches the kernel.

pub mod descriptor;
