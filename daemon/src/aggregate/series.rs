//! All series: totals with their own start, expiry of those that rest, and a limit above which points fold
//! into an overflow series and the fold is counted. Owned by one task; nothing here is shared or locked.
//!
//! A series ends in one of two ways, and in both only when all that was added has been exported: it has rested too long,
//! or there is to be less than there is, and others moved more bytes of late. What is added for it later is told of under
//! overflow, or by a series that begins where the last export ended, so that nothing is told twice. One that says how
//! many connections are open does not end while there are any.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use netsonde_probes::descriptor::{Attribute as Key, Metric, MetricKind};
use netsonde_probes::signals::flow::{FLOW_IO, MeasuredValue, Measurement};

use super::identity::{Identity, NamedFlow};
use crate::config::{FlowAttribute, Metrics};
use crate::telemetry::{
    Attribute, AttributeValue, Attributes, MetricData, Point, PointValue, SharedAttributes, Temporality,
};

/// Marks the points that had no room of their own (OpenTelemetry metrics SDK, "overflow attribute").
const OVERFLOW: &str = "otel.metric.overflow";

/// A label whose value is not known beforehand: its attribute and value.
pub type Label = (&'static Key, LabelValue);

/// The value of a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LabelValue {
    /// Text.
    Text(Arc<str>),
    /// True; what is not true is absent.
    True,
}

/// One number, or one histogram, over time.
#[derive(Debug)]
struct Series {
    metric: &'static Metric,
    label: Option<&'static str>,
    attributes: Attributes,
    /// Unix nanoseconds: of the series, or with delta temporality of what is not yet exported.
    start_unix_ns: u64,
    total: Total,
    changed: bool,
    /// All that was exported with delta temporality, and since when: whoever reads sums wants these.
    exported: Option<Box<(u64, Total)>>,
}

/// A series that is found by its labels. Those of one flow come and go by themselves.
#[derive(Debug)]
struct Labelled {
    series: Series,
    last_change_unix_ns: u64,
}

