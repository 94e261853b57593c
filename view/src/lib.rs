//! What readers of a running netsonde are shown: the web page, `netsonde top`, `netsonde events`, and whoever asks the
//! local API.
//!
//! Owns the shapes of the answers and nothing else: the daemon fills them, the readers draw them, and both sides use
//! these types. Keys of attributes are those of the metrics and events (`docs/reference`).
#![forbid(unsafe_code)]

pub mod model;
