use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use netsonde_audit::policy::{Action, Policy};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

use super::*;
use crate::cli::top::filter::Filter;
use crate::cli::top::model::Lost;
use crate::cli::top::scene::{Cache, scene};
use crate::cli::top::testing::{NOW, answer, model};

const PLAIN: Looks = Looks { colour: false, unicode: false };

struct Stage {
    state: State,
    model: Model,
    looks: Looks,
    policy: Policy,
    cache: Cache,
}

impl Stage {
    fn new() -> Self {
        let state = State::new(Kind::Programs, None, Filter::default());
        Self { state, model: model(), looks: PLAIN, policy: Policy::default(), cache: Cache::default() }
    }

    fn buffer(&mut self, width: u16, height: u16) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory is a terminal");
        let size = terminal.size().expect("it has a size");
        let scene =
            scene(&mut self.state, &self.model, &mut self.cache, &self.policy, self.looks, (size, NOW));
        let draw = |frame: &mut Frame<'_>| draw(frame, &scene, &self.state, &self.model, self.looks, NOW);
        terminal.draw(draw).expect("memory takes all");
        terminal.backend().buffer().clone()
    }

    fn lines(&mut self, width: u16, height: u16) -> Vec<String> {
        let buffer = self.buffer(width, height);
        let row =
            |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(row).collect()
    }

    fn screen(&mut self, width: u16, height: u16) -> String {
        self.lines(width, height).join("\n")
    }

    fn press(&mut self, keys: &str) {
        self.screen(120, 30);
        for c in keys.chars() {
            let code = match c {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                'v' => KeyCode::Down,
                c => KeyCode::Char(c),
            };
            self.state.press(KeyEvent::new(code, KeyModifiers::NONE));
            self.screen(120, 30);
        }
    }
}

#[test]
fn programs_are_shown_those_that_moved_most_first() {
    let lines = Stage::new().lines(120, 12);
    assert_eq!(
        lines[0],
        format!("{:<112}22:13:20", "netsonde top on host1: the daemon at /run/netsonde/api.sock, every 10 s")
    );
    assert_eq!(lines[1], " 1 Programs  2 Flows  3 DNS  4 Listeners  5 Processes  6 Status");
    assert!(
        lines[2].starts_with("last minute: tx 103K/s rx 1.4K/s, 8 open, 8 failed, 2.5% again"),
        "{}",
        lines[2]
    );
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let headings = words(&lines[3]);
    assert_eq!(headings[..4], ["PROGRAM", "UNIT", "USER", "vBYTES"]);
    assert_eq!(words(&lines[4])[..6], ["backup", "backup.service", "www", "2.0M", "102K", "1.0K"]);
    assert_eq!(words(&lines[5])[..7], ["nginx", "nginx.service", "www", "12.0K", "205", "410", "10.0%"]);
    assert_eq!(words(&lines[6])[..6], ["curl", "session-1.scope", "www", "0", "0", "0"]);
    assert_eq!(lines[11], "? help  / filter  Enter into  q quit");
}

#[test]
fn numbers_stand_below_their_headings() {
    let lines = Stage::new().lines(120, 12);
    let end = |line: &str, word: &str| line.find(word).map(|at| at + word.len());
    assert_eq!(end(&lines[3], "RX/s"), end(&lines[4], "1.0K"));
    assert_eq!(end(&lines[3], "p95"), end(&lines[4], "10.0ms"));
}

#[test]
fn every_table_and_page_keeps_within_every_terminal() {
    // A buffer panics on what is outside; what is cut by it would be a word without its mark.
    for (width, height) in [(1, 1), (3, 2), (20, 5), (40, 12), (80, 24), (250, 70)] {
        for keys in ["1", "2", "3", "4", "5", "6", "1\n", "1\n\n", "2\n", "3\n", "4\n", "5vvv\n", "?", "/abc"]
        {
            for looks in [PLAIN, Looks { colour: true, unicode: true }] {
                let mut stage = Stage { looks, ..Stage::new() };
                stage.press(keys);
                stage.screen(width, height);
            }
        }
    }
}

#[test]
fn a_small_terminal_shows_what_matters_most() {
    let mut stage = Stage::new();
    let expected = "\
host1: the daemon, every 10 s   22:13:20
1 Prog 2 Flow 3 DNS 4 List 5 Proc 6 Stat
last minute: tx 103K/s rx 1.4K/s, 8 ope~
 PROGRAM             vBYTES   TX/s   RX/s
 backup                2.0M   102K   1.0K
 nginx                12.0K    205    410
 curl                     0      0      0




? help  / filter  Enter into  q quit";
    let screen = stage.screen(40, 12);
    for (got, wanted) in screen.lines().zip(expected.lines()) {
        assert_eq!(got.split_whitespace().collect::<Vec<_>>(), wanted.split_whitespace().collect::<Vec<_>>());
    }
    stage.press("3");
    assert!(stage.lines(40, 12)[4].contains("AAAA NOERROR"), "{}", stage.screen(40, 12));
    stage.press("?");
    let help = stage.screen(40, 12);
    assert!(help.contains("q         quit") && help.contains("attributes"), "all of it fits:\n{help}");
}

