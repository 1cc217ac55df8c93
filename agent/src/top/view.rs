//! Selection of what the screen shows, and how keys change it.

mod tab;
#[cfg(test)]
mod tests;

pub use tab::Tab;

use super::column::{Column, columns};
use super::list::{FactList, ListEntry, Listing, Query, Sort};
use super::model::{Group, Model, Part, Span, Vantage};
use ratatui::crossterm::event::{KeyCode, KeyModifiers};

/// A level of drilling down.
#[derive(Clone, Debug, PartialEq)]
pub struct Drill {
    /// Parts that the facts must have.
    pub narrowed: Vec<(Part, String)>,
    /// Part by which they are listed.
    pub by: FactList,
    /// Whether only failures are listed.
    pub failing: bool,
}

/// A list with its filter, order and selection.
#[derive(Clone, Debug, Default, PartialEq)]
struct Level {
    drill: Option<Drill>,
    filter: String,
    sort: Option<Sort>,
    /// Key of the selected line, which stays selected when it moves.
    chosen: Option<String>,
    /// Last position of the selected line, for when it disappears.
    place: usize,
}

/// Effect of a key beyond the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// None.
    None,
    /// Quit.
    Quit,
    /// Clear the counts.
    Clear,
    /// Pause the screen, or resume it.
    Pause,
}

/// The selection of what is shown.
#[derive(Clone, Debug)]
pub struct View {
    tab: Tab,
    levels: Vec<Level>,
    sorts: [Option<Sort>; Tab::ALL.len()],
    typing: bool,
    /// Sides that are shown.
    pub vantage: Vantage,
    /// Time span of the figures.
    pub span: Span,
    /// Whether the help is shown.
    pub help: bool,
    /// First visible line of a text.
    pub scroll: usize,
    /// Alert whose details are shown.
    pub alert: Option<String>,
    /// Width of the screen, which decides the columns.
    pub width: u16,
    /// Lines that a page key moves by.
    pub page: usize,
}

impl View {
    /// Creates a view of the first tab.
    #[must_use]
    pub fn new(vantage: Vantage, span: Span) -> Self {
        Self {
            tab: Tab::Resolvers,
            levels: vec![Level::default()],
            sorts: [None; Tab::ALL.len()],
            typing: false,
            vantage,
            span,
            help: false,
            scroll: 0,
            alert: None,
            width: 80,
            page: 10,
        }
    }

    /// The tab that is shown.
    #[must_use]
    pub const fn tab(&self) -> Tab {
        self.tab
    }

    /// Whether a filter is being typed.
    #[must_use]
    pub const fn is_typing(&self) -> bool {
        self.typing
    }

    /// Levels of drilling down, outermost first.
    pub fn drills(&self) -> impl Iterator<Item = &Drill> {
        self.levels.iter().filter_map(|level| level.drill.as_ref())
    }

    /// The filter of the list that is shown.
    #[must_use]
    pub fn filter(&self) -> &str {
        self.levels.last().map_or("", |level| &level.filter)
    }

    fn level(&mut self) -> &mut Level {
        if self.levels.is_empty() {
            self.levels.push(Level::default());
        }
        let last = self.levels.len() - 1;
        &mut self.levels[last]
    }

    /// Content of the list that is shown, if there is one.
    #[must_use]
    pub fn listing(&self) -> Option<Listing> {
        match self.levels.last().and_then(|level| level.drill.as_ref()) {
            Some(drill) => Some(Listing::Facts(drill.by)),
            None => self.tab.group().map(Listing::Group),
        }
    }

    /// The order of the list that is shown.
    #[must_use]
    pub fn sort(&self) -> Sort {
        let level = self.levels.last();
        let own = level.and_then(|level| level.sort);
        let own = own.or(match level.and_then(|level| level.drill.as_ref()) {
            Some(_) => None,
            None => self.sorts[self.tab as usize],
        });
        let default = match self.listing() {
            Some(Listing::Facts(_)) => Column::Count,
            _ => Column::Rate,
        };
        own.unwrap_or(Sort { column: default, descending: true })
    }

