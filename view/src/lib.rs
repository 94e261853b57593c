//! What readers of a running netsonde are shown: the web page, `netsonde top`, `netsonde events`, and whoever asks the
//! local API.
//!
//! Owns the shapes of the answers, and what readers compute of them; the daemon fills them, readers draw them, and both use
//! these types. Keys of attributes are those of the metrics and events (`docs/reference`).
#![forbid(unsafe_code)]

pub mod filter;
pub mod model;
pub mod quantiles;
pub mod sum;
