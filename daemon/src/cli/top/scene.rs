//! One picture, before it is drawn: what of all that is known is shown, and where. Pure: state and model in, scene out.

use std::collections::HashSet;

use netsonde_audit::policy::Policy;
use netsonde_view::model::{Attributes, FlowFrame, LookupFrame};
use netsonde_view::sum::add_beside;
use ratatui::layout::{Rect, Size};

use super::details;
use super::model::Model;
use super::page::{Line, Page};
use super::state::State;
use super::store::{Rate, Window};
use super::tables::flows::{program_key, program_name, remote};
use super::tables::{self, Kind, Row, dns, flows, listeners, processes, status};

/// Rates reach back for so many seconds at least.
const GRAPH_SECONDS: f64 = 300.0;
/// A screen of so many rows has room for a graph.
const TALL: u16 = 22;
/// Rows of the graph, with its heading.
const GRAPH_ROWS: u16 = 5;
/// A screen that is lower has no line of sums.
const LOW: u16 = 8;

/// What the terminal can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looks {
    /// It has colours, and the user wants them.
    pub colour: bool,
    /// It shows more than ASCII.
    pub unicode: bool,
}

impl Looks {
    /// What stands for the end of a text that was cut.
    pub fn mark(self) -> char {
        if self.unicode { '…' } else { '~' }
    }
}

/// Sums of a window, kept for as long as neither it nor what is known changes.
#[derive(Debug, Default)]
pub struct Cache {
    of: Option<(u64, Window)>,
    flows: Vec<FlowFrame>,
    lookups: Vec<LookupFrame>,
}

impl Cache {
    fn read(&mut self, model: &Model, window: Window) -> (&[FlowFrame], &[LookupFrame]) {
        if self.of != Some((model.version, window)) {
            self.flows = model.store.flow_sums(window);
            self.lookups = model.store.lookup_sums(window);
            self.of = Some((model.version, window));
        }
        (&self.flows, &self.lookups)
    }
}

/// The main part.
#[derive(Debug)]
pub enum Body {
    /// A table.
    Table(Kind, Vec<Row>),
    /// A page of text.
    Page(Vec<Line>),
}

/// Rates over the last minutes.
#[derive(Debug)]
pub struct Graph {
    /// Whose.
    pub title: String,
    /// One a column, the oldest first.
    pub rates: Vec<Rate>,
}

/// Where each part is; what there is no room for has no rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Areas {
    /// Who is asked.
    pub title: Rect,
    /// The tabs.
    pub tabs: Rect,
    /// Sums of all that is shown.
    pub sums: Rect,
    /// Headings of the columns.
    pub headings: Rect,
    /// Rows or lines.
    pub rows: Rect,
    /// The graph.
    pub graph: Rect,
    /// The filter, and hints.
    pub footer: Rect,
}

/// What is drawn.
#[derive(Debug)]
pub struct Scene {
    /// Where.
    pub areas: Areas,
    /// The main part.
    pub body: Body,
    /// What all flows that the filter shows come to.
    pub sum: FlowFrame,
    /// Seconds of the window.
    pub seconds: f64,
    /// Their rates.
    pub total: Vec<Rate>,
    /// Those of the marked row.
    pub graph: Option<Graph>,
}

/// Where each part is on a screen.
pub fn areas(size: Size, has_headings: bool, has_graph: bool) -> Areas {
    let mut left = Rect::new(0, 0, size.width, size.height);
    let mut take = |rows: u16| {
        let taken = Rect { height: rows.min(left.height), ..left };
        left = Rect { y: left.y + taken.height, height: left.height - taken.height, ..left };
        taken
    };
    let title = take(1);
    let tabs = take(1);
    let sums = take(u16::from(size.height >= LOW));
    let headings = take(u16::from(has_headings));
    let graph_rows = if has_graph && size.height >= TALL { GRAPH_ROWS } else { 0 };
    let used = title.height + tabs.height + sums.height + headings.height;
    let rows = take(size.height.saturating_sub(used + graph_rows + 1));
    let graph = take(graph_rows);
    let footer = take(1);
    Areas { title, tabs, sums, headings, rows, graph, footer }
}