    /// The lines of the list that is shown.
    #[must_use]
    pub fn lines(&self, model: &Model) -> Vec<ListEntry> {
        let Some(listing) = self.listing() else { return Vec::new() };
        let drill = self.levels.last().and_then(|level| level.drill.as_ref());
        let filter = self.filter().to_lowercase();
        let query = Query {
            listing,
            narrowed: drill.map_or(&[], |drill| &drill.narrowed),
            failing: drill.is_some_and(|drill| drill.failing),
            vantage: self.vantage,
            span: self.span,
            filter: &filter,
            sort: self.sort(),
        };
        query.lines(model)
    }

    /// Position of the selected line.
    #[must_use]
    pub fn chosen(&self, keys: &[&str]) -> usize {
        let Some(level) = self.levels.last() else { return 0 };
        let found =
            level.chosen.as_deref().and_then(|chosen| keys.iter().position(|key| *key == chosen));
        found.unwrap_or(level.place).min(keys.len().saturating_sub(1))
    }

    /// Returns the next level for a line of the list; none at the last level.
    #[must_use]
    pub fn next_drill(&self, entry: &ListEntry) -> Option<Drill> {
        let key = entry.key.clone();
        let drill = |narrowed, by, failing| Some(Drill { narrowed, by, failing });
        let Some(current) = self.levels.last().and_then(|level| level.drill.as_ref()) else {
            return match self.tab.group()? {
                Group::Resolver => drill(vec![(Part::Resolver, key)], FactList::Names, true),
                Group::Zone => drill(vec![(Part::Zone, key)], FactList::Names, false),
                Group::Name => drill(vec![(Part::Name, key)], FactList::Processes, false),
                Group::Process => drill(vec![(Part::Process, key)], FactList::Names, false),
                Group::Outcome => drill(vec![(Part::Outcome, key)], FactList::Names, false),
            };
        };
        let mut narrowed = current.narrowed.clone();
        narrowed.extend(current.by.narrowing(&key));
        let has = |part| narrowed.iter().any(|(own, _)| *own == part);
        let by = match (has(Part::Process), has(Part::Name), has(Part::Resolver)) {
            (false, _, _) => FactList::Processes,
            (true, false, _) => FactList::Names,
            (true, true, false) => FactList::Resolvers,
            (true, true, true) => return None,
        };
        drill(narrowed, by, current.failing)
    }

    /// Handles a key.
    pub fn key(&mut self, code: KeyCode, modifiers: KeyModifiers, model: &Model) -> Action {
        if modifiers.contains(KeyModifiers::CONTROL) {
            let quits = matches!(code, KeyCode::Char('c' | 'd'));
            return if quits { Action::Quit } else { Action::None };
        }
        if self.typing {
            self.type_filter(code);
            return Action::None;
        }
        if self.help {
            // Any key closes the help; `q` quits as well.
            self.help = false;
            return if code == KeyCode::Char('q') { Action::Quit } else { Action::None };
        }
        match code {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Char('c') => return Action::Clear,
            KeyCode::Char('p' | ' ') => return Action::Pause,
            KeyCode::Char('h' | '?') | KeyCode::F(1) => self.help = true,
            KeyCode::Char('v') => self.vantage = after(&Vantage::ALL, self.vantage),
            KeyCode::Char('t') => {
                self.span = if self.span == Span::Recent { Span::Whole } else { Span::Recent };
            }
            KeyCode::Char('f') => self.toggle_failing(),
            KeyCode::Char('s') => self.sort_by_next(),
            KeyCode::Char('S' | 'r') => self.reverse(),
            KeyCode::Char('/') if self.listing().is_some() => self.typing = true,
            KeyCode::Enter | KeyCode::Right | KeyCode::Char('l') => self.enter(model),
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => self.back(),
            KeyCode::Tab => self.open(after(&Tab::ALL, self.tab)),
            KeyCode::BackTab => {
                let mut reversed = Tab::ALL;
                reversed.reverse();
                self.open(after(&reversed, self.tab));
            }
            KeyCode::Char(digit @ '1'..='7') => {
                let place = digit as usize - '1' as usize;
                self.open(Tab::ALL[place]);
            }
            _ => self.go(code, model),
        }
        Action::None
    }

