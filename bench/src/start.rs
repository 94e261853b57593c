//! How long netsonde takes until it is ready: from its start as a process to the word that its service manager waits for.

use std::time::Instant;

use anyhow::Result;

use crate::Plan;
use crate::results::{Content, Figure};

/// A start takes a second or so: there can be as many as there are rounds of a load.
pub fn measure(plan: &Plan) -> Result<Content> {
    // The first reads the binary from the disk.
    plan.subject.start()?.stop()?;
    let mut taken = Vec::new();
    for _ in 0..plan.rounds {
        let begun = Instant::now();
        let daemon = plan.subject.start()?;
        taken.push(begun.elapsed().as_secs_f64() * 1e3);
        daemon.stop()?;
    }
    Ok(Content::Figures { figures: vec![Figure::of("ready", "from its start to READY=1", "ms", &taken)] })
}
