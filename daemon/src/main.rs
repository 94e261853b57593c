#![forbid(unsafe_code)]
#![allow(dead_code, unused_imports, reason = "the app that uses these is wired on another branch")]
mod cli;
mod config;
mod exit;
mod telemetry;

fn main() {}
