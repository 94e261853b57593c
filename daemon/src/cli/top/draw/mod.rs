//! Drawing a scene: onto whatever terminal there is, within its edges.

pub mod columns;
mod help;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::bar;
use ratatui::widgets::{Sparkline, Widget as _};

use self::columns::Placed;
use super::model::{Model, Whom};
use super::page::Line;
use super::scene::{Body, Graph, Looks, Scene};
use super::state::State;
use super::store::{Rate, Window};
use super::tables::{Kind, Row, Sums, Tone};
use super::text::{Align, cut, fit, percentage, quantity, time_of_day, width};

/// Bars of a terminal that shows only ASCII.
const ASCII_BARS: bar::Set<'static> = bar::Set {
    full: "#",
    seven_eighths: "#",
    three_quarters: "*",
    five_eighths: "*",
    half: "+",
    three_eighths: "=",
    one_quarter: "-",
    one_eighth: ".",
    empty: " ",
};

/// Draws everything. `now` is in milliseconds since 1970.
pub fn draw(frame: &mut Frame<'_>, scene: &Scene, state: &State, model: &Model, looks: Looks, now: u64) {
    let areas = scene.areas;
    let buffer = frame.buffer_mut();
    let pen = Pen { looks };
    pen.title(buffer, areas.title, state, model, now);
    pen.tabs(buffer, areas.tabs, state);
    pen.sums(buffer, areas.sums, scene, state);
    match &scene.body {
        Body::Table(kind, rows) => pen.table(buffer, (areas.headings, areas.rows), *kind, rows, state, model),
        Body::Page(lines) => pen.page(buffer, areas.rows, lines, state.mark().offset),
    }
    if let Some(graph) = &scene.graph {
        pen.graph(buffer, areas.graph, graph);
    }
    pen.footer(buffer, areas.footer, state);
    if state.help {
        let area =
            Rect { y: areas.tabs.y, height: buffer.area.height.saturating_sub(areas.tabs.y), ..buffer.area };
        help::draw(buffer, area, pen);
    }
}

/// Knows what the terminal can do.
#[derive(Debug, Clone, Copy)]
struct Pen {
    looks: Looks,
}

impl Pen {
    /// A style that says the same without colours.
    fn style(self, tone: Tone) -> Style {
        let plain = Style::new();
        let coloured = |colour: Color, without: Modifier| {
            if self.looks.colour { plain.fg(colour) } else { plain.add_modifier(without) }
        };
        match tone {
            Tone::Plain => plain,
            Tone::Dim => plain.add_modifier(Modifier::DIM),
            Tone::Good => coloured(Color::Green, Modifier::BOLD),
            Tone::Warning => coloured(Color::Yellow, Modifier::BOLD),
            Tone::Bad => coloured(Color::Red, Modifier::BOLD | Modifier::UNDERLINED),
        }
    }

    fn heading(self) -> Style {
        if self.looks.colour {
            Style::new().fg(Color::Cyan).add_modifier(Modifier::BOLD)
        } else {
            Style::new().add_modifier(Modifier::BOLD)
        }
    }

