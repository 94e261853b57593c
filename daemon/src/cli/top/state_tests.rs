use super::*;

fn state() -> State {
    let mut state = State::new(Kind::Programs, None, Filter::default());
    state.settle(keys("abcdefghij"), 4);
    state
}

fn keys(text: &str) -> Vec<String> {
    text.chars().map(String::from).collect()
}

fn press(state: &mut State, codes: impl IntoIterator<Item = KeyCode>) {
    for code in codes {
        assert_eq!(state.press(KeyEvent::new(code, KeyModifiers::NONE)), Next::Go, "{code:?}");
        let (rows, page) = (state.rows.clone(), state.page);
        state.settle(rows, page);
    }
}

fn type_text(state: &mut State, text: &str) {
    press(state, text.chars().map(KeyCode::Char));
}

#[test]
fn tabs_are_reached_by_number_and_in_turn() {
    let mut state = state();
    for (digit, kind) in ('1'..='6').zip(Kind::ALL) {
        press(&mut state, [KeyCode::Char(digit)]);
        assert_eq!((state.tab, state.table()), (kind, Some(kind)));
    }
    press(&mut state, [KeyCode::Tab]);
    assert_eq!(state.tab, Kind::Programs);
    press(&mut state, [KeyCode::BackTab, KeyCode::BackTab]);
    assert_eq!(state.tab, Kind::Processes);
}

#[test]
fn the_mark_stays_on_the_screen_and_on_its_row() {
    let mut state = state();
    press(&mut state, [KeyCode::Down; 5]);
    assert_eq!(state.mark(), Mark { key: Some("f".to_owned()), index: 5, offset: 2 });
    state.settle(keys("fabcdeghij"), 4);
    assert_eq!(state.mark(), Mark { key: Some("f".to_owned()), index: 0, offset: 0 });
    press(&mut state, [KeyCode::End]);
    assert_eq!((state.mark().index, state.mark().offset), (9, 6));
    press(&mut state, [KeyCode::PageUp, KeyCode::Up]);
    assert_eq!((state.mark().index, state.mark().offset), (4, 4));
    state.settle(keys("ab"), 4);
    assert_eq!(state.mark(), Mark { key: Some("b".to_owned()), index: 1, offset: 0 });
    state.settle(Vec::new(), 4);
    assert_eq!((state.mark().index, state.mark().offset), (0, 0));
}

#[test]
fn nobody_who_has_not_moved_follows_a_row() {
    let mut state = state();
    state.settle(keys("jabc"), 4);
    assert_eq!(state.mark(), Mark::default());
}

#[test]
fn rows_are_gone_into_and_come_back_from() {
    let mut state = state();
    press(&mut state, [KeyCode::Down, KeyCode::Enter]);
    assert_eq!(state.path, [Level { kind: Kind::Programs, key: "b".to_owned() }]);
    assert_eq!(state.table(), Some(Kind::Flows));
    state.settle(keys("123"), 4);
    press(&mut state, [KeyCode::Down, KeyCode::Down, KeyCode::Enter]);
    assert_eq!(state.path.last(), Some(&Level { kind: Kind::Flows, key: "3".to_owned() }));
    assert_eq!(state.table(), None);
    press(&mut state, [KeyCode::Enter, KeyCode::Char('r'), KeyCode::Right]);
    assert_eq!(state.path.len(), 2, "a page has no rows");
    press(&mut state, [KeyCode::Esc]);
    assert_eq!(state.mark().key.as_deref(), Some("3"));
    state.settle(keys("123"), 4);
    press(&mut state, [KeyCode::Backspace]);
    state.settle(keys("abc"), 4);
    assert_eq!((state.path.len(), state.mark().key.as_deref()), (0, Some("b")));
}

#[test]
fn what_has_no_more_to_tell_is_not_gone_into() {
    let mut state = state();
    press(&mut state, [KeyCode::Char('6'), KeyCode::Enter]);
    assert!(state.path.is_empty());
    press(&mut state, [KeyCode::Char('5')]);
    state.settle(vec!["parent 1 t".to_owned(), "7-1".to_owned()], 4);
    press(&mut state, [KeyCode::Enter]);
    assert!(state.path.is_empty());
    press(&mut state, [KeyCode::Down, KeyCode::Enter]);
    assert_eq!(state.path, [Level { kind: Kind::Processes, key: "7-1".to_owned() }]);
    state.settle(Vec::new(), 4);
    press(&mut state, [KeyCode::Char('2'), KeyCode::Enter]);
    assert!(state.path.is_empty() || state.path[0].key.is_empty());
}

