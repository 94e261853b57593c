//! What lookups of one interval come to. They are summed by numbers as they end, and become series, with names and
//! all, once an interval: so a lookup costs one search in a table.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use netsonde_dns::codes::RecordType;
use netsonde_dns::matching::Outcome;
use netsonde_dns::questions::OTHER;
use netsonde_probes::descriptor::{HistogramLayout, MetricKind};
use netsonde_probes::records::{Owner, Role, Transport};
use netsonde_probes::signals::dns::metrics::{
    LOOKUP_DURATION, QUESTION_NAME, QUESTION_TYPE, RESPONSE_CODE, SEARCH_SUFFIX, TRUNCATED,
};
use netsonde_probes::signals::tcp::attributes::ERROR_TYPE;

use super::super::series::{Label, LabelValue};
use super::error_type;
use crate::enrich::Process;

/// What lookups are summed by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Observation {
    /// Whose socket.
    pub owner: Owner,
    /// Over what.
    pub transport: Transport,
    /// Asked, or was asked.
    pub role: Role,
    /// The DNS server.
    pub server: (IpAddr, u16),
    /// The client, if it is wanted.
    pub client: Option<IpAddr>,
    /// Inode number of the network namespace.
    pub network_namespace: u32,
    /// What was asked for, folded.
    pub question: Arc<str>,
    /// Which records.
    pub record_type: RecordType,
    /// How it ended.
    pub outcome: Outcome,
    /// The response did not fit.
    pub truncated: bool,
    /// The search suffix that a name which does not exist ends in.
    pub suffix: Option<Arc<str>>,
}

/// How long lookups took.
#[derive(Debug)]
pub struct Sum {
    /// Who asked, or was asked, if that is known.
    pub process: Option<Arc<Process>>,
    /// Lookups in each bucket of [`LOOKUP_DURATION`].
    pub buckets: Vec<u32>,
    /// All of them together.
    pub sum_us: u64,
}

/// All lookups since the last time that they were taken.
#[derive(Debug, Default)]
pub struct Sums(HashMap<Observation, Sum>);

fn layout() -> HistogramLayout {
    match LOOKUP_DURATION.kind {
        MetricKind::Histogram(layout) => layout,
        // Its descriptor says otherwise.
        _ => HistogramLayout { base_exponent: 0, buckets: 1 },
    }
}

impl Sums {
    /// Adds one that took so long.
    pub fn add(&mut self, of: Observation, process: Option<Arc<Process>>, duration_ns: u64) {
        let (layout, us) = (layout(), duration_ns / 1000);
        let sum =
            self.0.entry(of).or_insert_with(|| Sum { process, buckets: vec![0; layout.buckets], sum_us: 0 });
        let bucket = &mut sum.buckets[layout.bucket_of(us)];
        *bucket = bucket.saturating_add(1);
        sum.sum_us = sum.sum_us.saturating_add(us);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes all of them out.
    pub fn take(&mut self) -> HashMap<Observation, Sum> {
        std::mem::take(&mut self.0)
    }
}

/// The labels of a sum's series. Numbers without a name share one, because anybody can make them up.
#[must_use]
pub fn labels(of: &Observation) -> Vec<Label> {
    let text = |text: &str| LabelValue::Text(text.into());
    let named = |name: Cow<'static, str>| match name {
        Cow::Borrowed(name) => text(name),
        Cow::Owned(_) => text(OTHER),
    };
    let code = match of.outcome {
        Outcome::Answered(code) => Some(named(code.mnemonic())),
        Outcome::Timeout => None,
    };
    let all = [
        (&QUESTION_NAME, Some(LabelValue::Text(Arc::clone(&of.question)))),
        (&QUESTION_TYPE, Some(named(of.record_type.mnemonic()))),
        (&RESPONSE_CODE, code),
        (&ERROR_TYPE, error_type(of.outcome).map(named)),
        (&TRUNCATED, of.truncated.then_some(LabelValue::True)),
        (&SEARCH_SUFFIX, of.suffix.clone().map(LabelValue::Text)),
    ];
    all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use netsonde_dns::codes::ResponseCode;
    use netsonde_probes::records::ProcessId;

    use super::*;

    fn observation(outcome: Outcome) -> Observation {
        Observation {
            owner: Owner { process: ProcessId { pid: 1, start_ns: 1 }, image: 0, uid: 0 },
            transport: Transport::Udp,
            role: Role::Client,
            server: (IpAddr::V4(Ipv4Addr::LOCALHOST), 53),
            client: None,
            network_namespace: 1,
            question: "example.org".into(),
            record_type: RecordType::A,
            outcome,
            truncated: false,
            suffix: None,
        }
    }

    fn shown(of: &Observation) -> Vec<(&'static str, String)> {
        let text = |value| match value {
            LabelValue::Text(text) => text.to_string(),
            LabelValue::True => "true".to_owned(),
        };
        labels(of).into_iter().map(|(key, value)| (key.name, text(value))).collect()
    }

    #[test]
    fn a_success_has_no_error_and_a_timeout_no_code() {
        let question = [("dns.question.name", "example.org"), ("dns.question.type", "A")];
        let expected = |more: &[(&'static str, &str)]| -> Vec<_> {
            question.iter().chain(more).map(|(key, value)| (*key, (*value).to_owned())).collect()
        };
        let of = |outcome| shown(&observation(outcome));
        assert_eq!(
            of(Outcome::Answered(ResponseCode::NOERROR)),
            expected(&[("dns.response_code", "NOERROR")])
        );
        assert_eq!(of(Outcome::Timeout), expected(&[("error.type", "timeout")]));
        assert_eq!(
            of(Outcome::Answered(ResponseCode::SERVFAIL)),
            expected(&[("dns.response_code", "SERVFAIL"), ("error.type", "SERVFAIL")])
        );
    }

    #[test]
    fn numbers_that_anybody_can_make_up_share_a_series() {
        let odd = Observation {
            record_type: RecordType(65280),
            ..observation(Outcome::Answered(ResponseCode(4000)))
        };
        let odd = shown(&odd);
        for key in ["dns.question.type", "dns.response_code", "error.type"] {
            assert!(odd.contains(&(key, OTHER.to_owned())), "{key} in {odd:?}");
        }
    }

    #[test]
    fn what_is_true_of_some_is_on_those_only() {
        let of = Observation {
            truncated: true,
            suffix: Some("corp".into()),
            ..observation(Outcome::Answered(ResponseCode::NXDOMAIN))
        };
        let shown = shown(&of);
        assert!(shown.contains(&("netsonde.dns.truncated", "true".to_owned())));
        assert!(shown.contains(&("netsonde.dns.search_suffix", "corp".to_owned())));
    }

    #[test]
    fn lookups_of_one_kind_add_up() {
        let mut sums = Sums::default();
        let of = observation(Outcome::Timeout);
        sums.add(of.clone(), None, 64_000);
        sums.add(of.clone(), None, 65_000);
        sums.add(Observation { transport: Transport::Tcp, ..of.clone() }, None, 1);
        assert_eq!(sums.len(), 2);
        let taken = sums.take();
        assert_eq!((taken[&of].buckets[0], taken[&of].buckets[1], taken[&of].sum_us), (1, 1, 129));
        assert_eq!(sums.len(), 0);
    }
}
