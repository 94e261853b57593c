#![forbid(unsafe_code)]
#![allow(dead_code, unused_imports)]
mod cli;
mod config;
mod exit;
mod telemetry;

fn main() {}
