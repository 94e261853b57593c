mod config;
mod telemetry;

fn main() {}
