#![forbid(unsafe_code)]
#![allow(dead_code)]

mod config;
mod export;
mod telemetry;

fn main() {}