#[test]
fn a_page_of_text_moves_as_a_whole() {
    let mut state = state();
    press(&mut state, [KeyCode::Char('2'), KeyCode::Enter]);
    state.settle(vec![String::new(); 10], 4);
    press(&mut state, [KeyCode::Down; 2]);
    assert_eq!(state.mark().offset, 2);
    press(&mut state, [KeyCode::End]);
    assert_eq!(state.mark().offset, 6);
    press(&mut state, [KeyCode::PageUp]);
    assert_eq!(state.mark().offset, 2);
}

#[test]
fn each_table_has_its_order() {
    let mut state = state();
    let before = state.sorting(Kind::Programs);
    press(&mut state, [KeyCode::Right]);
    assert_eq!(state.sorting(Kind::Programs), Sorting { column: before.column + 1, descending: true });
    press(&mut state, [KeyCode::Char('r'), KeyCode::Char('2')]);
    assert!(!state.sorting(Kind::Programs).descending);
    assert_eq!(state.sorting(Kind::Flows), Kind::Flows.sorting());
    press(&mut state, [KeyCode::Left; 40]);
    assert_eq!(state.sorting(Kind::Flows), Sorting { column: 0, descending: false }, "names begin with a");
    press(&mut state, [KeyCode::Char('>'); 40]);
    assert_eq!(state.sorting(Kind::Flows).column, Kind::Flows.columns().len() - 1);
}

#[test]
fn a_filter_takes_effect_as_it_is_typed() {
    let mut state = state();
    type_text(&mut state, "/port:44x");
    press(&mut state, [KeyCode::Backspace]);
    assert_eq!(state.filter, Filter::parse("port:44"));
    press(&mut state, [KeyCode::Char('3'), KeyCode::Enter]);
    assert_eq!((state.filter.text(), &state.typing), ("port:443", &None));
    type_text(&mut state, "/ q");
    press(&mut state, [KeyCode::Esc]);
    assert_eq!(state.filter.text(), "port:443", "as it was before");
    press(&mut state, [KeyCode::Esc]);
    assert!(state.filter.is_empty());
    type_text(&mut state, "/");
    type_text(&mut state, &"x".repeat(500));
    assert_eq!(state.filter.text().len(), LONGEST_FILTER);
    state.press(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL));
    assert_eq!(state.filter.text(), "");
}

#[test]
fn escape_and_a_key_that_follows_at_once_are_two_keys() {
    let mut state = state();
    press(&mut state, [KeyCode::Down, KeyCode::Enter]);
    assert_eq!(state.press(KeyEvent::new(KeyCode::Char('w'), KeyModifiers::ALT)), Next::Go);
    assert_eq!((state.path.len(), state.window), (0, Window::Hour));
}

#[test]
fn pause_window_and_help_are_switched() {
    let mut state = state();
    press(&mut state, [KeyCode::Char('p'), KeyCode::Char('w')]);
    assert_eq!((state.paused, state.window), (true, Window::Hour));
    press(&mut state, [KeyCode::Char(' '), KeyCode::Char('w'), KeyCode::Char('?')]);
    assert_eq!((state.paused, state.window, state.help), (false, Window::Interval, true));
    press(&mut state, [KeyCode::Char('2')]);
    assert_eq!((state.help, state.tab), (false, Kind::Programs), "any key leaves the help, and does no more");
}

#[test]
fn it_ends_when_it_is_asked_to() {
    let quits = |keys: &[KeyEvent]| {
        let mut state = state();
        keys.iter().fold(None, |_, key| Some(state.press(*key)))
    };
    let key = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE);
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(quits(&[key('q')]), Some(Next::Quit));
    assert_eq!(quits(&[control_c]), Some(Next::Quit));
    assert_eq!(quits(&[key('?'), key('q')]), Some(Next::Quit));
    assert_eq!(quits(&[key('/'), control_c]), Some(Next::Quit));
    assert_eq!(quits(&[key('/'), key('q')]), Some(Next::Go), "a letter of the filter");
    assert_eq!(quits(&[key('c')]), Some(Next::Go));
}