/// What is seen; the mark is settled on it. `now` is in milliseconds since 1970.
pub fn scene(
    state: &mut State,
    model: &Model,
    cache: &mut Cache,
    policy: &Policy,
    looks: Looks,
    (size, now): (Size, u64),
) -> Scene {
    let (flow_sums, lookup_sums) = cache.read(model, state.window);
    let body = match state.table() {
        Some(kind) => {
            Body::Table(kind, table(state, kind, model, (flow_sums, lookup_sums), policy, looks, now))
        }
        None => Body::Page(page(state, model, size.width)),
    };
    let has_graph = matches!(&body, Body::Table(Kind::Programs | Kind::Flows, _))
        || state.path.last().is_some_and(|level| level.kind == Kind::Flows);
    let areas = areas(size, matches!(body, Body::Table(..)), has_graph);
    let keys = match &body {
        Body::Table(_, rows) => rows.iter().map(|row| row.key.clone()).collect(),
        Body::Page(lines) => vec![String::new(); lines.len()],
    };
    state.settle(keys, areas.rows.height.into());
    let mut sum = FlowFrame::default();
    let mut ids = HashSet::new();
    for (attributes, flow) in flows::shown(&model.store, flow_sums, &state.filter) {
        if of_program(state, attributes) {
            add_beside(&mut sum, flow);
            ids.insert(flow.id);
        }
    }
    let columns = usize::from(size.width);
    let rates =
        |columns, ids: &HashSet<u32>| model.store.rates(columns, GRAPH_SECONDS, |id| ids.contains(&id));
    let graph = (areas.graph.height > 0).then(|| marked(state, &body, model, flow_sums)).flatten();
    let graph = graph.map(|(title, ids)| Graph { title, rates: rates(columns.saturating_sub(20), &ids) });
    let seconds = model.store.seconds(state.window);
    Scene { areas, body, sum, seconds, total: rates(columns / 4, &ids), graph }
}

fn of_program(state: &State, attributes: &Attributes) -> bool {
    state
        .path
        .first()
        .is_none_or(|level| level.kind != Kind::Programs || level.key == program_key(attributes))
}

/// Rows of a table, in order.
pub fn table(
    state: &State,
    kind: Kind,
    model: &Model,
    (flow_sums, lookup_sums): (&[FlowFrame], &[LookupFrame]),
    policy: &Policy,
    looks: Looks,
    now: u64,
) -> Vec<Row> {
    let (store, window, filter) = (&model.store, state.window, &state.filter);
    let sorting = state.sorting(kind);
    let mut rows = match kind {
        Kind::Programs => flows::programs(store, flow_sums, window, filter),
        Kind::Flows => {
            let program = state.path.first().filter(|level| level.kind == Kind::Programs);
            flows::flows(store, flow_sums, window, filter, program.map(|level| level.key.as_str()))
        }
        Kind::Dns => dns::rows(store, lookup_sums, window, filter),
        Kind::Listeners => {
            let all = model.listeners.as_ref().map(|answer| answer.listeners.as_slice());
            listeners::rows(all.unwrap_or_default(), policy, filter, now)
        }
        Kind::Processes => {
            let branch = if looks.unicode { "└─" } else { "`-" };
            // They are in order: below their parents.
            return processes::rows(&model.processes.processes, filter, sorting, now, ("  ", branch));
        }
        Kind::Status => status::rows(model.status.as_ref(), &model.messages),
    };
    tables::sort(&mut rows, sorting);
    rows
}

/// Rows of a state's own table, for those who print it.
pub fn rows(state: &State, model: &Model, policy: &Policy, looks: Looks, now: u64) -> Vec<Row> {
    let mut cache = Cache::default();
    let sums = cache.read(model, state.window);
    table(state, state.tab, model, sums, policy, looks, now)
}

fn page(state: &State, model: &Model, columns: u16) -> Vec<Line> {
    let mut page = Page::new(columns.into());
    if let Some(level) = state.path.last() {
        let id = level.key.parse().unwrap_or(0);
        match level.kind {
            Kind::Flows => details::flow(&mut page, model, id),
            Kind::Dns => details::lookup(&mut page, model, id),
            Kind::Listeners => details::listener(&mut page, model, &level.key),
            Kind::Processes => details::process(&mut page, model, &level.key),
            // Programs have a table, and findings no page.
            Kind::Programs | Kind::Status => {}
        }
    }
    page.into_lines()
}

/// Whose rates are drawn, and which flows those are.
fn marked(state: &State, body: &Body, model: &Model, sums: &[FlowFrame]) -> Option<(String, HashSet<u32>)> {
    let of_flow = |key: &str| {
        let id: u32 = key.parse().ok()?;
        let attributes = model.store.flow(id)?;
        Some((format!("{} with {}", program_name(attributes), remote(attributes)), HashSet::from([id])))
    };
    match body {
        Body::Table(Kind::Programs, rows) => {
            let row = rows.get(state.mark().index)?;
            let shown = flows::shown(&model.store, sums, &state.filter);
            let ids =
                shown.filter(|(attributes, _)| program_key(attributes) == row.key).map(|(_, sum)| sum.id);
            Some((row.cells.first()?.text.clone(), ids.collect()))
        }
        Body::Table(Kind::Flows, rows) => of_flow(&rows.get(state.mark().index)?.key),
        Body::Page(_) => of_flow(&state.path.last()?.key),
        Body::Table(..) => None,
    }
}
