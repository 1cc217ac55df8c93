//! Selection of what the screen shows, and how keys change it.

#[cfg(test)]
mod tests;

use super::column::{Column, columns};
use super::list::{FactList, ListEntry, Listing, Query, Sort, keys};
use super::model::{Model, Part, SEPARATOR, Span, Vantage};
use crossterm::event::{KeyCode, KeyModifiers};

/// A page of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    Resolvers,
    /// Registrable domains.
    Zones,
    Names,
    Processes,
    /// Response codes.
    Rcodes,
    Alerts,
    /// Losses, from the ledger.
    Loss,
    /// Connections by name.
    Uses,
}

impl Tab {
    /// Every tab, in the order of their keys.
    pub const ALL: [Self; 8] = [
        Self::Resolvers,
        Self::Zones,
        Self::Names,
        Self::Processes,
        Self::Rcodes,
        Self::Alerts,
        Self::Loss,
        Self::Uses,
    ];

    /// Title, and the group of transactions that is listed, if one is.
    const fn content(self) -> (&'static str, Option<Part>) {
        match self {
            Self::Resolvers => ("Resolvers", Some(Part::Resolver)),
            Self::Zones => ("Zones", Some(Part::Zone)),
            Self::Names => ("Names", Some(Part::Name)),
            Self::Processes => ("Processes", Some(Part::Process)),
            Self::Rcodes => ("Rcodes", Some(Part::Outcome)),
            Self::Alerts => ("Alerts", None),
            Self::Loss => ("Loss", None),
            Self::Uses => ("Uses", None),
        }
    }

    pub const fn title(self) -> &'static str {
        self.content().0
    }
}

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
    /// None for the list of a tab.
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
    None,
    Quit,
    Clear,
    /// Pause the screen, or resume it.
    Pause,
}