/// The series of one metric that have labels, by the attributes' names and the values.
#[derive(Debug)]
struct LabelledMetric {
    metric: &'static Metric,
    series: HashMap<Box<[(&'static str, LabelValue)]>, Labelled>,
}

#[derive(Debug)]
enum Total {
    Sum(i64),
    Histogram { sum_us: u64, counts: Vec<u64> },
}

impl Total {
    fn of(metric: &Metric) -> Self {
        match metric.kind {
            MetricKind::Histogram(layout) => Self::Histogram { sum_us: 0, counts: vec![0; layout.buckets] },
            _ => Self::Sum(0),
        }
    }

    fn add(&mut self, value: MeasuredValue<'_>) {
        match (self, value) {
            (Self::Sum(total), MeasuredValue::Sum(n)) => *total = total.saturating_add(n),
            (Self::Histogram { sum_us, counts }, MeasuredValue::Histogram { buckets, sum_us: more }) => {
                *sum_us = sum_us.saturating_add(more);
                for (count, more) in counts.iter_mut().zip(buckets) {
                    *count += u64::from(*more);
                }
            }
            // A signal measures each metric in one way; its descriptor says which.
            (Self::Sum(_), MeasuredValue::Histogram { .. })
            | (Self::Histogram { .. }, MeasuredValue::Sum(_)) => {
                debug_assert!(false, "a measurement does not fit its metric");
            }
        }
    }

    fn point(&self) -> PointValue {
        match self {
            Self::Sum(n) => PointValue::Int(*n),
            Self::Histogram { sum_us, counts } => {
                let sum = *sum_us as f64 / 1e6;
                PointValue::Histogram { sum, counts: counts.clone() }
            }
        }
    }

    fn add_total(&mut self, more: &Self) {
        match (self, more) {
            (Self::Sum(total), Self::Sum(n)) => *total = total.saturating_add(*n),
            (Self::Histogram { sum_us, counts }, Self::Histogram { sum_us: more, counts: new }) => {
                *sum_us = sum_us.saturating_add(*more);
                for (count, n) in counts.iter_mut().zip(new) {
                    *count += n;
                }
            }
            (Self::Sum(_), Self::Histogram { .. }) | (Self::Histogram { .. }, Self::Sum(_)) => {
                debug_assert!(false, "two totals of one metric differ");
            }
        }
    }

    fn reset(&mut self) {
        match self {
            Self::Sum(n) => *n = 0,
            Self::Histogram { sum_us, counts } => {
                *sum_us = 0;
                counts.fill(0);
            }
        }
    }
}

impl Series {
    /// With what was measured first.
    fn new(measurement: Measurement<'_>, attributes: Attributes, start_unix_ns: u64) -> Self {
        let mut total = Total::of(measurement.metric);
        total.add(measurement.value);
        let label = measurement.label.map(|(_, value)| value);
        let metric = measurement.metric;
        Self { metric, label, attributes, start_unix_ns, total, changed: true, exported: None }
    }

    /// Begins the next delta.
    fn begin_anew(&mut self) {
        let exported =
            self.exported.get_or_insert_with(|| Box::new((self.start_unix_ns, Total::of(self.metric))));
        exported.1.add_total(&self.total);
        self.total.reset();
    }

    /// The sum since its beginning, after an export.
    fn sum(&self) -> (u64, &Total) {
        match self.exported.as_deref() {
            Some((start_unix_ns, total)) => (*start_unix_ns, total),
            None => (self.start_unix_ns, &self.total),
        }
    }

    /// A connection that is open but silent still counts as one.
    fn holds(&self) -> bool {
        self.metric.kind == MetricKind::UpDownCounter && !matches!(self.total, Total::Sum(0))
    }
}

/// Bytes, where that is what was measured.
fn moved(measurement: &Measurement<'_>) -> u64 {
    match measurement.value {
        MeasuredValue::Sum(n) if std::ptr::eq(measurement.metric, &FLOW_IO) => u64::try_from(n).unwrap_or(0),
        _ => 0,
    }
}

/// The series of one flow under one choice of attributes.
#[derive(Debug)]
struct Group {
    base: Arc<SharedAttributes>,
    /// Few, and told apart by one known word at most.
    series: Vec<Series>,
    /// Many.
    labelled: Vec<LabelledMetric>,
    last_change_unix_ns: u64,
    /// What its flow moved of late: each export halves it.
    recent_bytes: u64,
}

/// The attributes that known labels make, such as a direction: a few dozens, each held once for all series that have it.
#[derive(Debug, Default)]
struct Words(HashMap<(&'static str, &'static str), Arc<[Attribute]>>);

impl Words {
    fn of(&mut self, key: &Key, value: &'static str) -> Arc<[Attribute]> {
        let attribute = || [(key.name, AttributeValue::String(value.into()))].into();
        Arc::clone(self.0.entry((key.name, value)).or_insert_with(attribute))
    }
}

/// What the store knows of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStatistics {
    /// Series that are held.
    pub series: u64,
    /// Measurements that were folded into an overflow series.
    pub folded: u64,
    /// Series that were dropped because nothing was added for long.
    pub expired: u64,
    /// Series that were ended because there is to be less.
    pub shed: u64,
}

/// All series.
pub struct Store {
    config: Metrics,
    /// Index of the attribute choice, with the flow as that choice sees it.
    groups: HashMap<(usize, Identity), Group>,
    choices: Vec<BTreeSet<FlowAttribute>>,
    overflow: Group,
    words: Words,
    statistics: StoreStatistics,
    delta_since_unix_ns: u64,
    /// Most series, where that is less than what is configured.
    cap: Option<u64>,
}

impl Store {
    /// An empty store that begins now.
    #[must_use]
    pub fn new(config: Metrics, now_unix_ns: u64) -> Self {
        let overflow = Group::new(vec![(OVERFLOW, AttributeValue::Bool(true))], now_unix_ns);
        Self {
            choices: choices(&config),
            config,
            groups: HashMap::new(),
            overflow,
            words: Words::default(),
            statistics: StoreStatistics::default(),
            delta_since_unix_ns: now_unix_ns,
            cap: None,
        }
    }

    /// Takes over another configuration. Series keep their totals unless the choice of attributes or the
    /// temporality changed, which makes them other series: then it returns `true`.
    pub fn reconfigure(&mut self, config: Metrics, now_unix_ns: u64) -> bool {
        let same = self.goes_on_under(&config);
        if same {
            self.config = config;
        } else {
            let (statistics, cap) = (self.statistics, self.cap);
            *self = Self::new(config, now_unix_ns);
            self.statistics = StoreStatistics { series: 0, ..statistics };
            self.cap = cap;
        }
        !same
    }

    /// Whether series keep their totals under another configuration. Where they do not, what they have is to be
    /// collected before it is taken over.
    #[must_use]
    pub fn goes_on_under(&self, config: &Metrics) -> bool {
        config.temporality == self.config.temporality
            && config.attributes == self.config.attributes
            && config.overrides == self.config.overrides
    }

    /// Holds fewer series than is configured, if that is less; `None` for as many. Those that are too many end with
    /// the next [`Self::shed`], new ones get no room from now on.
    pub fn set_cap(&mut self, cap: Option<u64>) {
        self.cap = cap;
    }

