//! The loop: keys, answers, time and signals in, pictures out.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context as _;
use crossterm::event::{Event, EventStream};
use futures::StreamExt as _;
use jiff::Timestamp;
use netsonde_audit::policy::Policy;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::draw::draw;
use super::messages::Messages;
use super::model::{Answer, Model, Whom};
use super::once;
use super::scene::{Cache, Looks, rows, scene};
use super::source::{Asking, Source, Wish};
use super::state::{Next, State};
use super::tables::Kind;
use super::terminal::Screen;
use crate::app;

/// The clock on the screen goes on meanwhile.
const CLOCK: Duration = Duration::from_secs(1);

/// How it is shown.
#[derive(Debug)]
pub struct Watch {
    /// At the start.
    pub state: State,
    /// What the terminal can do.
    pub looks: Looks,
    /// From one question to the next.
    pub interval: Duration,
    /// What may listen.
    pub policy: Policy,
    /// What the probes of this process say.
    pub messages: Messages,
}

/// Milliseconds since 1970.
fn now() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0)
}

fn wish(state: &State) -> Wish {
    let page = state.path.last().map(|level| level.kind);
    Wish {
        processes: state.tab == Kind::Processes || page == Some(Kind::Flows),
        listeners: state.tab == Kind::Listeners,
    }
}

impl Watch {
    /// Shows what `source` answers until somebody quits, a signal asks for the end, or `ended` does.
    ///
    /// # Errors
    ///
    /// When the terminal cannot be used.
    pub async fn watch(
        mut self,
        source: Source,
        whom: Whom,
        ended: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("cannot handle signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle signals")?;
        let mut hangup = signal(SignalKind::hangup()).context("cannot handle signals")?;
        let mut model = Model::new(whom, app::host_name());
        let (questions, answers) = asking(source);
        let mut answers = answers;
        let mut screen = Screen::take().context("standard output is no terminal that can be used")?;
        let mut events = EventStream::new();
        let (mut rounds, mut clock) = (interval(self.interval), interval(CLOCK));
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut cache = Cache::default();
        let mut wished = Wish::default();
        tokio::pin!(ended);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(Event::Key(key))) => {
                        if self.state.press(key) == Next::Quit {
                            return Ok(());
                        }
                        // What has come into view is asked for at once.
                        if wish(&self.state) != wished {
                            rounds.reset_immediately();
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(e)) => return Err(e).context("the terminal cannot be read"),
                    None => return Ok(()),
                },
                Some(answer) = answers.recv() => match answer {
                    Ok(answer) => model.add(answer),
                    Err(e) => model.lose(now(), format!("{e:#}")),
                },
                // What is new while nothing is shown comes with the first answer afterwards.
                _ = rounds.tick(), if !self.state.paused => {
                    wished = wish(&self.state);
                    // Full while an answer is waited for.
                    let _ = questions.try_send(wished);
                }
                _ = clock.tick() => {}
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = hangup.recv() => return Ok(()),
                () = &mut ended => return Ok(()),
            }
            if !screen.is_taken() {
                anyhow::bail!("a thread panicked");
            }
            self.draw(&mut screen, &mut model, &mut cache).context("the terminal cannot be written to")?;
        }
    }

    fn draw(&mut self, screen: &mut Screen, model: &mut Model, cache: &mut Cache) -> io::Result<()> {
        model.messages = self.messages.lines();
        let now = now();
        let Self { state, policy, looks, .. } = self;
        screen.terminal().draw(|frame| {
            // It may have another size than it had a moment ago.
            let size = frame.area().as_size();
            let scene = scene(state, model, cache, policy, *looks, (size, now));
            draw(frame, &scene, state, model, *looks, now);
        })?;
        Ok(())
    }

    /// Writes one table when there is something to write: at once where a daemon has seen intervals, else after the
    /// first that has measured something whole.
    ///
    /// # Errors
    ///
    /// When nobody answers, or `out` takes no more.
    pub async fn once(self, source: Source, whom: Whom, out: &mut impl Write) -> anyhow::Result<()> {
        let fresh = matches!(whom, Whom::Own(_));
        let mut model = Model::new(whom, app::host_name());
        let mut asking = Asking::new(source);
        let mut rounds = interval(self.interval);
        // The first interval of new probes is the time that loading took.
        let enough = if fresh { 2 } else { 1 };
        while model.store.intervals() < enough {
            rounds.tick().await;
            model.add(asking.ask(Wish { processes: true, listeners: true }).await?);
        }
        let rows = rows(&self.state, &model, &self.policy, self.looks, now());
        once::write(self.state.tab, &rows, out)?;
        Ok(out.flush()?)
    }
}

/// Asks in a task of its own, so that keys do not wait for answers.
fn asking(source: Source) -> (mpsc::Sender<Wish>, mpsc::Receiver<anyhow::Result<Answer>>) {
    let (questions, mut to_ask) = mpsc::channel(1);
    let (answered, answers) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut asking = Asking::new(source);
        while let Some(wish) = to_ask.recv().await {
            if answered.send(asking.ask(wish).await).await.is_err() {
                return;
            }
        }
    });
    (questions, answers)
}