#[test]
fn a_program_leads_to_its_flows_and_those_to_their_processes() {
    let mut stage = Stage::new();
    stage.press("\n");
    let screen = stage.screen(100, 12);
    assert!(screen.contains("store.example.org") && screen.contains("mirror.example.org"), "{screen}");
    assert!(!screen.contains("app.internal") && screen.contains("Esc back"), "{screen}");
    stage.press("\n");
    let screen = stage.screen(120, 70);
    for part in [
        "backup with store.example.org",
        "systemd.unit                  backup.service",
        "bytes sent                1048576    2097152      2097152",
        "round trip p99            100.0ms",
        "/usr/bin/backup (4711, since 2023-11-14T22:10:00Z)",
        "sent 2097152 B, received 20480 B, 10 connections, 2 open, 0 failed",
        "  /usr/bin/bash (4000, since",
        "    /usr/sbin/sshd (300, since",
        "      /usr/lib/systemd/systemd (1, since",
        "backup with store.example.org, last minutes",
    ] {
        assert!(screen.contains(part), "{part} is missing:\n{screen}");
    }
    stage.press("\u{1b}\u{1b}");
    assert!(stage.screen(120, 12).contains("nginx.service"));
}

#[test]
fn each_tab_has_its_table() {
    for (key, parts) in [
        ("2", ["app.internal", "8080", "10.0%"].as_slice()),
        ("3", &["nowhere.example.org", "NXDOMAIN", "0.30", "100.0ms", "192.0.2.53"]),
        ("4", &["0.0.0.0", "8443", "any", "nginx", "60", "42"]),
        ("5", &[" systemd ", "`-sshd", "  `-bash", "    `-backup", "4711", "2.0M"]),
        ("6", &["degraded", "losses", "event_ring_full: 7"]),
    ] {
        let mut stage = Stage::new();
        stage.press(key);
        let screen = stage.screen(140, 20);
        for part in parts {
            assert!(screen.contains(part), "{part} is missing:\n{screen}");
        }
    }
}

#[test]
fn pages_of_other_things_tell_all_about_them() {
    for (keys, parts) in [
        ("3\n", ["store.example.org, by curl", "dns.response_code", "lookups", "took p50"].as_slice()),
        ("4\n", &["tcp 0.0.0.0:8443", "Held by", "/usr/sbin/nginx (60)", "  /usr/lib/systemd/systemd (1)"]),
        ("5vvv\n", &["backup 4711", "/usr/sbin/sshd", "client store.example.org:443: sent 2097152 B"]),
    ] {
        let mut stage = Stage::new();
        stage.press(keys);
        let screen = stage.screen(120, 60);
        for part in parts {
            assert!(screen.contains(part), "{part} is missing:\n{screen}");
        }
    }
}

#[test]
fn a_filter_counts_only_what_it_shows() {
    let mut stage = Stage::new();
    stage.press("/port:873\n");
    let screen = stage.screen(120, 12);
    assert!(screen.contains("backup") && !screen.contains("nginx"), "{screen}");
    assert!(screen.contains("1.5K") && screen.contains("filter: port:873  Esc no filter"), "{screen}");
    stage.press("/x");
    let lines = stage.lines(120, 12);
    assert!(lines[4].contains("nothing matches port:873x"), "{}", lines[4]);
    assert_eq!(lines[11], "/port:873x");
}

#[test]
fn who_is_asked_and_whether_they_answer_is_said() {
    let mut stage = Stage::new();
    stage.model.whom = Whom::Own("/run/x.sock".to_owned());
    assert!(stage.lines(120, 12)[0].contains("its own probes, as no daemon answers at /run/x.sock"));
    assert!(stage.lines(40, 12)[0].contains("own probes, no daemon"));
    stage.model.lose(NOW, "connection refused".to_owned());
    stage.model.lose(NOW + 9_000, "connection refused".to_owned());
    assert_eq!(stage.model.lost, Some(Lost { since: NOW, why: "connection refused".to_owned() }));
    for width in [40, 60, 120] {
        let line = stage.lines(width, 12)[0].clone();
        assert!(line.contains("no daemon answers"), "{line}");
    }
    assert!(stage.lines(120, 12)[4].contains("backup"), "what is known stays");
    stage.model.add(answer());
    assert!(!stage.lines(120, 12)[0].contains("22:13:20,"));
    stage.press("p");
    assert!(stage.lines(120, 12)[0].ends_with("PAUSED at 22:13:20"));
    stage.model = Model::new(Whom::Daemon(String::new()), "host1".to_owned());
    assert!(stage.screen(80, 12).contains("waiting for the first answer"));
}

#[test]
fn colours_are_used_only_where_they_are_wanted() {
    let colours = |stage: &mut Stage| {
        let buffer = stage.buffer(120, 30);
        buffer.content().iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(!colours(&mut Stage::new()));
    assert!(colours(&mut Stage { looks: Looks { colour: true, unicode: true }, ..Stage::new() }));
    let marked = Stage::new().buffer(120, 12)[(3, 4)].modifier;
    assert!(marked.contains(Modifier::REVERSED), "the mark is seen without colours");
    let ascii = Stage::new().screen(120, 30);
    assert!(ascii.is_ascii(), "{ascii}");
}

#[test]
fn a_listener_that_may_not_listen_is_marked() {
    let policy = Policy { default: Action::Deny, ..Policy::default() };
    let mut stage = Stage { policy, ..Stage::new() };
    stage.press("4");
    assert!(stage.screen(140, 12).contains("deny"));
}

#[test]
fn names_cannot_talk_to_the_terminal() {
    let mut stage = Stage::new();
    let mut hostile = answer();
    let attributes = &mut hostile.history.flows[0].attributes;
    attributes.insert("process.executable.path".to_owned(), "/tmp/\u{1b}[2J日本\u{202e}\n".into());
    attributes.insert("server.address".to_owned(), "\u{7}evil".into());
    stage.model = Model::new(Whom::Daemon(String::new()), "\u{1b}host".to_owned());
    stage.model.add(hostile);
    for keys in ["1", "2", "\n"] {
        stage.press(keys);
        let screen = stage.screen(100, 30);
        assert!(!screen.replace('\n', "").contains(char::is_control), "{screen:?}");
        assert!(screen.contains("?[2J"), "{screen}");
    }
}