    /// Most series now.
    #[must_use]
    pub fn limit(&self) -> u64 {
        let configured = u64::from(self.config.series_limit.get());
        self.cap.map_or(configured, |cap| cap.min(configured))
    }

    /// What the store knows of itself.
    #[must_use]
    pub fn statistics(&self) -> StoreStatistics {
        self.statistics
    }

    /// Adds what a flow measured; `None` for the flow is what the kernel had no room to tell apart.
    pub fn add<'a>(
        &mut self,
        flow: Option<&NamedFlow>,
        measurements: impl Iterator<Item = Measurement<'a>> + Clone,
        since_unix_ns: u64,
        now_unix_ns: u64,
    ) {
        let Some(flow) = flow else {
            return measurements.for_each(|measurement| self.fold(measurement, since_unix_ns));
        };
        let bytes = measurements.clone().map(|m| moved(&m)).fold(0, u64::saturating_add);
        let limit = self.limit();
        for choice in 0..self.choices.len() {
            let mut chosen = measurements.clone().filter(|m| self.choice_of(m.metric) == choice).peekable();
            if chosen.peek().is_none() {
                continue;
            }
            let chosen: Vec<_> = chosen.collect();
            // Looked for once for all of them: what tells flows apart is long.
            let mut group = match self.groups.entry((choice, Identity::of(flow, &self.choices[choice]))) {
                Entry::Occupied(known) => Some(known.into_mut()),
                Entry::Vacant(_) if self.statistics.series >= limit => None,
                Entry::Vacant(new) => {
                    let group = Group::new(new.key().1.attributes(), now_unix_ns);
                    Some(new.insert(group))
                }
            };
            if let Some(group) = &mut group {
                group.last_change_unix_ns = now_unix_ns;
                group.recent_bytes = group.recent_bytes.saturating_add(bytes);
            }
            for measurement in chosen {
                let may_grow = self.statistics.series < limit;
                match group
                    .as_mut()
                    .map(|group| group.add(measurement, since_unix_ns, may_grow, &mut self.words))
                {
                    Some(Added::Existing) => {}
                    Some(Added::New) => self.statistics.series += 1,
                    Some(Added::NoRoom) | None => {
                        self.statistics.folded += 1;
                        self.overflow.add(measurement, since_unix_ns, true, &mut self.words);
                    }
                }
            }
        }
    }