/// The selection of what is shown.
#[derive(Clone, Debug)]
pub struct View {
    pub tab: Tab,
    /// The list that is shown.
    level: Level,
    /// The lists that it was reached from, outermost first.
    outer: Vec<Level>,
    sorts: [Option<Sort>; Tab::ALL.len()],
    /// Whether a filter is being typed.
    pub typing: bool,
    pub vantage: Vantage,
    pub span: Span,
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
    pub fn new(vantage: Vantage, span: Span) -> Self {
        Self {
            tab: Tab::Resolvers,
            level: Level::default(),
            outer: Vec::new(),
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

    /// Levels of drilling down, outermost first.
    pub fn drills(&self) -> impl Iterator<Item = &Drill> {
        self.outer.iter().chain([&self.level]).filter_map(|level| level.drill.as_ref())
    }

    /// The level of drilling down that is shown.
    pub const fn drill(&self) -> Option<&Drill> {
        self.level.drill.as_ref()
    }

    pub fn filter(&self) -> &str {
        &self.level.filter
    }

    pub fn listing(&self) -> Option<Listing> {
        self.listing_of(self.drill())
    }

    /// Content of the list of a drill, or without one of the tab.
    pub fn listing_of(&self, drill: Option<&Drill>) -> Option<Listing> {
        match (self.tab, drill) {
            (Tab::Uses, None) => Some(Listing::Destinations),
            (Tab::Uses, Some(_)) => Some(Listing::DestinationUsers),
            (_, Some(drill)) => Some(Listing::Facts(drill.by)),
            (tab, None) => tab.content().1.map(Listing::Group),
        }
    }

    pub fn sort(&self) -> Sort {
        let (own, default) = match self.drill() {
            Some(_) => (self.level.sort, Column::Count),
            None if self.tab == Tab::Uses => (self.sorts[self.tab as usize], Column::Count),
            None => (self.sorts[self.tab as usize], Column::Rate),
        };
        own.unwrap_or(Sort { column: default, descending: true })
    }

    /// Selects the lines of a drill, or without one those of the tab.
    pub fn query<'a>(&self, drill: Option<&'a Drill>, filter: &'a str, sort: Sort) -> Query<'a> {
        let (listing, vantage, span) = (self.listing_of(drill), self.vantage, self.span);
        Query { listing, drill, vantage, span, filter, sort }
    }

    pub fn lines(&self, model: &Model) -> Vec<ListEntry> {
        self.query(self.drill(), &self.filter().to_lowercase(), self.sort()).lines(model)
    }

    /// Whether the page is a text, which can be scrolled.
    pub fn is_text(&self) -> bool {
        self.tab == Tab::Loss || self.alert.is_some()
    }

    /// Position of the selected line among lines with these keys.
    pub fn chosen<'a>(&self, mut keys: impl ExactSizeIterator<Item = &'a str>) -> usize {
        let last = keys.len().saturating_sub(1);
        let chosen = self.level.chosen.as_deref();
        let found = chosen.and_then(|chosen| keys.position(|key| key == chosen));
        found.unwrap_or(self.level.place).min(last)
    }

    /// Returns the next level for a line of the list; none at the last level.
    pub fn next_drill(&self, entry: &ListEntry) -> Option<Drill> {
        if self.tab == Tab::Uses {
            let narrowed = vec![(Part::Name, entry.key.clone())];
            let drill = Drill { narrowed, by: FactList::Processes, failing: false };
            return self.drill().is_none().then_some(drill);
        }
        let Some(current) = self.drill() else {
            let group = self.tab.content().1?;
            let by = if group == Part::Name { FactList::Processes } else { FactList::Names };
            let narrowed = vec![(group, entry.key.clone())];
            return Some(Drill { narrowed, by, failing: group == Part::Resolver });
        };
        let mut narrowed = current.narrowed.clone();
        let values = entry.key.split(SEPARATOR).map(str::to_owned);
        narrowed.extend(current.by.parts().iter().copied().zip(values));
        let has = |part| narrowed.iter().any(|(own, _)| *own == part);
        let by = match (has(Part::Process), has(Part::Name), has(Part::Resolver)) {
            (false, _, _) => FactList::Processes,
            (true, false, _) => FactList::Names,
            (true, true, false) => FactList::Resolvers,
            (true, true, true) => return None,
        };
        Some(Drill { narrowed, by, failing: current.failing })
    }

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
            KeyCode::Char(digit @ '1'..='8') => {
                let place = digit as usize - '1' as usize;
                self.open(Tab::ALL[place]);
            }
            _ => self.go(code, model),
        }
        Action::None
    }

    pub fn open(&mut self, tab: Tab) {
        self.tab = tab;
        self.level = Level::default();
        self.outer.clear();
        self.alert = None;
        self.scroll = 0;
    }

    fn go(&mut self, code: KeyCode, model: &Model) {
        let keys: Vec<String> = if self.tab == Tab::Alerts && self.alert.is_none() {
            model.alerts.sorted().into_iter().map(|(key, _)| key.to_owned()).collect()
        } else {
            self.lines(model).into_iter().map(|line| line.key).collect()
        };
        let is_text = self.is_text();
        let now = if is_text { self.scroll } else { self.chosen(keys.iter().map(String::as_str)) };
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
            self.level.place = to.min(keys.len().saturating_sub(1));
            self.level.chosen = keys.into_iter().nth(self.level.place);
        }
    }

    fn enter(&mut self, model: &Model) {
        if self.tab == Tab::Alerts {
            let alerts = model.alerts.sorted();
            let place = self.chosen(alerts.iter().map(|(key, _)| *key));
            self.alert = alerts.get(place).map(|(key, _)| (*key).to_owned());
            self.scroll = 0;
            return;
        }
        let lines = self.lines(model);
        let place = self.chosen(keys(&lines));
        let Some(entry) = lines.get(place) else { return };
        if let Some(drill) = self.next_drill(entry) {
            (self.level.place, self.level.chosen) = (place, Some(entry.key.clone()));
            let next = Level { drill: Some(drill), ..Level::default() };
            self.outer.push(std::mem::replace(&mut self.level, next));
        }
    }

    fn back(&mut self) {
        if self.alert.take().is_some() {
            self.scroll = 0;
        } else if !self.level.filter.is_empty() {
            self.level.filter.clear();
        } else if let Some(level) = self.outer.pop() {
            self.level = level;
        }
    }

    fn toggle_failing(&mut self) {
        if let Some(drill) = &mut self.level.drill
            && self.tab != Tab::Uses
        {
            drill.failing = !drill.failing;
        }
    }

    fn type_filter(&mut self, code: KeyCode) {
        let filter = &mut self.level.filter;
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
        if self.level.drill.is_some() {
            self.level.sort = Some(sort);
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
