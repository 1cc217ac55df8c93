//! Reports as one self-contained HTML file: a page with sections, charts as inline SVG, and tables.
//!
//! The file needs no network, follows the reader's light or dark colours, prints, and is complete without its script,
//! which adds sorting and filtering to tables. All texts are escaped: templates are typed, so that a text cannot become
//! markup. The output depends on the input only.
//!
//! ```
//! use dnscribe_report::{Cell, Column, Page, Section, Table};
//!
//! let table = Table::new("names", "Names by number of queries")
//!     .columns([Column::text("name"), Column::number("queries")])
//!     .row([Cell::text("<script>.example.com"), Cell::count(3)]);
//! let section = Section::new("names", "Names", table.render());
//! let html = Page::new("DNS on Monday", "4 queries").section(section).render();
//! assert!(html.contains("&lt;script&gt;.example.com") && !html.contains("<script>.example"));
//! ```

mod chart;
mod format;
mod heat_map;
mod page;
mod table;

pub use chart::{Mark, Series, TimeChart};
pub use format::{clock, count, milliseconds, percent, time, time_range};
pub use heat_map::HeatMap;
pub use maud::{Markup, html};
pub use page::{Figure, Page, Section};
pub use table::{Cell, Column, Table};

use dnscribe_record::named_enum;

named_enum! {
    /// How bad something is: its colour, and a sign for those who do not see colours.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Tone {
        /// Neither good nor bad.
        #[default]
        Plain = "plain",
        /// As it should be.
        Good = "good",
        /// To be looked at.
        Warning = "warning",
        /// To be acted upon.
        Bad = "bad",
    }
}