    /// Adds what was measured under labels of its own.
    pub fn add_labelled(
        &mut self,
        flow: &NamedFlow,
        labels: &[Label],
        measurement: Measurement<'_>,
        since_unix_ns: u64,
        now_unix_ns: u64,
    ) {
        let choice = self.choice_of(measurement.metric);
        let full = self.statistics.series >= self.limit();
        let group = match self.groups.entry((choice, Identity::of(flow, &self.choices[choice]))) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if full => return self.fold(measurement, since_unix_ns),
            Entry::Vacant(new) => {
                let group = Group::new(new.key().1.attributes(), now_unix_ns);
                new.insert(group)
            }
        };
        group.last_change_unix_ns = now_unix_ns;
        match group.add_labelled(labels, measurement, (since_unix_ns, now_unix_ns), !full) {
            Added::Existing => {}
            Added::New => self.statistics.series += 1,
            Added::NoRoom => self.fold(measurement, since_unix_ns),
        }
    }

    fn fold(&mut self, measurement: Measurement<'_>, since_unix_ns: u64) {
        self.statistics.folded += 1;
        // One series a metric and known label, outside the limit: there are a few dozen at most.
        self.overflow.add(measurement, since_unix_ns, true, &mut self.words);
    }

    fn choice_of(&self, metric: &Metric) -> usize {
        let wanted = self.config.attributes_of(metric.name);
        self.choices.iter().position(|c| c == wanted).unwrap_or(0)
    }

    /// Everything that is to be exported now, and lets go of series that have rested too long.
    pub fn collect(&mut self, now_unix_ns: u64) -> Vec<MetricData> {
        let temporality = self.config.temporality;
        let mut by_metric = ByMetric::default();
        let delta_since = self.delta_since_unix_ns;
        let groups = self.groups.values_mut().chain(std::iter::once(&mut self.overflow));
        for series in groups.flat_map(Group::all) {
            let temporality = temporality_of(series.metric, temporality);
            if temporality == Temporality::Delta && !series.changed {
                continue;
            }
            by_metric.points(series.metric, temporality).push(Point {
                attributes: series.attributes.clone(),
                start_unix_ns: match temporality {
                    Temporality::Cumulative => series.start_unix_ns,
                    Temporality::Delta => delta_since,
                },
                time_unix_ns: now_unix_ns,
                value: series.total.point(),
            });
            series.changed = false;
            if temporality == Temporality::Delta {
                series.begin_anew();
            }
        }
        self.delta_since_unix_ns = now_unix_ns;
        self.expire(now_unix_ns);
        by_metric.data
    }

    /// What all series come to since their beginning; `None` where [`Self::collect`] has just told the same. To be called
    /// after that.
    pub fn sums(&mut self, now_unix_ns: u64) -> Option<Vec<MetricData>> {
        if self.config.temporality == Temporality::Cumulative {
            return None;
        }
        let mut by_metric = ByMetric::default();
        let groups = self.groups.values_mut().chain(std::iter::once(&mut self.overflow));
        for series in groups.flat_map(Group::all) {
            let (start_unix_ns, total) = series.sum();
            by_metric.points(series.metric, Temporality::Cumulative).push(Point {
                attributes: series.attributes.clone(),
                start_unix_ns,
                time_unix_ns: now_unix_ns,
                value: total.point(),
            });
        }
        Some(by_metric.data)
    }

    /// The wall clock was set back: nothing may have begun after it was read. What was exported counts up to then, which
    /// is `since_unix_ns` by the clock as it is, so counters begin anew there and no receiver adds anything twice; what
    /// stands at a level keeps it.
    pub fn clock_was_set_back(&mut self, since_unix_ns: u64) {
        let cumulative = self.config.temporality == Temporality::Cumulative;
        let mut groups = self.groups.values_mut().chain(std::iter::once(&mut self.overflow));
        groups.by_ref().for_each(|group| {
            group.last_change_unix_ns = since_unix_ns;
            for series in group.all() {
                let level = series.metric.kind == MetricKind::UpDownCounter;
                // A delta that is not exported yet is still owed.
                if cumulative && !level {
                    series.total.reset();
                }
                series.start_unix_ns = since_unix_ns;
                series.exported = None;
            }
            let labelled = group.labelled.iter_mut().flat_map(|metric| metric.series.values_mut());
            labelled.for_each(|labelled| labelled.last_change_unix_ns = since_unix_ns);
        });
        self.delta_since_unix_ns = since_unix_ns;
    }

    /// Ends series where there are more than the cap, those first whose flows moved least of late, so that an eighth
    /// has room for others that may move more. To be called when all was collected, so that nothing is lost with them.
    /// Gives how many ended.
    pub fn shed(&mut self) -> u64 {
        let Some(cap) = self.cap.filter(|cap| *cap <= self.statistics.series) else { return 0 };
        debug_assert!(
            self.groups.values().flat_map(|g| &g.series).all(|s| !s.changed),
            "not all is collected"
        );
        let mut order: Vec<(u64, usize)> =
            self.groups.values().map(|group| (group.recent_bytes, group.len())).collect();
        order.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        // As many groups as there is room for; of those that moved as little as the last of them, only so many.
        let (mut room, mut least, mut of_least) = (cap - cap / 8, u64::MAX, 0_u64);
        for (bytes, len) in order {
            let Some(left) = room.checked_sub(len as u64) else { break };
            of_least = if bytes == least { of_least + 1 } else { 1 };
            (room, least) = (left, bytes);
        }
        let before = self.statistics.series;
        self.groups.retain(|_, group| {
            let keeps = group.recent_bytes > least || (group.recent_bytes == least && of_least > 0);
            if keeps {
                of_least -= u64::from(group.recent_bytes == least);
                return true;
            }
            let len = group.len();
            group.labelled = Vec::new();
            group.series.retain(Series::holds);
            group.series.shrink_to_fit();
            self.statistics.series -= (len - group.len()) as u64;
            !group.series.is_empty()
        });
        self.groups.shrink_to(2 * self.groups.len());
        let ended = before - self.statistics.series;
        self.statistics.shed += ended;
        ended
    }

    fn expire(&mut self, now_unix_ns: u64) {
        let expiry = u64::try_from(self.config.series_expiry.as_nanos()).unwrap_or(u64::MAX);
        let mut gone = 0;
        let rested = |last: u64| now_unix_ns.saturating_sub(last) >= expiry;
        self.groups.retain(|_, group| {
            let before = group.labelled_len();
            for of_metric in &mut group.labelled {
                of_metric.series.retain(|_, labelled| !rested(labelled.last_change_unix_ns));
            }
            gone += (before - group.labelled_len()) as u64;
            group.recent_bytes /= 2;
            let rested = rested(group.last_change_unix_ns);
            let keep = !rested || group.series.iter().any(Series::holds);
            if !keep {
                gone += group.len() as u64;
            }
            keep
        });
        self.statistics.series -= gone;
        self.statistics.expired += gone;
    }
}