    /// Opens a tab.
    pub fn open(&mut self, tab: Tab) {
        self.tab = tab;
        self.levels = vec![Level::default()];
        self.alert = None;
        self.scroll = 0;
    }

    fn go(&mut self, code: KeyCode, model: &Model) {
        let lines: Vec<ListEntry>;
        let keys: Vec<&str> = if self.tab == Tab::Alerts && self.alert.is_none() {
            model.alerts().into_iter().map(|(key, _)| key).collect()
        } else {
            lines = self.lines(model);
            lines.iter().map(|line| line.key.as_str()).collect()
        };
        let is_text = self.listing().is_none() && (self.tab == Tab::Loss || self.alert.is_some());
        let now = if is_text { self.scroll } else { self.chosen(&keys) };
        let to = match code {
            KeyCode::Up | KeyCode::Char('k') => now.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => now + 1,
            KeyCode::PageUp => now.saturating_sub(self.page),
            KeyCode::PageDown => now + self.page,
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => usize::MAX / 2,
            _ => return,
        };
        if is_text {
            self.scroll = to;
        } else {
            self.choose(&keys, to);
        }
    }

    fn choose(&mut self, keys: &[&str], place: usize) {
        let place = place.min(keys.len().saturating_sub(1));
        let chosen = keys.get(place).map(|key| (*key).to_owned());
        let level = self.level();
        (level.place, level.chosen) = (place, chosen);
    }

    fn enter(&mut self, model: &Model) {
        if self.tab == Tab::Alerts {
            let alerts = model.alerts();
            let keys: Vec<&str> = alerts.iter().map(|(key, _)| *key).collect();
            self.alert = keys.get(self.chosen(&keys)).map(|key| (*key).to_owned());
            self.scroll = 0;
            return;
        }
        let lines = self.lines(model);
        let keys: Vec<&str> = lines.iter().map(|line| line.key.as_str()).collect();
        let place = self.chosen(&keys);
        if let Some(drill) = lines.get(place).and_then(|entry| self.next_drill(entry)) {
            self.choose(&keys, place);
            self.levels.push(Level { drill: Some(drill), ..Level::default() });
        }
    }

    fn back(&mut self) {
        if self.alert.take().is_some() {
            self.scroll = 0;
        } else if !self.filter().is_empty() {
            self.level().filter.clear();
        } else if self.levels.len() > 1 {
            self.levels.pop();
        }
    }

    fn toggle_failing(&mut self) {
        if let Some(drill) = &mut self.level().drill {
            drill.failing = !drill.failing;
        }
    }

    fn type_filter(&mut self, code: KeyCode) {
        let filter = &mut self.level().filter;
        match code {
            KeyCode::Char(character) if filter.len() < 256 => filter.push(character),
            KeyCode::Backspace => {
                filter.pop();
            }
            KeyCode::Esc => {
                filter.clear();
                self.typing = false;
            }
            KeyCode::Enter => self.typing = false,
            _ => {}
        }
    }

    fn sort_by_next(&mut self) {
        let Some(listing) = self.listing() else { return };
        let columns: Vec<Column> =
            columns(listing, self.width).into_iter().filter(|one| one.is_sortable()).collect();
        let column = after(&columns, self.sort().column);
        self.set_sort(Sort { column, descending: column.begins_descending() });
    }

    fn reverse(&mut self) {
        let sort = self.sort();
        self.set_sort(Sort { descending: !sort.descending, ..sort });
    }

    /// Sets the order. That of a tab is kept for its next use.
    fn set_sort(&mut self, sort: Sort) {
        if self.level().drill.is_some() {
            self.level().sort = Some(sort);
        } else {
            self.sorts[self.tab as usize] = Some(sort);
        }
    }
}

/// Returns the item after `current`, or the first where `current` is the last or missing.
fn after<T: Copy + PartialEq>(all: &[T], current: T) -> T {
    let place = all.iter().position(|one| *one == current).map_or(0, |place| place + 1);
    all.get(place).or(all.first()).copied().unwrap_or(current)
}
