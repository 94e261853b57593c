//! What rules ask for, of a process in the table.

use netsonde_probes::records::Owner;

use super::ProcessFacts;
use crate::enrich::Process;

/// The user that a socket belongs to. The kernel is none, and nobody is not user 0.
#[must_use]
pub fn user_id(owner: Owner) -> Option<u32> {
    (owner.process.is_known() && !owner.is_kernel()).then_some(owner.uid)
}

/// Has an owner judged, whose process is known or not.
pub fn with_facts<T>(
    owner: Owner,
    process: Option<&Process>,
    judge: impl FnOnce(Option<u32>, Option<ProcessFacts<'_>>) -> T,
) -> T {
    let ancestors =
        |test: &dyn Fn(&str) -> bool| process.is_some_and(|p| p.ancestors().any(|a| test(a.path())));
    let facts = process.map(|p| {
        let context = p.context.as_deref();
        ProcessFacts {
            path: p.path(),
            script: p.program.script.as_deref(),
            unit: context.and_then(|c| c.unit.as_deref()),
            user_unit: context.and_then(|c| c.user_unit.as_deref()),
            container: context.and_then(|c| c.container.as_ref()).map(|c| &*c.id),
            ancestors: &ancestors,
        }
    });
    judge(user_id(owner), facts)
}