    fn bars(self) -> bar::Set<'static> {
        if self.looks.unicode { bar::NINE_LEVELS } else { ASCII_BARS }
    }

    /// Writes within the area's first row only.
    fn write(self, buffer: &mut Buffer, area: Rect, text: &str, style: Style) {
        if area.height > 0 {
            let text = cut(text, area.width.into(), self.looks.mark());
            buffer.set_stringn(area.x, area.y, text, area.width.into(), style);
        }
    }

    fn title(self, buffer: &mut Buffer, area: Rect, state: &State, model: &Model, now: u64) {
        let shown = model.store.newest().unwrap_or(now);
        let clock = if state.paused { format!("PAUSED at {}", time_of_day(shown)) } else { time_of_day(now) };
        let room = usize::from(area.width).saturating_sub(width(&clock) + 2);
        let texts = title_texts(model);
        let text = texts.iter().find(|text| width(text) <= room).or(texts.last());
        let text = cut(text.map_or("", String::as_str), room, self.looks.mark());
        let line = format!("{} {clock}", fit(&text, room + 1, Align::Left, self.looks.mark()));
        let style = match (&model.lost, state.paused) {
            (Some(_), _) => self.style(Tone::Bad),
            (None, true) => self.style(Tone::Warning),
            (None, false) => self.heading(),
        };
        self.write(buffer, area, &line, style);
    }

    fn tabs(self, buffer: &mut Buffer, area: Rect, state: &State) {
        let long = |kind: Kind| format!(" {} {} ", kind as usize + 1, kind.title());
        let short =
            |kind: Kind| format!("{} {}", kind as usize + 1, kind.title().get(..4).unwrap_or(kind.title()));
        let all: usize = Kind::ALL.map(|kind| width(&long(kind))).iter().sum();
        let is_long = all <= usize::from(area.width);
        let mut left = area;
        for kind in Kind::ALL {
            let text = if is_long { long(kind) } else { short(kind) };
            let style =
                if kind == state.tab { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
            self.write(buffer, left, &text, style);
            let taken = (width(&text) + usize::from(!is_long)).min(left.width.into()) as u16;
            left = Rect { x: left.x + taken, width: left.width - taken, ..left };
        }
    }

    fn sums(self, buffer: &mut Buffer, area: Rect, scene: &Scene, state: &State) {
        if area.height == 0 {
            return;
        }
        let window = match state.window {
            Window::Interval => format!("last {:.1} s", scene.seconds),
            Window::Minute => "last minute".to_owned(),
            Window::Hour => format!("last {:.0} min", (scene.seconds / 60.0).ceil()),
        };
        let sums = Sums { sum: &scene.sum, seconds: scene.seconds, bounds: &[] };
        let a_second =
            |count: u64| quantity(if scene.seconds > 0.0 { count as f64 / scene.seconds } else { 0.0 });
        let text = format!(
            "{window}: tx {}/s rx {}/s, {} open, {} failed, {} again",
            a_second(scene.sum.tx),
            a_second(scene.sum.rx),
            scene.sum.active,
            sums.failures(),
            sums.retransmitted().map_or_else(|| "-".to_owned(), percentage),
        );
        self.write(buffer, area, &text, Style::new());
        let bars = (scene.total.len() as u16).min(area.width);
        if width(&text) + usize::from(bars) + 2 <= usize::from(area.width) {
            let place = Rect { x: area.right() - bars, width: bars, ..area };
            let total: Vec<u64> = scene.total.iter().map(|rate| (rate.tx + rate.rx) as u64).collect();
            self.sparkline(buffer, place, &total, Tone::Good);
        }
    }

    fn sparkline(self, buffer: &mut Buffer, area: Rect, values: &[u64], tone: Tone) {
        // Its own emphasis would thicken the bars.
        let style = if self.looks.colour { self.style(tone) } else { Style::new() };
        Sparkline::default().data(values).bar_set(self.bars()).style(style).render(area, buffer);
    }

    fn table(
        self,
        buffer: &mut Buffer,
        (headings, area): (Rect, Rect),
        kind: Kind,
        rows: &[Row],
        state: &State,
        model: &Model,
    ) {
        let sorting = state.sorting(kind);
        let placed = columns::fit(kind.columns(), rows, sorting.column, Some(area.width.into()));
        let line: String = placed.iter().map(|place| self.heading_text(kind, *place, state)).collect();
        self.write(buffer, headings, &line, self.heading());
        if rows.is_empty() {
            self.write(buffer, area, &nothing(kind, state, model), self.style(Tone::Dim));
            return;
        }
        let mark = state.mark();
        let visible = rows.iter().enumerate().skip(mark.offset).take(area.height.into());
        for (y, (index, row)) in (area.y..).zip(visible) {
            let line: String = placed.iter().map(|place| self.cell_text(kind, *place, row)).collect();
            let mut style = self.style(row.tone);
            if index == mark.index {
                style = style.add_modifier(Modifier::REVERSED);
            }
            self.write(buffer, Rect { y, height: 1, ..area }, &line, style);
        }
    }

    fn heading_text(self, kind: Kind, place: Placed, state: &State) -> String {
        let column = &kind.columns()[place.column];
        let sorting = state.sorting(kind);
        let mark = match (sorting.descending, self.looks.unicode) {
            _ if sorting.column != place.column => ' ',
            (true, true) => '▼',
            (false, true) => '▲',
            (true, false) => 'v',
            (false, false) => '^',
        };
        // The mark has the gap before the column, or stands right before its heading.
        fit(&format!("{mark}{}", column.title), place.width + 1, column.align, self.looks.mark())
    }

    fn cell_text(self, kind: Kind, place: Placed, row: &Row) -> String {
        let align = kind.columns()[place.column].align;
        let text = row.cells.get(place.column).map_or("", |cell| &cell.text);
        format!(" {}", fit(text, place.width, align, self.looks.mark()))
    }

    fn page(self, buffer: &mut Buffer, area: Rect, lines: &[Line], offset: usize) {
        for (y, line) in (area.y..area.bottom()).zip(lines.iter().skip(offset)) {
            self.write(buffer, Rect { y, height: 1, ..area }, &line.text, self.style(line.tone));
        }
    }

    fn graph(self, buffer: &mut Buffer, area: Rect, graph: &Graph) {
        const LABEL: u16 = 20;
        let bars = area.width.saturating_sub(LABEL);
        if area.height < 5 || bars == 0 {
            return;
        }
        self.write(buffer, area, &format!("{}, last minutes", graph.title), self.heading());
        type Part = (&'static str, fn(&Rate) -> f64, Tone, u16);
        let parts: [Part; 2] =
            [("tx", |rate| rate.tx, Tone::Good, 1), ("rx", |rate| rate.rx, Tone::Warning, 3)];
        for (name, value, tone, y) in parts {
            let values: Vec<f64> = graph.rates.iter().map(value).collect();
            let most = values.iter().copied().fold(0.0, f64::max);
            let last = values.last().copied().unwrap_or(0.0);
            let label = Rect { y: area.y + y, height: 1, width: LABEL.min(area.width), ..area };
            self.write(buffer, label, &format!("{name} {}/s", quantity(last)), self.style(tone));
            let label = Rect { y: label.y + 1, ..label };
            self.write(buffer, label, &format!("   most {}/s", quantity(most)), self.style(Tone::Dim));
            let place = Rect { x: area.x + LABEL, y: area.y + y, width: bars, height: 2 };
            let values: Vec<u64> = values.iter().map(|value| *value as u64).collect();
            self.sparkline(buffer, place, &values, tone);
        }
    }

    fn footer(self, buffer: &mut Buffer, area: Rect, state: &State) {
        if area.height == 0 {
            return;
        }
        let filter = state.filter.text();
        if state.typing.is_some() {
            // Its end is what is being typed.
            let room = usize::from(area.width).saturating_sub(2);
            let skipped = filter.chars().count().saturating_sub(room);
            let shown: String = super::text::clean(filter).chars().skip(skipped).collect();
            self.write(buffer, area, &format!("/{shown}"), Style::new().add_modifier(Modifier::BOLD));
            let x = area.x + (width(&shown) as u16 + 1).min(area.width.saturating_sub(1));
            buffer.set_stringn(x, area.y, " ", 1, Style::new().add_modifier(Modifier::REVERSED));
            return;
        }
        let shown = if filter.is_empty() {
            String::new()
        } else {
            format!("filter: {}  ", super::text::clean(filter))
        };
        let leave = if !state.path.is_empty() {
            "Esc back  "
        } else if filter.is_empty() {
            ""
        } else {
            "Esc no filter  "
        };
        let hints = format!("{leave}? help  / filter  Enter into  q quit");
        self.write(buffer, area, &shown, self.style(Tone::Warning));
        let taken = width(&shown).min(area.width.into()) as u16;
        let rest = Rect { x: area.x + taken, width: area.width - taken, ..area };
        self.write(buffer, rest, &hints, self.style(Tone::Dim));
    }
}

/// What the title may say, the longest first.
fn title_texts(model: &Model) -> Vec<String> {
    let host = super::text::clean(&model.host);
    let every = match model.store.interval() {
        seconds if seconds > 0.0 => format!(", every {seconds} s"),
        _ => String::new(),
    };
    let (Whom::Daemon(socket) | Whom::Own(socket)) = &model.whom;
    if let Some(lost) = &model.lost {
        let since = time_of_day(lost.since);
        return vec![
            format!("{host}: no daemon answers at {socket} since {since}, trying again: {}", lost.why),
            format!("{host}: no daemon answers since {since}, trying again"),
            format!("no daemon answers since {since}"),
            "no daemon answers".to_owned(),
        ];
    }
    match &model.whom {
        Whom::Daemon(socket) => vec![
            format!("netsonde top on {host}: the daemon at {socket}{every}"),
            format!("{host}: the daemon{every}"),
            host,
        ],
        Whom::Own(socket) => vec![
            format!("netsonde top on {host}: its own probes, as no daemon answers at {socket}{every}"),
            format!("{host}: own probes, no daemon{every}"),
            "own probes, no daemon".to_owned(),
        ],
    }
}

/// Why a table is empty.
fn nothing(kind: Kind, state: &State, model: &Model) -> String {
    if model.version == 0 {
        " waiting for the first answer".to_owned()
    } else if !state.filter.is_empty() {
        format!(" nothing matches {}", super::text::clean(state.filter.text()))
    } else if kind == Kind::Listeners && model.listeners.is_none() {
        " not read yet".to_owned()
    } else {
        " nothing yet".to_owned()
    }
}

#[cfg(test)]
mod tests;