/// Points by their metric, in the order in which metrics are met.
#[derive(Default)]
struct ByMetric {
    data: Vec<MetricData>,
}

impl ByMetric {
    fn points(&mut self, metric: &'static Metric, temporality: Temporality) -> &mut Vec<Point> {
        // Some dozens: sooner found by looking at each than by a hash of the name.
        let known = self.data.iter().position(|data| std::ptr::eq(data.metric, metric));
        let slot = known.unwrap_or_else(|| {
            self.data.push(MetricData { metric, temporality, points: Vec::new() });
            self.data.len() - 1
        });
        &mut self.data[slot].points
    }
}

enum Added {
    Existing,
    New,
    NoRoom,
}

impl Group {
    fn new(base: Vec<Attribute>, now_unix_ns: u64) -> Self {
        let (series, labelled) = (Vec::new(), Vec::new());
        Self {
            base: Arc::new(base.into()),
            series,
            labelled,
            last_change_unix_ns: now_unix_ns,
            recent_bytes: 0,
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Series> {
        let labelled = self.labelled.iter_mut().flat_map(|of| of.series.values_mut());
        self.series.iter_mut().chain(labelled.map(|labelled| &mut labelled.series))
    }

    fn len(&self) -> usize {
        self.series.len() + self.labelled_len()
    }

    fn labelled_len(&self) -> usize {
        self.labelled.iter().map(|of| of.series.len()).sum()
    }

    fn add_labelled(
        &mut self,
        labels: &[Label],
        measurement: Measurement<'_>,
        (since_unix_ns, now_unix_ns): (u64, u64),
        may_grow: bool,
    ) -> Added {
        let metric = measurement.metric;
        let key: Box<[_]> = labels.iter().map(|(key, value)| (key.name, value.clone())).collect();
        let at = self.labelled.iter().position(|of| std::ptr::eq(of.metric, metric));
        if let Some(known) = at.and_then(|at| self.labelled[at].series.get_mut(&key)) {
            known.series.total.add(measurement.value);
            known.series.changed = true;
            known.last_change_unix_ns = now_unix_ns;
            return Added::Existing;
        }
        if !may_grow {
            return Added::NoRoom;
        }
        let of_labels = key.iter().map(|(name, value)| {
            let value = match value {
                LabelValue::Text(text) => AttributeValue::String(Arc::clone(text)),
                LabelValue::True => AttributeValue::Bool(true),
            };
            (*name, value)
        });
        let attributes = Attributes::new(Arc::clone(&self.base), Some(of_labels.collect()));
        let series = Series::new(measurement, attributes, since_unix_ns);
        let at = at.unwrap_or_else(|| {
            self.labelled.push(LabelledMetric { metric, series: HashMap::new() });
            self.labelled.len() - 1
        });
        let labelled = Labelled { series, last_change_unix_ns: now_unix_ns };
        self.labelled[at].series.insert(key, labelled);
        Added::New
    }

    fn add(
        &mut self,
        measurement: Measurement<'_>,
        since_unix_ns: u64,
        may_grow: bool,
        words: &mut Words,
    ) -> Added {
        let label = measurement.label.map(|(_, value)| value);
        let known =
            self.series.iter_mut().find(|s| std::ptr::eq(s.metric, measurement.metric) && s.label == label);
        if let Some(series) = known {
            series.total.add(measurement.value);
            series.changed = true;
            return Added::Existing;
        }
        if !may_grow {
            return Added::NoRoom;
        }
        let own = measurement.label.map(|(key, value)| words.of(key, value));
        let attributes = Attributes::new(Arc::clone(&self.base), own);
        self.series.push(Series::new(measurement, attributes, since_unix_ns));
        Added::New
    }
}

/// An up-down counter is a level: its deltas would mean nothing to a reader that missed one
/// (OpenTelemetry exporter specification, "delta" temporality preference).
fn temporality_of(metric: &Metric, wanted: Temporality) -> Temporality {
    if metric.kind == MetricKind::UpDownCounter { Temporality::Cumulative } else { wanted }
}

/// The different choices of attributes, the common one first.
fn choices(config: &Metrics) -> Vec<BTreeSet<FlowAttribute>> {
    let mut choices = vec![config.attributes.clone()];
    for wanted in config.overrides.values() {
        if !choices.contains(wanted) {
            choices.push(wanted.clone());
        }
    }
    choices
}

#[cfg(test)]
#[path = "series_tests.rs"]
mod tests;
